//! SillyTavern: its own server asks on behalf of the page, with HTTP Basic even where nobody gave a password.

use std::io::Write;
use std::net::TcpStream;

use serde_json::{Value, json};

use super::{names, picture};
use crate::support::{Bench, Reply, Server, eventually, quick_with, request};

/// Of no name and no password.
const NOBODY: (&str, &str) = ("authorization", "Basic ");

fn get(server: &Server, route: &str) -> Value {
    request("GET", &format!("{}/sdapi/v1/{route}", server.url), &[NOBODY], Vec::new()).ok()
}

fn post(server: &Server, route: &str, body: &Value) -> Reply {
    server.post_with(&format!("/sdapi/v1/{route}"), &[NOBODY], body)
}

/// What it waits for after a change of the checkpoint.
fn is_idle(server: &Server) -> bool {
    let progress = get(server, "progress");
    progress["progress"] == 0.0 && progress["state"]["job_count"] == 0
}

#[test]
fn sillytavern_fills_its_menus_and_takes_the_server_for_no_forge() {
    let bench = Bench::new();
    let server = bench.start();
    let options = get(&server, "options");
    assert!(options.get("forge_preset").is_none(), "it would send Forge's options");
    assert_eq!(names(&get(&server, "upscalers"), "name")[0], "None");
    assert_eq!(names(&get(&server, "latent-upscale-modes"), "name").len(), 6);
    assert!(names(&get(&server, "samplers"), "name").contains(&"DPM++ 2M".to_owned()));
    assert!(names(&get(&server, "schedulers"), "name").contains(&"normal".to_owned()));
    // It asks both kinds of web UI for VAEs, and takes the first list.
    for route in ["sd-vae", "sd-modules"] {
        assert_eq!(names(&get(&server, route), "model_name"), Vec::<String>::new(), "{route}");
    }
    let title = options["sd_model_checkpoint"].as_str().unwrap();
    assert_eq!(names(&get(&server, "sd-models"), "title"), [title]);
}

#[test]
fn sillytavern_changes_the_checkpoint_waits_until_nothing_is_drawn_and_draws() {
    let bench = Bench::new();
    let server = bench.start();
    let titles = names(&get(&server, "sd-models"), "title");
    assert_eq!(post(&server, "options", &json!({"sd_model_checkpoint": titles[0]})).status, 200);
    eventually("nothing is drawn", || is_idle(&server));
    // What is for its own server goes along, and what is for other kinds of web UI.
    let body = json!({
        "url": server.url, "auth": "", "prompt": "best quality, sea at night", "negative_prompt": "lowres, blurry",
        "sampler_name": "Euler a", "scheduler": "normal", "steps": 3, "cfg_scale": 7, "width": 64, "height": 64,
        "restore_faces": false, "enable_hr": true, "hr_upscaler": "Latent", "hr_scale": 1.5, "denoising_strength": 0.7,
        "hr_second_pass_steps": 0, "hr_additional_modules": [], "override_settings": {"CLIP_stop_at_last_layers": 1},
        "override_settings_restore_afterwards": true, "clip_skip": 1, "save_images": true, "send_images": true,
        "do_not_save_grid": false, "do_not_save_samples": false,
    });
    let reply = post(&server, "txt2img", &body).ok();
    let drawn = picture(&reply["images"][0]);
    assert_eq!((drawn.width, drawn.height), (96, 96));
    assert_eq!(
        reply["images"].as_array().unwrap().len(),
        1,
        "it shows the first, and a grid would be the first"
    );
    eventually("nothing is drawn", || is_idle(&server));
}

#[test]
fn whoever_closes_sillytaverns_page_stops_the_drawing() {
    let bench = Bench::new();
    let server = bench.start();
    let body = quick_with(json!({"steps": 150, "width": 256, "height": 256})).to_string();
    let length = body.len();
    let head = format!(
        "POST /sdapi/v1/txt2img HTTP/1.1\r\nhost: localhost\r\nauthorization: Basic \r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    let mut stream = TcpStream::connect(server.url.trim_start_matches("http://")).unwrap();
    stream.write_all([head, body].concat().as_bytes()).unwrap();
    eventually("it draws", || !is_idle(&server));
    // An interrupt without a body, and then it hangs up.
    let interrupt = request("POST", &format!("{}/sdapi/v1/interrupt", server.url), &[NOBODY], Vec::new());
    assert_eq!(interrupt.ok(), json!({}));
    drop(stream);
    eventually("nothing is drawn", || is_idle(&server));
    // Whichever of the two came first: it was not drawn to its end.
    let task = server.get("/tasks").ok()["tasks"][0].clone();
    let task = server.get(&format!("/tasks/{}", task["taskId"].as_str().unwrap())).ok();
    let is_interrupted = task["warnings"][0].as_str().is_some_and(|text| text.starts_with("interrupted"));
    assert!(task["status"] == "canceled" || is_interrupted, "{task}");
}
