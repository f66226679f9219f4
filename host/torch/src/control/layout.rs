//! Reads the shape of a control network off an outline with original names, as [`crate::layout`] does for
//! checkpoints.

use super::family::Family;
use crate::error::Problem;
use crate::layout::{BLOCKS_MAX, count, encoder_layout, shape};
use crate::models::controlnet::ControlNetLayout;
use crate::models::t2i_adapter::{AdapterLayout, ConvLayout, LevelLayout, PIXELS_PER_PLACE};
use crate::outline::Outline;

/// Levels of the UNet, one feature each.
const LEVELS: usize = 4;
/// Convolutions of the block that shrinks a ControlNet's picture.
const HINT_CONVOLUTIONS: usize = 8;

pub(super) fn controlnet(outline: &Outline) -> Result<ControlNetLayout, Problem> {
    let encoder = encoder_layout(outline, "")?;
    if encoder.input_channels != encoder.latent_channels {
        let channels = encoder.input_channels;
        return Err(Problem::Control(format!("it is a ControlNet whose latent has {channels} channels")));
    }
    let width = |index: usize| {
        let [outputs, _, _, _] = shape(outline, &format!("input_hint_block.{}.weight", index * 2))?;
        Ok(outputs)
    };
    let hint = (0..HINT_CONVOLUTIONS).map(width).collect::<Result<Vec<_>, Problem>>()?;
    Ok(ControlNetLayout { encoder, hint })
}

pub(super) fn adapter(outline: &Outline, family: Family) -> Result<AdapterLayout, Problem> {
    let first = if family == Family::FullAdapter { "conv_in" } else { "body.0.in_conv" };
    let [_, inputs, _, _] = shape(outline, &format!("{first}.weight"))?;
    let area = PIXELS_PER_PLACE * PIXELS_PER_PLACE;
    if inputs % area != 0 || !(1..=3).contains(&(inputs / area)) {
        return Err(Problem::Control(format!("it is a T2I-Adapter that reads {inputs} channels")));
    }
    let mut reader = Reader { outline, channels: inputs };
    let first = if family == Family::FullAdapter { Some(reader.conv("conv_in".into())?) } else { None };
    let levels = if family == Family::FullAdapter { full(&mut reader)? } else { light(&mut reader)? };
    Ok(AdapterLayout { picture_channels: inputs / area, first, levels })
}

/// Blocks are numbered through, equally many for each level.
fn full(reader: &mut Reader<'_>) -> Result<Vec<LevelLayout>, Problem> {
    let blocks = count(reader.outline, "body.", ".block1.weight");
    if blocks == 0 || !blocks.is_multiple_of(LEVELS) {
        return Err(Problem::Control(format!(
            "it is a T2I-Adapter of {blocks} blocks, no multiple of {LEVELS}"
        )));
    }
    let each = blocks / LEVELS;
    let level = |level: usize| {
        let first = level * each;
        Ok(LevelLayout {
            conv_in: reader.optional(format!("body.{first}.in_conv"))?,
            blocks: (first..first + each)
                .map(|at| reader.block(&format!("body.{at}")))
                .collect::<Result<_, _>>()?,
            conv_out: None,
        })
    };
    (0..LEVELS).map(level).collect()
}

fn light(reader: &mut Reader<'_>) -> Result<Vec<LevelLayout>, Problem> {
    let levels = count(reader.outline, "body.", ".in_conv.weight");
    if levels != LEVELS {
        return Err(Problem::Control(format!("it is a light T2I-Adapter of {levels} levels, not {LEVELS}")));
    }
    let level = |level: usize| {
        let at = format!("body.{level}");
        let blocks = count(reader.outline, &format!("{at}.body."), ".block1.weight").min(BLOCKS_MAX);
        Ok(LevelLayout {
            conv_in: Some(reader.conv(format!("{at}.in_conv"))?),
            blocks: (0..blocks)
                .map(|index| reader.block(&format!("{at}.body.{index}")))
                .collect::<Result<_, _>>()?,
            conv_out: Some(reader.conv(format!("{at}.out_conv"))?),
        })
    };
    (0..LEVELS).map(level).collect()
}

/// Follows the channels from convolution to convolution.
struct Reader<'a> {
    outline: &'a Outline,
    channels: i64,
}

impl Reader<'_> {
    fn conv(&mut self, name: String) -> Result<ConvLayout, Problem> {
        let [outputs, _, size, _] = shape(self.outline, &format!("{name}.weight"))?;
        let inputs = std::mem::replace(&mut self.channels, outputs);
        Ok(ConvLayout { name, inputs, outputs, size })
    }

    fn optional(&mut self, name: String) -> Result<Option<ConvLayout>, Problem> {
        if self.outline.has(&format!("{name}.weight")) { self.conv(name).map(Some) } else { Ok(None) }
    }

    fn block(&mut self, at: &str) -> Result<[ConvLayout; 2], Problem> {
        Ok([self.conv(format!("{at}.block1"))?, self.conv(format!("{at}.block2"))?])
    }
}
