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
    channels: Channels,
    /// Sides are multiples of this; they already are of 64.
    multiple: u32,
}

/// What of a pixel goes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Channels {
    RedFirst,
    BlueFirst,
    /// One, how bright it is.
    Grey,
    /// Of a picture with holes, where it is transparent: three, black in the holes, and a fourth that is 1 there and 0 elsewhere.
    Holed,
}

impl Feed {
    /// 0 to 1.
    pub(super) const UNIT: Self = Self {
        divisor: 255.0,
        mean: [0.0; 3],
        deviation: [1.0; 3],
        channels: Channels::RedFirst,
        multiple: 1,
    };
    /// 0 to 255.
    pub(super) const LEVELS: Self = Self { divisor: 1.0, ..Self::UNIT };
    pub(super) const GREY_LEVELS: Self = Self { channels: Channels::Grey, ..Self::LEVELS };
    /// -1 to 1.
    pub(super) const SIGNED: Self = Self { mean: [0.5; 3], deviation: [0.5; 3], ..Self::UNIT };
    pub(super) const BLUE_FIRST: Self = Self { channels: Channels::BlueFirst, ..Self::UNIT };
    /// The same of levels as they are.
    pub(super) const BLUE_FIRST_LEVELS: Self = Self { divisor: 1.0, ..Self::BLUE_FIRST };
    /// By the mean and deviation of ImageNet.
    pub(super) const IMAGENET: Self =
        Self { mean: [0.485, 0.456, 0.406], deviation: [0.229, 0.224, 0.225], ..Self::UNIT };
    /// The same of levels as they are, which is how LeReS was trained.
    pub(super) const IMAGENET_LEVELS: Self =
        Self { divisor: 1.0, channels: Channels::BlueFirst, ..Self::IMAGENET };
    /// By the mean and deviation of ImageNet, in patches of 14 pixels, as vision transformers see.
    pub(super) const PATCHES: Self = Self { multiple: 14, ..Self::IMAGENET };
    /// As OpenPose's were trained: grey is 0.
    pub(super) const POSES: Self =
        Self { divisor: 256.0, mean: [0.5; 3], deviation: [1.0; 3], ..Self::BLUE_FIRST };
    /// 0 to 1, with holes.
    pub(super) const HOLED: Self = Self { channels: Channels::Holed, ..Self::UNIT };
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
        at_size(picture, width as u32, height as u32)
    }

    /// `[1, 3, height, width]` of an RGB picture, `[1, 1, height, width]` where the network sees grey, `[1, 4, height, width]` of an
    /// RGBA picture where it sees holes.
    pub(super) fn tensor(self, picture: &Pixels) -> Tensor {
        let (pixels, _) = picture.data.as_chunks::<3>();
        let scaled = |level: u8, channel: usize| {
            (f32::from(level) / self.divisor - self.mean[channel]) / self.deviation[channel]
        };
        let order: &[usize] = match self.channels {
            Channels::RedFirst => &[0, 1, 2],
            Channels::BlueFirst => &[2, 1, 0],
            Channels::Holed => return self.holed(picture),
            Channels::Grey => {
                let values = pixels.iter().map(|pixel| scaled(brightness(*pixel), 0)).collect();
                return Tensor { shape: vec![1, 1, picture.height, picture.width], values };
            }
        };
        let mut values = Vec::with_capacity(3 * pixels.len());
        for (channel, from) in order.iter().enumerate() {
            values.extend(pixels.iter().map(|pixel| scaled(pixel[*from], channel)));
        }
        Tensor { shape: vec![1, 3, picture.height, picture.width], values }
    }

    fn holed(self, picture: &Pixels) -> Tensor {
        let (pixels, _) = picture.data.as_chunks::<4>();
        let mut values = Vec::with_capacity(4 * pixels.len());
        for channel in 0..3 {
            let shown = |[.., alpha]: &[u8; 4], level: f32| if is_hole(*alpha) { 0.0 } else { level };
            values.extend(pixels.iter().map(|pixel| shown(pixel, f32::from(pixel[channel]) / self.divisor)));
        }
        values.extend(pixels.iter().map(|[.., alpha]| if is_hole(*alpha) { 1.0_f32 } else { 0.0 }));
        Tensor { shape: vec![1, 4, picture.height, picture.width], values }
    }
}

/// A picture as large as a network sees it.
pub(super) fn at_size(picture: &Pixels, width: u32, height: u32) -> Result<Pixels, PictureError> {
    let shrinks = width < picture.width && height < picture.height;
    let filter = if shrinks { OpencvFilter::Area } else { OpencvFilter::Cubic };
    opencv_resize(picture, width, height, filter)
}

/// Whether a picture with holes has one where its alpha is so.
pub(super) fn is_hole(alpha: u8) -> bool {
    alpha < 128
}

/// As OpenCV has it: weights in 1/32768, rounded.
fn brightness(pixel: [u8; 3]) -> u8 {
    let [red, green, blue] = pixel.map(u32::from);
    ((9798 * red + 19235 * green + 3735 * blue + (1 << 14)) >> 15) as u8
}
