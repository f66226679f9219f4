//! The example plugins, which `gesso plugin new` begins with, in a running server.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::events::check_events;
use crate::support::{Bench, Server, decode, quick_with, request};

#[test]
fn every_example_does_what_it_says() {
    let bench = Bench::new();
    let bench = ["annotator", "http-extension", "picture-hook", "request-hook", "script", "step-hook"]
        .iter()
        .chain(&["infotext-hook", "save-hook", "model-hook", "grid-hook", "input-fetcher"])
        .fold(bench, |bench, world| bench.plugin("examples", &format!("example-{world}")));
    let server = bench.start();
    check_examples(&server, "example-http-extension", "posterize", "Several seeds");
    check_events(&server, "example-");
}

/// What the examples of one language do, all in one server.
pub(super) fn check_examples(server: &Server, api: &str, module: &str, script: &str) {
    let reply = server.post(
        "/sdapi/v1/txt2img",
        &quick_with(json!({"prompt": "sea", "script_name": script, "script_args": [2], "seed": 4})),
    );
    let reply = reply.ok();
    let info: Value = serde_json::from_str(reply["info"].as_str().unwrap()).unwrap();
    assert_eq!((&info["all_seeds"], &info["prompt"]), (&json!([4, 5]), &json!("sea, oil on canvas")));
    assert_eq!(reply["images"].as_array().unwrap().len(), 2);
    let text = info["infotexts"][1].as_str().unwrap();
    assert!(text.contains("Brightness: ") && text.contains(" %, Version: "), "{text}");

    let detect = json!({"controlnet_module": module, "controlnet_threshold_a": 2, "controlnet_input_images": [reply["images"][0]]});
    let map = server.post("/controlnet/detect", &detect).ok();
    let map = decode(&BASE64_STANDARD.decode(map["images"][0].as_str().unwrap()).unwrap());
    assert!(map.data.iter().all(|level| [0, 255].contains(level)));

    let named =
        |reference: &str| server.post("/controlnet/detect", &json!({"controlnet_input_images": [reference]}));
    let square = named("colour:ff8800").ok();
    let square = decode(&BASE64_STANDARD.decode(square["images"][0].as_str().unwrap()).unwrap());
    assert_eq!((square.width, square.height), (64, 64));
    assert!(square.data.chunks(3).all(|pixel| pixel == [255, 136, 0]));
    let refused = named("colour:of-the-sea");
    let told = refused.json().to_string();
    assert!(refused.status == 422 && told.contains("colour:of-the-sea names no colour"), "{told}");

    let rescaled = |share: f64| {
        let args = json!({"Guidance rescale": {"args": [share]}});
        let body = quick_with(json!({"cfg_scale": 14, "alwayson_scripts": args}));
        let reply = server.post("/sdapi/v1/txt2img", &body).ok();
        decode(&BASE64_STANDARD.decode(reply["images"][0].as_str().unwrap()).unwrap())
    };
    let (none, whole) = (rescaled(0.0), rescaled(1.0));
    // A hook in JavaScript that changes the request writes 1.0 as 1.
    assert!(whole.infotext.contains("Guidance rescale: [1"), "{}", whole.infotext);
    assert_ne!(none.data, whole.data);

    let url = format!("{}/ext/{api}/", server.url);
    let counted = request("POST", &url, &[("content-type", "text/plain")], b"two words".to_vec());
    assert_eq!(counted.ok(), json!({"words": 2}));
    assert_eq!(request("GET", &url, &[], Vec::new()).status, 405);
}
