//! What a network is shown of a picture whose pixels are not those of its input: moved, turned, enlarged or cut out.

use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_picture::pose::Point;

/// What is beyond the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beyond {
    Black,
    /// Its last pixels, repeated.
    Edge,
}

/// `size` pixels, width first, of an RGB picture: each is what lies at its `place`, along straight lines between the picture's
/// pixels, the first of which is at 0. Places may be any numbers.
pub(super) fn sampled(
    picture: &Pixels,
    [width, height]: [u32; 2],
    beyond: Beyond,
    place: impl Fn(Point) -> Point,
) -> Pixels {
    let (pixels, _) = picture.data.as_chunks::<3>();
    let (columns, rows) = (picture.width as isize, picture.height as isize);
    let at = |column: isize, row: isize| {
        let is_inside = (0..columns).contains(&column) && (0..rows).contains(&row);
        if beyond == Beyond::Black && !is_inside {
            return [0.0; 3];
        }
        let (column, row) = (column.clamp(0, columns - 1), row.clamp(0, rows - 1));
        pixels[(row * columns + column) as usize].map(f64::from)
    };
    let mut data = Vec::with_capacity(width as usize * height as usize * 3);
    for y in 0..height {
        for x in 0..width {
            let [across, down] = place([x, y].map(f64::from));
            // Far outside all places are alike, and these fit every machine's whole numbers.
            let whole = |place: f64, end: isize| place.floor().clamp(-2.0, end as f64 + 1.0) as isize;
            let (column, row) = (whole(across, columns), whole(down, rows));
            let (right, below) = (across - across.floor(), down - down.floor());
            let [above_left, above_right] = [at(column, row), at(column + 1, row)];
            let [below_left, below_right] = [at(column, row + 1), at(column + 1, row + 1)];
            data.extend([0, 1, 2].map(|channel| {
                let line = |first: [f64; 3], second: [f64; 3]| {
                    first[channel] + (second[channel] - first[channel]) * right
                };
                let (above, under) = (line(above_left, above_right), line(below_left, below_right));
                (above + (under - above) * below).round() as u8
            }));
        }
    }
    Pixels { width, height, format: PixelFormat::Rgb8, data }
}
