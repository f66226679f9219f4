//! Embeddings in the colours of a picture, as trainers write them beside the text chunk, which many sites take out.
//!
//! From left to right there are a block, a black column, the picture, a black column, a block. The low four bits of a
//! block's colours, row by row, are the low halves of bytes on the left and their high halves on the right, mixed with the
//! numbers of a linear congruential generator; together they are JSON that zlib compressed. A black frame may be around
//! it all. Published behaviour of web UIs; only a file without loss still has it.

use std::io::Read;

use flate2::read::ZlibDecoder;
use gesso_core::pixels::Pixels;
use gesso_picture::convert::to_rgb;
use gesso_picture::decode::{DecodeLimits, decode};

/// Longest JSON unpacked: 75 vectors of 2048 numbers with twenty letters each are three megabytes.
const JSON_BYTES_MAX: u64 = 16 << 20;
/// Bits of a colour that carry data.
const LOW: u8 = 0x0f;
const CHANNELS: usize = 3;

/// The bytes of the JSON that a picture's file hides.
///
/// # Errors
/// Why there is none, in words.
pub(super) fn json(file: &[u8]) -> Result<Vec<u8>, String> {
    let limits = DecodeLimits { bytes_max: file.len(), ..DecodeLimits::default() };
    let picture = decode(file, &limits).map_err(|error| error.to_string())?;
    let picture = to_rgb(&picture).map_err(|error| error.to_string())?;
    let packed = bytes(&picture).ok_or("it hides none in its colours, and has no text chunk for one")?;
    let mut json = Vec::new();
    let unpacked = ZlibDecoder::new(packed.as_slice()).take(JSON_BYTES_MAX).read_to_end(&mut json);
    unpacked.map_err(|error| format!("what its colours hide cannot be unpacked: {error}"))?;
    Ok(json)
}

/// What both blocks hold; `None` without two blocks of one size.
fn bytes(picture: &Pixels) -> Option<Vec<u8>> {
    let width = picture.width as usize;
    let pixel = |x: usize, y: usize| &picture.data[(y * width + x) * CHANNELS..][..CHANNELS];
    let (columns, rows) = without_frame(picture, &pixel)?;
    let is_empty = |x: &usize| rows.clone().all(|y| pixel(*x, y).iter().all(|value| value & LOW == 0));
    let mut empty = columns.clone().filter(is_empty);
    let (first, last) = (empty.next()?, empty.next_back()?);
    let (left, right) = (columns.start..first, last + 1..columns.end);
    if left.is_empty() || left.len() != right.len() {
        return None;
    }
    let low = halves(rows.clone().flat_map(|y| left.clone().flat_map(move |x| pixel(x, y))));
    let high = halves(rows.clone().flat_map(|y| right.clone().flat_map(move |x| pixel(x, y))));
    Some(low.zip(high).map(|(low, high)| high << 4 | low).collect())
}

type Span = std::ops::Range<usize>;

/// Columns and rows from the first to the last with a pixel that has something of every colour.
fn without_frame<'a>(picture: &Pixels, pixel: &impl Fn(usize, usize) -> &'a [u8]) -> Option<(Span, Span)> {
    let is_lit = |x: usize, y: usize| pixel(x, y).iter().all(|value| *value > 0);
    let (width, height) = (picture.width as usize, picture.height as usize);
    let has_lit_column = |x: &usize| (0..height).any(|y| is_lit(*x, y));
    let has_lit_row = |y: &usize| (0..width).any(|x| is_lit(x, *y));
    let columns = (0..width).find(has_lit_column)?..(0..width).rfind(has_lit_column)? + 1;
    let rows = (0..height).find(has_lit_row)?..(0..height).rfind(has_lit_row)? + 1;
    Some((columns, rows))
}

/// The low bits of a block's colours, no longer mixed.
fn halves<'a>(colours: impl Iterator<Item = &'a u8>) -> impl Iterator<Item = u8> {
    let mut state = 0_u32;
    colours.map(move |colour| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // Less than 255, so it is a byte.
        let number = (state % 255) as u8;
        (colour ^ number) & LOW
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_has_its_published_numbers() {
        // Numerical Recipes' constants from 0: 1013904223, 1196435762, 3519870697.
        let mixed: Vec<u8> = halves([0, 0, 0].iter()).collect();
        let numbers = [1_013_904_223_u32, 1_196_435_762, 3_519_870_697];
        assert_eq!(mixed, numbers.map(|number| (number % 255) as u8 & LOW));
    }
}
