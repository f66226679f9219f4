//! The serverless product's published specification: all of its operations are asked here, and what they answer is held
//! against `serverless-spec.json`, which says where Gesso differs on purpose. An operation, or an answer of one, that is
//! written there and never seen fails the test.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::http::extras::{base64_png, waves};
use crate::http::models;
use crate::support::{Bench, Reply, Server, eventually, quick, quick_with, request};

const PASSWORD: &str = "correct horse battery";

struct Specification {
    document: Value,
    /// Operations and the statuses that they answered with.
    seen: BTreeSet<(String, String)>,
}

impl Specification {
    fn read() -> Self {
        let document = serde_json::from_str(include_str!("serverless-spec.json")).unwrap();
        Self { document, seen: BTreeSet::new() }
    }

    /// Asks an operation, whose path `at` fills, and holds the answer against its schema. Bodies that are taken have to be
    /// right by theirs.
    #[track_caller]
    fn ask(&mut self, server: &Server, (operation, at): (&str, &str), body: &Value, status: u16) -> Value {
        let reply = send(server, operation, at, &[], body);
        let told = String::from_utf8_lossy(&reply.body);
        assert_eq!(reply.status, status, "{operation} {at}: {told}");
        self.hold(operation, body, &reply)
    }

    #[track_caller]
    fn hold(&mut self, operation: &str, body: &Value, reply: &Reply) -> Value {
        let written = &self.document["operations"][operation];
        if reply.status == 200 && !written["request"].is_null() {
            let wrong = self.problems(&written["request"], body);
            assert!(wrong.is_empty(), "the request of {operation}: {wrong:?}");
        }
        let status = reply.status.to_string();
        let wrong = self.problems(&written["responses"][status.as_str()], &reply.json());
        assert!(wrong.is_empty(), "{operation} {status}: {wrong:?} in {}", reply.json());
        self.seen.insert((operation.to_owned(), status));
        reply.json()
    }

    /// What is wrong with a value, each with its place.
    #[track_caller]
    fn problems(&self, schema: &Value, value: &Value) -> Vec<String> {
        assert!(schema.is_object(), "no schema is written for {value}");
        let mut schema = schema.clone();
        schema["$defs"] = self.document["$defs"].clone();
        let validator = jsonschema::validator_for(&schema).unwrap();
        validator.iter_errors(value).map(|error| format!("{} {error}", error.instance_path())).collect()
    }

    fn operations(&self) -> Vec<String> {
        self.document["operations"].as_object().unwrap().keys().cloned().collect()
    }

    /// What is written and was not seen.
    fn unseen(&self) -> Vec<(String, String)> {
        let written = self.document["operations"].as_object().unwrap();
        let all = written.iter().flat_map(|(operation, written)| {
            let statuses = written["responses"].as_object().unwrap().keys();
            statuses.map(|status| (operation.clone(), status.clone()))
        });
        all.filter(|answer| !self.seen.contains(answer)).collect()
    }
}

/// Sends a request to an operation; `at` is what fills its path.
fn send(server: &Server, operation: &str, at: &str, headers: &[(&str, &str)], body: &Value) -> Reply {
    let (method, path) = operation.split_once(' ').unwrap();
    let path = path.replace("{id}", at).replace("{model_name}", at);
    let mut all = vec![("content-type", "application/json")];
    all.extend(headers);
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    request(method, &format!("{}{path}", server.url), &all, body)
}

#[test]
fn every_operation_of_the_published_specification_answers_as_its_schema_says() {
    let mut spec = Specification::read();
    log_in(&mut spec);
    let folder = tempfile::tempdir().unwrap();
    let bench = models::bench(folder.path());
    let server = bench.start();
    register(&mut spec, &server);
    draw(&mut spec, &server);
    settle(&mut spec, &server);
    let unseen = spec.unseen();
    assert!(unseen.is_empty(), "written, and never seen: {unseen:?}");
    assert_eq!(spec.operations().len(), 17);
}

/// With login on: as it is, and as clients of the product may have it.
fn log_in(spec: &mut Specification) {
    for (setting, refused) in [("", 401), ("compat.login_410 = true\n", 410)] {
        let bench = Bench::new().config(&format!("access = \"closed\"\n{setting}"));
        let server = bench.start();
        let ann = json!({"name": "ann", "password": PASSWORD}).to_string();
        assert_eq!(server.admin_json("POST", "/users", &ann).status, 201);
        let login = ("POST /login", "");
        let opened =
            spec.ask(&server, login, &json!({"userName": "ann", "password": PASSWORD}), 200)["token"].clone();
        spec.ask(&server, login, &json!({"userName": "ann", "password": "another"}), refused);
        spec.ask(&server, login, &json!("ann"), 400);
        for operation in spec.operations().iter().filter(|operation| *operation != login.0) {
            let reply = send(&server, operation, "nothing", &[], &Value::Null);
            assert_eq!(reply.status, refused, "{operation}");
            let schema = &spec.document["unauthorized"][refused.to_string().as_str()];
            assert_eq!(spec.problems(schema, &reply.json()), Vec::<String>::new(), "{operation}");
        }
        let token = [("Token", opened.as_str().unwrap())];
        let listed = send(&server, "GET /models", "", &token, &Value::Null);
        spec.hold("GET /models", &Value::Null, &listed);
    }
}

/// Models, from their registration to when they are there.
fn register(spec: &mut Specification, server: &Server) {
    let path = "models/second.safetensors";
    let attributes =
        json!({"type": "stableDiffusion", "name": "dreamy.safetensors", "ossPath": path, "etag": ""});
    let dreamy = "dreamy.safetensors";
    spec.ask(server, ("POST /models", ""), &attributes, 200);
    wait_for(spec, server, dreamy, "unloaded");
    spec.ask(server, ("POST /models", ""), &attributes, 409);
    spec.ask(server, ("POST /models", ""), &json!({"type": "checkpoint"}), 400);
    spec.ask(server, ("GET /models/{model_name}", "none.safetensors"), &Value::Null, 404);
    let change = json!({"type": "stableDiffusion", "ossPath": path});
    spec.ask(server, ("PUT /models/{model_name}", dreamy), &change, 200);
    wait_for(spec, server, dreamy, "unloaded");
    spec.ask(server, ("PUT /models/{model_name}", dreamy), &json!({"type": "lora", "ossPath": path}), 400);
    spec.ask(server, ("PUT /models/{model_name}", "none.safetensors"), &change, 404);
    assert_eq!(spec.ask(server, ("GET /models", ""), &Value::Null, 200).as_array().unwrap().len(), 2);
}

#[track_caller]
fn wait_for(spec: &mut Specification, server: &Server, model: &str, status: &str) {
    let at = ("GET /models/{model_name}", model);
    eventually(status, || spec.ask(server, at, &Value::Null, 200)["status"] == status);
}

/// Drawings and enlargements, and the tasks that they are.
fn draw(spec: &mut Specification, server: &Server) {
    let (txt2img, img2img) = (("POST /txt2img", ""), ("POST /img2img", ""));
    let body = quick_with(json!({"stable_diffusion_model": "dreamy.safetensors", "sd_vae": "None"}));
    let drawn = spec.ask(server, txt2img, &body, 200)["taskId"].as_str().unwrap().to_owned();
    wait_for(spec, server, "dreamy.safetensors", "loaded");
    spec.ask(server, txt2img, &json!({"prompt": "sea"}), 400);
    spec.ask(server, txt2img, &quick_with(json!({"stable_diffusion_model": "none"})), 404);
    let source = base64_png(&waves(64, 64));
    let over = |changes: Value| {
        let mut body = quick_with(json!({"init_images": [source], "denoising_strength": 0.75}));
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        body
    };
    spec.ask(server, img2img, &over(json!({})), 200);
    spec.ask(server, img2img, &quick(), 400);
    spec.ask(server, img2img, &over(json!({"stable_diffusion_model": "none"})), 404);
    let enlarge = json!({"image": source, "upscaler_1": "Lanczos", "upscaling_resize": 2});
    let enlarged = spec.ask(server, ("POST /extra_images", ""), &enlarge, 200)["taskId"].clone();
    spec.ask(server, ("POST /extra_images", ""), &json!({"image": ""}), 400);

    let long = quick_with(json!({"steps": 150, "width": 256, "height": 256}));
    let submitted = send(server, txt2img.0, "", &[("Request-Type", "async")], &long);
    let running = spec.hold(txt2img.0, &long, &submitted)["taskId"].as_str().unwrap().to_owned();
    let (result, progress, cancel) =
        ("GET /tasks/{id}/result", "GET /tasks/{id}/progress", "POST /tasks/{id}/cancellation");
    let (running, drawn) = (running.as_str(), drawn.as_str());
    let mut look = |id: &str, status: u16| {
        spec.ask(server, (result, id), &Value::Null, status);
        spec.ask(server, (progress, id), &Value::Null, status);
    };
    look(running, 200);
    look(drawn, 200);
    look(enlarged.as_str().unwrap(), 200);
    look("none", 404);
    spec.ask(server, (cancel, running), &Value::Null, 200);
    spec.ask(server, (cancel, drawn), &Value::Null, 409);
    spec.ask(server, (cancel, "none"), &Value::Null, 404);
    eventually("it is canceled", || {
        spec.ask(server, (result, running), &Value::Null, 200)["status"] == "canceled"
    });
    spec.ask(server, (progress, running), &Value::Null, 200);
}

/// Options, functions, the end of a model and of the server.
fn settle(spec: &mut Specification, server: &Server) {
    spec.ask(server, ("POST /options", ""), &json!({"data": {"samples_format": "png"}}), 200);
    spec.ask(server, ("POST /options", ""), &json!({"data": {"no_such_option": 1}}), 400);
    let update = ("POST /batch_update_sd_resource", "");
    spec.ask(server, update, &json!({"models": [], "timeout": 600}), 200);
    spec.ask(server, update, &json!({"cpu": 1, "gpuMemorySize": 1024, "env": {"STYLE": "oil"}}), 200);
    spec.ask(server, update, &json!({"memorySize": 8}), 400);
    let functions = spec.ask(server, ("GET /list/sdapi/functions", ""), &Value::Null, 200);
    let name = &functions["functions"][0]["functionName"];
    assert!(name.is_string(), "{functions}");
    spec.ask(server, ("POST /del/sd/functions", ""), &json!({"functions": [name]}), 200);
    spec.ask(server, ("POST /del/sd/functions", ""), &json!({"functions": [name]}), 404);
    wait_for(spec, server, "dreamy.safetensors", "unloaded");
    let remove = ("DELETE /models/{model_name}", "dreamy.safetensors");
    spec.ask(server, remove, &Value::Null, 200);
    wait_for(spec, server, remove.1, "deleted");
    spec.ask(server, remove, &Value::Null, 404);
    spec.ask(server, ("POST /restart", ""), &Value::Null, 200);
}

#[test]
fn an_answer_that_is_not_as_specified_is_found() {
    let spec = Specification::read();
    let drawn = &spec.document["operations"]["POST /txt2img"]["responses"]["200"];
    for (wrong, part) in [
        (json!({"status": "failed"}), "taskId"),
        (json!({"taskId": "a", "status": "done"}), "done"),
        (json!({"taskId": "a", "status": "succeeded"}), "ossUrl"),
        (json!({"taskId": "a", "status": "waiting", "task_id": "a"}), "task_id"),
    ] {
        let problems = spec.problems(drawn, &wrong);
        assert!(problems.len() == 1 && problems[0].contains(part), "{wrong}: {problems:?}");
    }
    assert_eq!(spec.problems(drawn, &json!({"taskId": "a", "status": "waiting"})), Vec::<String>::new());
    let unasked = ("POST /txt2img".to_owned(), "200".to_owned());
    assert!(spec.unseen().contains(&unasked), "{:?}", spec.unseen());
}
