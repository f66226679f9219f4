//! What holds for every size: no panic, the asked measures, boxes that stay inside.

use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_picture::blur::{Axis, opencv_gaussian, pillow_gaussian};
use gesso_picture::composite::{Rect, crop};
use gesso_picture::control_fit::{ControlFit, control_fit};
use gesso_picture::decode::{DecodeLimits, decode};
use gesso_picture::fit::{FitMode, fit, placement};
use gesso_picture::inpaint::{InpaintSettings, paste, prepare};
use gesso_picture::opencv_resize::{OpencvFilter, opencv_resize};
use gesso_picture::resize::{Filter, resize};
use gesso_picture::{mask, text};
use proptest::prelude::*;

fn pictures() -> impl Strategy<Value = Pixels> {
    let formats = prop_oneof![Just(PixelFormat::Gray8), Just(PixelFormat::Rgb8), Just(PixelFormat::Rgba8)];
    (1..40_u32, 1..40_u32, formats, any::<u32>()).prop_map(|(width, height, format, seed)| {
        let count = Pixels::byte_len(width, height, format).unwrap() as u32;
        // Blocks of one level, so that masks have black and white areas.
        let level = |index: u32| ((index / 7).wrapping_mul(seed | 1) >> 24) as u8;
        let cut = |level: u8| if level < 80 { 0 } else { level };
        Pixels::new(width, height, format, (0..count).map(|index| cut(level(index))).collect()).unwrap()
    })
}

fn modes() -> impl Strategy<Value = FitMode> {
    prop_oneof![Just(FitMode::Stretch), Just(FitMode::Cover), Just(FitMode::Contain)]
}

fn inside(rect: Rect, width: u32, height: u32) -> bool {
    rect.width > 0 && rect.height > 0 && rect.x + rect.width <= width && rect.y + rect.height <= height
}

proptest! {
    #[test]
    fn resizing_gives_the_asked_size(picture in pictures(), width in 1..60_u32, height in 1..60_u32) {
        for filter in [Filter::Nearest, Filter::Box, Filter::Bilinear, Filter::Hamming, Filter::Bicubic, Filter::Lanczos] {
            let found = resize(&picture, width, height, filter).unwrap();
            prop_assert_eq!((found.width, found.height, found.format), (width, height, picture.format));
            prop_assert_eq!(Some(found.data.len()), Pixels::byte_len(width, height, found.format));
        }
        for filter in [OpencvFilter::Nearest, OpencvFilter::Cubic, OpencvFilter::Area, OpencvFilter::Lanczos4] {
            let found = opencv_resize(&picture, width, height, filter).unwrap();
            prop_assert_eq!(Some(found.data.len()), Pixels::byte_len(width, height, found.format));
        }
    }

    #[test]
    fn a_flat_picture_stays_flat(level: u8, width in 1..60_u32, height in 1..60_u32) {
        let flat = Pixels::new(7, 5, PixelFormat::Gray8, vec![level; 35]).unwrap();
        for filter in [Filter::Box, Filter::Bicubic, Filter::Lanczos] {
            prop_assert!(resize(&flat, width, height, filter).unwrap().data.iter().all(|&found| found == level));
        }
        for filter in [OpencvFilter::Cubic, OpencvFilter::Area] {
            prop_assert!(opencv_resize(&flat, width, height, filter).unwrap().data.iter().all(|&found| found == level));
        }
        prop_assert_eq!(&pillow_gaussian(&flat, f64::from(width)).unwrap(), &flat);
        prop_assert_eq!(&opencv_gaussian(&flat, f64::from(height), Axis::Vertical).unwrap(), &flat);
    }

    #[test]
    fn fitting_gives_the_frame(picture in pictures(), width in 1..60_u32, height in 1..60_u32, mode in modes()) {
        let found = fit(&picture, width, height, mode).unwrap();
        prop_assert_eq!((found.width, found.height, found.format), (width, height, picture.format));
        for mode in [ControlFit::JustResize, ControlFit::CropAndResize, ControlFit::ResizeAndFill] {
            let found = control_fit(&picture, width, height, mode).unwrap();
            prop_assert_eq!((found.width, found.height), (width, height));
        }
    }

    #[test]
    fn any_measures_are_placed_or_refused(from: (u32, u32), frame: (u32, u32), mode in modes()) {
        if let Ok(placement) = placement(mode, from, frame) {
            prop_assert!(placement.resize_to.0 > 0 && placement.resize_to.1 > 0);
        }
    }

    #[test]
    fn mask_boxes_stay_inside(
        picture in pictures(), padding in prop_oneof![0..50_u32, Just(u32::MAX)], frame in (1..2000_u32, 1..2000_u32)
    ) {
        let (width, height) = (picture.width, picture.height);
        if let Some(area) = mask::bounding_box(&picture) {
            prop_assert!(inside(area, width, height));
            let padded = mask::padded(area, padding, (width, height));
            prop_assert!(inside(padded, width, height));
            let grown = mask::grown_to_ratio(padded, frame, (width, height));
            prop_assert!(inside(grown, width, height), "{:?} {:?}", padded, grown);
            prop_assert!(grown.width >= padded.width && grown.height >= padded.height);
            prop_assert!(crop(&picture, grown).is_ok());
        }
    }

    #[test]
    fn inpainting_prepares_the_frame_and_gives_the_picture_back(
        image in pictures(), mask in pictures(), result in pictures(), frame in (1..50_u32, 1..50_u32),
        mode in proptest::option::of(modes()), blur in (0..6_u8, 0..6_u8), flags: [bool; 5], padding in 0..20_u32
    ) {
        let settings = InpaintSettings {
            width: frame.0, height: frame.1, resize_mode: mode, invert: flags[0], round: flags[1], only_masked: flags[2],
            blur_fill: flags[3], soft: flags[4], blur: (f64::from(blur.0), f64::from(blur.1)), padding, background: [255; 3],
        };
        let prepared = prepare(&image, Some(&mask), &settings).unwrap();
        if mode.is_some() || prepared.paste_back.is_some() {
            prop_assert_eq!((prepared.image.width, prepared.image.height), frame);
        }
        if let Some(mask) = &prepared.mask {
            prop_assert_eq!((mask.width, mask.height, mask.format), (frame.0, frame.1, PixelFormat::Gray8));
        }
        if let Some(area) = prepared.paste_back {
            prop_assert!(inside(area, image.width, image.height));
        } else if let Some(overlay) = &prepared.overlay {
            prop_assert_eq!((overlay.width, overlay.height), frame);
        }
        let pasted = paste(&result, &prepared).unwrap();
        let wanted = prepared.overlay.as_ref().map_or((result.width, result.height), |o| (o.width, o.height));
        prop_assert_eq!((pasted.width, pasted.height), wanted);
    }

    #[test]
    fn any_bytes_and_any_text_are_answered(bytes: Vec<u8>, word: String, kind in 0..6_usize) {
        let magic: [&[u8]; 6] = [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"BM", b"RIFF\x40\0\0\0WEBPVP8L", b""];
        let limits = DecodeLimits { pixels_max: 1 << 20, ..DecodeLimits::default() };
        if let Ok(picture) = decode(&[magic[kind], &bytes].concat(), &limits) {
            prop_assert!(u64::from(picture.width) * u64::from(picture.height) <= limits.pixels_max);
        }
        let _ = text::picture_bytes(&word, 1000);
    }
}

#[test]
fn a_malformed_picture_is_refused_everywhere() {
    let short = Pixels { width: 4, height: 4, format: PixelFormat::Rgb8, data: vec![0; 5] };
    let empty = Pixels { width: 0, height: 4, format: PixelFormat::Rgb8, data: vec![] };
    for bad in [short, empty] {
        assert!(resize(&bad, 8, 8, Filter::Lanczos).is_err());
        assert!(fit(&bad, 8, 8, FitMode::Cover).is_err());
        assert!(opencv_resize(&bad, 8, 8, OpencvFilter::Area).is_err());
        assert!(control_fit(&bad, 8, 8, ControlFit::CropAndResize).is_err());
        assert!(mask::read(&bad, true).is_err());
        assert!(mask::blur(&bad, 4.0, 4.0).is_err());
        assert!(gesso_picture::mix::image_grid(std::slice::from_ref(&bad), (1, 1), [255; 3]).is_err());
        assert!(gesso_picture::colour_correction::correct(&bad, &bad).is_err());
    }
}
