//! Says what a file is for among those that restore faces, from the names of its tensors. Takes no tensor.

use std::path::Path;

use super::detect::{self, RestorerLayout};
use crate::outline::Outline;
use crate::upscale::{PictureError, WeightsFile, find_network};

/// What a file does for a face.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaceRole {
    /// Restores it: GFPGAN.
    Gfpgan,
    /// Restores it: CodeFormer.
    CodeFormer,
    /// Finds it.
    Detector,
    /// Parts it from hair and background.
    Parser,
}

impl FaceRole {
    /// For sentences.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Gfpgan => "a GFPGAN face restorer",
            Self::CodeFormer => "a CodeFormer face restorer",
            Self::Detector => "a RetinaFace detector",
            Self::Parser => "a ParseNet",
        }
    }

    /// The file that web UIs use for it.
    pub fn published_file(self) -> &'static str {
        match self {
            Self::Gfpgan => "GFPGANv1.4.pth",
            Self::CodeFormer => "codeformer.pth",
            Self::Detector => "detection_Resnet50_Final.pth",
            Self::Parser => "parsing_parsenet.pth",
        }
    }

    /// What the file at `path` is for, judged by names and shapes; reads no numbers.
    ///
    /// # Errors
    /// [`PictureError::File`] when it is for none of these, or cannot be read.
    pub fn of(path: &Path) -> Result<Self, PictureError> {
        let outline = WeightsFile::open(path)?.outline();
        if let Some(role) =
            [Self::Detector, Self::Parser].into_iter().find(|role| role.prefix(&outline).is_some())
        {
            return Ok(role);
        }
        let found =
            detect::detect(&outline).map_err(|why| PictureError::File { path: path.to_owned(), why })?;
        Ok(match found.layout {
            RestorerLayout::Gfpgan(_) => Self::Gfpgan,
            RestorerLayout::CodeFormer(_) => Self::CodeFormer,
        })
    }

    /// What stands before the names of the detector's or the parser's network.
    pub(super) fn prefix(self, outline: &Outline) -> Option<String> {
        match self {
            Self::Detector => {
                find_network(outline, &["body.layer4.2.conv3.weight", "LandmarkHead.2.conv1x1.weight"])
            }
            Self::Parser => {
                find_network(outline, &["encoder.0.conv2d.weight", "out_mask_conv.conv2d.weight"])
            }
            Self::Gfpgan | Self::CodeFormer => None,
        }
    }
}
