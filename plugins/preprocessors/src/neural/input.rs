//! A picture as a network wants it: its size, the order of its colours, the scale of its numbers.

use gesso_core::pixels::Pixels;
use gesso_picture::error::PictureError;
use gesso_picture::opencv_resize::{OpencvFilter, opencv_resize};
use gesso_plugin::models::Tensor;
use gesso_plugin::serde_json::Value;

/// The longest side that a file may ask for.
const SIDE_MAX: u64 = 2048;

/// How a network is fed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Feed {
    /// A level of 0 to 255 is divided by this, and `mean` and `deviation` of its channel are taken off.
    divisor: f32,
    mean: [f32; 3],
    deviation: [f32; 3],
    blue_first: bool,
    /// Sides are multiples of this; they already are of 64.
    multiple: u32,
}

impl Feed {
    /// 0 to 1.
    pub(super) const UNIT: Self =
        Self { divisor: 255.0, mean: [0.0; 3], deviation: [1.0; 3], blue_first: false, multiple: 1 };
    /// 0 to 255.
    pub(super) const LEVELS: Self = Self { divisor: 1.0, ..Self::UNIT };
    /// -1 to 1.
    pub(super) const SIGNED: Self = Self { mean: [0.5; 3], deviation: [0.5; 3], ..Self::UNIT };
    pub(super) const BLUE_FIRST: Self = Self { blue_first: true, ..Self::UNIT };
    /// By the mean and deviation of ImageNet.
    pub(super) const IMAGENET: Self =
        Self { mean: [0.485, 0.456, 0.406], deviation: [0.229, 0.224, 0.225], ..Self::UNIT };
    /// The same in patches of 14 pixels, as vision transformers see.
    pub(super) const PATCHES: Self = Self { multiple: 14, ..Self::IMAGENET };
    /// As OpenPose's were trained: grey is 0.
    pub(super) const POSES: Self =
        Self { divisor: 256.0, mean: [0.5; 3], deviation: [1.0; 3], ..Self::BLUE_FIRST };
    /// -1 to 1, in blocks that a network of eight halvings needs.
    pub(super) const LARGE_BLOCKS: Self = Self { multiple: 256, ..Self::SIGNED };

    /// The picture at the size of the network: the one that its file asks for (`imgsz`: height and width), or its own.
    pub(super) fn sized(self, picture: &Pixels, about: Option<&Value>) -> Result<Pixels, PictureError> {
        let side = |value: &Value| value.as_u64().filter(|side| (1..=SIDE_MAX).contains(side));
        let asked = about.and_then(|about| match &about["imgsz"] {
            Value::Array(sides) => Some((side(sides.get(1)?)?, side(sides.first()?)?)),
            one => side(one).map(|one| (one, one)),
        });
        let own = |side: u32| u64::from(side.next_multiple_of(self.multiple));
        let (width, height) = asked.unwrap_or((own(picture.width), own(picture.height)));
        if (u64::from(picture.width), u64::from(picture.height)) == (width, height) {
            return Ok(picture.clone());
        }
        let shrinks = width < u64::from(picture.width) && height < u64::from(picture.height);
        let filter = if shrinks { OpencvFilter::Area } else { OpencvFilter::Cubic };
        opencv_resize(picture, width as u32, height as u32, filter)
    }

    /// `[1, 3, height, width]` of an RGB picture.
    pub(super) fn tensor(self, picture: &Pixels) -> Tensor {
        let count = picture.width as usize * picture.height as usize;
        let mut values = Vec::with_capacity(3 * count);
        for channel in 0..3 {
            let from = if self.blue_first { 2 - channel } else { channel };
            let (mean, deviation) = (self.mean[channel], self.deviation[channel]);
            let (pixels, _) = picture.data.as_chunks::<3>();
            values.extend(
                pixels.iter().map(|pixel| (f32::from(pixel[from]) / self.divisor - mean) / deviation),
            );
        }
        Tensor { shape: vec![1, 3, picture.height, picture.width], values }
    }
}
