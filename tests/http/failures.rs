//! How the web UI's dialect tells of failures, in both forms that `compat.webui_errors` names.

use serde_json::{Value, json};

use super::drawing::{striped, write_tensors};
use super::networks::models_with;
use crate::support::{Bench, quick_with};

#[track_caller]
fn fails_in_the_form_of(config: &str, is_forge: bool) {
    let models = models_with(&[("networks", "redness", "wd14-redness")]);
    write_tensors(&models.path().join("ControlNet/odd.safetensors"), &[("x", &[2], 1.0)]);
    let bench = Bench::new().models_at(models.path()).config(config);
    let server = bench.start();
    let unit = json!({"model": "odd", "image": striped(64, 64)});
    let odd = quick_with(json!({"alwayson_scripts": {"controlnet": {"args": [unit]}}}));
    let tags = json!({"image": striped(64, 64), "model": "deepbooru"});
    for (route, body, status, class, part) in [
        ("img2img", json!({}), 404, "HTTPException", "Init image not found"),
        ("txt2img", odd, 422, "HTTPException", "odd"),
        // A network that says nothing of itself, which nobody named.
        ("interrogate", tags, 500, "RuntimeError", "config.txt"),
        // The answer of a route that is written down comes from a task of its own.
        ("server-kill", json!({}), 501, "NotImplementedError", "operator"),
    ] {
        let reply = server.post(&format!("/sdapi/v1/{route}"), &body);
        let told = reply.json();
        assert_eq!(reply.status, status, "{told}");
        let detail = told["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(part), "{told}");
        let mut expected = json!({"detail": detail});
        if !is_forge {
            expected["error"] = class.into();
            expected["errors"] = detail.into();
            if status != 501 {
                expected["body"] = "".into();
            }
        }
        assert_eq!(told, expected);
        assert_eq!(reply.header("x-process-time").is_empty(), is_forge, "{route}");
    }

    // Neither of these has another form.
    for (route, body) in [
        ("/sdapi/v1/txt2img", json!({"width": 60})),
        ("/controlnet/detect", json!({"controlnet_module": "canny"})),
    ] {
        let wrong = server.post(route, &body);
        assert_eq!(wrong.status, 422, "{}", wrong.json());
        let problem = &wrong.json()["detail"][0];
        assert_eq!((&problem["loc"][0], &problem["type"]), (&json!("body"), &json!("value_error")));
    }
    let unknown = server.get("/controlnet/no-such-thing");
    assert_eq!((unknown.status, unknown.json()), (404, json!({"detail": "Not Found"})));
    // Another dialect's are its own.
    let own = server.get("/tasks/none");
    assert_eq!((own.status, &own.json()["code"]), (404, &Value::from("not_found")));
}

#[test]
fn failures_are_told_as_a1111_has_them() {
    fails_in_the_form_of("", false);
    fails_in_the_form_of("compat.webui_errors = \"a1111\"\n", false);
}

#[test]
fn failures_are_told_as_forge_has_them_where_the_settings_say_so() {
    fails_in_the_form_of("compat.webui_errors = \"forge\"\n", true);
}
