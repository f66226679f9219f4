//! What clients get wrong: each ends in a clear sentence that names the field, and the server goes on.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::support::{Bench, Server, quick, quick_with, request};

#[track_caller]
fn refused(server: &Server, body: &Value, status: u16, part: &str) {
    let reply = server.post("/txt2img", body);
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    assert_eq!(reply.status, status, "{text}");
    let message = reply.json()["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains(part), "{part:?} is not in {message:?}");
    assert!(!reply.json()["requestId"].as_str().unwrap().is_empty());
}

#[test]
fn every_wrong_value_is_refused_with_its_field_and_the_remedy() {
    let bench = Bench::new();
    let server = bench.start();
    let with = |changes: Value| quick_with(changes);
    refused(
        &server,
        &with(json!({"sampler_name": "Eular"})),
        400,
        "\"Eular\" is not a sampler; known: DPM++ 2M",
    );
    refused(&server, &with(json!({"scheduler": "carras"})), 400, "\"carras\" is not a scheduler");
    refused(&server, &with(json!({"width": 65})), 400, "width");
    refused(&server, &with(json!({"height": 100_000})), 400, "height");
    refused(&server, &with(json!({"height": -64})), 400, "height");
    refused(&server, &with(json!({"steps": 0})), 400, "steps");
    refused(&server, &with(json!({"steps": 1_000_000})), 400, "steps");
    refused(&server, &with(json!({"steps": "many"})), 400, "steps must be an integer");
    refused(&server, &with(json!({"cfg_scale": "NaN"})), 400, "cfg_scale must be a finite number");
    refused(&server, &with(json!({"cfg_scale": 1e300})), 400, "cfg_scale");
    refused(
        &server,
        &with(json!({"batch_size": 4_000_000_000_u64, "n_iter": 4_000_000_000_u64})),
        400,
        "batch_size",
    );
    refused(&server, &with(json!({"seed": 1e300})), 400, "seed");
    refused(&server, &with(json!({"alwayson_scripts": {"nobody": {}}})), 400, "nobody");
    refused(&server, &with(json!({"script_name": "x/y/z plot"})), 400, "Script 'x/y/z plot' not found");
    refused(&server, &with(json!({"override_settings": {"sd_modell": 1}})), 400, "sd_modell");
    refused(&server, &with(json!({"override_settings": {"emphasis": 1}})), 400, "emphasis must be a string");
    refused(&server, &with(json!({"stable_diffusion_model": "demo-v9"})), 404, "did you mean \"demo-v3\"?");
    refused(&server, &with(json!({"stable_diffusion_model": "../../etc/passwd"})), 404, "model not found");
    refused(
        &server,
        &with(json!({"stable_diffusion_model": null})),
        400,
        "stable_diffusion_model val not valid",
    );
    // All at once.
    let reply = server.post("/txt2img", &with(json!({"width": 65, "steps": 0, "eta": 7}))).json();
    assert_eq!(reply["errors"].as_array().unwrap().len(), 3, "{reply}");
    assert_eq!(server.post("/txt2img", &quick()).ok()["status"], "succeeded");
}

#[test]
fn a_ten_megabyte_prompt_is_refused_and_a_long_one_within_the_limit_is_drawn() {
    let bench = Bench::new();
    let server = bench.start();
    refused(&server, &quick_with(json!({"prompt": "a ".repeat(5_000_000)})), 400, "prompt");
    let long = "sunset, ".repeat(1_500);
    let result = server.post("/txt2img", &quick_with(json!({"prompt": long, "steps": 1}))).ok();
    assert_eq!(result["status"], "succeeded");
}

#[test]
fn bodies_that_are_not_json_objects_are_refused() {
    let bench = Bench::new().config("[limits]\nbody_bytes_max = 1000000\n");
    let server = bench.start();
    let url = format!("{}/txt2img", server.url);
    let json_type = ("content-type", "application/json");
    let deep = "[".repeat(100_000);
    for body in ["", "{", "[]", "null", "\"text\"", "{\"prompt\": \"\u{0}", deep.as_str()] {
        let reply = request("POST", &url, &[json_type], body.as_bytes().to_vec());
        assert_eq!(reply.status, 400, "{body:.40}");
        assert!(reply.json()["message"].as_str().unwrap().starts_with("bad request body"));
    }
    let form =
        request("POST", &url, &[("content-type", "application/x-www-form-urlencoded")], b"prompt=x".to_vec());
    assert_eq!(form.status, 415);
    let largest = request("POST", &url, &[json_type], vec![b' '; 1_000_000]);
    assert_eq!(largest.status, 400, "it is no JSON, and not too large");
    let large = request("POST", &url, &[json_type], vec![b' '; 1_000_001]);
    assert_eq!(large.status, 413);
    assert!(large.json()["message"].as_str().unwrap().contains("body_bytes_max"));
}

#[test]
fn a_login_takes_no_more_than_a_name_and_a_password() {
    let bench = Bench::new();
    let server = bench.start();
    let url = format!("{}/login", server.url);
    let log_in = |bytes: usize| {
        let body = json!({"userName": "ann", "password": "x"}).to_string();
        request("POST", &url, &[("content-type", "application/json")], format!("{body:bytes$}").into_bytes())
    };
    assert_eq!(log_in(16 * 1024).status, 401);
    let large = log_in(16 * 1024 + 1);
    assert_eq!((large.status, &large.json()["code"]), (413, &json!("too_large")));
}

#[test]
fn a_picture_that_claims_to_be_huge_is_refused_by_its_header() {
    let bench = Bench::new();
    let server = bench.start();
    let mut claims = Vec::new();
    // Nothing but its header, and where pixels would begin.
    let mut header = png::Encoder::new(&mut claims, 60_000, 60_000).write_header().unwrap();
    header.write_chunk(png::chunk::IDAT, &[0x78, 0x9c]).unwrap();
    drop(header);
    let picture = BASE64_STANDARD.encode(claims);
    let peak = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    };
    server.post("/txt2img", &quick()).ok();
    let before = peak();
    for (path, body, status) in [
        ("/img2img", quick_with(json!({"init_images": [picture]})), 400),
        ("/sdapi/v1/img2img", quick_with(json!({"init_images": [picture]})), 422),
        ("/sdapi/v1/png-info", json!({"image": picture}), 422),
        ("/sdapi/v1/extra-single-image", json!({"image": picture, "upscaler_1": "Lanczos"}), 422),
    ] {
        let reply = server.post(path, &body);
        let text = String::from_utf8_lossy(&reply.body);
        assert_eq!(reply.status, status, "{path}: {text}");
        assert!(text.contains("60000 x 60000"), "{path}: {text}");
    }
    // Its pixels would have taken 10 GB.
    assert!(peak() - before < 200, "{} MiB more", peak() - before);
}

#[test]
fn unknown_tasks_are_not_found() {
    let bench = Bench::new();
    let server = bench.start();
    for id in ["nope", "..%2F..", "%00", &"x".repeat(300)] {
        for path in ["result", "progress"] {
            let reply = server.get(&format!("/tasks/{id}/{path}"));
            assert_eq!((reply.status, &reply.json()["message"]), (404, &json!("not found")), "{id}");
        }
        assert_eq!(server.post(&format!("/tasks/{id}/cancellation"), &json!({})).status, 404);
    }
}

#[test]
fn too_many_waiting_tasks_are_refused_with_a_time_to_come_back() {
    let bench = Bench::new().config("concurrent_tasks = 1\nwaiting_tasks_max = 1\n");
    let server = bench.start();
    let long = quick_with(json!({"steps": 150, "width": 256, "height": 256}));
    let mut last = None;
    for _ in 0..4 {
        let reply = server.post_with("/txt2img", &[("Request-Type", "async")], &long);
        if reply.status == 429 {
            last = Some(reply);
            break;
        }
        assert_eq!(reply.status, 200);
    }
    let refused = last.expect("four long tasks were taken where one may wait");
    assert_eq!(refused.header("retry-after"), "5");
    assert_eq!(refused.json()["code"], "overloaded");
}
