//! The web UI's shapes, as its clients parse them.

use serde_json::{Value, json};

use crate::support::{Bench, decode, eventually, quick_with, request};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

#[test]
fn txt2img_answers_with_base64_pictures_the_echo_and_info_in_a_string() {
    let bench = Bench::new();
    let server = bench.start();
    let body = quick_with(json!({"batch_size": 2, "sampler_name": "DPM++ 2M Karras", "unknown_field": 1}));
    let reply = server.post("/sdapi/v1/txt2img", &body).ok();
    let images = reply["images"].as_array().unwrap();
    assert_eq!(images.len(), 2);
    let picture = decode(&BASE64_STANDARD.decode(images[1].as_str().unwrap()).unwrap());
    assert!(picture.infotext.contains("Sampler: DPM++ 2M, Schedule type: Karras"), "{}", picture.infotext);
    assert!(picture.infotext.contains("Seed: 2"), "{}", picture.infotext);
    let info: Value = serde_json::from_str(reply["info"].as_str().unwrap()).unwrap();
    assert_eq!(info["all_seeds"], json!([1, 2]));
    assert_eq!(info["infotexts"][1], picture.infotext.as_str());
    assert_eq!(info["sampler_name"], "DPM++ 2M");
    let keys: Vec<_> = reply["parameters"].as_object().unwrap().keys().cloned().collect();
    insta::assert_json_snapshot!("parameters_keys", keys);
    let keys: Vec<_> = info.as_object().unwrap().keys().cloned().collect();
    insta::assert_json_snapshot!("info_keys", keys);
}

#[test]
fn numbers_may_come_as_strings_and_a_random_seed_is_told() {
    let bench = Bench::new();
    let server = bench.start();
    let body = quick_with(
        json!({"steps": "2", "cfg_scale": "5.5", "seed": -1, "send_images": "false", "hr_scale": "2"}),
    );
    let reply = server.post("/sdapi/v1/txt2img", &body).ok();
    assert_eq!(reply["images"], json!([]));
    assert_eq!(reply["parameters"]["steps"], 2);
    let info: Value = serde_json::from_str(reply["info"].as_str().unwrap()).unwrap();
    assert!(info["seed"].as_i64().unwrap() >= 0);
}

#[test]
fn sides_lose_what_is_beyond_a_multiple_of_eight() {
    let bench = Bench::new();
    let server = bench.start();
    let reply = server.post("/sdapi/v1/txt2img", &quick_with(json!({"width": 100, "height": "77"}))).ok();
    let picture = decode(&BASE64_STANDARD.decode(reply["images"][0].as_str().unwrap()).unwrap());
    assert_eq!((picture.width, picture.height), (96, 72));
    assert!(picture.infotext.contains("Size: 96x72"), "{}", picture.infotext);
    assert_eq!((&reply["parameters"]["width"], &reply["parameters"]["height"]), (&json!(96), &json!(72)));
}

#[test]
fn a_request_that_was_written_down_on_the_web_uis_page_is_drawn_by_its_fields() {
    let bench = Bench::new();
    let server = bench.start();
    let panels = json!({
        "Comments": {"args": []}, "Extra options": {"args": []}, "Hypertile": {"args": []},
        "Refiner": {"args": [false, "", 0.8]}, "Sampler": {"args": [20, "DPM++ 2M", "Karras"]},
        "Seed": {"args": [7, false, -1, 0, 0, 0]},
        "Tiled VAE": {"args": [false, 1024, 128, true, true, true, false]},
    });
    let body = quick_with(json!({"alwayson_scripts": panels, "refiner_checkpoint": "None"}));
    let reply = server.post("/sdapi/v1/txt2img", &body).ok();
    let picture = decode(&BASE64_STANDARD.decode(reply["images"][0].as_str().unwrap()).unwrap());
    for part in ["Steps: 3, Sampler: Euler", "Seed: 1,"] {
        assert!(picture.infotext.contains(part), "{part} is not in {}", picture.infotext);
    }
}

#[test]
fn progress_is_zero_when_idle() {
    let bench = Bench::new();
    let server = bench.start();
    let reply = server.get("/sdapi/v1/progress?skip_current_image=true").ok();
    assert_eq!((&reply["progress"], &reply["state"]["job_count"]), (&json!(0.0), &json!(0)));
    assert_eq!(reply["current_image"], Value::Null);
}

#[test]
fn query_parameters_are_read_as_web_uis_read_them() {
    let bench = Bench::new();
    let server = bench.start();
    for word in ["1", "True", "yes", "on", "t", "y", "0", "FALSE", "no", "off", "f", "n"] {
        server.get(&format!("/sdapi/v1/progress?skip_current_image={word}")).ok();
    }
    server.get("/sdapi/v1/progress?skip_current_image=AAA&skip_current_image=true").ok();
    for (query, parameter, kind) in [
        ("/sdapi/v1/progress?skip_current_image=AAA", "skip_current_image", "type_error.bool"),
        ("/sdapi/v1/progress?skip_current_image=", "skip_current_image", "type_error.bool"),
        ("/controlnet/module_list?alias_names=2", "alias_names", "type_error.bool"),
        ("/agent-scheduler/v1/queue?limit=-1", "limit", "type_error.integer"),
        ("/agent-scheduler/v1/history?offset=18446744073709551616", "offset", "type_error.integer"),
    ] {
        let reply = server.get(query);
        assert_eq!(reply.status, 422, "{query}");
        let told = reply.json()["detail"][0].clone();
        assert_eq!((&told["loc"], &told["type"]), (&json!(["query", parameter]), &json!(kind)), "{query}");
        assert!(told["msg"].as_str().unwrap().starts_with(parameter), "{told}");
    }
}

#[test]
fn the_lists_that_fill_a_clients_drop_downs_have_their_shapes() {
    let bench = Bench::new();
    let server = bench.start();
    insta::assert_json_snapshot!("samplers", server.get("/sdapi/v1/samplers").ok());
    insta::assert_json_snapshot!("schedulers", server.get("/sdapi/v1/schedulers").ok());
    insta::assert_json_snapshot!("sd_models", server.get("/sdapi/v1/sd-models").ok());
    insta::assert_json_snapshot!("options", server.get("/sdapi/v1/options").ok());
    insta::assert_json_snapshot!("latent_upscale_modes", server.get("/sdapi/v1/latent-upscale-modes").ok());
    for route in ["sd-vae", "loras", "hypernetworks"] {
        assert_eq!(server.get(&format!("/sdapi/v1/{route}")).ok(), json!([]), "{route}");
    }
}

#[test]
fn an_interrupted_request_answers_with_its_pictures_as_they_are() {
    let bench = Bench::new();
    let server = bench.start();
    let body =
        quick_with(json!({"steps": 150, "width": 256, "height": 256, "batch_size": 2, "enable_hr": true,
        "hr_scale": 2, "denoising_strength": 0.7}));
    std::thread::scope(|scope| {
        let reply = scope.spawn(|| server.post("/sdapi/v1/txt2img", &body).ok());
        eventually("steps are done", || {
            server.get("/sdapi/v1/progress").ok()["state"]["sampling_step"].as_u64() > Some(1)
        });
        assert_eq!(server.post("/sdapi/v1/interrupt", &json!({})).ok(), json!({}));
        let reply = reply.join().unwrap();
        let images = reply["images"].as_array().unwrap();
        assert_eq!(images.len(), 2);
        // Of the first pass, which was under way; the second has not begun.
        let picture = decode(&BASE64_STANDARD.decode(images[0].as_str().unwrap()).unwrap());
        assert_eq!((picture.width, picture.height), (256, 256));
        assert!(picture.infotext.contains("Steps: 150"), "{}", picture.infotext);
        assert!(reply["warnings"][0].as_str().unwrap().starts_with("interrupted"), "{}", reply["warnings"]);
    });
    assert_eq!(
        server.get("/sdapi/v1/progress").ok()["progress"],
        0.0,
        "whoever has the answer finds nothing drawn"
    );
}

#[test]
fn a_skipped_batch_is_drawn_as_far_as_it_was_and_the_others_to_their_end() {
    // So that pictures are the same to the bit whatever is drawn beside them.
    let bench = Bench::new().config("deterministic = true\n");
    let server = bench.start();
    let body = quick_with(json!({"steps": 40, "width": 128, "height": 128, "n_iter": 3}));
    let draw = || server.post("/sdapi/v1/txt2img", &body).ok();
    let whole = draw();
    let skipped = std::thread::scope(|scope| {
        let drawing = scope.spawn(draw);
        eventually("steps are done", || {
            server.get("/sdapi/v1/progress").ok()["state"]["sampling_step"].as_u64() > Some(1)
        });
        assert_eq!(server.post("/sdapi/v1/skip", &json!({})).ok(), Value::Null);
        drawing.join().unwrap()
    });
    let pictures = |reply: &Value| -> Vec<Vec<u8>> {
        let images = reply["images"].as_array().unwrap().iter();
        images.map(|text| decode(&BASE64_STANDARD.decode(text.as_str().unwrap()).unwrap()).data).collect()
    };
    let same: Vec<bool> = pictures(&whole).iter().zip(pictures(&skipped)).map(|(a, b)| *a == b).collect();
    assert_eq!(same, [false, true, true]);
    assert_eq!(whole["warnings"], Value::Null);
    assert!(skipped["warnings"][0].as_str().unwrap().starts_with("skipped"), "{}", skipped["warnings"]);
}

#[test]
fn problems_have_the_validation_shape_and_name_every_field() {
    let bench = Bench::new();
    let server = bench.start();
    let body = json!({"sampler_name": "Eular", "width": 60, "enable_hr": true});
    let reply = server.post("/sdapi/v1/txt2img", &body);
    assert_eq!(reply.status, 422);
    let body = reply.json();
    let mut fields: Vec<_> = body["detail"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| problem["loc"][1].as_str().unwrap())
        .collect();
    fields.sort_unstable();
    // A second pass was asked for, but not how strong.
    assert_eq!(fields, ["denoising_strength", "sampler_name", "width"]);
}

#[test]
fn a_body_that_is_not_an_object_has_the_validation_shape_too() {
    let bench = Bench::new();
    let server = bench.start();
    let url = format!("{}/sdapi/v1/txt2img", server.url);
    let reply = request("POST", &url, &[("content-type", "application/json")], b"{".to_vec());
    assert_eq!((reply.status, &reply.json()["detail"][0]["loc"]), (422, &json!(["body", "body"])));
}

#[test]
fn the_web_uis_own_task_ids_are_taken_and_may_repeat() {
    let bench = Bench::new();
    let server = bench.start();
    for id in ["task(txt2img-ABC1234)", "mine", "mine"] {
        let reply =
            server.post("/sdapi/v1/txt2img", &quick_with(json!({"force_task_id": id, "steps": 1}))).ok();
        assert_eq!(reply["images"].as_array().unwrap().len(), 1, "{id}");
    }
}

#[test]
fn an_id_and_a_key_of_the_headers_mean_what_they_mean_for_tasks() {
    let bench = Bench::new();
    let server = bench.start();
    let body = quick_with(json!({"steps": 1}));
    let draw = |headers: &[(&str, &str)]| server.post_with("/sdapi/v1/txt2img", headers, &body);
    let id = [("taskId", "mine")];
    let drawn = draw(&id);
    assert_eq!((drawn.status, drawn.header("taskid")), (200, "mine"));
    let taken = draw(&id);
    assert_eq!(taken.status, 409, "{}", taken.json());
    let key = [("Idempotency-Key", "order-4711")];
    let first = draw(&key);
    let again = draw(&key);
    assert_eq!((first.header("idempotent-replayed"), again.header("idempotent-replayed")), ("", "true"));
    assert_eq!((again.ok(), again.header("taskid")), (first.ok(), first.header("taskid")));
}

#[test]
fn an_unknown_path_answers_the_body_clients_test_for() {
    let bench = Bench::new();
    let server = bench.start();
    let reply = server.get("/sdapi/v1/no-such-thing");
    assert_eq!((reply.status, reply.json()), (404, json!({"detail": "Not Found"})));
    let reply = server.get("/sdapi/v1/txt2img");
    assert_eq!((reply.status, reply.json()), (405, json!({"detail": "Method Not Allowed"})));
}
