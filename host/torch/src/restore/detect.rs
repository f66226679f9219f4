//! Says which face restorer a file is from the names and shapes of its tensors. Pure over the names; takes no
//! tensor.

use crate::outline::Outline;
use crate::upscale::{count, find_network};

/// Side of the latent grid in CodeFormer and of the first picture in GFPGAN's decoder.
const CODE_SIDE: u32 = 16;
const CONSTANT_SIDE: u32 = 4;
/// Most halvings believed; faces of 512 pixels have seven in GFPGAN and five in CodeFormer.
const HALVINGS_MAX: usize = 8;
/// Widest layer believed; published ones have 1024 entries in the codebook and 512 channels.
const WIDTH_MAX: i64 = 1 << 16;

const REMEDY: &str = "use GFPGAN 1.3 or 1.4, or CodeFormer";

/// The network of a restorer file, and the prefix its tensors have there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) prefix: String,
    pub(crate) layout: RestorerLayout,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RestorerLayout {
    Gfpgan(GfpganLayout),
    CodeFormer(CodeFormerLayout),
}

impl RestorerLayout {
    pub(crate) fn side(&self) -> u32 {
        match self {
            Self::Gfpgan(layout) => CONSTANT_SIDE << layout.down.len(),
            Self::CodeFormer(layout) => {
                let halvings = layout.encoder.iter().filter(|block| **block == Block::Resample).count();
                CODE_SIDE << halvings
            }
        }
    }

    /// For messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Gfpgan(_) => "a GFPGAN face restorer",
            Self::CodeFormer(_) => "a CodeFormer face restorer",
        }
    }
}

/// Channels behind each part; `down`, `up` and `decoder` have one entry for each halving or doubling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GfpganLayout {
    pub(crate) first: i64,
    pub(crate) down: Vec<i64>,
    /// At 4x4, in the encoder.
    pub(crate) deep: i64,
    pub(crate) up: Vec<i64>,
    /// At 4x4, in the decoder.
    pub(crate) constant: i64,
    pub(crate) decoder: Vec<i64>,
    /// Channels of each level that the encoder's features scale and shift: all or half of `decoder`.
    pub(crate) modulated: Vec<i64>,
    pub(crate) style: i64,
}

/// One entry of CodeFormer's numbered lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Block {
    Conv {
        inputs: i64,
        outputs: i64,
    },
    Residual {
        inputs: i64,
        outputs: i64,
    },
    Attention {
        channels: i64,
    },
    /// Halves in the encoder, doubles in the generator.
    Resample,
    Norm {
        channels: i64,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CodeFormerLayout {
    pub(crate) encoder: Vec<Block>,
    pub(crate) generator: Vec<Block>,
    /// Sides at which the encoder's features are mixed into the generator's, with their channels.
    pub(crate) fused: Vec<(i64, i64)>,
    pub(crate) codebook: i64,
    pub(crate) code_channels: i64,
    pub(crate) width: i64,
    pub(crate) layers: usize,
    pub(crate) hidden: i64,
}

/// Finds the network.
///
/// # Errors
/// A sentence that says what the file is, as far as that can be told, and what to use.
pub(crate) fn detect(outline: &Outline) -> Result<Found, String> {
    let markers = ["conv_body_first.weight", "stylegan_decoder.constant_input.weight"];
    if let Some(prefix) = find_network(outline, &markers) {
        let layout = RestorerLayout::Gfpgan(gfpgan(&Reader { outline, prefix: &prefix })?);
        return Ok(Found { prefix, layout });
    }
    let markers = ["position_emb", "quantize.embedding.weight", "encoder.blocks.0.weight"];
    if let Some(prefix) = find_network(outline, &markers) {
        let layout = RestorerLayout::CodeFormer(codeformer(&Reader { outline, prefix: &prefix })?);
        return Ok(Found { prefix, layout });
    }
    let has = |part: &str| outline.tensors.keys().any(|key| key.contains(part));
    Err(if has("stylegan_decoder.") {
        format!("it is GFPGAN's first form, which needs kernels of its own and is not supported; {REMEDY}")
    } else if has("quant_conv.") && has("encoder.down.0.") {
        format!("it is a RestoreFormer face restorer, which is not supported; {REMEDY}")
    } else {
        format!("it is no face restorer; {REMEDY}")
    })
}

/// Shapes under a prefix.
struct Reader<'a> {
    outline: &'a Outline,
    prefix: &'a str,
}

impl Reader<'_> {
    fn get(&self, key: &str) -> Option<&[i64]> {
        self.outline.shape(&format!("{}{key}", self.prefix))
    }

    /// One dimension of a tensor.
    fn size(&self, key: &str, dimension: usize) -> Result<i64, String> {
        let shape =
            self.get(key).ok_or_else(|| format!("the tensor {key} is missing; fetch the file again"))?;
        let size = shape.get(dimension).filter(|size| (1..=WIDTH_MAX).contains(*size));
        size.copied().ok_or_else(|| format!("the tensor {key} has the shape {shape:?}; {REMEDY}"))
    }

    fn count(&self, key: impl Fn(usize) -> String) -> usize {
        count(self.outline, |index| format!("{}{}", self.prefix, key(index)))
    }

    /// `size` of `key(0)`, `key(1)`, …
    fn sizes(
        &self,
        count: usize,
        dimension: usize,
        key: impl Fn(usize) -> String,
    ) -> Result<Vec<i64>, String> {
        (0..count).map(|index| self.size(&key(index), dimension)).collect()
    }
}

fn gfpgan(file: &Reader<'_>) -> Result<GfpganLayout, String> {
    let down_key = |index: usize| format!("conv_body_down.{index}.conv2.weight");
    let levels = file.count(down_key);
    if !(1..=HALVINGS_MAX).contains(&levels) {
        return Err(format!("it halves a face {levels} times; {REMEDY}"));
    }
    let decoder = "stylegan_decoder";
    let layout = GfpganLayout {
        first: file.size("conv_body_first.weight", 0)?,
        down: file.sizes(levels, 0, down_key)?,
        deep: file.size("final_conv.weight", 0)?,
        up: file.sizes(levels, 0, |index| format!("conv_body_up.{index}.conv2.weight"))?,
        constant: file.size(&format!("{decoder}.constant_input.weight"), 1)?,
        decoder: file.sizes(levels, 1, |index| {
            format!("{decoder}.style_convs.{}.modulated_conv.weight", 2 * index + 1)
        })?,
        modulated: file.sizes(levels, 0, |index| format!("condition_scale.{index}.2.weight"))?,
        style: file.size(&format!("{decoder}.style_conv1.modulated_conv.modulation.weight"), 1)?,
    };
    // The way up adds what the way down had at the same size.
    let before: Vec<i64> =
        std::iter::once(layout.deep).chain(layout.up.iter().copied()).take(levels).collect();
    if !before.iter().eq(layout.down.iter().rev()) {
        return Err(format!("its ways down and up have different channels; {REMEDY}"));
    }
    let fits = |(part, whole): (&i64, &i64)| part == whole || part * 2 == *whole;
    if !layout.modulated.iter().zip(&layout.decoder).all(fits) {
        return Err(format!("it modulates neither all channels of its decoder nor half of them; {REMEDY}"));
    }
    Ok(layout)
}

fn codeformer(file: &Reader<'_>) -> Result<CodeFormerLayout, String> {
    let encoder = blocks(file, "encoder")?;
    let generator = blocks(file, "generator")?;
    let resamples = |blocks: &[Block]| blocks.iter().filter(|block| **block == Block::Resample).count();
    let halvings = resamples(&encoder);
    if halvings > HALVINGS_MAX || halvings != resamples(&generator) {
        return Err(format!("it halves a face {halvings} times and doubles it otherwise; {REMEDY}"));
    }
    if file.size("position_emb", 0)? != i64::from(CODE_SIDE * CODE_SIDE) {
        return Err(format!("its codes are not {CODE_SIDE}x{CODE_SIDE}; {REMEDY}"));
    }
    let mut fused = Vec::new();
    for level in 0..=halvings {
        let side = i64::from(CODE_SIDE) << level;
        let key = format!("fuse_convs_dict.{side}.scale.0.weight");
        if file.get(&key).is_some() {
            if level == 0 {
                return Err(format!(
                    "it mixes features at {side}x{side}, which published files do not; {REMEDY}"
                ));
            }
            fused.push((side, file.size(&key, 0)?));
        }
    }
    Ok(CodeFormerLayout {
        encoder,
        generator,
        fused,
        codebook: file.size("quantize.embedding.weight", 0)?,
        code_channels: file.size("quantize.embedding.weight", 1)?,
        width: file.size("position_emb", 1)?,
        layers: file.count(|index| format!("ft_layers.{index}.norm1.weight")),
        hidden: file.size("ft_layers.0.linear1.weight", 0)?,
    })
}

/// Reads a numbered list of blocks, whose kinds show in their tensors' names.
fn blocks(file: &Reader<'_>, part: &str) -> Result<Vec<Block>, String> {
    let mut blocks = Vec::new();
    loop {
        let key = |name: &str| format!("{part}.blocks.{}.{name}", blocks.len());
        let has = |name: &str| file.get(&key(name)).map(<[i64]>::len);
        let block = if has("conv1.weight").is_some() {
            let conv = key("conv1.weight");
            Block::Residual { inputs: file.size(&conv, 1)?, outputs: file.size(&conv, 0)? }
        } else if has("q.weight").is_some() {
            Block::Attention { channels: file.size(&key("q.weight"), 0)? }
        } else if has("conv.weight").is_some() {
            Block::Resample
        } else if has("weight") == Some(4) {
            let conv = key("weight");
            Block::Conv { inputs: file.size(&conv, 1)?, outputs: file.size(&conv, 0)? }
        } else if has("weight") == Some(1) {
            Block::Norm { channels: file.size(&key("weight"), 0)? }
        } else {
            return Ok(blocks);
        };
        blocks.push(block);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upscale::outline_of;

    #[test]
    fn other_files_are_named() {
        for (keys, name) in [
            (&["stylegan_decoder.style_mlp.1.weight", "conv_body_first.0.weight"][..], "GFPGAN's first form"),
            (&["quant_conv.weight", "encoder.down.0.block.0.norm1.weight"], "RestoreFormer"),
            (&["conv_first.weight"], "no face restorer"),
        ] {
            let outline = outline_of(keys.iter().map(|key| ((*key).to_owned(), vec![1])));
            let why = detect(&outline).unwrap_err();
            assert!(why.contains(name) && why.contains(REMEDY), "{why}");
        }
    }
}
