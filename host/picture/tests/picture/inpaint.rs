//! The mask pipeline as a whole, step by step, against the same order in Pillow and OpenCV.

use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_picture::composite::Rect;
use gesso_picture::error::PictureError;
use gesso_picture::fill::blur_fill;
use gesso_picture::fit::FitMode;
use gesso_picture::inpaint::{
    InpaintSettings, Prepared, mask_of_overlay, masked_part, paste, prepare, prepare_by, with_hidden,
};
use gesso_picture::mask;
use gesso_picture::resize::{Filter, resize};

use crate::goldens::{assert_equal, bytes, floats, picture};

fn settings() -> InpaintSettings {
    InpaintSettings {
        width: 32,
        height: 32,
        resize_mode: Some(FitMode::Stretch),
        invert: false,
        blur: (0.0, 0.0),
        soft: false,
        round: true,
        only_masked: false,
        padding: 0,
        blur_fill: true,
        background: [255; 3],
    }
}

#[test]
fn the_blur_fill_equals_pillows_at_every_pixel() {
    let found = blur_fill(&picture("in.smooth_rgb"), &picture("in.mask")).unwrap();
    assert_equal("hard mask", &found, &picture("blur_fill.smooth"));
    let found = blur_fill(&picture("in.smooth_rgba"), &picture("in.soft_mask")).unwrap();
    assert_equal("soft mask, picture with alpha", &found, &picture("blur_fill.soft"));
}

fn check(name: &str, settings: &InpaintSettings) -> Prepared {
    let prepared = prepare(&picture("in.smooth_rgb"), Some(&picture("in.mask")), settings).unwrap();
    let golden = |part: &str| picture(&format!("inpaint.{name}.{part}"));
    let mask = prepared.mask.as_ref().unwrap();
    assert_equal("mask", mask, &golden("mask"));
    assert_equal("image", &prepared.image, &golden("image"));
    assert_equal("overlay", prepared.overlay.as_ref().unwrap(), &golden("overlay"));
    for (part, round) in [("latent", false), ("latent_round", true)] {
        let wanted = floats(&format!("inpaint.{name}.{part}"));
        let found = mask::latent(mask, 4, 4, round).unwrap();
        assert_eq!(found.len(), wanted.len());
        for (found, wanted) in found.iter().zip(&wanted) {
            assert!((found - wanted).abs() < 1.01 / 255.0, "{name} {part}: {found} and {wanted}");
        }
    }
    let pasted = paste(&picture("in.result"), &prepared).unwrap();
    assert_equal("pasted", &pasted, &golden("pasted"));
    prepared
}

#[test]
fn a_whole_picture_is_covered_blurred_filled_and_overlaid_in_order() {
    let prepared = check(
        "whole",
        &InpaintSettings { resize_mode: Some(FitMode::Cover), blur: (4.0, 4.0), ..settings() },
    );
    assert_eq!(prepared.paste_back, None);
}

#[test]
fn an_inverted_mask_keeps_its_bars() {
    let bars =
        InpaintSettings { resize_mode: Some(FitMode::Contain), invert: true, blur: (2.0, 0.0), ..settings() };
    check("bars", &bars);
}

#[test]
fn only_masked_cuts_out_enlarges_and_pastes_back() {
    let padded = InpaintSettings { only_masked: true, padding: 5, blur: (2.0, 3.0), ..settings() };
    let bare = InpaintSettings { only_masked: true, blur_fill: false, ..settings() };
    for (name, settings) in [("masked", padded), ("masked_plain", bare)] {
        let prepared = check(name, &settings);
        let wanted = bytes(&format!("inpaint.{name}.box"));
        let Rect { x, y, width, height } = prepared.paste_back.unwrap();
        assert_eq!([x, y, width, height].map(|value| value as u8), wanted[..]);
    }
}

#[test]
fn a_blank_mask_is_plain_image_to_image_with_a_remark() {
    let mut blank = picture("in.mask");
    blank.data.fill(0);
    let only_masked = InpaintSettings { only_masked: true, ..settings() };
    let prepared = prepare(&picture("in.smooth_rgb"), Some(&blank), &only_masked).unwrap();
    assert!(prepared.mask_was_blank && prepared.mask.is_none() && prepared.overlay.is_none());
    let plain = prepare(&picture("in.smooth_rgb"), None, &only_masked).unwrap();
    assert_eq!((&plain.image, plain.mask_was_blank), (&prepared.image, false));
    let result = picture("in.result");
    assert_eq!(paste(&result, &prepared).unwrap(), result);
}

#[test]
fn what_is_hidden_of_a_soft_result_is_the_original() {
    let (image, mask) = (picture("in.smooth_rgb"), picture("in.mask"));
    for only_masked in [false, true] {
        let settings = InpaintSettings { only_masked, soft: true, blur: (2.0, 2.0), ..settings() };
        let prepared = prepare(&image, Some(&mask), &settings).unwrap();
        let overlay = prepared.overlay.as_ref().unwrap();
        assert!(overlay.data.chunks_exact(4).all(|pixel| pixel[3] == 255), "the overlay is whole");
        let result = Pixels::new(32, 32, PixelFormat::Rgb8, vec![9; 32 * 32 * 3]).unwrap();
        let hidden = |level| Pixels::new(32, 32, PixelFormat::Gray8, vec![level; 32 * 32]).unwrap();
        let shown = |hidden: &Pixels| paste(&result, &with_hidden(&prepared, hidden).unwrap()).unwrap();
        let pasted = |level| shown(&hidden(level));
        let original: Vec<u8> =
            overlay.data.chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect();
        assert_eq!(pasted(255).data, original, "all of it is hidden");
        let (whole, half) = (pasted(0), pasted(128));
        let inside = |place: u32| {
            let (x, y) = (place % whole.width, place / whole.width);
            prepared.paste_back.is_none_or(|area| {
                (area.x..area.x + area.width).contains(&x) && (area.y..area.y + area.height).contains(&y)
            })
        };
        for place in 0..whole.width * whole.height {
            let at = |picture: &[u8]| picture[place as usize * 3];
            let (original, whole, half) = (at(&original), at(&whole.data), at(&half.data));
            if inside(place) {
                let mean = u8::midpoint(original, 9);
                assert!(whole == 9 && half.abs_diff(mean) <= 2, "{place}: {original} {whole} {half}");
            } else {
                assert_eq!((whole, half), (original, original), "{place} lies beside what was drawn");
            }
        }
        let small = Pixels::new(8, 8, PixelFormat::Gray8, vec![255; 64]).unwrap();
        assert_eq!(shown(&small).data, original, "a mask of another size hides its place too");
        let mask = mask_of_overlay(&with_hidden(&prepared, &hidden(255)).unwrap()).unwrap();
        assert!(mask.data.iter().all(|shown| *shown == 0), "the mask that is shown says so");
    }
}

#[test]
fn without_a_resize_mode_the_image_keeps_its_size_and_the_mask_and_what_comes_back_do_not() {
    let latent_resize = InpaintSettings { resize_mode: None, ..settings() };
    let (sent, mask) = (picture("in.smooth_rgb"), picture("in.mask"));
    let prepared = prepare(&sent, Some(&mask), &latent_resize).unwrap();
    let pasted = paste(&picture("in.result"), &prepared).unwrap();
    assert_eq!((pasted.width, pasted.height), (32, 32));
    // Its latent is stretched, and so is what lies over the result.
    let stretched = prepare(&sent, Some(&mask), &settings()).unwrap();
    assert_eq!((&prepared.mask, &prepared.overlay), (&stretched.mask, &stretched.overlay));
    let (image, mask, overlay) =
        (&prepared.image, prepared.mask.as_ref().unwrap(), prepared.overlay.as_ref().unwrap());
    assert_eq!((image.width, image.height, mask.width, mask.height), (48, 36, 32, 32));
    assert_eq!((overlay.width, overlay.height), (32, 32));
}

#[test]
fn a_callers_own_way_to_enlarge_gets_what_is_drawn_and_no_mask() {
    let (image, mask) = (picture("in.smooth_rgb"), picture("in.mask"));
    let hard = |settings: &InpaintSettings| {
        let mut asked = Vec::new();
        let prepared = prepare_by(&image, Some(&mask), settings, &mut |part, (width, height)| {
            asked.push(((part.width, part.height), (width, height)));
            resize(part, width, height, Filter::Nearest)
        });
        let prepared = prepared.unwrap();
        let smooth = prepare(&image, Some(&mask), settings).unwrap();
        assert_eq!((&prepared.mask, prepared.paste_back), (&smooth.mask, smooth.paste_back));
        assert_ne!(prepared.image, smooth.image);
        asked
    };
    let kept = InpaintSettings { blur_fill: false, ..settings() };
    assert_eq!(hard(&kept), [((48, 36), (32, 32))]);
    let area = prepare(&image, Some(&mask), &InpaintSettings { only_masked: true, ..kept }).unwrap();
    let area = area.paste_back.unwrap();
    assert_eq!(
        hard(&InpaintSettings { only_masked: true, ..kept })[0].0,
        (area.width, area.height),
        "the part around the mask alone"
    );
    let why = PictureError::NoPictures;
    let refused = prepare_by(&image, None, &kept, &mut |_, _| Err(why.clone()));
    assert_eq!(refused.unwrap_err(), why);
}

#[test]
fn the_mask_and_what_is_under_it_are_of_the_whole_pictures_size() {
    let (result, image) = (picture("in.result"), picture("in.smooth_rgb"));
    // White in the middle, so that something is left white and something black when it is blurred.
    let (width, height) = (image.width, image.height);
    let inside =
        |x: u32, y: u32| (width / 4..width * 3 / 4).contains(&x) && (height / 4..height * 3 / 4).contains(&y);
    let levels =
        (0..height).flat_map(|y| (0..width).map(move |x| if inside(x, y) { 255 } else { 0 })).collect();
    let mask = Pixels::new(width, height, PixelFormat::Gray8, levels).unwrap();
    for only_masked in [false, true] {
        let settings = InpaintSettings { only_masked, blur: (2.0, 2.0), ..settings() };
        let prepared = prepare(&image, Some(&mask), &settings).unwrap();
        let pasted = paste(&result, &prepared).unwrap();
        let (mask, part) =
            (mask_of_overlay(&prepared).unwrap(), masked_part(&result, &prepared).unwrap().unwrap());
        assert_eq!((mask.width, mask.height), (pasted.width, pasted.height));
        assert_eq!((part.width, part.height), (pasted.width, pasted.height));
        let white = mask.data.iter().filter(|cover| **cover == 255).count();
        assert!(white > 0 && mask.data.contains(&0), "{only_masked}");
        for ((cover, part), pasted) in
            mask.data.iter().zip(part.data.chunks_exact(4)).zip(pasted.data.chunks_exact(3))
        {
            assert_eq!(part[3], *cover);
            assert!(*cover < 255 || part[..3] == *pasted, "where nothing is kept the result shows");
        }
    }
    let plain = prepare(&picture("in.smooth_rgb"), None, &settings()).unwrap();
    assert_eq!((mask_of_overlay(&plain), masked_part(&result, &plain).unwrap()), (None, None));
}
