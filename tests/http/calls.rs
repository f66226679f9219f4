//! Routes that are no drawings, as tasks: extras, modules, lists and plugins' own APIs.

use serde_json::{Value, json};

use crate::http::extras::{SINGLE, base64_png, pixels, waves};
use crate::support::{Bench, quick, request};

const ASYNC: [(&str, &str); 1] = [("Request-Type", "async")];

#[test]
fn an_enlargement_becomes_a_task_whose_picture_is_a_path_that_the_next_request_may_name() {
    let bench = Bench::new();
    let server = bench.start();
    let source = waves(24, 16);
    let body = json!({"image": base64_png(&source), "upscaler_1": "Lanczos"});
    let direct = pixels(&server.post(SINGLE, &body).ok()["image"]);
    let submitted = server.post_with(SINGLE, &ASYNC, &body).ok();
    assert_eq!(submitted["status"], "waiting");
    let id = submitted["taskId"].as_str().unwrap();
    let result = server.result(id);
    let path = format!("images/default/{id}_1.png");
    assert_eq!((&result["status"], &result["images"]), (&json!("succeeded"), &json!([path])));
    assert_eq!(
        (&result["answer"]["status"], &result["answer"]["body"]["image"]),
        (&json!(200), &json!(path))
    );
    let info: Value = serde_json::from_str(result["info"].as_str().unwrap()).unwrap();
    assert_eq!(info["image"], path.as_str());
    let picture = crate::support::decode(&server.picture(&result));
    assert_eq!((picture.width, picture.data), (48, direct.data.clone()));
    // Paths and base64 mean the same.
    let again = json!({"image": path, "upscaler_1": "Lanczos", "upscaling_resize": 1});
    assert_eq!(pixels(&server.post(SINGLE, &again).ok()["image"]).data, direct.data);
    let info = server.post("/sdapi/v1/png-info", &json!({"image": path})).ok();
    assert!(info["items"]["postprocessing"].as_str().unwrap().contains("Lanczos"), "{info}");
    let elsewhere = server.post(SINGLE, &json!({"image": "images/ann/x_1.png", "upscaler_1": "Lanczos"}));
    assert_eq!(elsewhere.status, 422, "others' pictures are not there");
}

#[test]
fn a_flagged_call_is_answered_as_ever_and_can_be_looked_up_later() {
    let bench = Bench::new();
    let server = bench.start();
    let reply = server.post_with(
        "/sdapi/v1/png-info",
        &[("Task-Flag", "true"), ("taskId", "mine")],
        &json!({"image": base64_png(&waves(8, 8))}),
    );
    assert_eq!((reply.ok()["info"].clone(), reply.header("taskid")), (json!(""), "mine"));
    assert_eq!(server.result("mine")["answer"]["body"]["items"], json!({}));
    let listed = request("GET", &format!("{}/sdapi/v1/samplers", server.url), &ASYNC, Vec::new()).ok();
    let samplers = server.result(listed["taskId"].as_str().unwrap());
    assert_eq!(samplers["answer"]["body"][0]["name"], "DPM++ 2M");
}

#[test]
fn a_key_is_one_for_each_route() {
    let bench = Bench::new();
    let server = bench.start();
    let headers = [("Task-Flag", "true"), ("Idempotency-Key", "order-4711")];
    let body = json!({"image": base64_png(&waves(8, 8)), "upscaler_1": "Lanczos"});
    let ask = |path: &str, body: &Value| server.post_with(path, &headers, body);
    let first = ask(SINGLE, &body);
    let elsewhere = ask("/sdapi/v1/png-info", &body);
    assert_eq!((first.status, elsewhere.status), (200, 200), "{}", elsewhere.json());
    assert_ne!(first.header("taskid"), elsewhere.header("taskid"));
    let again = ask(SINGLE, &body);
    assert_eq!(
        (again.header("idempotent-replayed"), again.header("taskid")),
        ("true", first.header("taskid"))
    );
    let mut other = body.clone();
    other["upscaling_resize"] = 1.into();
    assert_eq!(ask(SINGLE, &other).status, 422);
    // What is asked behind the route is a part of the request.
    assert_eq!(ask(&format!("{SINGLE}?x=1"), &body).status, 422);
}

#[test]
fn the_result_of_a_call_is_as_the_document_says() {
    let bench = Bench::new();
    let server = bench.start();
    let mut document = server.get("/openapi.json").ok();
    let schema = document["paths"]["/tasks/{id}/result"]["get"]["responses"]["200"]["content"]["application/json"]
        ["schema"]
        .take();
    let whole = json!({"allOf": [schema], "components": document["components"].take()});
    let validator = jsonschema::validator_for(&whole).unwrap();
    let wrong = json!({"image": "no picture", "upscaler_1": "Lanczos"});
    for (path, body) in [("/sdapi/v1/png-info", json!({"image": base64_png(&waves(8, 8))})), (SINGLE, wrong)]
    {
        let submitted = server.post_with(path, &ASYNC, &body).ok();
        let result = server.result(submitted["taskId"].as_str().unwrap());
        let problems: Vec<_> = validator.iter_errors(&result).map(|error| error.to_string()).collect();
        assert!(problems.is_empty(), "{path}: {problems:?} in {result}");
    }
    assert!(!validator.is_valid(&json!({"taskId": 1})), "the schema refuses something");
}

#[test]
fn a_call_that_is_refused_fails_with_the_routes_own_words() {
    let bench = Bench::new();
    let server = bench.start();
    let wrong = json!({"image": "no picture", "upscaler_1": "Lanczos"});
    let direct = server.post(SINGLE, &wrong);
    let id = server.post_with(SINGLE, &ASYNC, &wrong).ok()["taskId"].as_str().unwrap().to_owned();
    let result = server.result(&id);
    assert_eq!((&result["status"], &result["code"]), (&json!("failed"), &json!("refused")));
    assert!(result["message"].as_str().unwrap().starts_with("422"), "{result}");
    assert_eq!(result["answer"]["body"], direct.json());
    let flagged = server.post_with(SINGLE, &[("Task-Flag", "true")], &wrong);
    assert_eq!((flagged.status, flagged.json()), (direct.status, direct.json()));
}

#[test]
fn clients_of_the_serverless_products_proxy_may_be_told_200_of_whatever_it_passed_on() {
    let wide = json!({"width": 60});
    let benches = [Bench::new(), Bench::new().config("compat.passed_on_200 = true\n")];
    let [plain, server] = [benches[0].start(), benches[1].start()];
    let told = server.post("/sdapi/v1/txt2img", &wide).ok();
    let direct = plain.post("/sdapi/v1/txt2img", &wide);
    assert_eq!((direct.status, direct.json()), (422, told));
    assert_eq!(plain.get("/sdapi/v1/none").status, 404);
    assert_eq!(server.get("/sdapi/v1/none").ok(), json!({"detail": "Not Found"}));
    // The dialect's own routes have their own statuses there too.
    assert_eq!(server.post("/txt2img", &wide).status, 400);
    assert_eq!(server.get("/models/none").status, 404);
    let wrong = json!({"image": "no picture", "upscaler_1": "Lanczos"});
    assert_eq!(server.post_with(SINGLE, &[("Task-Flag", "true")], &wrong).status, 200);
    let id = server.post_with(SINGLE, &ASYNC, &wrong).ok()["taskId"].as_str().unwrap().to_owned();
    let result = server.result(&id);
    assert_eq!((&result["status"], &result["answer"]["status"]), (&json!("failed"), &json!(422)));
    let bench = Bench::new().config("access = \"closed\"\ncompat.passed_on_200 = true\n");
    assert_eq!(bench.start().get("/sdapi/v1/samplers").status, 401, "who may not ask is told so");
}

#[test]
fn the_serverless_dialect_enlarges_pictures_as_tasks() {
    let bench = Bench::new();
    let server = bench.start();
    let done = server.post("/txt2img", &quick()).ok();
    let drawn = server.result(done["taskId"].as_str().unwrap())["images"][0].clone();
    let body = json!({"stable_diffusion_model": "demo-v3", "image": drawn, "upscaler_1": "Lanczos", "upscaling_resize": 2});
    let reply = server.post("/extra_images", &body).ok();
    assert_eq!(reply["status"], "succeeded");
    assert_eq!(crate::support::decode(&server.picture(&reply)).width, 128);
    let wrong = server.post("/extra_images", &json!({"image": ""}));
    assert_eq!((wrong.status, &wrong.json()["status"]), (400, &json!("failed")));
}

#[test]
fn the_web_uis_drawing_answers_at_once_where_the_client_does_not_wait() {
    let bench = Bench::new();
    let server = bench.start();
    let submitted = server.post_with("/sdapi/v1/txt2img", &ASYNC, &quick()).ok();
    let result = server.result(submitted["taskId"].as_str().unwrap());
    assert_eq!((&result["status"], result["images"].as_array().unwrap().len()), (&json!("succeeded"), 1));
}

#[test]
fn a_plugins_own_api_may_be_a_task_and_ends_with_its_owners_account() {
    let bench = Bench::new().plugin("plugins", "hello-api").config("concurrent_tasks = 1\n");
    let server = bench.start();
    let direct = server.get("/ext/hello-api/");
    let ask = |headers: &[(&str, &str)]| {
        let all: Vec<_> = ASYNC.iter().chain(headers).copied().collect();
        request("GET", &format!("{}/ext/hello-api/", server.url), &all, Vec::new()).ok()["taskId"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let result = server.result(&ask(&[]));
    let said = &result["answer"]["body"];
    assert_eq!(
        said.as_str().map_or_else(|| said.to_string(), str::to_owned),
        String::from_utf8(direct.body).unwrap()
    );

    // A task that waits while its owner's account goes does nothing any more.
    server.admin_json("POST", "/users", r#"{"name": "ann"}"#);
    let key =
        server.admin_json("POST", "/keys", r#"{"user": "ann"}"#).json()["key"].as_str().unwrap().to_owned();
    let long = crate::support::quick_with(json!({"steps": 150, "width": 256, "height": 256}));
    let headers = [("Request-Type", "async"), ("Token", key.as_str())];
    let busy = server.post_with("/txt2img", &headers, &long).ok()["taskId"].as_str().unwrap().to_owned();
    let id = ask(&[("Token", &key)]);
    server.admin_json("DELETE", "/users/ann", "");
    server.admin("POST", &format!("/tasks/{busy}/cancellation"), Vec::new());
    crate::support::eventually("the task has ended", || {
        server.admin("GET", &format!("/tasks/{id}"), Vec::new()).ok()["code"] == "forbidden"
    });
}

#[test]
fn a_plugins_own_api_is_given_the_pictures_whose_paths_a_task_names() {
    let bench = Bench::new().plugin("plugins", "hello-api");
    let server = bench.start();
    let done = server.post("/txt2img", &quick()).ok();
    let path = server.result(done["taskId"].as_str().unwrap())["images"][0].as_str().unwrap().to_owned();
    let others = "images/ann/abcdefghijklmnopqrstuv_1.png";
    let body = json!({"picture": path, "deep": [{"text": format!("see {path}")}], "others": others});
    let submitted = server.post_with("/ext/hello-api/api/echo", &ASYNC, &body).ok();
    let id = submitted["taskId"].as_str().unwrap();
    let result = server.result(id);
    // What the plugin was given came back from it, and lies in the object store under the task's own name.
    let echo = &result["answer"]["body"]["echo"];
    assert_eq!(echo["picture"], format!("images/default/{id}_1.png"), "{result}");
    assert_eq!(server.picture(&result), server.picture(&done));
    assert_eq!((&echo["deep"], &echo["others"]), (&body["deep"], &body["others"]));
    assert_eq!(result["parameters"]["picture"], path, "the echo of the request is what was said");
}

#[test]
fn a_plugin_that_answers_with_a_path_gets_nobody_the_file() {
    let bench = Bench::new().plugin("guests", "http-misbehaves");
    let server = bench.start();
    let done = server.post("/txt2img", &quick()).ok();
    let id = done["taskId"].as_str().unwrap();
    for path in [format!("images/default/{id}_1.png"), format!("tasks/{id}/details_1.json")] {
        assert!(bench.data.path().join("objects").join(&path).exists(), "{path}");
        let url = format!("{}/ext/http-misbehaves/picture?{path}", server.url);
        let reply = request("GET", &url, &[("Task-Flag", "true")], Vec::new());
        assert_eq!((reply.status, reply.header("content-type")), (200, "image/png"));
        assert_eq!(String::from_utf8_lossy(&reply.body), path, "what the plugin said, and no more");
    }
}

#[test]
fn options_and_memory_may_be_changed_by_tasks() {
    let bench = Bench::new();
    let server = bench.start();
    let change = json!({"CLIP_stop_at_last_layers": 2});
    let submitted = server.post_with("/sdapi/v1/options", &ASYNC, &change).ok();
    let result = server.result(submitted["taskId"].as_str().unwrap());
    assert_eq!((&result["status"], &result["answer"]["body"]), (&json!("succeeded"), &Value::Null));
    assert_eq!(server.get("/sdapi/v1/options").ok()["CLIP_stop_at_last_layers"], 2);
    let flagged = server.post_with("/sdapi/v1/reload-checkpoint", &[("Task-Flag", "true")], &json!(""));
    assert_eq!(flagged.ok(), json!({}));
    assert_eq!(server.result(flagged.header("taskid"))["status"], "succeeded");
    assert_eq!(server.get("/models").ok()[0]["status"], "loaded");
    // What ends a task that runs does so at once.
    let interrupted = server.post_with("/sdapi/v1/interrupt", &ASYNC, &Value::Null);
    assert_eq!((interrupted.ok(), interrupted.header("taskid")), (json!({}), ""));
}

#[test]
fn a_checkpoint_can_be_brought_into_memory_ahead_of_the_first_request() {
    let bench = Bench::new();
    let server = bench.start();
    let reply = server.post("/initialize", &Value::Null);
    assert_eq!((reply.status, String::from_utf8(reply.body).unwrap()), (200, "initialize success".into()));
    assert_eq!(server.get("/models").ok()[0]["status"], "loaded");
}

#[test]
fn the_document_says_which_routes_may_be_tasks() {
    let bench = Bench::new();
    let server = bench.start();
    let document = server.get("/openapi.json").ok();
    let mut tasks = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let is_said = !operation["responses"]["202"].is_null();
            // What changes something is asked only where it becomes a task; drawings are judged before they do.
            if path.contains('{') || path.ends_with("2img") || method != "get" && !is_said {
                continue;
            }
            let body = if method == "get" { Vec::new() } else { b"{}".to_vec() };
            let headers = [("Prefer", "respond-async"), ("content-type", "application/json")];
            let reply = request(&method.to_uppercase(), &format!("{}{path}", server.url), &headers, body);
            assert_eq!(reply.status == 202, is_said, "{method} {path}: {}", reply.status);
            if is_said {
                tasks += 1;
                let links = reply.json()["links"].clone();
                assert_eq!(links["self"], reply.header("location"), "{method} {path}");
            }
        }
    }
    assert!(tasks > 30, "{tasks}");
}
