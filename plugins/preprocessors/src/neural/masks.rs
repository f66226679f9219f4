//! Everything that is in a picture, each thing in a colour of its own: Segment Anything (Kirillov 2023) with MobileSAM's
//! encoder (Zhang 2023), asked for masks as their authors' automatic generator asks. The encoder sees the picture once. The
//! decoder says for every point of a grid which three things may be there.

mod mask;

use std::cmp::Reverse;

use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_picture::resize::{Filter, resize};
use gesso_plugin::models::Tensor;
use gesso_plugin::{Fault, Random};

use super::input::Feed;
use super::output::shapes;
use super::{Look, find, unlike_made};
use crate::{Settings, resolution, unfit};
use mask::{Axes, MASK_SIDE, Mask, without_repetition};

/// Stems of the files: both are made of `mobile_sam.pt`.
const ENCODER: &[&str] = &["mobile_sam_encoder"];
const DECODER: &[&str] = &["mobile_sam_decoder"];

/// Pixels along the sides of the square that the encoder sees, and what it makes of it.
const SIDE: usize = 1024;
const EMBEDDING: [u32; 4] = [1, 256, 64, 64];
/// Points along either side of the picture, and how many are asked at once: the masks of as many fit into what may cross.
const GRID: u32 = 32;
const POINTS: usize = 64;
/// Masks for each point: a thing, a part of it, a part of that.
const MASKS: usize = 3;
/// How sure of a mask's outline the decoder has to be.
const SURE_MIN: f32 = 0.88;
/// Stretches of rows that all masks have together, of eight bytes each, which leaves room for what else is there. Things have a
/// few for each row; only those that are full of holes come near it.
const RUNS_MAX: usize = 8 << 20;

/// The things of an RGB picture on black, small ones over large ones. `random` gives the colours.
pub(super) fn map(
    source: &Pixels,
    settings: Settings,
    random: &mut Random,
    look: &dyn Look,
) -> Result<Pixels, Fault> {
    // Both files first: what is missing is said before anything is run.
    let networks = [find(ENCODER, look)?, find(DECODER, look)?];
    let work = |picture: &Pixels| -> Result<Pixels, Fault> {
        let masks = without_repetition(masks(picture, &networks, look)?);
        Ok(drawn(masks, (picture.width, picture.height), random))
    };
    resolution::at(source, settings.resolution, work)
}

/// All that are sure and stable.
fn masks(picture: &Pixels, [encoder, decoder]: &[String; 2], look: &dyn Look) -> Result<Vec<Mask>, Fault> {
    let (fed, seen) = square(picture)?;
    let embedding = look.run(encoder, vec![fed])?.pop().unwrap_or_default();
    if embedding.shape != EMBEDDING {
        let why = format!("gives {:?} for a picture, not {EMBEDDING:?}", embedding.shape);
        return Err(unlike_made(encoder, &why));
    }
    let axes = Axes::new(seen, (picture.width, picture.height));
    let (mut masks, mut runs) = (Vec::new(), 0);
    for points in grid(seen).chunks(POINTS) {
        let values = points.as_flattened().to_vec();
        let asked = Tensor { shape: vec![points.len() as u32, 2], values };
        let outputs = look.run(decoder, vec![embedding.clone(), asked])?;
        let (logits, sure) = told(&outputs, points.len()).map_err(|why| unlike_made(decoder, &why))?;
        let found = logits.chunks_exact(MASK_SIDE * MASK_SIDE).zip(sure);
        let found = found.filter(|(_, sure)| **sure > SURE_MIN);
        for mask in found.filter_map(|(logits, sure)| Mask::of(logits, *sure, &axes)) {
            runs += mask.runs.len();
            if runs > RUNS_MAX {
                let (width, height) = (picture.width, picture.height);
                return Err(Fault::InvalidInput(format!(
                    "resolution: what is found in {width} x {height} pixels has more outlines than there is room for; \
                     choose a smaller processor_res"
                )));
            }
            masks.push(mask);
        }
    }
    Ok(masks)
}

/// What the encoder sees, `[1, 3, 1024, 1024]`: the picture at the top left, its long side at full length, and nothing beyond.
/// Also the size that the picture has there, width first.
fn square(picture: &Pixels) -> Result<(Tensor, (usize, usize)), Fault> {
    let scale = SIDE as f64 / f64::from(picture.width.max(picture.height));
    let side = |side: u32| ((f64::from(side) * scale + 0.5) as u32).max(1);
    let (width, height) = (side(picture.width), side(picture.height));
    let seen = resize(picture, width, height, Filter::Bilinear).map_err(unfit)?;
    let (width, height) = (width as usize, height as usize);
    let mut values = vec![0.0; 3 * SIDE * SIDE];
    for (row, numbers) in Feed::IMAGENET.tensor(&seen).values.chunks_exact(width).enumerate() {
        let (channel, row) = (row / height, row % height);
        values[(channel * SIDE + row) * SIDE..][..width].copy_from_slice(numbers);
    }
    Ok((Tensor { shape: vec![1, 3, SIDE as u32, SIDE as u32], values }, (width, height)))
}

/// The middles of as many squares, row by row: where each is across and down in what the encoder sees.
fn grid((width, height): (usize, usize)) -> Vec<[f32; 2]> {
    let place =
        |index: u32, length: usize| (f64::from(2 * index + 1) / f64::from(2 * GRID) * length as f64) as f32;
    let row = |row: u32| (0..GRID).map(move |column| [place(column, width), place(row, height)]);
    (0..GRID).flat_map(row).collect()
}

/// The masks of so many points, and how sure each is.
fn told(outputs: &[Tensor], points: usize) -> Result<(&[f32], &[f32]), String> {
    let wanted: [&[usize]; 2] = [&[points, MASKS, MASK_SIDE, MASK_SIDE], &[points, MASKS]];
    let fits = |output: &Tensor, wanted: &[usize]| {
        output.shape.iter().map(|length| *length as usize).eq(wanted.iter().copied())
            && output.values.len() == wanted.iter().product::<usize>()
    };
    match outputs {
        [masks, sure] if fits(masks, wanted[0]) && fits(sure, wanted[1]) => Ok((&masks.values, &sure.values)),
        _ => {
            let given = shapes(outputs);
            Err(format!("gives {given} for {points} points, not {wanted:?}"))
        }
    }
}

fn drawn(mut masks: Vec<Mask>, (width, height): (u32, u32), random: &mut Random) -> Pixels {
    masks.sort_by_key(|mask| Reverse(mask.area));
    let mut data = vec![0; width as usize * height as usize * 3];
    let (pixels, _) = data.as_chunks_mut::<3>();
    for mask in masks {
        let colour = [(); 3].map(|()| random.below(255) as u8);
        mask.runs.into_iter().for_each(|run| pixels[run].fill(colour));
    }
    Pixels { width, height, format: PixelFormat::Rgb8, data }
}

#[cfg(test)]
mod tests;
