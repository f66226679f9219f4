//! Lab and colour correction against OpenCV, scikit-image and blendmodes.

use gesso_picture::colour_correction::correct;

use crate::goldens::{assert_equal, picture};

#[test]
fn corrected_colours_are_those_of_scikit_image() {
    for (name, input) in [("smooth", "in.smooth_rgb"), ("noise", "in.noise_rgb")] {
        let found = correct(&picture(input), &picture("in.like")).unwrap();
        assert_equal(name, &found, &picture(&format!("colour_correction.{name}")));
    }
}
