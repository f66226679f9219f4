//! A client of the serverless product (devsapp's): a session, then tasks that are followed to their end. And the product's own
//! agent, which is a client of the web UI beside it.

use serde_json::{Value, json};

use super::{info, picture};
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
        "stable_diffusion_model": "demo-v3.safetensors", "sd_vae": "None", "save_dir": "", "batch_size": 1,
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
        (&json!("stableDiffusion"), &json!("demo-v3.safetensors"))
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

/// As the agent asks the web UI: no body has a type, and where there is nothing to say there is none; nor are there credentials.
fn beside(server: &Server, method: &str, path: &str, body: &Value) -> Reply {
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    request(method, &format!("{}{path}", server.url), &[], body)
}

#[test]
fn the_products_agent_finds_models_lists_and_an_enlarger_where_it_had_a_web_ui() {
    let bench = Bench::new();
    let server = bench.start();
    let get = |path: &str| beside(&server, "GET", path, &Value::Null).ok();
    // It reads every value of these lists as a text, and takes what stands before the first space of a title for the file.
    let models = get("/sdapi/v1/sd-models");
    for list in [&models, &get("/sdapi/v1/sd-vae")] {
        let entries = list.as_array().unwrap().iter();
        let mut values = entries.flat_map(|entry| entry.as_object().unwrap().values());
        assert!(values.all(|value| value.is_string() || value.is_null()), "{list}");
    }
    assert_eq!(models[0]["title"].as_str().unwrap().split(' ').next(), Some("demo-v3.safetensors"));
    assert!(get("/sdapi/v1/loras").is_array() && get("/controlnet/model_list")["model_list"].is_array());
    for refresh in ["refresh-checkpoints", "refresh-vae"] {
        assert_eq!(beside(&server, "POST", &format!("/sdapi/v1/{refresh}"), &Value::Null).ok(), Value::Null);
    }
    // Whether anything answers at all: a picture that is too small for this server.
    let probe = json!({"prompt": "", "steps": 1, "height": 8, "width": 8});
    assert_eq!(beside(&server, "POST", "/sdapi/v1/txt2img", &probe).status, 422);
    let body = json!({
        "resize_mode": 0, "upscaling_resize": 2, "upscaler_1": "Lanczos", "upscaler_2": "None", "image": striped(64, 64),
    });
    let large = beside(&server, "POST", "/sdapi/v1/extra-single-image", &body).ok();
    assert!(large["html_info"].is_string());
    assert_eq!(picture(&large["image"]).width, 128);
}

#[test]
fn the_products_agent_follows_a_drawing_and_interrupts_it_for_whoever_cancelled_the_task() {
    let bench = Bench::new();
    let server = bench.start();
    let progress = || beside(&server, "GET", "/sdapi/v1/progress", &Value::Null).ok();
    // Its own fields go along, and the checkpoint and the VAE stand among the options too.
    let body = drawing(json!({
        "steps": 150, "width": 256, "height": 256, "alwayson_scripts": {"controlnet": {"args": []}},
        "override_settings": {"sd_model_checkpoint": "demo-v3.safetensors", "sd_vae": "None"},
        "override_settings_restore_afterwards": false,
    }));
    std::thread::scope(|scope| {
        let drawn = scope.spawn(|| beside(&server, "POST", "/sdapi/v1/txt2img", &body).ok());
        eventually("steps are done", || {
            // It reads these into fields of one type each, and null for the picture.
            let told = progress();
            let state = &told["state"];
            assert!(["job", "job_timestamp"].iter().all(|text| state[text].is_string()), "{told}");
            let mut numbers = ["job_count", "job_no", "sampling_step", "sampling_steps"].iter();
            assert!(numbers.all(|number| state[number].is_u64()), "{told}");
            assert!(["interrupted", "skipped"].iter().all(|flag| state[flag].is_boolean()), "{told}");
            assert!(told["progress"].is_f64() && told["eta_relative"].is_f64(), "{told}");
            state["sampling_step"].as_u64() > Some(1)
        });
        assert_eq!(beside(&server, "POST", "/sdapi/v1/interrupt", &Value::Null).ok(), json!({}));
        let reply = drawn.join().unwrap();
        assert_eq!(picture(&reply["images"][0]).width, 256);
        assert_eq!(info(&reply)["all_seeds"], json!([112_233]));
        assert!(reply["parameters"].is_object(), "{reply}");
    });
    // By this it knows that the task has ended.
    assert_eq!(progress()["progress"], 0.0);
}
