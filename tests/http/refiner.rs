//! A checkpoint that goes on with another's pictures: when it does, what is told of it, and what is refused.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::drawing::{draw, models, striped};
use super::redraw::{Safetensors, redraws};
use crate::support::{Bench, Server, quick_with};

/// The demo checkpoint, and one that sees noise in nothing.
fn two_checkpoints() -> TempDir {
    let models = models();
    let mut other = Safetensors::demo();
    other.zero("model.diffusion_model.out.2.weight");
    other.write(&models.path().join("Stable-diffusion/other.safetensors"));
    models
}

fn refined(changes: Value) -> Value {
    let mut body = json!({"refiner_checkpoint": "other", "refiner_switch_at": 0.4});
    body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    body
}

fn pixels(server: &Server, changes: Value) -> Vec<u8> {
    draw(server, "txt2img", changes).0.data
}

#[test]
fn a_refiner_draws_the_end_of_a_picture_and_the_text_draws_it_again() {
    let models = two_checkpoints();
    let bench = Bench::new().models_at(models.path());
    let server = bench.start();
    let alone = ["demo-v3", "other"]
        .map(|model| pixels(&server, json!({"override_settings": {"sd_model_checkpoint": model}})));
    let (picture, reply) = draw(&server, "txt2img", refined(json!({})));
    assert!(!alone.contains(&picture.data));
    assert!(picture.infotext.contains("Model: demo-v3, "), "{}", picture.infotext);
    let info: Value = serde_json::from_str(reply["info"].as_str().unwrap()).unwrap();
    assert_eq!(info["sd_model_name"], "demo-v3");
    for (changes, says) in [
        (json!({}), &["Refiner: other [", "Refiner switch at: 0.4"][..]),
        (
            json!({"refiner_switch_at": 0.6, "override_settings": {"refiner_switch_by_sample_steps": true}}),
            &["Refiner switch at: 0.6, Refiner switch by sampling steps: True"],
        ),
        (
            json!({"refiner_checkpoint": "other.safetensors", "sampler_name": "DPM++ SDE"}),
            &["Refiner: other ["],
        ),
        (json!({"sampler_name": "DDIM", "steps": 5, "prompt": "sea AND night"}), &["Refiner: other ["]),
    ] {
        redraws(&server, "txt2img", refined(changes), json!({}), says);
    }
    let given = json!({"init_images": [striped(96, 64)]});
    redraws(&server, "img2img", refined(json!({"denoising_strength": 0.9})), given, &["Refiner: other ["]);
}

#[test]
fn a_refiner_without_a_share_and_a_checkpoints_own_change_nothing() {
    let models = two_checkpoints();
    let bench = Bench::new().models_at(models.path());
    let server = bench.start();
    let (plain, _) = draw(&server, "txt2img", json!({}));
    for changes in [
        json!({"refiner_switch_at": 0}),
        json!({"refiner_switch_at": 1}),
        json!({"refiner_checkpoint": "None"}),
        json!({"refiner_checkpoint": "demo-v3"}),
    ] {
        let (picture, _) = draw(&server, "txt2img", refined(changes.clone()));
        assert!(picture.data == plain.data, "{changes}");
        assert_eq!(picture.infotext, plain.infotext, "{changes}");
    }
}

#[test]
fn of_two_passes_the_second_is_refined_unless_an_option_says_otherwise() {
    let models = two_checkpoints();
    let bench = Bench::new().models_at(models.path());
    let server = bench.start();
    let of = |passes: &str, more: Value| {
        let mut body = refined(json!({
            "enable_hr": true, "denoising_strength": 0.5, "hr_scale": 1.5, "hr_second_pass_steps": 3,
            "override_settings": {"hires_fix_refiner_pass": passes},
        }));
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let none =
        pixels(&server, of("second pass", json!({"refiner_checkpoint": null, "refiner_switch_at": null})));
    let [first, second, both] =
        ["first pass", "second pass", "both passes"].map(|passes| pixels(&server, of(passes, json!({}))));
    let all = [&none, &first, &second, &both];
    for (index, picture) in all.iter().enumerate() {
        assert!(all[..index].iter().all(|other| other != picture), "{index}");
    }
    assert!(pixels(&server, of("second pass", json!({"override_settings": {}}))) == second);
    for (passes, says) in [("both passes", "Hires refiner: both passes"), ("second pass", "Refiner: other [")]
    {
        redraws(&server, "txt2img", of(passes, json!({})), json!({}), &[says]);
    }
    // Nobody goes on with a first pass that is not drawn.
    let given = json!({"firstpass_image": striped(64, 64)});
    let (picture, _) = draw(&server, "txt2img", of("first pass", given));
    assert!(!picture.infotext.contains("Refiner"), "{}", picture.infotext);
    // A second pass on the refiner itself has nobody to go over to.
    let (picture, _) = draw(&server, "txt2img", of("second pass", json!({"hr_checkpoint_name": "other"})));
    assert!(!picture.infotext.contains("Refiner"), "{}", picture.infotext);
}

#[test]
fn a_refiner_that_is_not_there_is_refused_at_once_by_its_field() {
    let models = two_checkpoints();
    let bench = Bench::new().models_at(models.path());
    let server = bench.start();
    for (changes, says) in [
        (json!({"refiner_checkpoint": "othr"}), "did you mean \\\"other\\\""),
        (json!({"refiner_switch_at": null}), "refiner_switch_at is needed"),
        (json!({"refiner_switch_at": 1.5}), "refiner_switch_at must be a number between 0 and 1"),
        (
            json!({"override_settings": {"hires_fix_refiner_pass": "none"}}),
            "hires_fix_refiner_pass must be one of",
        ),
    ] {
        let reply = server.post("/sdapi/v1/txt2img", &quick_with(refined(changes.clone())));
        assert_eq!(reply.status, 422, "{changes}");
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        assert!(text.contains(says), "{changes}: {text}");
    }
}
