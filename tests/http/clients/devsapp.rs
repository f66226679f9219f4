//! A client of the serverless product (devsapp's): a session, then tasks that are followed to their end.

use serde_json::{Value, json};

use super::info;
use crate::http::drawing::{models, png, striped};
use crate::http::redraw::write_adapter;
use crate::support::{Bench, Picture, Reply, Server, decode, eventually, request};

const PASSWORD: &str = "correct horse battery";

/// A server that answers 410 to strangers, as the product does, with one user.
fn start(bench: &Bench) -> Server {
    let server = bench.start();
    let user = json!({"name": "ann", "password": PASSWORD}).to_string();
    assert_eq!(server.admin_json("POST", "/users", &user).status, 201);
    server
}

fn bench() -> Bench {
    Bench::new().config("compat.login_410 = true\n")
}

fn log_in(server: &Server) -> String {
    let opened = server.post("/login", &json!({"userName": "ann", "password": PASSWORD})).ok();
    assert_eq!((&opened["userName"], &opened["message"]), (&json!("ann"), &json!("login success")));
    opened["token"].as_str().unwrap().to_owned()
}

fn get(server: &Server, token: &str, path: &str) -> Reply {
    request("GET", &format!("{}{path}", server.url), &[("token", token)], Vec::new())
}

/// What its requests have in common. Fields of one's own models and folders stand beside the web UI's.
fn drawing(changes: Value) -> Value {
    let mut body = json!({
        "stable_diffusion_model": "demo-v1.safetensors", "sd_vae": "None", "save_dir": "", "batch_size": 1,
        "prompt": "a harbour at dawn", "negative_prompt": "text", "width": 64, "height": 64, "seed": 112_233,
        "steps": 4, "cfg_scale": 7, "sampler_name": "Euler a", "override_settings": {},
    });
    body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    body
}

#[test]
fn a_stranger_is_told_to_log_in_and_the_products_own_spelling_of_names_does() {
    let bench = bench();
    let server = start(&bench);
    for token in ["", "a token of yesterday"] {
        let reply = get(&server, token, "/models");
        assert!(reply.status == 410 && reply.json()["message"].is_string(), "{token}: {}", reply.status);
    }
    let wrong = server.post("/login", &json!({"userName": "ann", "password": "a wrong password"}));
    assert_eq!(wrong.status, 410);
    assert!(wrong.json()["message"].as_str().unwrap().starts_with("login fail"));
    let models = get(&server, &log_in(&server), "/models").ok();
    assert_eq!(
        (&models[0]["type"], &models[0]["name"]),
        (&json!("stableDiffusion"), &json!("demo-v1.safetensors"))
    );
    // Its example writes these names with capitals, sends no type, and the headers of every other request.
    let headers = [("Request-Type", "sync"), ("Task-Flag", "true")];
    let body = json!({"UserName": "ann", "Password": PASSWORD}).to_string().into_bytes();
    let opened = request("POST", &format!("{}/login", server.url), &headers, body).ok();
    assert_eq!(get(&server, opened["token"].as_str().unwrap(), "/models").status, 200);
}

#[test]
fn a_task_is_polled_until_it_has_succeeded_and_its_picture_needs_no_token() {
    let bench = bench();
    let server = start(&bench);
    let token = log_in(&server);
    let headers = [("token", token.as_str()), ("Request-Type", "async")];
    let submitted =
        server.post_with("/txt2img", &headers, &drawing(json!({"steps": 8, "alwayson_scripts": {}}))).ok();
    assert_eq!(submitted["status"], "waiting");
    let id = submitted["taskId"].as_str().unwrap();
    eventually("the task has ended", || {
        let progress = get(&server, &token, &format!("/tasks/{id}/progress")).ok();
        for field in ["etaRelative", "state", "currentImage"] {
            assert!(progress.get(field).is_some(), "{field} is not in {progress}");
        }
        assert_eq!(progress["taskId"], id);
        let fraction = progress["progress"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&fraction), "{progress}");
        fraction == 1.0
    });
    let result = get(&server, &token, &format!("/tasks/{id}/result")).ok();
    assert_eq!((&result["taskId"], &result["status"]), (&json!(id), &json!("succeeded")));
    assert_eq!(result["images"], json!([format!("images/ann/{id}_1.png")]));
    assert_eq!(
        (&result["parameters"]["steps"], &result["parameters"]["alwayson_scripts"]),
        (&json!(8), &json!(""))
    );
    assert_eq!(info(&result)["all_seeds"], json!([112_233]));
    assert_eq!(decode(&server.picture(&result)).width, 64);
    assert_eq!(get(&server, &token, "/tasks/none/progress").status, 404);
}

#[test]
fn what_was_drawn_is_named_by_its_path_in_the_next_request() {
    let models = models();
    write_adapter(&models.path().join("ControlNet/control_v11p_sd15_canny.safetensors"));
    let bench = bench().models_at(models.path()).plugin("plugins", "preprocessors");
    let server = start(&bench);
    let token = log_in(&server);
    let sync = |path: &str, body: &Value| -> (String, Picture) {
        let headers = [("Request-Type", "sync"), ("token", token.as_str())];
        let reply = server.post_with(path, &headers, body).ok();
        assert_eq!(reply["status"], "succeeded");
        let drawn = decode(&server.picture(&reply));
        let id = reply["taskId"].as_str().unwrap();
        let result = get(&server, &token, &format!("/tasks/{id}/result")).ok();
        (result["images"][0].as_str().unwrap().to_owned(), drawn)
    };
    // A unit with every field that the product's page has.
    let unit = json!({
        "image": striped(64, 64), "enabled": true, "module": "canny", "model": "control_v11p_sd15_canny", "weight": 1,
        "resize_mode": "Crop and Resize", "low_vram": false, "processor_res": 512, "threshold_a": 100,
        "threshold_b": 200, "guidance_start": 0, "guidance_end": 1, "pixel_perfect": true, "control_mode": "Balanced",
        "input_mode": "simple", "batch_images": "", "output_dir": "", "loopback": false,
    });
    let (first, from_text) =
        sync("/txt2img", &drawing(json!({"alwayson_scripts": {"controlnet": {"args": [unit]}}})));
    // Numbers in place of the names of modes.
    let unit = json!({
        "image": first, "enabled": true, "module": "canny", "model": "control_v11p_sd15_canny", "weight": 1,
        "resize_mode": 0, "rgbbgr_mode": false, "lowvram": false, "processor_res": 512, "threshold_a": 100,
        "threshold_b": 200, "guidance_start": 0, "guidance_end": 1, "control_mode": 0, "pixel_perfect": true,
    });
    let (second, over_it) = sync(
        "/img2img",
        &drawing(json!({
            "init_images": [first], "mask": png(64, 64, |x, _| if x < 32 { [255; 3] } else { [0; 3] }), "mask_blur": 4,
            "inpainting_mask_invert": 1, "denoising_strength": 1, "inpainting_fill": 2, "inpaint_full_res": false,
            "inpaint_full_res_padding": 32, "resize_mode": 0, "alwayson_scripts": {"controlnet": {"args": [unit]}},
        })),
    );
    assert!(from_text.data != over_it.data, "nothing was drawn over");
    let (_, large) = sync(
        "/extra_images",
        &json!({
            "resize_mode": 0, "show_extras_results": true, "gfpgan_visibility": 0, "codeformer_visibility": 0,
            "codeformer_weight": 0, "upscaling_resize": 4, "upscaler_1": "Lanczos", "upscaler_2": "None",
            "extras_upscaler_2_visibility": 0, "upscale_first": false, "image": second,
        }),
    );
    assert_eq!((large.width, large.height), (256, 256));
}
