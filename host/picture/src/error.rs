//! Why an operation on decoded pictures was refused. Uploads that cannot be decoded are `decode::DecodeError`.

use gesso_core::pixels::Pixels;

/// What the caller can put right before it asks again.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PictureError {
    /// A side is zero, or the bytes do not fill the measures.
    #[error(
        "The picture of {width} x {height} pixels has {bytes} bytes; both sides must be at least 1 and every pixel present."
    )]
    Malformed { width: u32, height: u32, bytes: usize },
    /// The asked size has a zero side or does not fit into memory.
    #[error("A picture of {width} x {height} pixels cannot be made; ask for sides of 1 to {SIDE_MAX}.")]
    Size { width: u64, height: u64 },
    /// Two pictures that go together pixel by pixel do not have the same size.
    #[error("{what} is {found:?} pixels but must be {wanted:?}, width first; send both at the same size.")]
    SizesDiffer { what: &'static str, found: (u32, u32), wanted: (u32, u32) },
    /// A number outside the range that its documentation gives.
    #[error("{what} is {value}; it must be from {low} to {high}.")]
    Range { what: &'static str, value: String, low: f64, high: f64 },
    /// A grid that has fewer cells than pictures.
    #[error(
        "{pictures} pictures do not fit into a grid of {columns} columns and {rows} rows; give it more of them."
    )]
    Cells { pictures: usize, columns: u32, rows: u32 },
    /// A grid of sides that a picture may have, and more pixels than one is made of.
    #[error(
        "A grid of {width} x {height} pixels is not made; take fewer or smaller pictures, for {PIXELS_MAX} pixels or less."
    )]
    GridPixels { width: u32, height: u32 },
    /// A list of pictures that must not be empty is.
    #[error("No pictures were given; at least one is needed.")]
    NoPictures,
}

/// The longest side that this crate makes.
pub const SIDE_MAX: u32 = 1 << 16;

/// The most pixels of a grid, 768 MiB of colours: sixteen pictures of 4096 x 4096.
pub const PIXELS_MAX: u64 = 1 << 28;

/// Refuses a picture that later index arithmetic could not trust.
pub(crate) fn sound(picture: &Pixels) -> Result<(), PictureError> {
    let Pixels { width, height, format, data } = picture;
    let fits = Pixels::byte_len(*width, *height, *format) == Some(data.len());
    if fits && size(u64::from(*width), u64::from(*height)).is_ok() {
        return Ok(());
    }
    Err(PictureError::Malformed { width: *width, height: *height, bytes: data.len() })
}

/// The two sides as they are stored, if a picture can have them.
pub(crate) fn size(width: u64, height: u64) -> Result<(u32, u32), PictureError> {
    let side = |value: u64| u32::try_from(value).ok().filter(|value| (1..=SIDE_MAX).contains(value));
    side(width).zip(side(height)).ok_or(PictureError::Size { width, height })
}

/// Refuses `found` unless it covers `wanted` pixel by pixel.
pub(crate) fn same_size(what: &'static str, found: &Pixels, wanted: &Pixels) -> Result<(), PictureError> {
    let (found, wanted) = ((found.width, found.height), (wanted.width, wanted.height));
    if found == wanted { Ok(()) } else { Err(PictureError::SizesDiffer { what, found, wanted }) }
}

/// Refuses a number that is not from `low` to `high`; not-a-number is never inside.
pub(crate) fn in_range(what: &'static str, value: f64, low: f64, high: f64) -> Result<(), PictureError> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(PictureError::Range { what, value: value.to_string(), low, high })
}
