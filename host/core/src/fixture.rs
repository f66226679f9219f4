//! The request that the tests of this crate start from. Test builds only.

use crate::request::{GenerateRequest, Variation};

/// One 512 x 512 picture, 20 steps of Euler, seed 1, everything else as web UIs default it.
pub(crate) fn request() -> GenerateRequest {
    GenerateRequest {
        prompt: "mountain landscape during sunset".into(),
        seed: 1,
        variation: Variation { subseed: 5, strength: 0.0 },
        ..GenerateRequest::default()
    }
}
