//! The web UI's options, files and lists, as its clients use them.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::support::{Bench, Server, decode, eventually, quick_with};

fn options(server: &Server) -> Value {
    server.get("/sdapi/v1/options").ok()
}

fn infotext(reply: &Value) -> String {
    let info: Value = serde_json::from_str(reply["info"].as_str().unwrap()).unwrap();
    info["infotexts"][0].as_str().unwrap().to_owned()
}

#[test]
fn the_whole_dictionary_may_be_posted_back_with_one_option_changed() {
    let bench = Bench::new();
    let server = bench.start();
    let mut whole = options(&server);
    whole["CLIP_stop_at_last_layers"] = json!(2);
    assert_eq!(server.post("/sdapi/v1/options", &whole).ok(), Value::Null);
    assert_eq!(options(&server), whole);
    let drawn = server.post("/sdapi/v1/txt2img", &quick_with(json!({"stable_diffusion_model": null}))).ok();
    assert!(infotext(&drawn).contains("Clip skip: 2"), "{}", infotext(&drawn));
    // A request's own word wins, and changes nothing that lasts.
    let own = quick_with(json!({"override_settings": {"CLIP_stop_at_last_layers": 1}}));
    let drawn = server.post("/sdapi/v1/txt2img", &own).ok();
    assert!(!infotext(&drawn).contains("Clip skip"), "{}", infotext(&drawn));
    assert_eq!(options(&server), whole);
    drop(server);
    let server = bench.start();
    assert_eq!(options(&server), whole, "options outlive the process");
}

#[test]
fn wrong_options_are_named_and_change_nothing() {
    let bench = Bench::new();
    let server = bench.start();
    let before = options(&server);
    let body = json!({"CLIP_stop_at_last_layers": 2, "sd_model_checkpoint": "no-such", "eta_ddim": "much", "nonsense": 1});
    let reply = server.post("/sdapi/v1/options", &body);
    assert_eq!(reply.status, 422);
    let detail = reply.json()["detail"].to_string();
    for name in ["nonsense", "eta_ddim"] {
        assert!(detail.contains(name), "{detail}");
    }
    let reply = server.post("/sdapi/v1/options", &json!({"sd_model_checkpoint": "no-such"}));
    assert_eq!((reply.status, &reply.json()["detail"][0]["loc"][1]), (422, &json!("sd_model_checkpoint")));
    assert_eq!(options(&server), before);
}

#[test]
fn the_checkpoint_is_chosen_by_title_stem_or_hash() {
    let bench = Bench::new();
    let server = bench.start();
    let models = server.get("/sdapi/v1/sd-models").ok();
    for name in ["title", "model_name", "hash", "sha256", "filename"] {
        let body = json!({"sd_model_checkpoint": models[0][name]});
        assert_eq!(server.post("/sdapi/v1/options", &body).status, 200, "{body}");
        assert_eq!(options(&server)["sd_model_checkpoint"], models[0]["title"]);
    }
}

#[test]
fn options_of_the_serverless_dialect_are_the_same_with_a_version() {
    let bench = Bench::new();
    let server = bench.start();
    assert_eq!(server.get("/options").ok()["version"], 0);
    let reply = server.post("/options", &json!({"data": {"CLIP_stop_at_last_layers": 2}})).ok();
    assert_eq!((&reply["message"], &reply["version"]), (&json!("success"), &json!(1)));
    assert_eq!(options(&server)["CLIP_stop_at_last_layers"], 2);
    assert_eq!(server.post("/options", &json!({"CLIP_stop_at_last_layers": 2})).status, 400);
}

#[test]
fn each_owner_has_options_of_their_own() {
    let bench = Bench::new();
    let server = bench.start();
    let key = |name: &str| {
        server.admin_json("POST", "/users", &json!({"name": name}).to_string());
        let made = server.admin_json("POST", "/keys", &json!({"user": name}).to_string());
        made.json()["key"].as_str().unwrap().to_owned()
    };
    let (ann, bob) = (key("ann"), key("bob"));
    let change = json!({"CLIP_stop_at_last_layers": 2});
    assert_eq!(server.post_with("/sdapi/v1/options", &[("token", &ann)], &change).status, 200);
    let skip = |key: &str| {
        let url = format!("{}/sdapi/v1/options", server.url);
        crate::support::request("GET", &url, &[("token", key)], Vec::new()).ok()["CLIP_stop_at_last_layers"]
            .clone()
    };
    assert_eq!((skip(&ann), skip(&bob)), (json!(2), json!(1)));
}

#[test]
fn pictures_come_in_the_format_that_is_asked_for_with_their_infotext() {
    let bench = Bench::new();
    let server = bench.start();
    for (format, magic, extension) in
        [("jpg", &b"\xff\xd8\xff"[..], "jpg"), ("webp", b"RIFF", "webp"), ("png", b"\x89PNG", "png")]
    {
        let body = quick_with(json!({"override_settings": {"samples_format": format, "jpeg_quality": 90}}));
        let reply = server.post("/sdapi/v1/txt2img", &body).ok();
        let picture = reply["images"][0].as_str().unwrap();
        assert!(BASE64_STANDARD.decode(picture).unwrap().starts_with(magic), "{format}");
        let info = server.post("/sdapi/v1/png-info", &json!({"image": picture})).ok();
        assert_eq!(info["info"].as_str().unwrap(), infotext(&reply), "{format}");
        let done = server.post("/txt2img", &body).ok();
        let id = done["taskId"].as_str().unwrap();
        assert_eq!(server.result(id)["images"][0], format!("images/default/{id}_1.{extension}"));
        assert!(server.picture(&done).starts_with(magic), "{format}");
    }
    let wrong = server
        .post("/sdapi/v1/txt2img", &quick_with(json!({"override_settings": {"samples_format": "tiff"}})));
    assert_eq!(wrong.status, 422);
    // Saved once, it holds for every request, and for pictures that are only enlarged.
    assert_eq!(server.post("/sdapi/v1/options", &json!({"samples_format": "webp"})).status, 200);
    let reply = server.post("/sdapi/v1/txt2img", &quick_with(json!({}))).ok();
    let picture = reply["images"][0].as_str().unwrap();
    assert!(BASE64_STANDARD.decode(picture).unwrap().starts_with(b"RIFF"));
    let extras = json!({"image": picture, "upscaler_1": "Lanczos", "upscaling_resize": 2});
    let enlarged = server.post("/sdapi/v1/extra-single-image", &extras).ok();
    assert!(BASE64_STANDARD.decode(enlarged["image"].as_str().unwrap()).unwrap().starts_with(b"RIFF"));
}

#[test]
fn routes_that_clients_parse_answer_null_or_an_object() {
    let bench = Bench::new();
    let server = bench.start();
    for name in ["checkpoints", "vae", "loras", "embeddings"] {
        let reply = server.post(&format!("/sdapi/v1/refresh-{name}"), &Value::Null);
        assert_eq!((reply.status, reply.json()), (200, Value::Null), "{name}");
    }
    assert_eq!(server.post("/sdapi/v1/skip", &json!("")).ok(), Value::Null);
    // text-generation-webui sends an empty JSON string.
    assert_eq!(server.post("/sdapi/v1/unload-checkpoint", &json!("")).ok(), json!({}));
    assert_eq!(server.post("/sdapi/v1/reload-checkpoint", &json!("")).ok(), json!({}));
    assert_eq!(server.get("/internal/ping").ok(), json!({}));
    assert_eq!(server.get("/sdapi/v1/embeddings").ok(), json!({"loaded": {}, "skipped": {}}));
    for name in ["realesrgan-models", "extensions"] {
        assert_eq!(server.get(&format!("/sdapi/v1/{name}")).ok(), json!([]), "{name}");
    }
    let memory = server.get("/sdapi/v1/memory").ok();
    let ram = |name: &str| memory["ram"][name].as_u64().unwrap();
    assert_eq!(ram("free") + ram("used"), ram("total"));
    assert!(memory["cuda"].is_object());
    let flags = server.get("/sdapi/v1/cmd-flags").ok();
    assert_eq!((&flags["api"], &flags["gradio_auth"]), (&json!(true), &Value::Null));
    assert_eq!(server.post("/sdapi/v1/train/embedding", &json!({})).status, 501);
    let home = server.get("/");
    assert_eq!((home.status, home.header("location")), (307, "/docs"), "browsers are led there");
}

#[test]
fn a_checkpoint_leaves_memory_and_comes_back() {
    let bench = Bench::new();
    let server = bench.start();
    let status = || server.get("/models").ok()[0]["status"].clone();
    let taken = || server.get("/sdapi/v1/memory").ok()["checkpoints"].clone();
    assert_eq!((status(), &taken()["ram"]["used"]), (json!("unloaded"), &json!(0)));
    server.post("/sdapi/v1/reload-checkpoint", &json!("")).ok();
    assert_eq!(status(), "loaded");
    let told = taken();
    assert!(told["ram"]["used"].as_u64().unwrap() > 0, "{told}");
    assert_eq!(told["ram"]["models"], json!({"demo-v3": told["ram"]["used"]}));
    assert!(told["ram"]["bound"].as_u64().unwrap() > told["ram"]["used"].as_u64().unwrap(), "{told}");
    assert_eq!(told["cuda"], Value::Null, "it draws on the processor");
    server.post("/sdapi/v1/unload-checkpoint", &json!("")).ok();
    assert_eq!((status(), &taken()["ram"]["used"]), (json!("unloaded"), &json!(0)));
    server.post("/sdapi/v1/txt2img", &quick_with(json!({}))).ok();
    assert_eq!(status(), "loaded");
}

#[test]
fn a_client_follows_its_task_by_a_name_of_its_own() {
    let bench = Bench::new().config("concurrent_tasks = 1\n");
    let server = bench.start();
    let label = "task(txt2img-ABC1234)";
    let progress = |label: &str| server.post("/internal/progress", &json!({"id_task": label})).ok();
    let unknown = progress(label);
    assert_eq!([&unknown["active"], &unknown["queued"], &unknown["completed"]], [&json!(false); 3]);
    assert_eq!((&unknown["textinfo"], &unknown["id_live_preview"]), (&json!("Waiting..."), &json!(-1)));
    let blocker = server.submit(&quick_with(json!({"steps": 150, "width": 256, "height": 256})));
    let body = quick_with(json!({"force_task_id": label, "steps": 60, "width": 256, "height": 256}));
    std::thread::scope(|scope| {
        let drawing = scope.spawn(|| server.post("/sdapi/v1/txt2img", &body).ok());
        eventually("the task waits", || progress(label)["queued"] == true);
        assert_eq!(progress(label)["textinfo"], "In queue: 1/1");
        assert_eq!(server.get("/internal/pending-tasks").ok(), json!({"size": 1, "tasks": [label]}));
        server.post(&format!("/tasks/{blocker}/cancellation"), &Value::Null).ok();
        eventually("there is a preview", || progress(label)["live_preview"].is_string());
        let live = progress(label);
        assert_eq!(live["active"], true);
        let data = live["live_preview"].as_str().unwrap().strip_prefix("data:image/png;base64,").unwrap();
        assert!(decode(&BASE64_STANDARD.decode(data).unwrap()).width > 0);
        drawing.join().unwrap();
    });
    assert_eq!(progress(label)["completed"], true);
}

#[test]
fn pictures_are_saved_where_people_look_for_them_under_names_that_the_options_form() {
    let bench = Bench::new();
    let server = bench.start();
    let outputs = bench.data.path().join("outputs/default/txt2img-images");
    let files = |folder: &std::path::Path| -> Vec<String> {
        let mut all: Vec<_> = std::fs::read_dir(folder)
            .map(|items| items.map(|item| item.unwrap().file_name().into_string().unwrap()).collect())
            .unwrap_or_default();
        all.sort();
        all
    };
    server.post("/sdapi/v1/txt2img", &quick_with(json!({}))).ok();
    assert_eq!(files(&outputs), Vec::<String>::new(), "nothing is saved unless it is asked for");
    let drawn =
        server.post("/sdapi/v1/txt2img", &quick_with(json!({"save_images": true, "batch_size": 2}))).ok();
    let day = files(&outputs);
    assert_eq!((day.len(), day[0].len()), (1, "2026-01-02".len()));
    assert_eq!(files(&outputs.join(&day[0])), ["00000-1.png", "00001-2.png"]);
    let saved = std::fs::read(outputs.join(&day[0]).join("00001-2.png")).unwrap();
    assert_eq!(
        BASE64_STANDARD.encode(saved),
        drawn["images"][2].as_str().unwrap(),
        "behind the grid and the first"
    );

    let options = json!({"samples_filename_pattern": "../[prompt_words<2>] [seed]", "directories_filename_pattern": "[model_name]/[steps]",
        "save_images_add_number": false, "samples_format": "jpg"});
    assert_eq!(server.post("/sdapi/v1/options", &options).status, 200);
    for _ in 0..2 {
        server.post("/txt2img", &quick_with(json!({"save_images": true}))).ok();
    }
    assert_eq!(files(&outputs.join("demo-v3/3")), ["mountain landscape 1-1.jpg", "mountain landscape 1.jpg"]);
    let wrong = server.post("/sdapi/v1/options", &json!({"save_to_dirs": "maybe"}));
    assert_eq!(wrong.status, 422);
}

#[test]
fn texts_lie_in_pictures_and_beside_them_as_the_options_say() {
    let bench = Bench::new();
    let server = bench.start();
    let draw = |options: Value| {
        let body = quick_with(json!({"save_images": true, "override_settings": options}));
        server.post("/sdapi/v1/txt2img", &body).ok()
    };
    let folder = bench.data.path().join("outputs/default/txt2img-images");
    let drawn = draw(json!({"save_txt": true, "save_to_dirs": false}));
    let saved = folder.join("00000-1-mountain landscape during sunset.png");
    assert!(saved.exists(), "where there are no folders, names tell the prompt");
    let text = std::fs::read_to_string(saved.with_extension("txt")).unwrap();
    assert_eq!(text, infotext(&drawn) + "\n");
    let plain = draw(json!({"enable_pnginfo": false, "samples_save": false, "save_to_dirs": false}));
    assert_eq!(server.post("/sdapi/v1/png-info", &json!({"image": plain["images"][0]})).ok()["info"], "");
    assert!(infotext(&plain).contains("Steps: 3"), "{}", infotext(&plain));
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2, "what was saved the first time");
    // A text that cannot be written costs a warning, and no picture.
    std::fs::create_dir(folder.join("same.txt")).unwrap();
    let named = json!({"save_txt": true, "save_to_dirs": false, "samples_filename_pattern": "same", "save_images_add_number": false});
    let warnings = draw(named)["warnings"].to_string();
    assert!(warnings.contains("the text of default/txt2img-images/same.png"), "{warnings}");
    assert!(folder.join("same.png").is_file());
}

#[test]
fn a_folder_that_cannot_be_written_is_a_warning_and_no_lost_picture() {
    let bench = Bench::new();
    std::fs::write(bench.data.path().join("outputs"), "no folder").unwrap();
    let server = bench.start();
    let drawn = server.post("/sdapi/v1/txt2img", &quick_with(json!({"save_images": true}))).ok();
    assert_eq!(drawn["images"].as_array().unwrap().len(), 1);
    assert!(drawn["warnings"][0].as_str().unwrap().contains("could not be saved"), "{}", drawn["warnings"]);
}
