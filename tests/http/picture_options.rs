//! Options that say what happens to the pictures of image to image, and to prompts and levels, beside the drawing itself.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use gesso_core::pixels::Pixels;
use gesso_picture::resize::{Filter, resize};
use serde_json::{Value, json};

use super::drawing::{draw, models, png, striped};
use super::extras::{base64_png, enlarged, problems, waves, write_networks};
use super::redraw::redraws;
use crate::support::{Bench, Picture, Server, decode, quick_with};

/// Over a picture that is hardly drawn anew, so that what was made of it shows.
#[track_caller]
fn over(server: &Server, changes: Value) -> Picture {
    let mut body = json!({"denoising_strength": 0, "sampler_name": "DDIM"});
    body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    draw(server, "img2img", body).0
}

fn nearest(picture: &Pixels, side: u32) -> String {
    base64_png(&resize(picture, side, side, Filter::Nearest).unwrap())
}

#[test]
fn an_upscaler_brings_smaller_pictures_to_their_size() {
    let models = models();
    write_networks(models.path());
    let bench = Bench::new().models_at(models.path());
    let server = bench.start();
    let small = waves(32, 32);
    let by = |upscaler: Value, picture: &str| {
        over(
            &server,
            json!({"init_images": [picture], "override_settings": {"upscaler_for_img2img": upscaler}}),
        )
        .data
    };
    let sent = base64_png(&small);
    let sharp = by(json!("Nearest"), &sent);
    assert!(sharp != by(Value::Null, &sent));
    assert!(sharp == by(Value::Null, &nearest(&small, 64)), "the same as one that was enlarged before");
    assert!(by(json!("None"), &sent) == by(Value::Null, &sent));
    let one_colour = png(64, 64, |_, _| [153, 102, 51]);
    assert!(by(json!("one-colour"), &sent) == by(Value::Null, &one_colour));
    // What does not grow is resampled.
    let large = base64_png(&waves(96, 96));
    assert!(by(json!("Nearest"), &large) == by(Value::Null, &large));
    // So is what stays so thin that no upscaler could make it: bars fill the rest of the frame.
    for side in 1..4 {
        let thin = |upscaler: Value| {
            over(
                &server,
                json!({"init_images": [base64_png(&waves(side, 32))], "resize_mode": 2,
                "override_settings": {"upscaler_for_img2img": upscaler}}),
            )
        };
        assert!(thin(json!("Nearest")).data == thin(Value::Null).data, "{side}");
    }
    // Of a masked part alone, that part is enlarged.
    let mask = png(64, 64, |x, y| if x < 32 && y < 32 { [255; 3] } else { [0; 3] });
    let part = |upscaler: &str| {
        let body = json!({"init_images": [base64_png(&waves(64, 64))], "mask": mask, "mask_blur": 0,
            "inpainting_fill": 1, "override_settings": {"upscaler_for_img2img": upscaler}});
        over(&server, body).data
    };
    assert!(part("Nearest") != part("None"));
    let body =
        quick_with(json!({"init_images": [sent], "override_settings": {"upscaler_for_img2img": "gone"}}));
    let found = problems(&server, "/sdapi/v1/img2img", &body);
    assert!(found[0].0 == "override_settings" && found[0].1.contains("upscaler_for_img2img"), "{found:?}");
    let thin = quick_with(json!({"init_images": [base64_png(&waves(1, 2000))], "width": 2048,
        "override_settings": {"upscaler_for_img2img": "Nearest"}}));
    let found = problems(&server, "/sdapi/v1/img2img", &thin);
    assert!(found[0].1.contains("init_images") && found[0].1.contains("nearer"), "{found:?}");
}

#[test]
fn networks_enlarge_in_tiles_of_the_size_that_is_asked_for() {
    let models = models();
    write_networks(models.path());
    let bench = Bench::new().models_at(models.path());
    let server = bench.start();
    let source = waves(48, 40);
    let compact = || enlarged(&server, &source, json!({"upscaler_1": "compact", "upscaling_resize": 4}));
    let whole = compact();
    server.post("/sdapi/v1/options", &json!({"ESRGAN_tile": 16, "ESRGAN_tile_overlap": 0})).ok();
    let tiled = compact();
    assert_eq!((tiled.width, tiled.height), (whole.width, whole.height));
    assert_ne!(tiled, whole, "a tile does not see what lies beside it");
    server.post("/sdapi/v1/options", &json!({"ESRGAN_tile": 0})).ok();
    assert_eq!(compact(), whole);
    server.post("/sdapi/v1/options", &json!({"ESRGAN_tile": null, "ESRGAN_tile_overlap": null})).ok();
    let second = json!({"enable_hr": true, "hr_scale": 1.5, "denoising_strength": 0.4, "hr_upscaler": "compact",
        "override_settings": {"ESRGAN_tile": 16, "ESRGAN_tile_overlap": 4}});
    let says = ["Hires upscaler: compact", "ESRGAN tile: 16", "ESRGAN tile overlap: 4"];
    redraws(&server, "txt2img", second, json!({}), &says);
    let reply = server.post("/sdapi/v1/options", &json!({"ESRGAN_tile": 8}));
    assert_eq!(reply.status, 422, "{}", reply.json());
}

#[test]
fn what_shows_through_a_transparent_picture_is_chosen() {
    let bench = Bench::new();
    let server = bench.start();
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, 64, 64);
    encoder.set_color(png::ColorType::Rgba);
    encoder.write_header().unwrap().write_image_data(&[0; 64 * 64 * 4]).unwrap();
    let clear = BASE64_STANDARD.encode(file);
    let shown = |colour: &str, picture: &str| {
        over(
            &server,
            json!({"init_images": [picture], "override_settings": {"img2img_background_color": colour}}),
        )
        .data
    };
    let red = png(64, 64, |_, _| [255, 0, 0]);
    assert!(shown("#ff0000", &clear) == shown("#ffffff", &red));
    assert!(shown("#ffffff", &clear) != shown("#ffffff", &red));
    let changes = json!({"override_settings": {"img2img_background_color": "#ff0000"}});
    let given = json!({"init_images": [clear]});
    redraws(&server, "img2img", changes, given, &["Img2img background color: #ff0000"]);
}

#[test]
fn masks_are_shown_behind_the_pictures_and_the_overlay_is_left_out_where_that_is_asked_for() {
    let bench = Bench::new();
    let server = bench.start();
    let source = striped(96, 64);
    let mask = png(96, 64, |x, _| if x < 40 { [255; 3] } else { [0; 3] });
    let body = |options: Value, only_masked: bool| {
        json!({"init_images": [source], "mask": mask, "mask_blur": 0, "denoising_strength": 1, "steps": 3,
            "width": 96, "batch_size": 2, "inpaint_full_res": only_masked, "override_settings": options})
    };
    let all = |options: Value, only_masked: bool| {
        let reply = draw(&server, "img2img", body(options, only_masked)).1;
        let info: Value = serde_json::from_str(reply["info"].as_str().unwrap()).unwrap();
        assert_eq!(info["infotexts"].as_array().unwrap().len(), 2);
        let pictures = reply["images"].as_array().unwrap().clone();
        pictures
            .iter()
            .map(|picture| decode(&BASE64_STANDARD.decode(picture.as_str().unwrap()).unwrap()))
            .collect::<Vec<_>>()
    };
    for only_masked in [false, true] {
        let shown = all(json!({"return_mask": true, "return_mask_composite": true}), only_masked);
        let [first, second, first_mask, first_part, second_mask, second_part] = &shown[..] else {
            panic!("{} pictures", shown.len())
        };
        for (picture, mask, part) in [(first, first_mask, first_part), (second, second_mask, second_part)] {
            let at = |x: usize| (10 * 96 + x) * 3;
            assert_eq!((mask.data[at(10)], mask.data[at(90)]), (255, 0), "{only_masked}");
            let (inside, outside) =
                (&part.data[(10 * 96 + 10) * 4..][..4], part.data[(10 * 96 + 90) * 4 + 3]);
            assert_eq!((&inside[..3], inside[3], outside), (&picture.data[at(10)..][..3], 255, 0));
            assert!(mask.infotext.is_empty() && !picture.infotext.is_empty());
        }
        assert_eq!(all(json!({}), only_masked).len(), 2);
    }
    let mut saved =
        body(json!({"return_mask": true, "return_mask_composite": true, "save_to_dirs": false}), false);
    saved["save_images"] = true.into();
    let reply = server.post("/sdapi/v1/img2img", &quick_with(saved)).ok();
    assert_eq!(reply["images"].as_array().unwrap().len(), 7, "behind a grid");
    let folder = bench.data.path().join("outputs/default/img2img-images");
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 2, "those that were drawn");
    let bare = all(json!({"overlay_inpaint": false}), false);
    let kept = all(json!({}), false);
    let right = |picture: &Picture| picture.data[(10 * 96 + 60) * 3..][..36 * 3].to_vec();
    assert_ne!(right(&bare[0]), right(&kept[0]), "what was kept went through the network too");
    let given = json!({"init_images": [source], "mask": mask});
    let changes = json!({"mask_blur": 0, "steps": 3, "override_settings": {"overlay_inpaint": false}});
    redraws(&server, "img2img", changes, given, &["Inpaint area: Only masked", "Overlay inpaint: False"]);
}

#[test]
fn comments_levels_and_timesteps_are_read_as_options_say() {
    let bench = Bench::new();
    let server = bench.start();
    let of = |prompt: &str, options: Value| {
        draw(&server, "txt2img", json!({"prompt": prompt, "steps": 5, "override_settings": options})).0
    };
    let text = json!({"enable_prompt_comments": false});
    assert!(of("sea # at night", text.clone()).data != of("sea # at night", json!({})).data);
    assert!(of("sea", text.clone()).data == of("sea", json!({})).data);
    let changes = json!({"prompt": "sea # at night", "override_settings": text});
    redraws(&server, "txt2img", changes, json!({}), &["sea # at night", "Prompt comments: False"]);
    // Of an empty prompt, empty chunks beside the first change nothing.
    for (changes, says) in [
        (
            json!({"scheduler": "Karras", "override_settings": {"use_old_karras_scheduler_sigmas": true}}),
            &["Schedule min sigma: 0.1", "Schedule max sigma: 10"][..],
        ),
        (
            json!({"prompt": "sea, ".repeat(60) + "sea", "negative_prompt": "fog",
                "override_settings": {"pad_cond_uncond": true}}),
            &["Pad conds: True"],
        ),
        (
            json!({"prompt": "sea, ".repeat(60) + "sea", "negative_prompt": "fog",
                "override_settings": {"pad_cond_uncond_v0": true}}),
            &["Pad conds v0: True"],
        ),
        (
            json!({"sampler_name": "DDIM", "negative_prompt": "fog, ".repeat(60) + "rain",
                "override_settings": {"pad_cond_uncond_v0": true}}),
            &["Pad conds v0: True"],
        ),
        (
            json!({"scheduler": "Karras", "steps": 5, "override_settings": {"enable_quantization": true}}),
            &["Quantization: True"],
        ),
    ] {
        let mut plain = changes.clone();
        plain["override_settings"] = json!({});
        let drawn = draw(&server, "txt2img", changes.clone()).0;
        assert!(drawn.data != draw(&server, "txt2img", plain).0.data, "{changes}");
        redraws(&server, "txt2img", changes, json!({}), says);
    }
}
