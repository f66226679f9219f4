//! Pages for language models that draw beside them: text-generation-webui's `sd_api_pictures`, and the page that
//! KoboldCpp brings along.

use serde_json::json;

use super::{info, names, picture};
use crate::support::Bench;

#[test]
fn text_generation_webui_hands_the_device_to_its_language_model_and_back() {
    let bench = Bench::new();
    let server = bench.start();
    // An empty text as JSON is the whole body.
    let hand = |route: &str| server.post(&format!("/sdapi/v1/{route}-checkpoint"), &json!("")).ok();
    let status = || server.get("/models").ok()[0]["status"].clone();
    assert_eq!(hand("unload"), json!({}));
    let chosen = server.get("/sdapi/v1/options").ok()["sd_model_checkpoint"].clone();
    assert_eq!(names(&server.get("/sdapi/v1/sd-models").ok(), "title"), [chosen.as_str().unwrap()]);
    assert_eq!(server.post("/sdapi/v1/options", &json!({"sd_model_checkpoint": chosen})).status, 200);
    assert!(names(&server.get("/sdapi/v1/samplers").ok(), "name").contains(&"DPM++ 2M".to_owned()));
    assert_eq!(hand("reload"), json!({}));
    assert_eq!(status(), "loaded");
    // An upscaler that is not there does not matter while there is no second pass.
    let mut body = json!({
        "prompt": "(sharp:1.1), in colour(a lighthouse in the rain:1)", "seed": -1, "sampler_name": "DPM++ 2M",
        "enable_hr": false, "hr_scale": "1.0", "hr_upscaler": "ESRGAN_4x", "denoising_strength": 0.61, "steps": 3,
        "cfg_scale": 7, "width": 64, "height": 64, "restore_faces": false,
        "override_settings_restore_afterwards": true, "negative_prompt": "(blurry, text:1.3)",
    });
    let reply = server.post("/sdapi/v1/txt2img", &body).ok();
    assert_eq!(reply["images"].as_array().unwrap().len(), 1);
    assert_eq!(picture(&reply["images"][0]).width, 64);
    // Its number fields give fractions.
    for (field, value) in [
        ("enable_hr", json!(true)),
        ("hr_scale", json!("1.5")),
        ("hr_upscaler", json!("Latent")),
        ("seed", json!(7.0)),
    ] {
        body[field] = value;
    }
    let reply = server.post("/sdapi/v1/txt2img", &body).ok();
    assert_eq!(picture(&reply["images"][0]).width, 96);
    assert_eq!(info(&reply)["seed"], 7);
    assert_eq!(hand("unload"), json!({}));
    assert_eq!(status(), "unloaded");
}

#[test]
fn koboldcpp_sends_options_of_many_kinds_with_every_picture_and_draws_over_its_own() {
    let bench = Bench::new();
    let server = bench.start();
    let titles = names(&server.get("/sdapi/v1/sd-models").ok(), "title");
    // By this option it tells a web UI from something else.
    let options = server.get("/sdapi/v1/options").ok();
    assert!(options["samples_format"].is_string(), "{options}");
    assert_eq!(titles, [options["sd_model_checkpoint"].as_str().unwrap()]);
    let mut body = json!({
        "prompt": "a lighthouse in the rain", "negative_prompt": "blurry", "seed": 4711, "sampler_name": "Euler a",
        "batch_size": 1, "n_iter": 1, "steps": 4, "cfg_scale": 7, "width": 64, "height": 64, "enable_hr": false,
        "do_not_save_samples": true, "do_not_save_grid": true, "eta": 0, "s_churn": 0, "s_tmin": 0, "s_tmax": 0,
        "s_noise": 1, "clip_skip": 1,
        "override_settings": {
            "sd_model_checkpoint": titles[0], "CLIP_stop_at_last_layers": 1, "comma_padding_backtrack": 20,
            "ddim_discretize": "uniform", "eta_noise_seed_delta": 0, "img2img_fix_steps": false,
            "initial_noise_multiplier": 1, "inpainting_mask_weight": 1, "sd_hypernetwork": "None",
        },
    });
    let drawn = server.post("/sdapi/v1/txt2img", &body).ok();
    let first = picture(&drawn["images"][0]);
    assert!(first.infotext.contains("Seed: 4711, Size: 64x64"), "{}", first.infotext);
    body["init_images"] = json!([drawn["images"][0]]);
    body["denoising_strength"] = json!(0.6);
    let again = picture(&server.post("/sdapi/v1/img2img", &body).ok()["images"][0]);
    assert!(again.width == 64 && again.data != first.data);
    assert!(again.infotext.contains("Denoising strength: 0.6"), "{}", again.infotext);
}
