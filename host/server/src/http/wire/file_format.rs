//! In which kind of file a request's pictures come: the options `samples_format`, `jpeg_quality` and `webp_lossless`; a
//! grid's own is named by `grid_format`.

use serde_json::{Map, Value};

use super::fields::FieldProblem;
use super::overrides::{Overrides, refuse};
use super::problems::Problems;

/// As web UIs have it.
const QUALITY: u32 = 80;

/// A kind of file, and how much it may lose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileFormat {
    Png,
    /// 1 to 100.
    Jpeg {
        quality: u8,
    },
    /// 1 to 100.
    Webp {
        quality: u8,
    },
    WebpLossless,
}

impl FileFormat {
    /// As the options of a body say.
    ///
    /// # Errors
    /// As [`FileFormat::named_by`].
    pub(crate) fn of(body: &Map<String, Value>) -> Result<Self, Vec<FieldProblem>> {
        Self::named_by("samples_format", body)
    }

    /// The kind that one of the options names.
    ///
    /// # Errors
    /// A kind that is not written here, or a quality out of range.
    pub(super) fn named_by(option: &str, body: &Map<String, Value>) -> Result<Self, Vec<FieldProblem>> {
        let mut problems = Problems::default();
        let overrides = Overrides::new(body, &mut problems);
        let quality = overrides.count("jpeg_quality", &mut problems).unwrap_or(QUALITY);
        if !(1..=100).contains(&quality) {
            refuse(&mut problems, "jpeg_quality", "between 1 and 100");
        }
        let quality = u8::try_from(quality).unwrap_or(100);
        let lossless = overrides.flag("webp_lossless", &mut problems).unwrap_or(false);
        let webp = if lossless { Self::WebpLossless } else { Self::Webp { quality } };
        let known = [
            ("png", Self::Png),
            ("jpg", Self::Jpeg { quality }),
            ("jpeg", Self::Jpeg { quality }),
            ("webp", webp),
        ];
        let format = overrides.choice(option, &known, &mut problems).unwrap_or(Self::Png);
        problems.into_result(format)
    }
}
