//! aiyabot, which draws in Discord: one session with HTTP Basic, and a login page that it takes for granted.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::{component, info, names, picture, png_info};
use crate::http::drawing::{models, striped, write_tensors};
use crate::support::{Bench, Reply, Server, request};

const PASSWORD: &str = "correct horse battery";
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// A server on which the bot has an account.
fn with_account(bench: &Bench) -> Server {
    let server = bench.start();
    let user = json!({"name": "aiya", "password": PASSWORD}).to_string();
    assert_eq!(server.admin_json("POST", "/users", &user).status, 201);
    server
}

/// As its session sends everything; null is no body.
fn call(server: &Server, method: &str, path: &str, body: &Value) -> Reply {
    let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("aiya:{PASSWORD}")));
    let headers = [("authorization", basic.as_str()), ("content-type", "application/json")];
    let url = format!("{}{path}", server.url);
    if body.is_null() {
        return request(method, &url, &headers[..1], Vec::new());
    }
    request(method, &url, &headers, body.to_string().into_bytes())
}

/// Before every drawing: whatever is answered, it goes on.
fn log_in(server: &Server) {
    assert!(call(server, "POST", "/login", &Value::Null).status < 500);
}

#[test]
fn aiyabot_sees_that_a_password_is_wanted_and_starts_with_it() {
    let bench = Bench::new();
    let server = with_account(&bench);
    assert_eq!(server.get("/sdapi/v1/cmd-flags").status, 401);
    assert!(request("HEAD", &server.url, &[], Vec::new()).status < 400);
    let get = |path: &str| call(&server, "GET", path, &Value::Null).ok();
    assert_eq!(get("/sdapi/v1/cmd-flags")["api"], true);
    log_in(&server);
    // With a name and a password for the page of the web UI as well it sends the form of that page.
    let form = format!("username=aiya&password={}", PASSWORD.replace(' ', "+")).into_bytes();
    assert!(request("POST", &format!("{}/login", server.url), &[FORM], form).status < 500);
    assert!(names(&get("/sdapi/v1/samplers"), "name").contains(&"Euler a".to_owned()));
    for list in ["prompt-styles", "face-restorers", "hypernetworks"] {
        assert_eq!(names(&get(&format!("/sdapi/v1/{list}")), "name"), Vec::<String>::new(), "{list}");
    }
    let embeddings = get("/sdapi/v1/embeddings");
    assert!(embeddings["loaded"].is_object() && embeddings["skipped"].is_object(), "{embeddings}");
    assert!(names(&get("/sdapi/v1/upscalers"), "name").contains(&"Lanczos".to_owned()));
    let models = get("/sdapi/v1/sd-models");
    for field in ["title", "model_name", "hash", "filename"] {
        assert!(models[0][field].is_string(), "{field}: {models}");
    }
}

#[test]
fn aiyabot_reads_loras_and_upscalers_from_the_page() {
    let models = models();
    write_tensors(&models.path().join("Lora/style.safetensors"), &[("x.lora_down.weight", &[4, 64], 0.7)]);
    let bench = Bench::new().models_at(models.path());
    let server = with_account(&bench);
    let config = call(&server, "GET", "/config", &Value::Null).ok();
    for (id, name) in
        [("setting_sd_lora", "style"), ("txt2img_hr_upscaler", "Latent"), ("txt2img_hr_upscaler", "Lanczos")]
    {
        let choices = component(&config, id)["choices"].clone();
        assert!(choices.as_array().unwrap().contains(&json!(name)), "{name} is not in {choices}");
    }
}

#[test]
fn aiyabot_chooses_the_checkpoint_draws_twice_and_keeps_the_text_of_each_picture() {
    let bench = Bench::new();
    let server = with_account(&bench);
    let models = call(&server, "GET", "/sdapi/v1/sd-models", &Value::Null).ok();
    log_in(&server);
    let model = json!({"sd_model_checkpoint": models[0]["title"]});
    assert_eq!(call(&server, "POST", "/sdapi/v1/options", &model).status, 200);
    // No style is the style without a name.
    let mut body = json!({
        "prompt": "a lantern in the snow", "negative_prompt": "text", "steps": 3, "width": 64, "height": 64,
        "cfg_scale": "7.0", "sampler_index": "Euler a", "seed": 905_123_441, "seed_resize_from_h": 0,
        "seed_resize_from_w": 0, "denoising_strength": null, "n_iter": 2, "batch_size": 1, "styles": [""],
        "override_settings": {"CLIP_stop_at_last_layers": 1},
    });
    let reply = call(&server, "POST", "/sdapi/v1/txt2img", &body).ok();
    let images = reply["images"].as_array().unwrap();
    assert_eq!(images.len(), 2);
    assert_eq!(info(&reply)["all_seeds"], json!([905_123_441, 905_123_442]));
    for image in images {
        let uri = json!({"image": format!("data:image/png;base64,{}", image.as_str().unwrap())});
        let told = call(&server, "POST", "/sdapi/v1/png-info", &uri).ok()["info"].clone();
        // The prompt, the negative prompt, and the rest in one line, which it takes apart at the commas.
        let lines: Vec<_> = told.as_str().unwrap().lines().collect();
        assert_eq!(lines[..2], ["a lantern in the snow", "Negative prompt: text"]);
        let hash = format!("Model hash: {}", models[0]["hash"].as_str().unwrap());
        for field in ["Steps: 3", "Size: 64x64", "Sampler: Euler a", hash.as_str()] {
            assert!(lines[2].split(", ").any(|known| known == field), "{field} is not in {}", lines[2]);
        }
    }
    // The second pass, with half of the steps, which may be half a step.
    let second = json!({"enable_hr": true, "hr_upscaler": "Latent", "hr_scale": 1, "hr_second_pass_steps": 1.5,
        "denoising_strength": "0.75", "n_iter": 1});
    body.as_object_mut().unwrap().extend(second.as_object().unwrap().clone());
    let reply = call(&server, "POST", "/sdapi/v1/txt2img", &body).ok();
    let drawn = picture(&reply["images"][0]);
    assert_eq!(drawn.width, 64);
    assert!(drawn.infotext.contains("Hires upscaler: Latent"), "{}", drawn.infotext);
}

#[test]
fn aiyabot_draws_over_a_picture_and_enlarges_one() {
    let bench = Bench::new();
    let server = bench.start();
    let body = json!({
        "prompt": "a lantern in the snow", "negative_prompt": "", "steps": 4, "width": 64, "height": 64, "n_iter": 1,
        "cfg_scale": "7.0", "sampler_index": "Euler a", "seed": 7, "seed_resize_from_h": 0, "seed_resize_from_w": 0,
        "styles": [""], "init_images": [striped(64, 64)], "denoising_strength": "0.75",
        "override_settings": {"CLIP_stop_at_last_layers": 1},
    });
    let drawn = server.post("/sdapi/v1/img2img", &body).ok()["images"][0].clone();
    assert!(png_info(&server, &drawn).contains("Denoising strength: 0.75"));
    let body = json!({
        "upscaling_resize": 2.0, "upscaler_1": "Lanczos", "upscaler_2": "None", "extras_upscaler_2_visibility": "0.5",
        "gfpgan_visibility": "0.0", "codeformer_visibility": "0.0", "upscale_first": false,
        "image": format!("data:image/png;base64,{}", drawn.as_str().unwrap()),
    });
    let enlarged = server.post("/sdapi/v1/extra-single-image", &body).ok();
    assert_eq!(picture(&enlarged["image"]).width, 128);
}
