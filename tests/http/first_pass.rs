//! A picture that stands in for what the first of two passes would draw: `firstpass_image`.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::drawing::{difference, draw, png, striped};
use super::scripts;
use crate::support::{Bench, decode, quick, quick_with};

/// The first at 64 x 64, the second at 96 x 96.
fn two_passes(changes: Value) -> Value {
    let mut body = json!({"enable_hr": true, "denoising_strength": 0.6, "hr_scale": 1.5, "hr_upscaler": "Lanczos",
        "hr_second_pass_steps": 4});
    body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    body
}

fn from(picture: &str) -> Value {
    two_passes(json!({"firstpass_image": picture}))
}

#[test]
fn what_the_first_pass_draws_gives_what_both_passes_give() {
    let bench = Bench::new();
    let server = bench.start();
    let made = server.post("/txt2img", &quick()).ok();
    let path = format!("images/default/{}_1.png", made["taskId"].as_str().unwrap());
    let carried = BASE64_STANDARD.encode(server.picture(&made));
    let (both, _) = draw(&server, "txt2img", two_passes(json!({})));
    for picture in [&carried, &format!("data:image/png;base64,{carried}"), &path] {
        let (given, reply) = draw(&server, "txt2img", from(picture));
        assert!(given.data == both.data, "{picture:.40} is not what the first pass is");
        assert_eq!(given.infotext, both.infotext);
        assert_eq!(reply["parameters"]["firstpass_image"], Value::Null);
    }
    let (other, _) = draw(&server, "txt2img", from(&striped(64, 64)));
    assert!(other.data != both.data);
    let task = server.post("/txt2img", &quick_with(from(&path))).ok();
    assert!(decode(&server.picture(&task)).data == both.data, "the dialect of tasks has it too");
}

#[test]
fn a_latent_upscaler_has_its_latent_stretched_to_the_second_size() {
    let bench = Bench::new();
    let server = bench.start();
    let picture = striped(104, 80);
    let body = two_passes(
        json!({"firstpass_image": picture, "hr_upscaler": "Latent", "batch_size": 2, "sampler_name": "Euler a"}),
    );
    let reply = server.post("/sdapi/v1/txt2img", &quick_with(body)).ok();
    let pictures = reply["images"].as_array().unwrap().iter();
    let pictures: Vec<_> =
        pictures.map(|text| decode(&BASE64_STANDARD.decode(text.as_str().unwrap()).unwrap())).collect();
    assert_eq!(pictures.len(), 2);
    assert!(pictures[0].data != pictures[1].data, "one stands in for both, and their seeds differ");
    // Image to image by the latent comes to the same, with as many steps.
    for (seed, given) in (1..).zip(&pictures) {
        let over = json!({"init_images": [picture], "resize_mode": 3, "width": 96, "height": 96, "steps": 4,
            "denoising_strength": 0.6, "sampler_name": "Euler a", "seed": seed,
            "override_settings": {"img2img_fix_steps": true}});
        let apart = difference(given, &draw(&server, "img2img", over).0);
        assert!(apart < 0.5, "seed {seed}: {apart}");
    }
}

#[test]
fn what_it_cannot_stand_in_for_and_what_is_no_picture_is_refused_by_its_field() {
    let bench = Bench::new();
    let server = bench.start();
    let picture = striped(64, 64);
    let nobodys = "images/default/abcdefghijklmnopqrstuv_1.png";
    let mut large = from(&png(8, 2048, |_, _| [90; 3]));
    large.as_object_mut().unwrap().extend([("width".into(), 512.into()), ("height".into(), 512.into())]);
    for (route, body, says) in [
        ("txt2img", json!({"firstpass_image": picture}), "set enable_hr"),
        ("img2img", json!({"init_images": [picture], "firstpass_image": picture}), "set enable_hr"),
        ("txt2img", from("no picture"), "neither base64 text"),
        ("txt2img", from(" "), "is an empty text"),
        ("txt2img", from(nobodys), "there is no picture"),
        ("txt2img", from("https://pictures.example/x.png"), "no active plugin fetches https"),
        ("txt2img", from(&png(4, 64, |_, _| [90; 3])), "is 4 x 64"),
        ("txt2img", large, "whose shape is nearer"),
    ] {
        let reply = server.post(&format!("/sdapi/v1/{route}"), &quick_with(body));
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        assert_eq!(reply.status, 422, "{says}: {text}");
        assert!(text.contains("firstpass_image") && text.contains(says), "{says}: {text}");
    }
}

#[test]
fn what_only_the_first_pass_would_use_is_not_looked_for() {
    let bench = Bench::new();
    let server = bench.start();
    let warnings = |more: Value| {
        let mut body = two_passes(json!({"prompt": "sea <lora:gone:1>", "hr_prompt": "sea"}));
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        draw(&server, "txt2img", body).1["warnings"].to_string()
    };
    assert!(warnings(json!({})).contains("Lora not found"));
    assert!(!warnings(json!({"firstpass_image": striped(64, 64)})).contains("Lora not found"));
}

#[test]
fn a_scripts_drawings_in_two_passes_begin_from_it() {
    let bench = scripts::bench();
    let server = bench.start();
    let picture = striped(64, 64);
    let (alone, _) =
        draw(&server, "txt2img", two_passes(json!({"firstpass_image": picture, "prompt": "sea"})));
    let listed = two_passes(json!({"firstpass_image": picture, "prompt": "",
        "script_name": "Prompts from file or textbox", "script_args": [false, false, "start", "sea"]}));
    let (pictures, _) = scripts::run(&server, "txt2img", listed);
    assert!(pictures[0].data == alone.data, "the script's drawing began from something else");
}
