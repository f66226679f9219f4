//! Decoded pictures as plain bytes. Knows nothing of files or encodings.

/// How one pixel is stored: interleaved, 8 bits a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    Gray8,
    Rgb8,
    Rgba8,
}

impl PixelFormat {
    /// Bytes of one pixel.
    pub fn channels(self) -> usize {
        match self {
            Self::Gray8 => 1,
            Self::Rgb8 => 3,
            Self::Rgba8 => 4,
        }
    }
}

/// A picture: `height` rows of `width` pixels, top row first, no padding between rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pixels {
    pub width: u32,
    pub height: u32,
    pub format: PixelFormat,
    pub data: Vec<u8>,
}

impl Pixels {
    /// Bytes that a picture of these measures needs; `None` when that does not fit a `usize`.
    pub fn byte_len(width: u32, height: u32, format: PixelFormat) -> Option<usize> {
        (width as usize).checked_mul(height as usize)?.checked_mul(format.channels())
    }

    /// Wraps `data`; `None` when its length does not match the measures.
    pub fn new(width: u32, height: u32, format: PixelFormat, data: Vec<u8>) -> Option<Self> {
        (Self::byte_len(width, height, format)? == data.len()).then_some(Self { width, height, format, data })
    }
}
