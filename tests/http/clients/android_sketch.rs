//! stable_diffusion_sketch, an app of Android's: a sketch becomes a picture. What it sends is JPEG, in lines of base64.

use serde_json::{Value, json};

use super::{bare, names, picture};
use crate::http::drawing::{models, png, write_tensors};
use crate::http::redraw::write_adapter;
use crate::support::{Bench, Reply, Server, quick_with, request};

/// As its library sends JSON, also where there is nothing to say.
const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");

fn post(server: &Server, path: &str, body: &Value) -> Reply {
    request("POST", &format!("{}{path}", server.url), &[JSON], body.to_string().into_bytes())
}

/// Broken after every 76 letters, as the system's encoder does.
fn in_lines(base64: &str) -> String {
    base64.as_bytes().chunks(76).map(|line| String::from_utf8(line.to_vec()).unwrap() + "\n").collect()
}

/// A JPEG to begin with.
fn sketch(server: &Server) -> String {
    let body = quick_with(json!({"override_settings": {"samples_format": "jpg"}}));
    in_lines(server.post("/sdapi/v1/txt2img", &body).ok()["images"][0].as_str().unwrap())
}

/// What every drawing of the app has; the checkpoint goes along with its hash.
fn drawing(server: &Server, changes: Value) -> Value {
    let model = server.get("/sdapi/v1/sd-models").ok()[0].clone();
    let mut body = json!({
        "prompt": "color drawing of a harbour, ", "negative_prompt": "text, ", "seed": -1, "batch_size": 1, "n_iter": 1,
        "steps": 4, "cfg_scale": 7.0, "width": 64, "height": 64, "restore_faces": false, "tiling": false,
        "do_not_save_samples": true, "do_not_save_grid": true, "sampler_name": "Euler a", "scheduler": "Automatic",
        "save_images": false, "override_settings_restore_afterwards": false,
        "override_settings": {
            "CLIP_stop_at_last_layers": 1, "sd_model_checkpoint": model["title"], "sd_checkpoint_hash": model["sha256"],
        },
    });
    body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    body
}

#[test]
fn the_sketch_app_fills_its_menus_and_sends_commands_with_an_empty_object() {
    let models = models();
    write_adapter(&models.path().join("ControlNet/t2iadapter_canny.safetensors"));
    let bench = Bench::new().models_at(models.path()).plugin("plugins", "preprocessors");
    let server = bench.start();
    let get = |path: &str| server.get(path).ok();
    assert_eq!(names(&get("/sdapi/v1/sd-models"), "title").len(), 1);
    assert!(names(&get("/sdapi/v1/samplers"), "name").contains(&"Euler a".to_owned()));
    assert!(names(&get("/sdapi/v1/upscalers"), "name").contains(&"Lanczos".to_owned()));
    assert!(get("/controlnet/model_list")["model_list"][0].as_str().unwrap().contains("canny"));
    // Sliders of a module are what a unit's thresholds are until somebody sets them.
    let canny = get("/controlnet/module_list?alias_names=false")["module_detail"]["canny"].clone();
    assert_eq!(canny["model_free"], false);
    assert_eq!(
        (&canny["sliders"][1]["value"], &canny["sliders"][2]["value"]),
        (&json!(100.0), &json!(200.0))
    );
    let memory = get("/sdapi/v1/memory");
    assert!(memory["ram"]["used"].is_number() && memory["ram"]["total"].is_number(), "{memory}");
    for command in ["refresh-loras", "refresh-checkpoints", "unload-checkpoint", "interrupt"] {
        let reply = post(&server, &format!("/sdapi/v1/{command}"), &json!({}));
        assert!(reply.status == 200 && (reply.json().is_null() || reply.json() == json!({})), "{command}");
    }
}

#[test]
fn the_sketch_app_draws_with_a_lora_a_style_and_a_sketch_that_steers() {
    let models = models();
    let lora = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k";
    write_tensors(
        &models.path().join("Lora/style.safetensors"),
        &[
            (&format!("{lora}.lora_down.weight"), &[4, 64], 0.7),
            (&format!("{lora}.lora_up.weight"), &[64, 4], 0.7),
        ],
    );
    write_adapter(&models.path().join("ControlNet/t2iadapter_canny.safetensors"));
    let bench = Bench::new().models_at(models.path()).plugin("plugins", "preprocessors");
    let styles = "name,prompt,negative_prompt\r\nInk,\"ink lines, {prompt}\",colour\r\n";
    std::fs::write(bench.data.path().join("styles.csv"), styles).unwrap();
    let server = bench.start();
    let loras = names(&server.get("/sdapi/v1/loras").ok(), "name");
    let styles = server.get("/sdapi/v1/prompt-styles").ok();
    assert!(styles[0]["prompt"].is_string() && styles[0]["negative_prompt"].is_string());
    let model = server.get("/controlnet/model_list").ok()["model_list"][0].clone();
    let unit = json!({
        "image": sketch(&server), "module": "canny", "model": model, "weight": 1.0, "resize_mode": "Resize and Fill",
        "low_vram": false, "pixel_perfect": true, "processor_res": -1, "threshold_a": 100.0, "threshold_b": 200.0,
        "enabled": true, "guidance_start": 0.0, "guidance_end": 1.0, "control_mode": "Balanced",
    });
    let body = drawing(
        &server,
        json!({
            "prompt": format!("color drawing of a harbour, <lora:{}:0.5>, ", loras[0]), "styles": [styles[0]["name"]],
            "alwayson_scripts": {"controlnet": {"args": [unit]}},
        }),
    );
    let text = picture(&post(&server, "/sdapi/v1/txt2img", &body).ok()["images"][0]).infotext;
    for part in ["ink lines, color drawing", "Lora hashes: \"style: ", "Module: canny"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn the_sketch_app_repaints_a_part_and_enlarges_the_whole() {
    let bench = Bench::new();
    let server = bench.start();
    let mask = in_lines(&bare(&png(64, 64, |x, _| if x < 32 { [255; 3] } else { [0; 3] })));
    // The longer side is set, the other is reckoned, and so a fraction.
    let body = drawing(
        &server,
        json!({
            "width": 64, "height": 64.0, "init_images": [sketch(&server)], "resize_mode": 1, "denoising_strength": 0.75,
            "mask": mask, "mask_blur": 20, "inpainting_fill": 1, "inpaint_full_res": false,
            "inpaint_full_res_padding": 32, "initial_noise_multiplier": 1,
        }),
    );
    let drawn = post(&server, "/sdapi/v1/img2img", &body).ok()["images"][0].clone();
    assert!(picture(&drawn).infotext.contains("Mask blur: 20"), "{}", picture(&drawn).infotext);
    let mut body = json!({
        "resize_mode": 0, "gfpgan_visibility": 0.0, "codeformer_visibility": 0, "codeformer_weight": 0,
        "upscaling_resize": 4.0, "upscaler_1": "Lanczos", "upscaler_2": "None", "extras_upscaler_2_visibility": 0,
        "upscale_first": true, "image": in_lines(drawn.as_str().unwrap()),
    });
    assert_eq!(picture(&post(&server, "/sdapi/v1/extra-single-image", &body).ok()["image"]).width, 256);
    // What it sends until somebody sets another share; it shows the status.
    body["gfpgan_visibility"] = json!(0.8);
    let refused = post(&server, "/sdapi/v1/extra-single-image", &body);
    assert_eq!((refused.status, &refused.json()["detail"][0]["loc"][1]), (422, &json!("gfpgan_visibility")));
}
