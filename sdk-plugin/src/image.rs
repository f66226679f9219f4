//! Pictures held by the host. A plugin has a handle; pixels are copied only where they are read or written.

use crate::Fault;
use crate::bindings::request_hook::gesso::plugin::types;
use crate::host::images as host;

/// 8 bits a channel, interleaved, top row first, no padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PixelFormat {
    Gray8,
    Rgb8,
    Rgba8,
}

impl PixelFormat {
    /// Bytes a pixel takes.
    pub const fn channels(self) -> usize {
        match self {
            Self::Gray8 => 1,
            Self::Rgb8 => 3,
            Self::Rgba8 => 4,
        }
    }
}

/// The size of a picture in pixels, and what a pixel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageDesc {
    pub width: u32,
    pub height: u32,
    pub format: PixelFormat,
}

impl ImageDesc {
    /// Bytes a row takes.
    pub const fn row_bytes(self) -> usize {
        self.width as usize * self.format.channels()
    }
}

/// A picture. Every live one counts against the call's memory; dropping the value gives it back.
#[derive(Debug)]
pub struct Image(host::Image);

impl Image {
    /// A black, fully transparent picture.
    ///
    /// # Errors
    /// [`Fault::LimitExceeded`] where the call's memory or handles are spent.
    pub fn allocate(desc: ImageDesc) -> Result<Self, Fault> {
        Ok(Self(host::Image::allocate(desc.into())?))
    }

    pub fn desc(&self) -> ImageDesc {
        self.0.desc().into()
    }

    /// `count` rows from row `first`, as bytes.
    ///
    /// # Errors
    /// [`Fault::InvalidInput`] where the picture has no such rows.
    pub fn read_rows(&self, first: u32, count: u32) -> Result<Vec<u8>, Fault> {
        Ok(self.0.read_rows(first, count)?)
    }

    /// Overwrites whole rows from row `first`.
    ///
    /// # Errors
    /// [`Fault::InvalidInput`] where the bytes are not whole rows or the picture has no such rows.
    pub fn write_rows(&mut self, first: u32, rows: &[u8]) -> Result<(), Fault> {
        Ok(self.0.write_rows(first, rows)?)
    }

    /// A new picture of that size, resampled with Lanczos-3.
    ///
    /// # Errors
    /// [`Fault::InvalidInput`] for a size of nothing, [`Fault::LimitExceeded`] for one too large.
    pub fn resize(&self, width: u32, height: u32) -> Result<Self, Fault> {
        Ok(Self(self.0.resize(width, height)?))
    }

    /// A new picture in that format; alpha is dropped or opaque, grey is ITU-R BT.601 luma.
    ///
    /// # Errors
    /// [`Fault::LimitExceeded`] where the call's memory or handles are spent.
    pub fn convert(&self, to: PixelFormat) -> Result<Self, Fault> {
        Ok(Self(self.0.convert(to.into())?))
    }

    pub(crate) fn as_host(&self) -> &host::Image {
        &self.0
    }

    pub(crate) fn from_host(image: host::Image) -> Self {
        Self(image)
    }

    pub(crate) fn into_host(self) -> host::Image {
        self.0
    }
}

impl From<PixelFormat> for types::PixelFormat {
    fn from(format: PixelFormat) -> Self {
        match format {
            PixelFormat::Gray8 => Self::Gray8,
            PixelFormat::Rgb8 => Self::Rgb8,
            PixelFormat::Rgba8 => Self::Rgba8,
        }
    }
}

impl From<types::PixelFormat> for PixelFormat {
    fn from(format: types::PixelFormat) -> Self {
        match format {
            types::PixelFormat::Gray8 => Self::Gray8,
            types::PixelFormat::Rgb8 => Self::Rgb8,
            types::PixelFormat::Rgba8 => Self::Rgba8,
        }
    }
}

impl From<ImageDesc> for types::ImageDesc {
    fn from(desc: ImageDesc) -> Self {
        Self { width: desc.width, height: desc.height, format: desc.format.into() }
    }
}

impl From<types::ImageDesc> for ImageDesc {
    fn from(desc: types::ImageDesc) -> Self {
        Self { width: desc.width, height: desc.height, format: desc.format.into() }
    }
}
