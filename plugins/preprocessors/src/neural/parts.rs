//! Which part of a body each place of a person is, out of DensePose's numbers (Güler 2018): for each box that there is a person
//! in, whether a place is of the person, and which of 24 parts it is of.

use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_plugin::models::Tensor;

use super::output::{Between, between, shapes};

/// What stands for nobody, then the parts, as 0xrrggbb.
pub(super) type Colours = [u32; LABELS];

/// Parts, and what is none of them.
const LABELS: usize = 1 + 24;

/// Every 255 / 24th colour, truncated, of OpenCV's map of that name.
pub(super) const VIRIDIS: Colours = [
    0x440154, 0x471063, 0x481f70, 0x472c7a, 0x443983, 0x404688, 0x3b518b, 0x365d8d, 0x31688e, 0x2c718e,
    0x287c8e, 0x25858e, 0x21908d, 0x1f9a8a, 0x20a386, 0x27ad81, 0x35b779, 0x46c06f, 0x5cc863, 0x73d056,
    0x8ed645, 0xaadc32, 0xc5e021, 0xe2e418, 0xfde725,
];
/// The same, but for nobody, who is black.
pub(super) const PARULA: Colours = [
    0x000000, 0x253ca3, 0x1450c2, 0x0461df, 0x086edd, 0x0e7ad8, 0x1484d4, 0x0f90d0, 0x0b9ccb, 0x06a6c6,
    0x16adb9, 0x26b3ac, 0x37b99f, 0x56bb90, 0x72bd82, 0x91bf74, 0xaabd69, 0xc0bc60, 0xd8ba56, 0xe4c04a,
    0xf0c73c, 0xfcce2e, 0xfbdc24, 0xfaeb19, 0xf9fb0e,
];

/// As many people as the server draws of one picture; the network gives the surest first.
const PEOPLE_MAX: usize = 64;

/// The numbers of one person, each plane of them laid over the person's box.
struct Planes<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
}

/// The map at `size` of outputs for an input of `fed`, width first; of two people at one place the one who comes later.
///
/// # Errors
/// The end of a sentence about the network, for outputs that are no people.
pub(super) fn drawn(
    outputs: &[Tensor],
    fed: (u32, u32),
    size: (u32, u32),
    colours: &Colours,
) -> Result<Pixels, String> {
    let unlike = || {
        let given = shapes(outputs);
        format!("gives {given}, which are no boxes and segmentations; export it as the plugin's README says")
    };
    // What else it gives (U and V) is not drawn.
    let [boxes, persons, parts, ..] = outputs else { return Err(unlike()) };
    let is_whole = |output: &Tensor| {
        output.shape.iter().map(|length| *length as usize).product::<usize>() == output.values.len()
    };
    let &[count, 4] = boxes.shape.as_slice() else { return Err(unlike()) };
    if ![boxes, persons, parts].into_iter().all(is_whole) {
        return Err(unlike());
    }
    // DensePose has two coarse labels, or fifteen.
    let persons = planes(persons, count).filter(|(labels, _)| (2..=LABELS).contains(labels));
    let persons = persons.ok_or_else(unlike)?;
    let parts = planes(parts, count).filter(|(labels, _)| *labels == LABELS).ok_or_else(unlike)?;
    let colours = colours.map(|colour| [(colour >> 16) as u8, (colour >> 8) as u8, colour as u8]);
    let mut data = colours[0].repeat(size.0 as usize * size.1 as usize);
    let scale = [f64::from(size.0) / f64::from(fed.0), f64::from(size.1) / f64::from(fed.1)];
    let people = boxes.values.as_chunks::<4>().0.iter().zip(persons.1).zip(parts.1);
    for ((area, persons), parts) in people.take(PEOPLE_MAX) {
        let area = [0, 1, 2, 3].map(|side| f64::from(area[side]) * scale[side % 2]);
        person(&mut data, size, area, (&persons, &parts), &colours);
    }
    Ok(Pixels { width: size.0, height: size.1, format: PixelFormat::Rgb8, data })
}

/// How many planes each of `count` people has, and those of each.
fn planes(output: &Tensor, count: u32) -> Option<(usize, impl Iterator<Item = Planes<'_>>)> {
    let &[people, labels, rows, columns] = output.shape.as_slice() else { return None };
    let [labels, rows, columns] = [labels, rows, columns].map(|length| length as usize);
    let length = labels * rows * columns;
    // There are no chunks of no numbers.
    let is_fit = people == count && length > 0;
    is_fit.then(|| {
        (labels, output.values.chunks_exact(length).map(move |values| Planes { values, rows, columns }))
    })
}

/// Colours what of a box is the person's.
fn person(
    data: &mut [u8],
    (width, height): (u32, u32),
    [left, top, right, bottom]: [f64; 4],
    (persons, parts): (&Planes<'_>, &Planes<'_>),
    colours: &[[u8; 3]; LABELS],
) {
    if [left, top, right, bottom].iter().any(|side| !side.is_finite()) {
        return;
    }
    // Whole pixels, as DensePose's own drawings have them.
    let (columns, rows) = ((right - left).trunc(), (bottom - top).trunc());
    let (left, top) = (left.trunc(), top.trunc());
    // The part of the box that is in the picture.
    let within = |first: f64, length: f64, end: u32| {
        let [start, end] = [first, first + length].map(|side| side.clamp(0.0, f64::from(end)) as usize);
        start..end
    };
    let across: Vec<(usize, [Between; 2])> = within(left, columns, width)
        .map(|x| (x, [persons.columns, parts.columns].map(|from| between(x as f64 - left, from, columns))))
        .collect();
    for y in within(top, rows, height) {
        let down = [persons.rows, parts.rows].map(|from| between(y as f64 - top, from, rows));
        for (x, across) in &across {
            if persons.surest(across[0], down[0]) > 0 {
                let part = parts.surest(across[1], down[1]);
                if part > 0 {
                    data[(y * width as usize + x) * 3..][..3].copy_from_slice(&colours[part]);
                }
            }
        }
    }
}

impl Planes<'_> {
    /// Which plane is highest at a place; of equal ones the first.
    fn surest(&self, (left, right, along): Between, (top, bottom, down): Between) -> usize {
        let level = |plane: &[f32]| {
            let line = |row: usize| {
                let [first, second] = [left, right].map(|column| plane[row * self.columns + column]);
                first + (second - first) * along
            };
            let (above, below) = (line(top), line(bottom));
            above + (below - above) * down
        };
        let levels = self.values.chunks_exact(self.rows * self.columns).map(level).enumerate();
        levels.reduce(|best, next| if next.1 > best.1 { next } else { best }).map_or(0, |(plane, _)| plane)
    }
}

#[cfg(test)]
mod tests;
