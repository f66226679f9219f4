//! Words for pictures, by networks of the models folder: tags and captions, by the route and for scripts.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::drawing::png;
use super::networks::models_with;
use super::scripts::run;
use crate::support::{Bench, Reply, Server, quick_with};

const ROUTE: &str = "/sdapi/v1/interrogate";

fn models() -> TempDir {
    models_with(&[
        ("networks", "tagger", "deepbooru-tiny"),
        ("networks", "captioner", "interrogate-clip-tiny"),
    ])
}

/// One colour, so that no resampling changes it.
fn plain(colour: [u8; 3]) -> String {
    png(40, 24, |_, _| colour)
}

fn warm() -> String {
    plain([230, 130, 20])
}

#[track_caller]
fn caption(server: &Server, picture: &str, model: &str) -> Value {
    server.post(ROUTE, &json!({"image": picture, "model": model})).ok()["caption"].clone()
}

fn refusal(reply: &Reply) -> (u16, String) {
    (reply.status, reply.json()["detail"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_picture_has_tags_as_its_callers_options_write_them() {
    let models = models();
    let bench = Bench::new().models_at(models.path());
    let server = bench.start();
    for model in ["deepdanbooru", "deepbooru"] {
        assert_eq!(caption(&server, &warm(), model), r"green, red \(warm\)");
    }
    let change = |options: &Value| assert_eq!(server.post("/sdapi/v1/options", options).ok(), Value::Null);
    change(&json!({"deepbooru_sort_alpha": false, "deepbooru_escape": false, "deepbooru_use_spaces": false}));
    assert_eq!(caption(&server, &warm(), "deepbooru"), "red_(warm), green");
    change(&json!({"interrogate_return_ranks": true, "deepbooru_filter_tags": "green"}));
    assert_eq!(caption(&server, &warm(), "deepbooru"), "(red_(warm):0.902)");
    change(&json!({"interrogate_deepbooru_score_threshold": 0.95}));
    assert_eq!(caption(&server, &warm(), "deepbooru"), "");
    let refused = server.post("/sdapi/v1/options", &json!({"interrogate_deepbooru_score_threshold": 2}));
    assert_eq!(refused.status, 422, "{}", refused.json());
}

#[test]
fn a_picture_has_a_caption_unless_tags_are_asked_for() {
    let models = models();
    let bench = Bench::new().models_at(models.path());
    let server = bench.start();
    assert_eq!(caption(&server, &warm(), "clip"), "a red picture");
    let reply = server.post(ROUTE, &json!({"image": plain([20, 130, 230])})).ok();
    assert_eq!(reply, json!({"caption": "a blue picture"}));
}

#[test]
fn what_cannot_be_looked_at_is_refused() {
    let models = models_with(&[("networks", "redness", "wd14-redness")]);
    let bench = Bench::new().models_at(models.path());
    let server = bench.start();
    let ask = |body: Value| refusal(&server.post(ROUTE, &body));
    assert_eq!(ask(json!({"model": "clip"})), (404, "Image not found".to_owned()));
    assert_eq!(ask(json!({"image": warm(), "model": "blip"})), (404, "Model not found".to_owned()));
    let (status, says) = ask(json!({"image": warm()}));
    assert_eq!(status, 404);
    assert!(
        says.starts_with("Model not found")
            && says.contains("interrogate-clip*.torchscript into the folder networks"),
        "{says}"
    );
    // A network that says nothing of itself.
    let (status, says) = ask(json!({"image": warm(), "model": "deepbooru"}));
    assert_eq!(status, 500);
    assert!(says.contains("wd14-redness") && says.contains("config.txt"), "{says}");
    std::fs::remove_file(models.path().join("networks/wd14-redness.torchscript")).unwrap();
    let with_tags = models_with(&[("networks", "tagger", "wd14-tiny")]);
    let from = with_tags.path().join("networks/wd14-tiny.torchscript");
    std::fs::copy(from, models.path().join("networks/wd14-tiny.torchscript")).unwrap();
    assert_eq!(caption(&server, &warm(), "deepbooru"), r"green, red \(warm\)");
    let reply = server.post(ROUTE, &json!({"image": "AAAA", "model": "deepbooru"}));
    assert_eq!((reply.status, &reply.json()["detail"][0]["loc"][1]), (422, &json!("image")));
}

#[test]
fn the_tagger_tells_what_tags_score() {
    let models = models_with(&[("networks", "tagger", "wd14-tiny")]);
    let bench = Bench::new().models_at(models.path());
    let server = bench.start();
    assert_eq!(server.get("/tagger/v1/interrogators").ok(), json!({"models": ["wd14-tiny"]}));
    let ask = |body: Value| server.post("/tagger/v1/interrogate", &body);
    let body =
        json!({"image": warm(), "model": "WD14-tiny", "threshold": "0.4", "queue": "", "name_in_queue": ""});
    let told = ask(body).ok()["caption"].clone();
    let tags = told["tag"].as_object().unwrap();
    assert_eq!(tags.keys().collect::<Vec<_>>(), ["red_(warm)", "green"], "the surest first");
    assert!((tags["green"].as_f64().unwrap() - 130.0 / 255.0).abs() < 1e-3, "{told}");
    assert!(told["rating"]["safe"].as_f64().unwrap() > 0.9, "{told}");
    // Without a name it is the only one, and below its threshold there is nothing but the rating.
    let told = ask(json!({"image": warm(), "threshold": 1})).ok()["caption"].clone();
    assert_eq!((&told["tag"], told["rating"].as_object().unwrap().len()), (&json!({}), 1));
    assert_eq!(refusal(&ask(json!({"model": "wd14-tiny"}))), (404, "Image not found".to_owned()));
    let (status, says) = refusal(&ask(json!({"image": warm(), "model": "none"})));
    assert!(status == 404 && says.starts_with("Model not found") && says.contains("wd14-tiny"), "{says}");
    // Some ask for it after each picture, and read the number.
    let dropped = server.post("/tagger/v1/unload-interrogators", &Value::Null).ok();
    assert!(dropped.as_str().unwrap().starts_with("Dropped 0 models"), "{dropped}");
}

#[test]
fn an_interrogation_may_be_a_task() {
    let models = models();
    let bench = Bench::new().models_at(models.path());
    let server = bench.start();
    let body = json!({"image": warm(), "model": "clip"});
    let submitted = server.post_with(ROUTE, &[("Request-Type", "async")], &body).ok();
    let result = server.result(submitted["taskId"].as_str().unwrap());
    assert_eq!(
        (&result["status"], &result["answer"]["body"]),
        (&json!("succeeded"), &json!({"caption": "a red picture"}))
    );
}

/// Loopback with words behind the prompt.
fn loopback(loops: u32, model: &str) -> Value {
    // Every tag is told, whatever is drawn.
    json!({"script_name": "Loopback", "script_args": [loops, 0.2, "Linear", model], "init_images": [warm()],
        "denoising_strength": 0.6, "prompt": "sea", "override_settings": {"interrogate_deepbooru_score_threshold": 0}})
}

#[test]
fn loopback_appends_the_words_for_what_it_draws_over() {
    let models = models();
    let bench = Bench::new().models_at(models.path()).plugin("plugins", "scripts");
    let server = bench.start();
    let (_, info) = run(&server, "img2img", loopback(2, "DeepBooru"));
    let prompt = r"sea, blue, green, red \(warm\)";
    assert_eq!(info["all_prompts"], json!([prompt, prompt]));
    let (_, info) = run(&server, "img2img", loopback(1, "CLIP"));
    assert_eq!(info["all_prompts"], json!(["sea, a red picture"]));
    let (_, info) = run(&server, "img2img", loopback(1, "None"));
    assert_eq!(info["all_prompts"], json!(["sea"]));
}

#[test]
fn words_for_a_script_count_and_a_missing_network_is_named() {
    let models = models_with(&[("networks", "tagger", "deepbooru-tiny")]);
    let bench = Bench::new().models_at(models.path()).plugin("plugins", "scripts");
    let bench = bench.config("[limits]\nscript_jobs_max = 3\n");
    let server = bench.start();
    let refused = |body: Value| {
        let reply = server.post("/sdapi/v1/img2img", &quick_with(body));
        (reply.status, reply.json().to_string())
    };
    // Two drawings and two times words.
    let (status, says) = refused(loopback(2, "DeepBooru"));
    assert_eq!(status, 422);
    assert!(says.contains("script_jobs_max"), "{says}");
    let (status, says) = refused(loopback(1, "CLIP"));
    assert_eq!(status, 422);
    assert!(says.contains("interrogate-clip*.torchscript"), "{says}");
    let (_, info) = run(&server, "img2img", loopback(1, "DeepBooru"));
    assert_eq!(info["all_prompts"].as_array().unwrap().len(), 1);
}
