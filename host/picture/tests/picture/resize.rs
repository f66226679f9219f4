//! Resizing, fitting and blurring against Pillow and OpenCV.

use gesso_picture::blur::pillow_gaussian;
use gesso_picture::fit::{FitMode, fit};
use gesso_picture::opencv_resize::{OpencvFilter, opencv_resize};
use gesso_picture::resize::{Filter, resize};
use gesso_picture::{composite, convert, mask, mix};

use crate::goldens::{assert_equal, measures, named, picture};

#[test]
fn every_filter_equals_pillow() {
    for (name, rest) in named("resize.") {
        let parts: Vec<&str> = rest.split('.').collect();
        let filter = match parts[1] {
            "NEAREST" => Filter::Nearest,
            "BOX" => Filter::Box,
            "BILINEAR" => Filter::Bilinear,
            "HAMMING" => Filter::Hamming,
            "BICUBIC" => Filter::Bicubic,
            _ => Filter::Lanczos,
        };
        let (width, height) = measures(parts[2]);
        let found = resize(&picture(&format!("in.{}", parts[0])), width, height, filter).unwrap();
        let wanted = picture(&name);
        assert_equal(&name, &found, &wanted);
    }
}

#[test]
fn every_resize_mode_places_the_picture_as_web_uis_do() {
    for (name, rest) in named("fit.") {
        let parts: Vec<&str> = rest.split('.').collect();
        let mode = [FitMode::Stretch, FitMode::Cover, FitMode::Contain][parts[1].parse::<usize>().unwrap()];
        let (width, height) = measures(parts[2]);
        let found = fit(&picture(&format!("in.{}", parts[0])), width, height, mode).unwrap();
        assert_equal(&name, &found, &picture(&name));
    }
}

#[test]
fn opencv_filters_equal_opencv() {
    for (name, rest) in named("opencv.") {
        let parts: Vec<&str> = rest.split('.').collect();
        let filter = match parts[1] {
            "NEAREST" => OpencvFilter::Nearest,
            "CUBIC" => OpencvFilter::Cubic,
            "LANCZOS4" => OpencvFilter::Lanczos4,
            _ => OpencvFilter::Area,
        };
        let (width, height) = measures(parts[2]);
        let found = opencv_resize(&picture(&format!("in.{}", parts[0])), width, height, filter).unwrap();
        assert_equal(&name, &found, &picture(&name));
    }
}

#[test]
fn the_gaussian_blur_equals_pillows() {
    for (name, rest) in named("pillow_blur.") {
        let (input, radius) = rest.split_once('.').unwrap();
        let found = pillow_gaussian(&picture(&format!("in.{input}")), radius.parse().unwrap()).unwrap();
        assert_equal(&name, &found, &picture(&name));
    }
}

#[test]
fn the_mask_blur_equals_opencvs() {
    for (name, rest) in named("mask_blur.") {
        let (input, sigmas) = rest.split_once('.').unwrap();
        let (x, y) = measures(sigmas);
        let found = mask::blur(&picture(&format!("in.{input}")), f64::from(x), f64::from(y)).unwrap();
        assert_equal(&name, &found, &picture(&name));
    }
}

#[test]
fn formats_and_composites_equal_pillows() {
    let (rgba, other) = (picture("in.noise_rgba"), picture("in.other_rgba"));
    let gray = convert::to_gray(&picture("in.noise_rgb")).unwrap();
    assert_equal("luminance", &gray, &picture("gray.noise_rgb"));
    for (name, colour) in [("white", "#ffffff"), ("teal", "#0a8f72")] {
        let flat = convert::flatten(&rgba, convert::parse_colour(colour).unwrap()).unwrap();
        assert_equal(name, &flat, &picture(&format!("flatten.{name}")));
    }
    let composed = composite::alpha_composite(&other, &rgba).unwrap();
    assert_equal("alpha composite", &composed, &picture("alpha_composite"));
    let mixed = composite::mix_by_mask(&rgba, &other, &picture("in.noise_gray")).unwrap();
    assert_equal("composite by mask", &mixed, &picture("mix_by_mask"));
    for (name, share) in named("blend.") {
        let blended = mix::blend(&rgba, &other, share.parse().unwrap()).unwrap();
        assert_equal(&name, &blended, &picture(&name));
    }
}
