//! Says which upscaler a file is from the names and shapes of its tensors, and names the ones that are not
//! supported. Pure over the names; takes no tensor.

use super::file::{count, find_network};
use crate::outline::Outline;

/// Channels of the pictures: red, green, blue.
pub(crate) const COLOURS: i64 = 3;
/// Widest layer believed; published ones have 64, with 192 inside a dense block.
const CHANNELS_MAX: i64 = 4096;
/// Largest scale believed; published ones go to 16.
const SCALE_MAX: i64 = 16;
const DOUBLINGS_MAX: usize = 4;

/// The network of an upscaler file, and the prefix its tensors have there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) prefix: String,
    pub(crate) layout: UpscalerLayout,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum UpscalerLayout {
    Rrdb(RrdbLayout),
    Compact(CompactLayout),
}

impl UpscalerLayout {
    /// Length of a side after, divided by before.
    pub(crate) fn scale(&self) -> i64 {
        match self {
            Self::Rrdb(layout) => layout.scale(),
            Self::Compact(layout) => layout.scale,
        }
    }

    /// For messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Rrdb(_) => "an ESRGAN upscaler",
            Self::Compact(_) => "a Real-ESRGAN compact upscaler",
        }
    }
}

/// How the tensors of an ESRGAN network are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// ESRGAN's first form, which most community models have: `model.1.sub.0.RDB1.conv1.0`.
    Old,
    /// ESRGAN's later form, and BSRGAN's: `RRDB_trunk.0.RDB1.conv1`.
    Middle,
    /// Real-ESRGAN's: `body.0.rdb1.conv1`.
    New,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RrdbLayout {
    pub(crate) spelling: Spelling,
    pub(crate) features: i64,
    /// Channels that each convolution of a dense block adds.
    pub(crate) growth: i64,
    pub(crate) blocks: usize,
    pub(crate) doublings: usize,
    /// Side of the squares of pixels that are folded into channels first: 1, 2 or 4.
    pub(crate) unshuffle: i64,
    /// ESRGAN+'s additional paths.
    pub(crate) plus: bool,
}

impl RrdbLayout {
    pub(crate) fn scale(&self) -> i64 {
        (1 << self.doublings) / self.unshuffle
    }

    /// Channels into the first convolution.
    pub(crate) fn inputs(&self) -> i64 {
        COLOURS * self.unshuffle * self.unshuffle
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CompactLayout {
    pub(crate) features: i64,
    /// Convolutions with a PReLU behind them.
    pub(crate) layers: usize,
    pub(crate) scale: i64,
}

/// Finds the network.
///
/// # Errors
/// A sentence that says what the file is, as far as that can be told, and what to use.
pub(crate) fn detect(outline: &Outline) -> Result<Found, String> {
    if let Some(name) = other(outline) {
        return Err(format!("it is {name}, which is not supported as an upscaler; {REMEDY}"));
    }
    for (spelling, markers) in [
        (Spelling::Old, ["model.0.weight", "model.1.sub.0.RDB1.conv1.0.weight"]),
        (Spelling::Middle, ["conv_first.weight", "RRDB_trunk.0.RDB1.conv1.weight"]),
        (Spelling::New, ["conv_first.weight", "body.0.rdb1.conv1.weight"]),
    ] {
        if let Some(prefix) = find_network(outline, &markers) {
            let layout = UpscalerLayout::Rrdb(rrdb(outline, &prefix, spelling)?);
            return Ok(Found { prefix, layout });
        }
    }
    if let Some(prefix) = find_network(outline, &["body.0.weight", "body.1.weight"]) {
        let layout = UpscalerLayout::Compact(compact(outline, &prefix)?);
        return Ok(Found { prefix, layout });
    }
    Err(format!("it is of no known kind; {REMEDY}"))
}

const REMEDY: &str = "use an ESRGAN or Real-ESRGAN file";

/// Parts of names that only one kind of file has, the more special first.
const OTHERS: [(&str, &str); 22] = [
    (".conv_block.cab.", "a HAT upscaler"),
    (".attn_atd.", "an ATD upscaler"),
    ("layers.0.swin1.", "a DRCT upscaler"),
    (".attn.stripe_attn.", "a GRL upscaler"),
    ("layers.0.residual_group.blocks.0.attn.logit_scale", "a Swin2SR upscaler"),
    ("layers.0.residual_group.blocks.0.attn.", "a SwinIR upscaler"),
    ("layers.0.blocks.0.gamma", "an RGT upscaler"),
    (".attn.attns.0.rpe_biases", "a DAT upscaler"),
    ("block_1.c1_r.", "a SPAN upscaler"),
    ("residual_layer.0.residual_layer.0.", "an OmniSR upscaler"),
    ("unet1.conv1.conv.0.", "a Real-CUGAN upscaler"),
    ("feats.1.lk.", "a PLKSR upscaler"),
    ("gblocks.0.", "a MoSR upscaler"),
    ("m_head.0.", "an SCUNet restorer"),
    ("f_HR_conv0.", "an SPSR upscaler"),
    ("first_stage_model.", "a Stable Diffusion checkpoint"),
    ("model.diffusion_model.", "a Stable Diffusion checkpoint"),
    ("stylegan_decoder.", "a GFPGAN face restorer"),
    ("idx_pred_layer.", "a CodeFormer face restorer"),
    ("lora_unet_", "a LoRA"),
    ("control_model.", "a ControlNet"),
    ("input_hint_block.", "a ControlNet"),
];

fn other(outline: &Outline) -> Option<&'static str> {
    let has = |part: &str| outline.tensors.keys().any(|key| key.contains(part));
    OTHERS.iter().find(|(part, _)| has(part)).map(|(_, name)| *name)
}

fn rrdb(outline: &Outline, prefix: &str, spelling: Spelling) -> Result<RrdbLayout, String> {
    let first = match spelling {
        Spelling::Old => "model.0.weight",
        Spelling::Middle | Spelling::New => "conv_first.weight",
    };
    let (features, inputs) = convolution(outline, &format!("{prefix}{first}"))?;
    let part = |block: usize| match spelling {
        Spelling::Old => format!("{prefix}model.1.sub.{block}.RDB1."),
        Spelling::Middle => format!("{prefix}RRDB_trunk.{block}.RDB1."),
        Spelling::New => format!("{prefix}body.{block}.rdb1."),
    };
    let conv1 = if spelling == Spelling::Old { "conv1.0.weight" } else { "conv1.weight" };
    let (growth, _) = convolution(outline, &format!("{}{conv1}", part(0)))?;
    let blocks = count(outline, |block| format!("{}{conv1}", part(block)));
    let doublings = match spelling {
        // After the body: (nothing, convolution, activation) for each doubling, then two more convolutions.
        Spelling::Old => {
            let last = (2..=3 * DOUBLINGS_MAX + 4)
                .rfind(|index| outline.has(&format!("{prefix}model.{index}.weight")));
            last.unwrap_or_default().saturating_sub(4) / 3
        }
        Spelling::Middle => count(outline, |index| format!("{prefix}upconv{}.weight", index + 1)),
        Spelling::New => count(outline, |index| format!("{prefix}conv_up{}.weight", index + 1)),
    };
    let unshuffle = match inputs {
        3 => 1,
        12 => 2,
        48 => 4,
        _ => return Err(format!("it takes pictures of {inputs} channels; use an upscaler for RGB pictures")),
    };
    if doublings > DOUBLINGS_MAX || (1 << doublings) < unshuffle {
        return Err(format!("it doubles {doublings} times after folding by {unshuffle}; {REMEDY}"));
    }
    let plus = outline.has(&format!("{}conv1x1.weight", part(0)));
    Ok(RrdbLayout { spelling, features, growth, blocks, doublings, unshuffle, plus })
}

fn compact(outline: &Outline, prefix: &str) -> Result<CompactLayout, String> {
    let key = |index: usize| format!("{prefix}body.{index}.weight");
    let (features, inputs) = convolution(outline, &key(0))?;
    if inputs != COLOURS {
        return Err(format!("it takes pictures of {inputs} channels; use an upscaler for RGB pictures"));
    }
    // Convolution and PReLU in turn, and a last convolution.
    let layers = count(outline, key).saturating_sub(1) / 2;
    let (outputs, _) = convolution(outline, &key(2 * layers))?;
    let scale = (1..=SCALE_MAX).find(|scale| COLOURS * scale * scale == outputs);
    let scale = scale.ok_or_else(|| {
        format!("its last convolution makes {outputs} channels, which are no RGB squares; {REMEDY}")
    })?;
    Ok(CompactLayout { features, layers, scale })
}

/// Channels out of and into the convolution `key`.
fn convolution(outline: &Outline, key: &str) -> Result<(i64, i64), String> {
    match outline.shape(key) {
        Some(&[outputs @ 1..=CHANNELS_MAX, inputs @ 1..=CHANNELS_MAX, _, _]) => Ok((outputs, inputs)),
        Some(shape) => Err(format!("{key} has the shape {shape:?}, which is no convolution's; {REMEDY}")),
        None => Err(format!("{key} is missing; fetch the file again")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upscale::file::outline_of;

    fn outline(keys: &[(&str, &[i64])]) -> Outline {
        outline_of(keys.iter().map(|(key, shape)| ((*key).to_owned(), shape.to_vec())))
    }

    #[test]
    fn other_kinds_of_files_are_named() {
        for (key, name) in [
            ("layers.0.residual_group.blocks.0.attn.relative_position_index", "SwinIR"),
            ("layers.0.residual_group.blocks.0.attn.logit_scale", "Swin2SR"),
            ("params_ema.layers.0.residual_group.blocks.0.conv_block.cab.0.weight", "HAT"),
            ("layers.0.blocks.0.attn.attns.0.rpe_biases", "DAT"),
            ("model.diffusion_model.input_blocks.0.0.weight", "Stable Diffusion"),
            ("params_ema.stylegan_decoder.constant_input.weight", "GFPGAN"),
        ] {
            let why = detect(&outline(&[(key, &[1]), ("conv_first.weight", &[64, 3, 3, 3])])).unwrap_err();
            assert!(why.contains(name) && why.contains("use an ESRGAN"), "{why}");
        }
        assert!(detect(&outline(&[("x", &[1])])).unwrap_err().contains("no known kind"));
    }

    #[test]
    fn scale_and_folding_come_from_shapes() {
        for (inputs, ups, scale) in [(3, 2, 4), (12, 2, 2), (48, 2, 1), (3, 0, 1), (3, 1, 2), (3, 4, 16)] {
            let ups = (1..=ups).map(|up| (format!("params_ema.conv_up{up}.weight"), vec![64, 64, 3, 3]));
            let block = |block| (format!("params_ema.body.{block}.rdb1.conv1.weight"), vec![32, 64, 3, 3]);
            let first = ("params_ema.conv_first.weight".to_owned(), vec![64, inputs, 3, 3]);
            let file = outline_of(ups.chain([first, block(0), block(1)]));
            let Found { prefix, layout } = detect(&file).unwrap();
            assert_eq!((prefix.as_str(), layout.scale()), ("params_ema.", scale));
            assert!(matches!(
                layout,
                UpscalerLayout::Rrdb(RrdbLayout { blocks: 2, growth: 32, plus: false, .. })
            ));
        }
    }

    #[test]
    fn refuses_layouts_that_cannot_be() {
        for (inputs, growth) in [(1, 32), (4, 32), (12, 32), (3, 0), (3, 1 << 40)] {
            let file = outline(&[
                ("conv_first.weight", &[64, inputs, 3, 3]),
                ("body.0.rdb1.conv1.weight", &[growth, 64, 3, 3]),
            ]);
            assert!(detect(&file).is_err(), "{inputs} channels in, {growth} growing");
        }
        let compact = |last: i64| {
            outline(&[
                ("body.0.weight", &[64, 3, 3, 3]),
                ("body.1.weight", &[64]),
                ("body.2.weight", &[last, 64, 3, 3]),
            ])
        };
        assert_eq!(detect(&compact(27)).unwrap().layout.scale(), 3);
        assert!(detect(&compact(24)).unwrap_err().contains("24 channels"));
    }
}
