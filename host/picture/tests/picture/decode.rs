//! Encoded pictures of every kind against what Pillow decodes.

use gesso_picture::convert::to_gray;
use gesso_picture::decode::{DecodeLimits, decode};

use crate::goldens::{assert_equal, assert_within, decoded, file};

fn check(name: &str, most: u8, share: f64) {
    let found = decode(&file(name), &DecodeLimits::default()).unwrap();
    if most == 0 {
        assert_equal(name, &found, &decoded(name))
    } else {
        assert_within(name, &found, &decoded(name), most, share)
    }
}

#[test]
fn lossless_pictures_decode_to_the_bit() {
    for name in [
        "png_rgb",
        "png_rgba",
        "png_gray",
        "png_gray_alpha",
        "png_1bit",
        "png_palette",
        "png_palette_clear",
        "png_colour_key",
        "png_rgb16",
        "png_rgba16",
        "png_gray16",
        "webp_lossless",
        "webp_animated",
        "gif",
        "gif_clear",
        "gif_animated",
        "bmp_rgb",
        "bmp_palette",
        "bmp_gray",
    ] {
        check(name, 0, 0.0);
    }
}

#[test]
fn lossy_pictures_decode_within_the_rounding_of_another_decoder() {
    for name in
        ["jpeg_444", "jpeg_422", "jpeg_420", "jpeg_gray", "jpeg_progressive", "jpeg_cmyk", "webp_lossy"]
    {
        // Subsampled colour is spread with another rounding; the light is nearer.
        check(name, 6, 0.3);
        let light = |picture| to_gray(&picture).unwrap();
        let found = decode(&file(name), &DecodeLimits::default()).unwrap();
        assert_within(name, &light(found), &light(decoded(name)), 2, 0.3);
    }
}

#[test]
fn pictures_stand_upright_whatever_their_exif_says() {
    for orientation in 2..=8 {
        check(&format!("jpeg_orientation_{orientation}"), 2, 0.05);
    }
    check("png_orientation_6", 0, 0.0);
    check("webp_orientation_6", 0, 0.0);
}
