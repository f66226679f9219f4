//! `gesso:plugin/images` of a made-up host: pixels in memory, converted and resized as a real host does. What a call may hold at
//! once is not counted.

use super::resampling::resampled;
use crate::bindings::request_hook::gesso::plugin::types::{self, Fault};
use crate::{ImageDesc, PixelFormat};

/// Longest side of a picture.
const SIDE_MAX: u32 = 16_384;

#[derive(Debug, Clone)]
pub(crate) struct Image {
    desc: ImageDesc,
    rows: Vec<u8>,
}

impl Image {
    /// # Panics
    /// Where the rows are not those of such a picture, or a side is none that a picture may have.
    pub(crate) fn of(width: u32, height: u32, format: PixelFormat, rows: Vec<u8>) -> Self {
        let desc = ImageDesc { width, height, format };
        assert!(checked(desc).is_ok(), "{width}x{height} is no size of a picture");
        let bytes = desc.row_bytes() * height as usize;
        assert_eq!(rows.len(), bytes, "so many bytes are no {width}x{height} picture in {format:?}");
        Self { desc, rows }
    }

    pub(crate) fn allocate(desc: types::ImageDesc) -> Result<Self, Fault> {
        let desc = checked(desc.into())?;
        Ok(Self { desc, rows: vec![0; desc.row_bytes() * desc.height as usize] })
    }

    pub(crate) fn desc(&self) -> types::ImageDesc {
        self.desc.into()
    }

    pub(crate) fn read_rows(&self, first: u32, count: u32) -> Result<Vec<u8>, Fault> {
        let row = self.desc.row_bytes();
        let start = first as usize * row;
        let found = self.rows.get(start..start + count as usize * row);
        found.map(<[u8]>::to_vec).ok_or_else(|| self.beyond(first, count as usize))
    }

    pub(crate) fn write_rows(&mut self, first: u32, rows: &[u8]) -> Result<(), Fault> {
        let row = self.desc.row_bytes();
        if !rows.len().is_multiple_of(row) {
            let bytes = rows.len();
            return Err(Fault::InvalidInput(format!("{bytes} bytes are not whole rows of {row} bytes")));
        }
        let start = first as usize * row;
        let beyond = self.beyond(first, rows.len() / row);
        let target = self.rows.get_mut(start..start + rows.len()).ok_or(beyond)?;
        target.copy_from_slice(rows);
        Ok(())
    }

    pub(crate) fn resize(&self, width: u32, height: u32) -> Result<Self, Fault> {
        let desc = checked(ImageDesc { width, height, ..self.desc })?;
        let from = (self.desc.width, self.desc.height);
        let rows = resampled(&self.rows, desc.format.channels(), from, (width, height));
        Ok(Self { desc, rows })
    }

    pub(crate) fn convert(&self, to: types::PixelFormat) -> Result<Self, Fault> {
        let desc = ImageDesc { format: to.into(), ..self.desc };
        let mut rows = Vec::with_capacity(desc.row_bytes() * desc.height as usize);
        for pixel in self.rows.chunks_exact(self.desc.format.channels()) {
            let (red, green, blue, alpha) = match *pixel {
                [grey] => (grey, grey, grey, 255),
                [red, green, blue] => (red, green, blue, 255),
                [red, green, blue, alpha] => (red, green, blue, alpha),
                _ => (0, 0, 0, 0),
            };
            match desc.format {
                PixelFormat::Gray8 => rows.push(luma(red, green, blue)),
                PixelFormat::Rgb8 => rows.extend([red, green, blue]),
                PixelFormat::Rgba8 => rows.extend([red, green, blue, alpha]),
            }
        }
        Ok(Self { desc, rows })
    }

    fn beyond(&self, first: u32, count: usize) -> Fault {
        let height = self.desc.height;
        Fault::InvalidInput(format!("rows {first}+{count} are not within the picture's {height}"))
    }
}

fn checked(desc: ImageDesc) -> Result<ImageDesc, Fault> {
    let ImageDesc { width, height, .. } = desc;
    if [width, height].iter().all(|side| (1..=SIDE_MAX).contains(side)) {
        return Ok(desc);
    }
    Err(Fault::InvalidInput(format!("a side of {width}x{height} is not within 1 to {SIDE_MAX}")))
}

/// ITU-R BT.601, rounded.
fn luma(red: u8, green: u8, blue: u8) -> u8 {
    let sum = 299 * u32::from(red) + 587 * u32::from(green) + 114 * u32::from(blue);
    ((sum + 500) / 1000) as u8
}
