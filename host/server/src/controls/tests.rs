//! How pictures of units are read, and how they get to where the drawing has them.

use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use gesso_core::hires::{Hires, HiresSize, HiresUpscaler, LatentUpscaler};
use gesso_core::limits::Limits;
use gesso_engine::backend::{Upscale, UpscaleBy};
use gesso_engine::{Resources, SecondPass};
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::http::wire::generate::{Defaults, Drawing, to_request};
use crate::png_file;

const LIMITS: DecodeLimits = DecodeLimits { bytes_max: 1 << 20, side_max: 4096, pixels_max: 1 << 16 };

fn text(picture: &Pixels) -> String {
    BASE64_STANDARD.encode(png_file::encode_with(picture, &[]).unwrap())
}

fn flat(width: u32, height: u32) -> Pixels {
    let data = vec![9; width as usize * height as usize * 3];
    Pixels::new(width, height, PixelFormat::Rgb8, data).unwrap()
}

/// A unit over a picture of 16 x 8 pixels, which is drawn at 64 x 64, or a part of it.
fn decoded(
    mut unit: Value,
    changes: &Value,
    cropped: Option<(Rect, (u32, u32))>,
) -> Result<Decoded, AppError> {
    // A reference needs no file.
    unit["module"] = "reference_only".into();
    decoded_in(Path::new("none"), unit, changes, cropped)
}

fn decoded_in(
    models: &Path,
    mut unit: Value,
    changes: &Value,
    cropped: Option<(Rect, (u32, u32))>,
) -> Result<Decoded, AppError> {
    unit["enabled"] = true.into();
    let scripts = json!({"controlnet": {"args": [unit]}});
    let source = text(&flat(16, 8));
    let mut body = json!({"init_images": [source], "width": 64, "height": 64, "alwayson_scripts": scripts});
    body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    let body = Drawing::Img2Img.read(body.as_object().unwrap(), || 1).unwrap();
    let request = to_request(Drawing::Img2Img, &body, &Defaults::default(), &Limits::default()).unwrap();
    let catalogue = Catalogue::new(models.to_owned(), None, None);
    decode(&catalogue, &body, &request, LIMITS, cropped).map(|mut units| units.remove(0))
}

/// A folder of models with the control network `a`, which nobody reads.
fn models() -> TempDir {
    let models = tempfile::tempdir().unwrap();
    std::fs::create_dir(models.path().join("ControlNet")).unwrap();
    std::fs::write(models.path().join("ControlNet/a.pth"), b"").unwrap();
    models
}

#[test]
fn the_picture_that_is_drawn_over_is_fitted_as_it_is_drawn() {
    let own = text(&flat(8, 8));
    for (number, wanted) in [
        (0, ControlFit::JustResize),
        (1, ControlFit::CropAndResize),
        (2, ControlFit::ResizeAndFill),
        (3, ControlFit::JustResize),
    ] {
        let over = json!({"resize_mode": number});
        for said in ["Just Resize", "Crop and Resize", "Resize and Fill"] {
            let found = decoded(json!({"resize_mode": said}), &over, None).unwrap();
            assert_eq!(found.fit, wanted, "{number} {said}");
        }
        let found = decoded(json!({"image": own, "resize_mode": 2}), &over, None).unwrap();
        assert_eq!(found.fit, ControlFit::ResizeAndFill, "{number}: its own");
    }
}

#[test]
fn where_a_part_is_drawn_so_much_of_a_picture_is_read_unless_the_unit_keeps_its_own_whole() {
    let part = Rect { x: 4, y: 0, width: 8, height: 8 };
    let of = |unit: Value| {
        let found = decoded(unit, &json!({}), Some((part, (16, 8)))).unwrap();
        (found.picture.width, found.picture.height, found.fit)
    };
    let contained = (8, 8, ControlFit::ResizeAndFill);
    let own = text(&flat(32, 32));
    assert_eq!(of(json!({"resize_mode": 0})), contained);
    assert_eq!(of(json!({"resize_mode": 0, "image": own})), contained);
    let whole = json!({"resize_mode": 0, "image": own, "inpaint_crop_input_image": false});
    assert_eq!(of(whole), (32, 32, ControlFit::JustResize));
    let without = json!({"resize_mode": 0, "inpaint_crop_input_image": false});
    assert_eq!(of(without), contained, "it has none of its own");
    for field in ["image", "mask", "effective_region_mask"] {
        let unit = json!({"image": own, field: "aGk="});
        let Err(AppError::Invalid(problems)) = decoded(unit, &json!({}), None) else { panic!("{field}") };
        assert_eq!(problems[0].field, "alwayson_scripts.controlnet.args.0");
        let begins = format!("ControlNet unit 0: {field}: ");
        assert!(problems[0].message.starts_with(&begins), "{}", problems[0].message);
    }
    let odd = json!({"resize_mode": 1, "image": text(&flat(1, 2048))});
    let refused = decoded(odd, &json!({}), Some((part, (64, 64)))).unwrap_err().to_string();
    assert!(refused.contains("a ControlNet image would be enlarged to 8388608 pixels"), "{refused}");
}

#[tokio::test]
async fn a_mask_of_another_shape_lies_where_the_drawing_has_it() {
    let models = models();
    // A quarter of it is white, from the left.
    let mask = |width: u32, height: u32| {
        let row = (0..width).map(|x| if x < width / 4 { 255 } else { 0 }).collect::<Vec<u8>>();
        let data = row.repeat(height as usize);
        text(&Pixels::new(width, height, PixelFormat::Gray8, data).unwrap())
    };
    let of = |mask: String, mode: u32| {
        let unit = json!({"module": "inpaint_only", "model": "a"});
        let over = json!({"mask": mask, "resize_mode": mode});
        decoded_in(models.path(), unit, &over, None).unwrap()
    };
    let size = |picture: &Pixels| (picture.width, picture.height);
    for mode in 1..=2 {
        let mut found = of(mask(32, 32), mode);
        assert_eq!(size(&found.picture), (16, 8), "{mode}: modules without a mask read it so");
        found.bring_into_frame((64, 64)).await.unwrap();
        let framed = found.mask.unwrap();
        assert_eq!((size(&found.picture), size(&framed)), ((64, 64), (64, 64)), "{mode}");
        for row in framed.data.chunks(64) {
            assert!(row[..12].iter().all(|level| *level > 200), "{mode}: {row:?}");
            assert!(row[20..].iter().all(|level| *level < 50), "{mode}: {row:?}");
        }
    }
    for (mask, mode) in [(mask(32, 32), 0), (mask(32, 16), 1), (mask(32, 16), 2), (mask(32, 32), 3)] {
        let mut found = of(mask, mode);
        found.bring_into_frame((64, 64)).await.unwrap();
        let sizes = (size(&found.picture), size(&found.mask.unwrap()));
        assert_eq!(sizes, ((16, 8), (16, 8)), "{mode}: it lies there already");
    }
    // What lies under the drawing is made of what lies there, whether its module reads a mask or not.
    let under: Annotator = serde_json::from_value(json!({"name": "a", "underlay": true})).unwrap();
    let request = GenerateRequest { width: 64, height: 64, ..GenerateRequest::default() };
    let mut found = of(mask(32, 32), 2);
    found.lay_out(&under, &request).await.unwrap();
    let framed = found.mask.unwrap();
    assert_eq!((size(&found.picture), size(&framed)), ((64, 64), (64, 64)));
    assert!(framed.data.chunks(64).all(|row| row[0] > 200 && row[63] < 50));
}

#[tokio::test]
async fn a_picture_is_widened_to_the_last_size_and_what_is_added_is_masked() {
    // White on the left half.
    let row: Vec<u8> = (0..16).map(|x| if x < 8 { 255 } else { 0 }).collect();
    let mask = text(&Pixels::new(16, 8, PixelFormat::Gray8, row.repeat(8)).unwrap());
    for (mask, masked) in [(json!(mask), 32), (Value::Null, 0)] {
        let mut found =
            decoded(json!({"image": text(&flat(16, 8)), "mask": mask}), &json!({}), None).unwrap();
        found.widen((64, 64)).await.unwrap();
        let widened = found.mask.unwrap();
        assert_eq!((found.picture.width, found.picture.height), (64, 64));
        assert!(found.picture.data.iter().all(|level| *level == 9), "filled with its border");
        for (y, row) in widened.data.chunks(64).enumerate() {
            // The picture is 64 by 32 in the middle.
            let white = if (16..48).contains(&y) { masked } else { 64 };
            assert!(row[..white].iter().all(|level| *level == 255), "{y}: {row:?}");
            assert!(row[white..].iter().all(|level| *level == 0), "{y}: {row:?}");
        }
    }
    let hires = |size| {
        let request = GenerateRequest { width: 64, height: 32, ..GenerateRequest::default() };
        let hires = Hires {
            size,
            upscaler: HiresUpscaler::Pixels("None".into()),
            denoising_strength: 0.5,
            steps: None,
            sampler: None,
            scheduler: None,
            prompt: None,
            negative_prompt: None,
            model: None,
            from_picture: false,
        };
        last_size(&GenerateRequest { hires: Some(hires), ..request })
    };
    assert_eq!(hires(HiresSize::Scale(1.5)), (96, 48));
    assert_eq!(last_size(&GenerateRequest { width: 64, height: 32, ..GenerateRequest::default() }), (64, 32));
}

#[test]
fn only_the_first_pass_begins_from_a_map_and_where_its_unit_acts() {
    let models = models();
    let request = GenerateRequest { width: 64, height: 64, ..GenerateRequest::default() };
    for (option, acts) in
        [("Both", [true, true]), ("Low res only", [true, false]), ("High res only", [false, true])]
    {
        let unit = json!({"module": "inpaint_only+lama", "model": "a", "hr_option": option});
        let mut decoded = decoded_in(models.path(), unit, &json!({}), None).unwrap();
        decoded.underlay = true;
        let second = SecondPass {
            model: decoded.file.clone().unwrap(),
            resources: Resources::default(),
            refiner: None,
            upscale: Upscale {
                target: HiresSize::Scale(1.5).target(64, 64),
                by: UpscaleBy::Latent(LatentUpscaler::Bilinear),
            },
            picture: None,
            share: None,
        };
        let mut found = Found {
            first: Resources::default(),
            refiner: None,
            second: Some(second),
            second_file_name: None,
            refiner_title: None,
            lora_hashes: Vec::new(),
            inversion_hashes: Vec::new(),
            vae: None,
            vae_hash: None,
            warnings: Vec::new(),
        };
        place(vec![decoded], &request, LIMITS, &mut found).unwrap();
        let passes = [found.first, found.second.unwrap().resources];
        assert_eq!(passes.each_ref().map(|pass| pass.control.len() == 1), acts, "{option}");
        let under = passes.map(|pass| pass.underlay.map(|picture| (picture.width, picture.height)));
        assert_eq!(under, [acts[0].then_some((64, 64)), None], "{option}");
    }
}

#[test]
fn the_mask_of_what_is_drawn_over_is_read_as_the_drawing_reads_it() {
    let rgba = |alphas: [u8; 2]| {
        let data = vec![255, 255, 255, alphas[0], 0, 0, 0, alphas[1]];
        Pixels::new(2, 1, PixelFormat::Rgba8, data).unwrap()
    };
    let of = |mask: &Pixels, changes: Value| {
        let mut body = json!({"init_images": ["a"], "mask": "b"});
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let body = Drawing::Img2Img.read(body.as_object().unwrap(), || 1).unwrap();
        let request = to_request(Drawing::Img2Img, &body, &Defaults::default(), &Limits::default());
        repainted(mask, &request.unwrap()).unwrap().data
    };
    assert_eq!(of(&rgba([255, 255]), json!({})), [255, 0], "by its colours, where it is opaque");
    assert_eq!(of(&rgba([0, 200]), json!({})), [0, 255], "by its alpha, where it is not");
    assert_eq!(of(&rgba([0, 200]), json!({"mask_round": false})), [0, 200]);
    assert_eq!(of(&rgba([0, 200]), json!({"inpainting_mask_invert": 1})), [255, 0]);
}

#[test]
fn what_is_added_around_a_map_with_hidden_places_is_hidden() {
    let row = |alpha: u8| [9, 9, 9, alpha].repeat(8);
    let data = [row(0), row(255)].map(|row| row.repeat(4)).concat();
    let map = Pixels::new(8, 8, PixelFormat::Rgba8, data).unwrap();
    let (hint, hidden) = fitted(&map, (16, 8), ControlFit::ResizeAndFill).unwrap();
    assert_eq!((hint.format, hint.width, hint.height), (PixelFormat::Rgb8, 16, 8));
    let hidden = hidden.unwrap();
    let middle = |y: usize| hidden.data[y * 16 + 8];
    assert_eq!((middle(1), middle(6)), (255, 0), "as the map's own alpha says");
    assert!(hidden.data.chunks(16).all(|row| row[0] == 255 && row[15] == 255));
}
