//! ControlNet's resize modes against the same rules in OpenCV.

use gesso_picture::control_fit::{ControlFit, control_fit};

use crate::goldens::{assert_equal, assert_within, measures, named, picture};

#[test]
fn maps_of_lines_areas_labels_and_shades_fit_as_opencv_makes_them() {
    for (name, rest) in named("control.") {
        let parts: Vec<&str> = rest.split('.').collect();
        let mode = match parts[1] {
            "just" => ControlFit::JustResize,
            "crop" => ControlFit::CropAndResize,
            _ => ControlFit::ResizeAndFill,
        };
        let (width, height) = measures(parts[2]);
        let found = control_fit(&picture(&format!("in.{}", parts[0])), width, height, mode).unwrap();
        if parts[0].starts_with("smooth") {
            // Cubic sums in single precision, in another order than OpenCV's.
            assert_within(&name, &found, &picture(&name), 1, 0.001);
        } else {
            assert_equal(&name, &found, &picture(&name));
        }
    }
}
