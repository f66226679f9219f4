//! The two spellings of a network's parts: diffusers' (`down_blocks.0.resnets.1.conv1`) and that of single-file
//! checkpoints (`input_blocks.2.0.in_layers.2`), translated both ways. Names of modules and of their tensors are
//! both taken, and always without the network's own prefix. Called by the readers of folders and stand-alone
//! VAEs, of patches and of control networks. Pure over text: knows no tensor and does not say what exists.
//!
//! The index arithmetic is that of two residual blocks per level, as every Stable Diffusion of 1.x, 2.x and XL has.

/// Residual blocks of a level on the way down, and the step to the next level.
const DOWN: usize = 3;
/// Residual blocks of a level on the way up.
const UP: usize = 3;
/// Levels of a VAE's decoder; single-file checkpoints count them from the picture, diffusers from the latent.
const VAE_LEVELS: usize = 4;

/// Convolutions of a control network's hint between its first and last.
const HINT_BLOCKS: usize = 6;

/// Whole modules: diffusers' name, then ours.
const UNET_TOPS: [(&str, &str); 10] = [
    ("conv_in", "input_blocks.0.0"),
    ("time_embedding.linear_1", "time_embed.0"),
    ("time_embedding.linear_2", "time_embed.2"),
    ("add_embedding.linear_1", "label_emb.0.0"),
    ("add_embedding.linear_2", "label_emb.0.2"),
    ("conv_norm_out", "out.0"),
    ("conv_out", "out.2"),
    // Control networks.
    ("controlnet_mid_block", "middle_block_out.0"),
    ("controlnet_cond_embedding.conv_in", "input_hint_block.0"),
    ("controlnet_cond_embedding.conv_out", "input_hint_block.14"),
];

const UNET_RESNET: [(&str, &str); 6] = [
    ("norm1", "in_layers.0"),
    ("conv1", "in_layers.2"),
    ("time_emb_proj", "emb_layers.1"),
    ("norm2", "out_layers.0"),
    ("conv2", "out_layers.3"),
    ("conv_shortcut", "skip_connection"),
];

const VAE_TOPS: [(&str, &str); 3] =
    [("conv_in", "conv_in"), ("conv_norm_out", "norm_out"), ("conv_out", "conv_out")];
const VAE_RESNET: [(&str, &str); 5] = [
    ("norm1", "norm1"),
    ("conv1", "conv1"),
    ("norm2", "norm2"),
    ("conv2", "conv2"),
    ("conv_shortcut", "nin_shortcut"),
];

const VAE_ATTENTION: [(&str, &str); 9] = [
    ("group_norm", "norm"),
    ("to_q", "q"),
    ("to_k", "k"),
    ("to_v", "v"),
    ("to_out.0", "proj_out"),
    // Until 2023 diffusers had these; the way back gives those above.
    ("query", "q"),
    ("key", "k"),
    ("value", "v"),
    ("proj_attn", "proj_out"),
];

#[derive(Clone, Copy)]
enum Way {
    ToSingleFile,
    ToDiffusers,
}

/// Which levels of a UNet have attention on the way up: there the upsampler stands third instead of second. Levels
/// are numbered as diffusers does, from the middle outwards.
pub type UpAttention = fn(usize) -> bool;

/// Stable Diffusion 1.x and 2.x: all but the smallest level.
pub const SD_UP_ATTENTION: UpAttention = |level| level > 0;

/// A UNet's or control network's name as single-file checkpoints have it.
pub fn unet_from_diffusers(name: &str, up_attention: impl Fn(usize) -> bool) -> Option<String> {
    if let Some(name) = swap(name, &UNET_TOPS, Way::ToSingleFile) {
        return Some(name);
    }
    let (top, rest) = name.split_once('.')?;
    match top {
        "mid_block" => {
            let (kind, index, rest) = numbered(rest)?;
            match (kind, index) {
                ("resnets", 0 | 1) => {
                    let rest = swap(rest, &UNET_RESNET, Way::ToSingleFile)?;
                    Some(format!("middle_block.{}.{rest}", index * 2))
                }
                ("attentions", 0) => Some(format!("middle_block.1.{rest}")),
                _ => None,
            }
        }
        "down_blocks" | "up_blocks" => {
            let (block, rest) = number(rest)?;
            let (kind, index, rest) = numbered(rest)?;
            let (side, first) = match top {
                "down_blocks" => ("input_blocks", (block.checked_mul(DOWN)?).checked_add(1)?),
                _ => ("output_blocks", block.checked_mul(UP)?),
            };
            let in_level = index < if top == "down_blocks" { DOWN - 1 } else { UP };
            match kind {
                "resnets" if in_level => {
                    let rest = swap(rest, &UNET_RESNET, Way::ToSingleFile)?;
                    Some(format!("{side}.{}.0.{rest}", first.checked_add(index)?))
                }
                // `.conv` there is an upsampler's, which has a name of its own.
                "attentions" if in_level && under(rest, "conv").is_none() => {
                    Some(format!("{side}.{}.1.{rest}", first.checked_add(index)?))
                }
                "downsamplers" if top == "down_blocks" && index == 0 => {
                    let rest = swap(rest, &[("conv", "0.op")], Way::ToSingleFile)?;
                    Some(format!("{side}.{}.{rest}", first.checked_add(DOWN - 1)?))
                }
                "upsamplers" if top == "up_blocks" && index == 0 => {
                    let rest = under(rest, "conv")?;
                    let place = if up_attention(block) { 2 } else { 1 };
                    Some(format!("{side}.{}.{place}.conv{rest}", first.checked_add(UP - 1)?))
                }
                _ => None,
            }
        }
        "controlnet_down_blocks" => {
            let (index, rest) = number_or_end(rest)?;
            Some(format!("zero_convs.{index}.0{rest}"))
        }
        "controlnet_cond_embedding" => {
            let (index, rest) = number_or_end(rest.strip_prefix("blocks.")?)?;
            (index < HINT_BLOCKS).then(|| format!("input_hint_block.{}{rest}", index * 2 + 2))
        }
        _ => None,
    }
}

/// The way back from [`unet_from_diffusers`].
pub fn unet_to_diffusers(name: &str) -> Option<String> {
    if let Some(name) = swap(name, &UNET_TOPS, Way::ToDiffusers) {
        return Some(name);
    }
    let (top, rest) = name.split_once('.')?;
    let (index, rest) = number(rest)?;
    let resnet = |rest: &str| swap(rest, &UNET_RESNET, Way::ToDiffusers);
    match top {
        "middle_block" => match index {
            0 | 2 => Some(format!("mid_block.resnets.{}.{}", index / 2, resnet(rest)?)),
            1 => Some(format!("mid_block.attentions.0.{rest}")),
            _ => None,
        },
        "input_blocks" => {
            let (block, layer) = (index.checked_sub(1)? / DOWN, (index - 1) % DOWN);
            let at = format!("down_blocks.{block}");
            if layer == DOWN - 1 {
                let rest = swap(rest, &[("conv", "0.op")], Way::ToDiffusers)?;
                return Some(format!("{at}.downsamplers.0.{rest}"));
            }
            match rest.split_once('.')? {
                ("0", rest) => Some(format!("{at}.resnets.{layer}.{}", resnet(rest)?)),
                ("1", rest) => Some(format!("{at}.attentions.{layer}.{rest}")),
                _ => None,
            }
        }
        "output_blocks" => {
            let (block, layer) = (index / UP, index % UP);
            let at = format!("up_blocks.{block}");
            let (place, rest) = rest.split_once('.')?;
            match (place, under(rest, "conv")) {
                ("1" | "2", Some(rest)) if layer == UP - 1 => Some(format!("{at}.upsamplers.0.conv{rest}")),
                ("0", _) => Some(format!("{at}.resnets.{layer}.{}", resnet(rest)?)),
                ("1", None) => Some(format!("{at}.attentions.{layer}.{rest}")),
                _ => None,
            }
        }
        "zero_convs" => Some(format!("controlnet_down_blocks.{index}{}", under(rest, "0")?)),
        "input_hint_block" => {
            let block = index.checked_sub(2).filter(|place| place % 2 == 0)? / 2;
            (block < HINT_BLOCKS).then(|| format!("controlnet_cond_embedding.blocks.{block}.{rest}"))
        }
        _ => None,
    }
}

/// A VAE's name as single-file checkpoints have it.
pub fn vae_from_diffusers(name: &str) -> Option<String> {
    let (half, rest) = name.split_once('.')?;
    let (side, sample) = match half {
        "encoder" => ("down", "downsample"),
        "decoder" => ("up", "upsample"),
        "quant_conv" | "post_quant_conv" => return Some(name.to_owned()),
        _ => return None,
    };
    if let Some(rest) = swap(rest, &VAE_TOPS, Way::ToSingleFile) {
        return Some(format!("{half}.{rest}"));
    }
    if let Some(rest) = rest.strip_prefix("mid_block.") {
        let (kind, index, rest) = numbered(rest)?;
        return match (kind, index) {
            ("resnets", 0 | 1) => {
                let rest = swap(rest, &VAE_RESNET, Way::ToSingleFile)?;
                Some(format!("{half}.mid.block_{}.{rest}", index + 1))
            }
            ("attentions", 0) => {
                Some(format!("{half}.mid.attn_1.{}", swap(rest, &VAE_ATTENTION, Way::ToSingleFile)?))
            }
            _ => None,
        };
    }
    let (block, rest) = number(rest.strip_prefix(side)?.strip_prefix("_blocks.")?)?;
    let level = vae_level(side, block)?;
    let (kind, index, rest) = numbered(rest)?;
    if kind == "resnets" {
        let rest = swap(rest, &VAE_RESNET, Way::ToSingleFile)?;
        return Some(format!("{half}.{side}.{level}.block.{index}.{rest}"));
    }
    let resamples = index == 0 && kind.strip_suffix("rs") == Some(sample);
    resamples.then(|| format!("{half}.{side}.{level}.{sample}.{rest}"))
}

/// A name of a VAE's attention within a single file as others have it, where it is diffusers' own: its script that makes
/// single files of folders left it so for a time.
pub(crate) fn vae_attention_from_diffusers(name: &str) -> Option<String> {
    let (half, rest) = name.split_once(".mid.attn_1.")?;
    let rest = swap(rest, &VAE_ATTENTION, Way::ToSingleFile)?;
    matches!(half, "encoder" | "decoder").then(|| format!("{half}.mid.attn_1.{rest}"))
}

/// The way back from [`vae_from_diffusers`], to the names of today.
pub fn vae_to_diffusers(name: &str) -> Option<String> {
    let (half, rest) = name.split_once('.')?;
    let (side, sample) = match half {
        "encoder" => ("down", "downsample"),
        "decoder" => ("up", "upsample"),
        "quant_conv" | "post_quant_conv" => return Some(name.to_owned()),
        _ => return None,
    };
    if let Some(rest) = swap(rest, &VAE_TOPS, Way::ToDiffusers) {
        return Some(format!("{half}.{rest}"));
    }
    if let Some(rest) = rest.strip_prefix("mid.") {
        let (module, rest) = rest.split_once('.')?;
        return match module {
            "block_1" | "block_2" => {
                let index = usize::from(module == "block_2");
                let rest = swap(rest, &VAE_RESNET, Way::ToDiffusers)?;
                Some(format!("{half}.mid_block.resnets.{index}.{rest}"))
            }
            "attn_1" => Some(format!(
                "{half}.mid_block.attentions.0.{}",
                swap(rest, &VAE_ATTENTION, Way::ToDiffusers)?
            )),
            _ => None,
        };
    }
    let (level, rest) = number(rest.strip_prefix(side)?.strip_prefix('.')?)?;
    let at = format!("{half}.{side}_blocks.{}", vae_level(side, level)?);
    if let Some(rest) = rest.strip_prefix("block.") {
        let (index, rest) = number(rest)?;
        return Some(format!("{at}.resnets.{index}.{}", swap(rest, &VAE_RESNET, Way::ToDiffusers)?));
    }
    let rest = rest.strip_prefix(sample)?.strip_prefix('.')?;
    Some(format!("{at}.{sample}rs.0.{rest}"))
}

/// A level's number in the other spelling; encoders are numbered alike.
fn vae_level(side: &str, level: usize) -> Option<usize> {
    if side == "down" { Some(level) } else { (VAE_LEVELS - 1).checked_sub(level) }
}

/// `name` with the module it begins with in the other spelling; the first entry that fits stands.
fn swap(name: &str, table: &[(&str, &str)], way: Way) -> Option<String> {
    table.iter().find_map(|(theirs, ours)| {
        let (from, to) = match way {
            Way::ToSingleFile => (theirs, ours),
            Way::ToDiffusers => (ours, theirs),
        };
        under(name, from).map(|rest| format!("{to}{rest}"))
    })
}

/// What follows the module `at` in `name`: nothing, or a dot and more.
fn under<'a>(name: &'a str, at: &str) -> Option<&'a str> {
    name.strip_prefix(at).filter(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// `3.rest` as a number and what follows its dot.
fn number(name: &str) -> Option<(usize, &str)> {
    let (digits, rest) = name.split_once('.')?;
    Some((parse(digits)?, rest))
}

/// As [`number`], but the name may end with the number; what follows keeps its dot.
fn number_or_end(name: &str) -> Option<(usize, &str)> {
    let end = name.find('.').unwrap_or(name.len());
    Some((parse(&name[..end])?, &name[end..]))
}

/// `kind.3.rest`
fn numbered(name: &str) -> Option<(&str, usize, &str)> {
    let (kind, rest) = name.split_once('.')?;
    let (index, rest) = number(rest)?;
    Some((kind, index, rest))
}

/// A number spelt as tools spell it, so that no two names mean one place.
fn parse(digits: &str) -> Option<usize> {
    let plain = digits == "0" || (!digits.starts_with(['0', '+']) && digits.len() < 6);
    digits.parse().ok().filter(|_| plain)
}
