//! `gesso:plugin/images`: pictures as host resources. Every live picture is on the call's account, as the processor
//! time of the kernels is. Knows no file format.

use super::CallState;
use super::gesso::plugin::images::{Host, HostImage};
use super::gesso::plugin::types::{Fault, ImageDesc, PixelFormat as WitFormat};
use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_picture::resize::{Filter, resize};
use wasmtime::component::Resource;

/// Pixels that one resize may read and write, and as many between its two directions.
const MAX_RESIZE_PIXELS: u64 = 32 << 20;

/// Longest side of a picture.
const MAX_SIDE: u32 = 16_384;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OverBudget {
    #[error("the call's pictures may take {0} bytes together")]
    Bytes(u64),
    #[error("the call may hold {0} handles")]
    Handles(usize),
}

impl From<OverBudget> for Fault {
    fn from(error: OverBudget) -> Self {
        Self::LimitExceeded(error.to_string())
    }
}

/// Puts a picture into the table and onto the account.
pub(super) fn push(state: &mut CallState, pixels: Pixels) -> Result<Resource<Pixels>, OverBudget> {
    reserve(state, pixels.data.len() as u64)?;
    push_reserved(state, pixels)
}

/// Puts a picture that is on the account into the table; where it does not fit there, it is off the account again.
pub(super) fn push_reserved(state: &mut CallState, pixels: Pixels) -> Result<Resource<Pixels>, OverBudget> {
    let bytes = pixels.data.len() as u64;
    state.table.push(pixels).map_err(|_| {
        state.pictures.give_back(bytes);
        OverBudget::Handles(state.budget.handles)
    })
}

/// Puts bytes onto the account.
pub(super) fn reserve(state: &CallState, bytes: u64) -> Result<(), OverBudget> {
    if state.pictures.take(bytes) { Ok(()) } else { Err(OverBudget::Bytes(state.pictures.most)) }
}

/// Makes a picture of these measures, asking for the room before it is taken.
fn make(
    state: &mut CallState,
    (width, height, format): (u32, u32, PixelFormat),
    fill: impl FnOnce(usize) -> Vec<u8>,
) -> Result<Resource<Pixels>, Fault> {
    if !(1..=MAX_SIDE).contains(&width) || !(1..=MAX_SIDE).contains(&height) {
        return Err(Fault::InvalidInput(format!("a side of {width}x{height} is not within 1 to {MAX_SIDE}")));
    }
    let bytes = Pixels::byte_len(width, height, format)
        .ok_or_else(|| Fault::InvalidInput(format!("{width}x{height} is too large")))?;
    reserve(state, bytes as u64)?;
    let Some(pixels) = Pixels::new(width, height, format, fill(bytes)) else {
        state.pictures.give_back(bytes as u64);
        return Err(Fault::Other("the host made a picture of the wrong size".to_owned()));
    };
    Ok(push_reserved(state, pixels)?)
}

impl Host for CallState {}

impl HostImage for CallState {
    fn allocate(&mut self, desc: ImageDesc) -> wasmtime::Result<Result<Resource<Pixels>, Fault>> {
        Ok(make(self, (desc.width, desc.height, desc.format.into()), |bytes| vec![0; bytes]))
    }

    fn desc(&mut self, image: Resource<Pixels>) -> wasmtime::Result<ImageDesc> {
        let pixels = self.table.get(&image)?;
        Ok(ImageDesc { width: pixels.width, height: pixels.height, format: pixels.format.into() })
    }

    fn read_rows(
        &mut self,
        image: Resource<Pixels>,
        first: u32,
        count: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, Fault>> {
        let pixels = self.table.get(&image)?;
        let row = row_bytes(pixels);
        if u64::from(first) + u64::from(count) > u64::from(pixels.height) {
            return Ok(Err(Fault::InvalidInput(format!(
                "rows {first}+{count} are not within the picture's {}",
                pixels.height
            ))));
        }
        let start = first as usize * row;
        Ok(Ok(pixels.data[start..start + count as usize * row].to_vec()))
    }

    fn write_rows(
        &mut self,
        image: Resource<Pixels>,
        first: u32,
        rows: Vec<u8>,
    ) -> wasmtime::Result<Result<(), Fault>> {
        let pixels = self.table.get_mut(&image)?;
        let row = row_bytes(pixels);
        if !rows.len().is_multiple_of(row) {
            return Ok(Err(Fault::InvalidInput(format!(
                "{} bytes are not whole rows of {row} bytes",
                rows.len()
            ))));
        }
        let start = (first as usize).saturating_mul(row);
        let Some(end) = start.checked_add(rows.len()).filter(|end| *end <= pixels.data.len()) else {
            return Ok(Err(Fault::InvalidInput(format!(
                "rows {first}+{} are not within the picture's {}",
                rows.len() / row,
                pixels.height
            ))));
        };
        if rows.len() == pixels.data.len() {
            // What crossed in one go is the picture, and not copied.
            pixels.data = rows;
        } else {
            pixels.data[start..end].copy_from_slice(&rows);
        }
        if let Some(lent) = self.lent.get_mut(&image.rep()) {
            lent.is_written = true;
        }
        Ok(Ok(()))
    }

    fn resize(
        &mut self,
        image: Resource<Pixels>,
        width: u32,
        height: u32,
    ) -> wasmtime::Result<Result<Resource<Pixels>, Fault>> {
        let source = self.table.get(&image)?;
        let Some(room) = resize_room(source, width, height) else {
            let text = format!(
                "a resize of {}x{} to {width}x{height} is too much at once: it may read and write {MAX_RESIZE_PIXELS} pixels \
                 together, and have as many between its two directions; resize in parts",
                source.width, source.height
            );
            return Ok(Err(Fault::LimitExceeded(text)));
        };
        let (used, most) = (self.pictures.used(), self.pictures.most);
        if used.saturating_add(room) > most {
            return Ok(Err(OverBudget::Bytes(most).into()));
        }
        let source = source.clone();
        Ok(make(self, (width, height, source.format), |_| {
            // Both sizes are bounded by now, and the picture is whole.
            resize(&source, width, height, Filter::Lanczos).map(|made| made.data).unwrap_or_default()
        }))
    }

    fn convert(
        &mut self,
        image: Resource<Pixels>,
        to: WitFormat,
    ) -> wasmtime::Result<Result<Resource<Pixels>, Fault>> {
        let source = self.table.get(&image)?.clone();
        let to = PixelFormat::from(to);
        Ok(make(self, (source.width, source.height, to), |_| converted(&source, to)))
    }

    fn drop(&mut self, image: Resource<Pixels>) -> wasmtime::Result<()> {
        // Another picture may have this handle next.
        self.lent.remove(&image.rep());
        let pixels = self.table.delete(image)?;
        self.pictures.give_back(pixels.data.len() as u64);
        Ok(())
    }
}

/// Bytes that a resize holds beside what is on the account, its result among them; `None` where it would take too long. One
/// cannot be interrupted, so it has to be short.
fn resize_room(source: &Pixels, width: u32, height: u32) -> Option<u64> {
    let area = |width: u32, height: u32| u64::from(width) * u64::from(height);
    // Between its two directions a picture has the new width and the old height: 1x16384 to 16384x1 is 2^28 pixels then.
    let (made, between) = (area(width, height), area(width, source.height));
    if between.max(made + area(source.width, source.height)) > MAX_RESIZE_PIXELS {
        return None;
    }
    let channels = source.format.channels() as u64;
    let copy = source.data.len() as u64;
    // A copy is made here and another there, which is gone before the result comes.
    Some(copy + between * channels + copy.max(made * channels))
}

fn row_bytes(pixels: &Pixels) -> usize {
    pixels.width as usize * pixels.format.channels()
}

fn converted(source: &Pixels, to: PixelFormat) -> Vec<u8> {
    let mut data = Vec::with_capacity(source.width as usize * source.height as usize * to.channels());
    for pixel in source.data.chunks_exact(source.format.channels()) {
        let (red, green, blue, alpha) = match *pixel {
            [gray] => (gray, gray, gray, 255),
            [red, green, blue] => (red, green, blue, 255),
            [red, green, blue, alpha] => (red, green, blue, alpha),
            _ => (0, 0, 0, 0),
        };
        match to {
            PixelFormat::Gray8 => data.push(luma(red, green, blue)),
            PixelFormat::Rgb8 => data.extend([red, green, blue]),
            PixelFormat::Rgba8 => data.extend([red, green, blue, alpha]),
        }
    }
    data
}

/// ITU-R BT.601 luma, rounded.
fn luma(red: u8, green: u8, blue: u8) -> u8 {
    let sum = 299 * u32::from(red) + 587 * u32::from(green) + 114 * u32::from(blue);
    ((sum + 500) / 1000) as u8
}

impl From<WitFormat> for PixelFormat {
    fn from(format: WitFormat) -> Self {
        match format {
            WitFormat::Gray8 => Self::Gray8,
            WitFormat::Rgb8 => Self::Rgb8,
            WitFormat::Rgba8 => Self::Rgba8,
        }
    }
}

impl From<PixelFormat> for WitFormat {
    fn from(format: PixelFormat) -> Self {
        match format {
            PixelFormat::Gray8 => Self::Gray8,
            PixelFormat::Rgb8 => Self::Rgb8,
            PixelFormat::Rgba8 => Self::Rgba8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pixels(format: PixelFormat, data: &[u8]) -> Pixels {
        Pixels::new((data.len() / format.channels()) as u32, 1, format, data.to_vec()).unwrap()
    }

    #[test]
    fn converts_with_luma_weights_and_opaque_alpha() {
        let rgb = pixels(PixelFormat::Rgb8, &[255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255]);
        assert_eq!(converted(&rgb, PixelFormat::Gray8), [76, 150, 29, 255]);
        assert_eq!(converted(&rgb, PixelFormat::Rgba8)[..4], [255, 0, 0, 255]);
        let rgba = pixels(PixelFormat::Rgba8, &[1, 2, 3, 4]);
        assert_eq!(converted(&rgba, PixelFormat::Rgb8), [1, 2, 3]);
    }

    #[test]
    fn a_resize_is_bounded_by_what_lies_between_its_directions() {
        let blank = |width: u32, height: u32, format: PixelFormat| {
            let bytes = Pixels::byte_len(width, height, format).unwrap();
            Pixels::new(width, height, format, vec![0; bytes]).unwrap()
        };
        assert_eq!(resize_room(&blank(1024, 8000, PixelFormat::Gray8), 13_000, 1), None);
        assert_eq!(
            resize_room(&blank(1, 2000, PixelFormat::Rgba8), 16_000, 2001),
            Some(8_000 + 128_000_000 + 128_064_000)
        );
        // A copy, 20 x 40 between the directions, and the result.
        assert_eq!(resize_room(&blank(10, 40, PixelFormat::Rgb8), 20, 80), Some(3 * (400 + 800 + 1600)));
        // The second copy is larger than the result.
        assert_eq!(resize_room(&blank(10, 40, PixelFormat::Gray8), 5, 20), Some(400 + 200 + 400));
    }
}
