//! Pictures of one run together: the mean of two (a second upscaler, a face restorer's visibility) and the grid.

use std::borrow::Borrow;

use gesso_core::pixels::{PixelFormat, Pixels};

use crate::composite::{blank, paste};
use crate::convert::{to_rgb, to_rgba};
use crate::error::{PIXELS_MAX, PictureError, in_range, same_size, size};

/// `first` at `share` 0, `second` at 1, the weighted mean between, cut to whole levels as Pillow's `Image.blend`.
/// Both have one size; the result has alpha if either has.
pub fn blend(first: &Pixels, second: &Pixels, share: f32) -> Result<Pixels, PictureError> {
    in_range("The visibility", f64::from(share), 0.0, 1.0)?;
    same_size("The second picture", second, first)?;
    let (first, second) = if first.format == second.format {
        crate::error::sound(first)?;
        crate::error::sound(second)?;
        (first.clone(), second.clone())
    } else if first.format == PixelFormat::Rgba8 || second.format == PixelFormat::Rgba8 {
        (to_rgba(first)?, to_rgba(second)?)
    } else {
        (to_rgb(first)?, to_rgb(second)?)
    };
    let mean = |(&a, &b): (&u8, &u8)| (f32::from(a) + share * (f32::from(b) - f32::from(a))) as u8;
    let data = first.data.iter().zip(&second.data).map(mean).collect();
    Ok(Pixels { data, ..first })
}

/// How many rows a grid has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GridRows {
    /// The square root of the count, rounded (web UIs: -1).
    NearlySquare,
    /// The largest number up to the square root that leaves no cell empty.
    NoEmptyCells,
    /// As many as asked for, at most the count; web UIs' 0 means the batch size.
    Exactly(u32),
}

/// Columns and rows for `count` pictures, columns first. `count` must be above zero.
pub fn grid_shape(count: u32, rows: GridRows) -> Result<(u32, u32), PictureError> {
    if count == 0 {
        return Err(PictureError::NoPictures);
    }
    let root = f64::from(count).sqrt();
    let rows = match rows {
        GridRows::NearlySquare => root.round() as u32,
        GridRows::NoEmptyCells => {
            (1..=root as u32).rev().find(|rows| count.is_multiple_of(*rows)).unwrap_or(1)
        }
        GridRows::Exactly(rows) => rows.clamp(1, count),
    };
    Ok((count.div_ceil(rows), rows))
}

/// All pictures on `background`, row by row in `columns` and `rows`, RGB. Cells have the size of the largest width and height; a
/// smaller picture is centred in its cell.
///
/// Errors: no pictures, more than there are cells, a side longer than a picture's may be, more pixels than [`PIXELS_MAX`].
pub fn image_grid<P: Borrow<Pixels>>(
    pictures: &[P],
    (columns, rows): (u32, u32),
    background: [u8; 3],
) -> Result<Pixels, PictureError> {
    if pictures.is_empty() {
        return Err(PictureError::NoPictures);
    }
    if u64::from(columns) * u64::from(rows) < pictures.len() as u64 {
        return Err(PictureError::Cells { pictures: pictures.len(), columns, rows });
    }
    let pictures = || pictures.iter().map(<P as Borrow<Pixels>>::borrow);
    let cell_width = pictures().map(|picture| picture.width).max().unwrap_or_default();
    let cell_height = pictures().map(|picture| picture.height).max().unwrap_or_default();
    let (width, height) =
        size(u64::from(cell_width) * u64::from(columns), u64::from(cell_height) * u64::from(rows))?;
    if u64::from(width) * u64::from(height) > PIXELS_MAX {
        return Err(PictureError::GridPixels { width, height });
    }
    let mut grid = blank(width, height, PixelFormat::Rgb8, &background)?;
    for (index, picture) in pictures().enumerate() {
        let (column, row) = (index as i64 % i64::from(columns), index as i64 / i64::from(columns));
        let x = column * i64::from(cell_width) + i64::from((cell_width - picture.width) / 2);
        let y = row * i64::from(cell_height) + i64::from((cell_height - picture.height) / 2);
        paste(&mut grid, &to_rgb(picture)?, x, y);
    }
    Ok(grid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_are_nearly_square_unless_told_otherwise() {
        let shape = |count, rows| grid_shape(count, rows).unwrap();
        let square: Vec<_> = (1..=9).map(|count| shape(count, GridRows::NearlySquare)).collect();
        assert_eq!(square, [(1, 1), (2, 1), (2, 2), (2, 2), (3, 2), (3, 2), (3, 3), (3, 3), (3, 3)]);
        assert_eq!(shape(6, GridRows::NoEmptyCells), (3, 2));
        assert_eq!(shape(7, GridRows::NoEmptyCells), (7, 1));
        assert_eq!(shape(4, GridRows::Exactly(9)), (1, 4));
        assert_eq!(shape(4, GridRows::Exactly(0)), (4, 1));
        assert_eq!(grid_shape(0, GridRows::NearlySquare), Err(PictureError::NoPictures));
    }

    #[test]
    fn a_smaller_picture_is_centred_in_its_cell() {
        let of = |side: u32, level: u8| blank(side, side, PixelFormat::Gray8, &[level]).unwrap();
        let grid = image_grid(&[of(3, 9), of(1, 7)], (2, 1), [0, 1, 2]).unwrap();
        assert_eq!((grid.width, grid.height), (6, 3));
        let colour = |x: usize, y: usize| &grid.data[(y * 6 + x) * 3..(y * 6 + x) * 3 + 3];
        assert_eq!((colour(2, 2), colour(4, 1)), (&[9; 3][..], &[7; 3][..]));
        assert_eq!((colour(5, 1), colour(4, 0)), (&[0, 1, 2][..], &[0, 1, 2][..]));
    }

    #[test]
    fn pictures_stand_row_by_row_and_what_is_left_over_is_background() {
        let of = |level: u8| blank(1, 2, PixelFormat::Rgb8, &[level; 3]).unwrap();
        let grid = image_grid(&[of(1), of(2), of(3)], (2, 2), [255; 3]).unwrap();
        assert_eq!((grid.width, grid.height, grid.format), (2, 4, PixelFormat::Rgb8));
        let levels: Vec<u8> = grid.data.iter().step_by(3).copied().collect();
        assert_eq!(levels, [1, 2, 1, 2, 3, 255, 3, 255]);
    }

    #[test]
    fn a_grid_has_a_cell_for_every_picture_and_a_size_that_can_be_made() {
        let of = |width, height| blank(width, height, PixelFormat::Gray8, &[0]).unwrap();
        let grid = |pictures: &[Pixels], shape| {
            image_grid(pictures, shape, [0; 3]).map(|grid| (grid.width, grid.height))
        };
        let two = [of(2, 1), of(1, 3)];
        assert_eq!(grid(&two, (1, 2)), Ok((2, 6)));
        assert_eq!(grid(&two, (3, 2)), Ok((6, 6)));
        assert_eq!(grid(&two, (1, 1)), Err(PictureError::Cells { pictures: 2, columns: 1, rows: 1 }));
        assert_eq!(grid(&two, (0, 9)), Err(PictureError::Cells { pictures: 2, columns: 0, rows: 9 }));
        assert_eq!(grid(&[], (1, 1)), Err(PictureError::NoPictures));
        let long = u64::from(u32::MAX) * 2;
        assert_eq!(grid(&two, (u32::MAX, 1)), Err(PictureError::Size { width: long, height: 3 }));
        // Sides that are allowed, and too many pixels.
        let large = grid(&[of(1 << 15, 1), of(1, 1 << 13)], (2, 1));
        assert_eq!(large, Err(PictureError::GridPixels { width: 1 << 16, height: 1 << 13 }));
    }
}
