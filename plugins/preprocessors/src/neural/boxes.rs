//! Boxes around what is in a picture, by YOLOX (Ge 2021) with COCO's 80 classes: how the detector is fed, what its numbers
//! say, and which of several boxes around one thing stays.

use std::ops::Range;

use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_plugin::Fault;
use gesso_plugin::models::Tensor;

use super::input::{Feed, at_size};
use super::output::shapes;
use super::{Look, unlike};
use crate::unfit;

/// Stems of the files that the detector may be, the published weights' first.
pub(super) const DETECTORS: &[&str] = &["yolox_l", "yolox"];

/// Pixels along either side of its input. The picture is in the upper left corner, and the rest is of this level.
const SIDE: u32 = 640;
const BEYOND: u8 = 114;
/// Pixels for each place of its grids, along either side; the finest grid comes first.
const STRIDES: [usize; 3] = [8, 16, 32];
/// Numbers of a place: the middle of a box, logarithms of its sides, how sure it is that there is something, and of what.
const NUMBERS: usize = 5 + 80;
/// Boxes that are less sure are none.
const SCORE_MIN: f32 = 0.3;
/// Boxes of one class that share more of their union than this are around one thing.
const SHARED_MAX: f64 = 0.45;
/// As many as the server draws of one picture.
const BOXES_MAX: usize = 64;
/// Sides of boxes stay far below this many places to the power of e; pixels do not.
const LOGARITHM_MAX: f32 = 10.0;

/// Left, top, right and bottom, in pixels.
pub(super) type Area = [f64; 4];

/// Something of a class.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Find {
    area: Area,
    score: f32,
    class: usize,
}

/// Around what is of `classes`, in pixels of an RGB picture, the surest first.
pub(super) fn boxes(
    picture: &Pixels,
    network: &str,
    classes: &Range<usize>,
    look: &dyn Look,
) -> Result<Vec<Area>, Fault> {
    let (fed, scale) = fitted(picture)?;
    let outputs = look.run(network, vec![Feed::BLUE_FIRST_LEVELS.tensor(&fed)])?;
    let mut finds = finds(&outputs, classes).map_err(|why| unlike(network, &why))?;
    for find in &mut finds {
        find.area = find.area.map(|side| side / scale);
    }
    Ok(kept(finds).into_iter().map(|find| find.area).collect())
}

/// A picture as the detector sees it, and how many of its pixels one of the picture's is.
fn fitted(picture: &Pixels) -> Result<(Pixels, f64), Fault> {
    let sides = [picture.width, picture.height].map(f64::from);
    let scale = sides.map(|side| f64::from(SIDE) / side).into_iter().fold(f64::INFINITY, f64::min);
    let [width, height] = sides.map(|side| ((side * scale) as u32).clamp(1, SIDE));
    let seen = at_size(picture, width, height).map_err(unfit)?;
    let mut data = vec![BEYOND; (SIDE * SIDE * 3) as usize];
    let rows = data.chunks_exact_mut(SIDE as usize * 3);
    for (row, own) in rows.zip(seen.data.chunks_exact(width as usize * 3)) {
        row[..own.len()].copy_from_slice(own);
    }
    Ok((Pixels { width: SIDE, height: SIDE, format: PixelFormat::Rgb8, data }, scale))
}

/// What the detector is sure of, in pixels of its input.
///
/// # Errors
/// The end of a sentence about the network, for outputs that are no boxes.
fn finds(outputs: &[Tensor], classes: &Range<usize>) -> Result<Vec<Find>, String> {
    let cells = STRIDES.into_iter().flat_map(|stride| {
        let side = SIDE as usize / stride;
        (0..side * side).map(move |cell| (stride as f64, [(cell % side) as f64, (cell / side) as f64]))
    });
    let shape = [1, cells.clone().count() as u32, NUMBERS as u32];
    let fits =
        |output: &&Tensor| output.shape == shape && output.values.len() == (shape[1] * shape[2]) as usize;
    let Some(output) = outputs.first().filter(fits) else {
        let given = shapes(outputs);
        return Err(format!(
            "gives {given} for a picture of {SIDE} x {SIDE}, and not {shape:?}; export it as the plugin's README says"
        ));
    };
    let mut finds = Vec::new();
    for (numbers, (stride, cell)) in output.values.as_chunks::<NUMBERS>().0.iter().zip(cells) {
        for class in classes.clone() {
            let score = numbers[4] * numbers[5 + class];
            if score > SCORE_MIN {
                if numbers[2].max(numbers[3]) > LOGARITHM_MAX {
                    return Err("gives boxes in pixels; export it without decode_in_inference".to_owned());
                }
                let [x, y] = [0, 1].map(|axis| (f64::from(numbers[axis]) + cell[axis]) * stride);
                let [across, down] = [2, 3].map(|axis| f64::from(numbers[axis]).exp() * stride / 2.0);
                let area = [x - across, y - down, x + across, y + down];
                if area.iter().all(|side| side.is_finite()) {
                    finds.push(Find { area, score, class });
                }
            }
        }
    }
    Ok(finds)
}

/// Of several boxes around one thing the surest.
fn kept(mut finds: Vec<Find>) -> Vec<Find> {
    finds.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut kept: Vec<Find> = Vec::new();
    for find in finds {
        let is_known =
            |known: &Find| known.class == find.class && shared(&known.area, &find.area) > SHARED_MAX;
        if kept.len() < BOXES_MAX && !kept.iter().any(is_known) {
            kept.push(find);
        }
    }
    kept
}

/// The intersection as a part of the union, in whole pixels, both edges' among them, as YOLOX counts.
fn shared(a: &Area, b: &Area) -> f64 {
    let size = |area: &Area| (area[2] - area[0] + 1.0).max(0.0) * (area[3] - area[1] + 1.0).max(0.0);
    let both = size(&[a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])]);
    both / (size(a) + size(b) - both)
}

#[cfg(test)]
pub(super) mod tests;
