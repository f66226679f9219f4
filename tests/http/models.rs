//! Models that are registered out of the object store, and functions: what the serverless dialect keeps of checkpoints.
//! Checkpoints that cannot be drawn with.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Bench, Server, checkout, decode, eventually, quick, quick_with};

/// A models folder with one checkpoint, and the same file in the object store.
pub(super) fn bench(models: &Path) -> Bench {
    let demo = checkout().join("examples/demo-model/demo-v3.safetensors");
    std::os::unix::fs::symlink(&demo, models.join("demo-v3.safetensors")).unwrap();
    let bench = Bench::new().models_at(models);
    let objects = bench.data.path().join("objects/models");
    std::fs::create_dir_all(&objects).unwrap();
    std::fs::copy(&demo, objects.join("second.safetensors")).unwrap();
    bench
}

fn register(server: &Server, changes: &Value) -> crate::support::Reply {
    let mut body = json!({"type": "stableDiffusion", "name": "dreamy.safetensors",
        "ossPath": "models/second.safetensors", "etag": ""});
    body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    server.admin_json("POST", "/models", &body.to_string())
}

/// The same checkpoint with so many bytes more, in a tensor that no network reads.
fn with_ballast(file: &[u8], bytes: usize) -> Vec<u8> {
    let (length, rest) = file.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(usize::try_from(u64::from_le_bytes(*length)).unwrap());
    let mut header: Value = serde_json::from_slice(header).unwrap();
    let end = data.len() + bytes;
    header["ballast"] = json!({"dtype": "U8", "shape": [bytes], "data_offsets": [data.len(), end]});
    let header = header.to_string();
    let mut whole = (header.len() as u64).to_le_bytes().to_vec();
    whole.extend_from_slice(header.as_bytes());
    whole.extend_from_slice(data);
    whole.resize(whole.len() + bytes, 0);
    whole
}

fn status(server: &Server, name: &str) -> Value {
    server.get(&format!("/models/{name}")).json()["status"].clone()
}

#[test]
fn one_model_stands_in_a_list_where_clients_expect_that() {
    let bench = Bench::new();
    let model = bench.start().get("/models/demo-v3.safetensors").ok();
    assert_eq!(model["name"], "demo-v3.safetensors");
    let bench = Bench::new().config("compat.model_in_list = true\n");
    let server = bench.start();
    assert_eq!(server.get("/models/demo-v3.safetensors").ok()[0]["name"], model["name"]);
    assert_eq!(server.get("/models/none.safetensors").status, 404);
}

/// The head of a Stable Diffusion XL checkpoint, whose second text encoder tells it.
fn large() -> Vec<u8> {
    let tensor = json!({"dtype": "F16", "shape": [1], "data_offsets": [0, 2]});
    let header = json!({"conditioner.embedders.1.model.ln_final.weight": tensor}).to_string();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 2][..]].concat()
}

const IS_LARGE: &str =
    "large.safetensors: it is a Stable Diffusion XL checkpoint; use a Stable Diffusion 1.x checkpoint";

#[test]
fn a_checkpoint_of_another_family_is_refused_with_what_it_is_and_is_never_the_default() {
    let models = tempfile::tempdir().unwrap();
    let bench = bench(models.path());
    // First by name.
    std::fs::write(models.path().join("a-large.safetensors"), large()).unwrap();
    let place = models.path().to_str().unwrap();
    let server = bench.start();
    server.post("/sdapi/v1/txt2img", &json!({"prompt": "sea", "width": 64, "height": 64, "steps": 1})).ok();
    // Nobody waits for a task to hear of it.
    let ask = |path: &str, changes: &Value| {
        let reply = server.post_with(path, &[("Request-Type", "async")], &quick_with(changes.clone()));
        let told = reply.json();
        assert_eq!(reply.status, 422, "{path} {changes} {told}");
        assert!(told.to_string().contains(IS_LARGE) && !told.to_string().contains(place), "{told}");
        told
    };
    let in_field = |told: &Value, field: &str| {
        let pointer = json!(format!("#/{field}"));
        assert_eq!((&told["code"], &told["errors"][0]["pointer"]), (&json!("unusable_model"), &pointer));
    };
    in_field(&ask("/txt2img", &json!({"stable_diffusion_model": "a-large"})), "stable_diffusion_model");
    for (changes, field) in [
        (json!({"refiner_checkpoint": "a-large", "refiner_switch_at": 0.5}), "refiner_checkpoint"),
        (
            json!({"enable_hr": true, "denoising_strength": 0.5, "hr_checkpoint_name": "a-large"}),
            "hr_checkpoint_name",
        ),
    ] {
        in_field(&ask("/txt2img", &changes), field);
        assert_eq!(ask("/sdapi/v1/txt2img", &changes)["error"], "HTTPException");
    }
    let named = json!({"override_settings": {"sd_model_checkpoint": "a-large"}});
    assert_eq!(ask("/sdapi/v1/txt2img", &named)["error"], "HTTPException");
    let functions = server.get("/list/sdapi/functions").ok()["functions"].as_array().unwrap().clone();
    let drawn_with: Vec<_> = functions.iter().map(|function| &function["model"]).collect();
    assert_eq!(drawn_with, ["demo-v3.safetensors"], "no task of the other has begun");

    let option = json!({"sd_model_checkpoint": "a-large"});
    assert_eq!(server.post("/sdapi/v1/options", &option).status, 422);
    let refused = server.post("/options", &json!({"data": option}));
    assert_eq!(refused.status, 422);
    in_field(&refused.json(), "sd_model_checkpoint");
    std::fs::write(bench.data.path().join("objects/models/large.safetensors"), large()).unwrap();
    register(&server, &json!({"name": "large.safetensors", "ossPath": "models/large.safetensors"})).ok();
    eventually("it is judged", || status(&server, "large.safetensors") == "failed");
    let message = server.get("/models/large.safetensors").ok()["message"].clone();
    assert!(message.as_str().unwrap().contains("it is a Stable Diffusion XL checkpoint"), "{message}");
}

#[test]
fn a_saved_checkpoint_that_became_another_is_refused_and_the_options_are_taken_back() {
    let models = tempfile::tempdir().unwrap();
    let bench = bench(models.path());
    let mine = models.path().join("large.safetensors");
    std::fs::copy(models.path().join("demo-v3.safetensors"), &mine).unwrap();
    let server = bench.start();
    server.post("/sdapi/v1/options", &json!({"sd_model_checkpoint": "large"})).ok();
    server.post("/sdapi/v1/reload-checkpoint", &json!({})).ok();
    std::fs::write(&mine, large()).unwrap();
    let body = json!({"prompt": "sea", "width": 64, "height": 64, "steps": 1});
    for (path, body) in [("txt2img", body), ("reload-checkpoint", json!({}))] {
        let reply = server.post(&format!("/sdapi/v1/{path}"), &body);
        let told = reply.json().to_string();
        assert!(reply.status == 422 && told.contains(IS_LARGE), "{path} {told}");
    }
    // All of them, as clients post them.
    let options = server.get("/sdapi/v1/options").ok();
    assert!(options["sd_model_checkpoint"].as_str().unwrap().starts_with("large.safetensors"), "{options}");
    server.post("/sdapi/v1/options", &options).ok();
    // With nothing else there, what is wrong is no field of a request.
    std::fs::remove_file(models.path().join("demo-v3.safetensors")).unwrap();
    let reply = server.admin("POST", "/initialize", Vec::new());
    let told = reply.json()["message"].clone();
    assert!(reply.status == 503 && told.as_str().unwrap().contains(IS_LARGE), "{told}");
}

#[test]
fn a_model_of_the_object_store_is_registered_drawn_with_and_removed() {
    let models = tempfile::tempdir().unwrap();
    let bench = bench(models.path());
    let mine = models.path().join("mine");
    std::fs::create_dir(&mine).unwrap();
    std::os::unix::fs::symlink(models.path().join("demo-v3.safetensors"), mine.join("own.safetensors"))
        .unwrap();
    let server = bench.start();
    let known = server.get("/models").ok()[0]["etag"].as_str().unwrap().to_owned();
    assert_eq!(register(&server, &json!({"etag": known})).ok()["message"], "register success");
    eventually("the file is there", || status(&server, "dreamy.safetensors") == "unloaded");
    assert_eq!(register(&server, &json!({})).status, 409);
    let body = quick_with(json!({"stable_diffusion_model": "dreamy.safetensors"}));
    assert_eq!(server.post("/txt2img", &body).ok()["status"], "succeeded");
    let model = server.get("/models/dreamy.safetensors").ok();
    assert_eq!((&model["status"], &model["type"]), (&json!("loaded"), &json!("stableDiffusion")));
    assert_eq!(model["ossPath"], "models/second.safetensors");
    assert!(server.stop().success());

    let server = bench.start();
    // Those in folders of other names are still found.
    assert_eq!(server.get("/models").ok().as_array().unwrap().len(), 3);
    let changed = server.admin_json(
        "PUT",
        "/models/dreamy.safetensors",
        &json!({"type": "stableDiffusion", "ossPath": "models/second.safetensors"}).to_string(),
    );
    assert_eq!(changed.ok()["message"], "success");
    eventually("it is copied again", || status(&server, "dreamy.safetensors") == "unloaded");
    server.admin("DELETE", "/models/dreamy.safetensors", Vec::new()).ok();
    let gone = server.get("/models/dreamy.safetensors").ok();
    assert_eq!((&gone["status"], &gone["ossPath"]), (&json!("deleted"), &model["ossPath"]));
    assert_eq!(server.get("/models").ok().as_array().unwrap().len(), 2);
    assert_eq!(server.post("/txt2img", &body).status, 404, "nothing can be drawn with it");
    assert_eq!(server.admin("DELETE", "/models/dreamy.safetensors", Vec::new()).status, 404);
    let left = |name: &str| models.path().join(name).exists();
    assert!(!left("dreamy.safetensors") && !left("Stable-diffusion"));
    // What somebody put there is theirs.
    assert_eq!(server.admin("DELETE", "/models/demo-v3.safetensors", Vec::new()).status, 404);
    assert!(models.path().join("demo-v3.safetensors").exists());
}

#[test]
fn a_model_that_changes_while_it_is_copied_is_the_last_one_and_a_removed_one_does_not_come_back() {
    let models = tempfile::tempdir().unwrap();
    let bench = bench(models.path());
    std::fs::create_dir(models.path().join("Stable-diffusion")).unwrap();
    let large = bench.data.path().join("objects/models/large.safetensors");
    let demo = std::fs::read(checkout().join("examples/demo-model/demo-v3.safetensors")).unwrap();
    std::fs::write(&large, with_ballast(&demo, 39 * demo.len())).unwrap();
    let server = bench.start();
    let from = |path: &str| json!({"type": "stableDiffusion", "ossPath": path}).to_string();
    for _ in 0..3 {
        register(&server, &json!({"ossPath": "models/large.safetensors"})).ok();
        server.admin_json("PUT", "/models/dreamy.safetensors", &from("models/second.safetensors")).ok();
        eventually("the last one is there", || status(&server, "dreamy.safetensors") == "unloaded");
        let file = models.path().join("Stable-diffusion/dreamy.safetensors");
        assert_eq!(std::fs::read(&file).unwrap().len(), demo.len());
        server.admin_json("PUT", "/models/dreamy.safetensors", &from("models/large.safetensors")).ok();
        server.admin("DELETE", "/models/dreamy.safetensors", Vec::new()).ok();
        assert!(!file.exists());
    }
    std::thread::sleep(std::time::Duration::from_millis(500));
    let left: Vec<_> = std::fs::read_dir(models.path().join("Stable-diffusion")).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
    // A copy that the end broke off begins again; a file that somebody laid in its place is theirs.
    register(&server, &json!({"ossPath": "models/large.safetensors"})).ok();
    server.kill();
    let server = bench.start();
    eventually("it is there", || status(&server, "dreamy.safetensors") == "unloaded");
    let file = models.path().join("Stable-diffusion/dreamy.safetensors");
    std::fs::write(&file, "somebody's own").unwrap();
    server.admin("DELETE", "/models/dreamy.safetensors", Vec::new()).ok();
    assert_eq!(std::fs::read(&file).unwrap(), b"somebody's own");
    // Whatever its case: a name stands for one file.
    assert_eq!(register(&server, &json!({"name": "Dreamy.safetensors"})).status, 409);
    assert_eq!(register(&server, &json!({"name": "demo-v3.safetensors"})).status, 409);
    assert_eq!(register(&server, &json!({"name": "a.vae.safetensors"})).status, 400);
}

#[test]
fn a_file_that_cannot_be_used_does_not_take_the_place_of_one_that_can() {
    let models = tempfile::tempdir().unwrap();
    let bench = bench(models.path());
    let objects = bench.data.path().join("objects/models");
    let whole = std::fs::read(objects.join("second.safetensors")).unwrap();
    std::fs::write(objects.join("cut.safetensors"), &whole[..whole.len() / 2]).unwrap();
    let server = bench.start();
    register(&server, &json!({})).ok();
    eventually("the file is there", || status(&server, "dreamy.safetensors") == "unloaded");
    let cut = json!({"type": "stableDiffusion", "ossPath": "models/cut.safetensors"});
    server.admin_json("PUT", "/models/dreamy.safetensors", &cut.to_string()).ok();
    eventually("it is judged", || status(&server, "dreamy.safetensors") == "failed");
    let message = server.get("/models/dreamy.safetensors").ok()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("not a whole model file") && !message.contains("registering"), "{message}");
    let folder = models.path();
    assert_eq!(std::fs::read(folder.join("dreamy.safetensors")).unwrap(), whole, "the old one serves");
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 2, "nothing is left but it and the other");
    let body = quick_with(json!({"stable_diffusion_model": "dreamy.safetensors"}));
    assert_eq!(server.post("/txt2img", &body).ok()["status"], "succeeded");

    let lora = json!({"type": "lora", "name": "sea.safetensors", "ossPath": "models/cut.safetensors"});
    register(&server, &lora).ok();
    eventually("it is judged", || status(&server, "sea.safetensors") == "failed");
    assert!(!models.path().join("Lora/sea.safetensors").exists());
}

#[test]
fn what_cannot_be_registered_is_said_and_a_file_that_is_another_leaves_none() {
    let models = tempfile::tempdir().unwrap();
    let bench = bench(models.path());
    let server = bench.start();
    let wrong = register(
        &server,
        &json!({"type": "stableDiffusion", "name": "../dreamy.safetensors",
        "ossPath": "tasks/t/details_1.json"}),
    );
    assert_eq!(wrong.status, 400);
    let pointers: Vec<_> =
        wrong.json()["errors"].as_array().unwrap().iter().map(|problem| problem["pointer"].clone()).collect();
    assert_eq!(pointers, ["#/name", "#/ossPath"]);
    for (changes, pointer) in [
        (json!({"type": "sd"}), "#/type"),
        (json!({"name": "dreamy.exe"}), "#/name"),
        (json!({"ossPath": "models/none.safetensors"}), "#/ossPath"),
        (json!({"etag": "another"}), "#/etag"),
    ] {
        let reply = register(&server, &changes);
        assert_eq!(
            (reply.status, &reply.json()["errors"][0]["pointer"]),
            (400, &json!(pointer)),
            "{changes}"
        );
    }
    assert_eq!(register(&server, &json!({"etag": "0".repeat(64)})).status, 200);
    eventually("it is found to be another", || status(&server, "dreamy.safetensors") == "failed");
    let message = server.get("/models/dreamy.safetensors").ok()["message"].clone();
    assert!(message.as_str().unwrap().contains("SHA-256"), "{message}");
    assert_eq!(std::fs::read_dir(models.path()).unwrap().count(), 1, "the one that was there");
}

#[test]
fn a_checkpoint_has_a_function_from_its_first_use_whose_timeout_ends_tasks() {
    let bench = Bench::new();
    let server = bench.start();
    assert_eq!(server.get("/list/sdapi/functions").ok(), json!({"status": "success", "functions": []}));
    server.post("/txt2img", &quick()).ok();
    let list = server.get("/list/sdapi/fucntions").ok();
    let function = &list["functions"][0];
    assert_eq!(function["model"], "demo-v3.safetensors");
    // In f32 twice its file, which is in f16.
    assert!(function["memoryBytes"].as_u64().unwrap() > 30 << 20, "{function}");
    assert_eq!(function["gpuMemoryBytes"], 0, "it draws on the processor");
    let name = function["functionName"].as_str().unwrap();
    assert!(name.starts_with("sd_"), "{name}");

    let update = |body: Value| server.admin_json("POST", "/batch_update_sd_resource", &body.to_string());
    let refused = update(json!({"models": ["demo-v3.safetensors"], "memorySize": 8, "timeout": 0}));
    assert_eq!(refused.status, 400);
    assert_eq!(refused.json()["errors"].as_array().unwrap().len(), 2, "{}", refused.json());
    assert_eq!(update(json!({"models": ["none"], "timeout": 1})).status, 400);
    assert_eq!(update(json!({"timeout": 1})).ok(), json!({"status": "success"}));
    let long = quick_with(json!({"steps": 150, "width": 512, "height": 512}));
    let reply = server.post("/txt2img", &long);
    assert_eq!((reply.status, &reply.json()["code"]), (504, &json!("timeout")));

    let delete = |names: Value| {
        server.admin_json("POST", "/del/sd/functions", &json!({"functions": names}).to_string())
    };
    // Its last step goes on for a while, and keeps the checkpoint in memory.
    eventually("the device is idle", || {
        let told = String::from_utf8(server.get("/metrics").body).unwrap();
        told.lines().any(|line| line == "gesso_engine_jobs 0")
    });
    let failed = delete(json!([name, "sd_none"]));
    assert_eq!((failed.status, &failed.json()["fails"][0]["functionName"]), (404, &json!("sd_none")));
    assert_eq!(server.get("/list/sdapi/functions").ok()["functions"], json!([]));
    assert_eq!(server.get("/models/demo-v3.safetensors").ok()["status"], "unloaded");
}

#[test]
fn a_second_pass_has_what_was_set_for_the_checkpoint_that_it_draws_with() {
    let models = super::drawing::models();
    let folder = models.path().join("Stable-diffusion");
    std::fs::copy(folder.join("demo-v3.safetensors"), folder.join("other.safetensors")).unwrap();
    let bench = Bench::new().models_at(models.path());
    let server = bench.start();
    let hires = json!({"enable_hr": true, "denoising_strength": 0.4, "hr_scale": 1.5});
    let mut by_other = hires.clone();
    by_other["hr_checkpoint_name"] = "other".into();
    server.post("/txt2img", &quick_with(json!({"stable_diffusion_model": "other"}))).ok();
    let set = json!({"models": ["other.safetensors"], "gpuMemorySize": 1}).to_string();
    server.admin_json("POST", "/batch_update_sd_resource", &set).ok();
    server.post("/txt2img", &quick_with(hires)).ok();
    let refused = server.post("/txt2img", &quick_with(by_other)).json();
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("96 x 96") && message.contains("may take 1 MiB"), "{refused}");
}

#[test]
fn a_functions_resources_hold_for_its_tasks_until_it_is_deleted() {
    let bench = Bench::new().plugin("guests", "tells-environment");
    let server = bench.start();
    server.post("/txt2img", &quick()).ok();
    let update = |body: Value| server.admin_json("POST", "/batch_update_sd_resource", &body.to_string());
    let wrong = json!({"cpu": 0, "gpuMemorySize": "much", "env": {"A=B": "x", "C": 1}, "instanceType": "x"});
    let refused = update(wrong);
    assert_eq!(refused.status, 400);
    let errors = refused.json()["errors"].as_array().unwrap().clone();
    let pointers: Vec<_> = errors.iter().map(|problem| problem["pointer"].as_str().unwrap()).collect();
    assert_eq!(pointers, ["#/instanceType", "#/cpu", "#/gpuMemorySize", "#/env", "#/env"]);

    let set =
        json!({"models": ["demo-v3.safetensors"], "cpu": 1.0, "gpuMemorySize": 16, "env": {"TONE": "warm"}});
    assert_eq!(update(set).ok(), json!({"status": "success"}));
    let function = server.get("/list/sdapi/functions").ok()["functions"][0].clone();
    assert_eq!((&function["cpu"], &function["gpuMemorySize"]), (&json!(1), &json!(16)));
    assert_eq!(function["env"], json!(["TONE"]), "what they hold is told to nobody");
    let refused = server.post("/txt2img", &quick());
    assert_eq!((refused.status, &refused.json()["code"]), (400, &json!("invalid")));
    let message = refused.json()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("64 x 64") && message.contains("may take 16 MiB"), "{message}");

    // The rest stays as it was.
    update(json!({"gpuMemorySize": 4096})).ok();
    let prompt = || {
        let drawn = decode(&server.picture(&server.post("/txt2img", &quick()).ok()));
        drawn.infotext.lines().next().unwrap_or_default().to_owned()
    };
    assert!(prompt().ends_with("; TONE=warm"), "{}", prompt());
    let names = json!({"functions": [function["functionName"]]}).to_string();
    server.admin_json("POST", "/del/sd/functions", &names).ok();
    assert!(!prompt().contains("TONE"), "{}", prompt());
}
