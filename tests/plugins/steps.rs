//! Plugins that act within the sampler's steps: the example does what its paper says, and one that misbehaves costs its own
//! drawing at most.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::support::{Bench, Picture, Server, decode, quick_with};

/// The picture, and all that was answered.
fn drawn(server: &Server, changes: Value) -> (Picture, Value) {
    let reply = server.post("/sdapi/v1/txt2img", &quick_with(changes)).ok();
    (decode(&BASE64_STANDARD.decode(reply["images"][0].as_str().unwrap()).unwrap()), reply)
}

/// The standard deviation of all levels.
fn contrast(picture: &Picture) -> f64 {
    let count = picture.data.len() as f64;
    let mean = picture.data.iter().map(|level| f64::from(*level)).sum::<f64>() / count;
    (picture.data.iter().map(|level| (f64::from(*level) - mean).powi(2)).sum::<f64>() / count).sqrt()
}

#[test]
fn the_example_brings_contrast_back_by_the_share_that_is_asked_for() {
    let bench = Bench::new().plugin("examples", "example-step-hook");
    let server = bench.start();
    // In one step, which is what the hook left of guidance: of later steps the checkpoint makes what it will.
    let with = |share: Value| json!({"cfg_scale": 14, "steps": 1, "alwayson_scripts": {"guidance rescale": {"args": share}}});
    let (plain, _) = drawn(&server, json!({"cfg_scale": 14, "steps": 1}));
    let (none, _) = drawn(&server, with(json!([0])));
    assert_eq!(none.data, plain.data, "a share of nothing changes nothing");
    let (half, _) = drawn(&server, with(json!({"Share": 0.5})));
    let (whole, reply) = drawn(&server, with(json!([1])));
    let contrasts = [&plain, &half, &whole].map(contrast);
    assert!(contrasts.is_sorted_by(|a, b| *a > b + 1.0), "{contrasts:?}");
    assert!(whole.infotext.contains("Guidance rescale: [1]"), "{}", whole.infotext);
    assert!(reply["info"].as_str().unwrap().contains("Guidance rescale: [1]"), "{}", reply["info"]);
    assert!(!plain.infotext.contains("Guidance rescale"));

    // Clients find it, with what it takes.
    let titles = server.get("/sdapi/v1/scripts").ok();
    assert!(titles["txt2img"].as_array().unwrap().contains(&json!("guidance rescale")), "{titles}");
    let infos = server.get("/sdapi/v1/script-info").ok();
    let entry = infos.as_array().unwrap().iter().find(|entry| entry["name"] == "guidance rescale").unwrap();
    assert_eq!((&entry["is_alwayson"], &entry["args"][0]["label"]), (&json!(true), &json!("Share")));
    // What it takes no part in says so in words.
    let wrong = server.post("/sdapi/v1/txt2img", &quick_with(with(json!(["much"]))));
    assert!(
        wrong.status == 422 && wrong.json().to_string().contains("must be a number between 0 and 1"),
        "{}",
        wrong.json()
    );
}

#[test]
fn a_hook_that_misbehaves_fails_its_drawing_or_is_left_out_of_it() {
    let bench = Bench::new().plugin("guests", "step-misbehaves");
    let server = bench.start();
    let with = |how: &str| json!({"alwayson_scripts": {"Misbehave": {"args": [how]}}});
    let failures = || server.admin("GET", "/plugins/step-misbehaves", Vec::new()).ok()["failures"].as_u64();
    let (plain, _) = drawn(&server, json!({}));
    let ways = [
        ("loops", "processor time"),
        ("floods", "failed in on-step"),
        ("panics", "on purpose"),
        ("hoards", "may hold 64 tensors"),
        ("divides by zero", "NaN or infinite"),
        ("reads", "read_tensors"),
    ];
    for (count, (how, says)) in (1..).zip(ways) {
        let failed = server.post("/sdapi/v1/txt2img", &quick_with(with(how)));
        let body = failed.json().to_string();
        assert!(failed.status == 500 && body.contains(says), "{how}: {} {body}", failed.status);
        assert_eq!(failures(), Some(count), "{how}");
    }
    // What is wrong with its input is the client's to hear, and no failure, whether the hook says so or the host does.
    for (how, says) in [
        ("refuses", "Not this picture."),
        ("reaches out", "are not there"),
        ("mixes sizes", "has the size"),
        ("overfills", "3 values for a tensor of"),
    ] {
        let refused = server.post("/sdapi/v1/txt2img", &quick_with(with(how)));
        let body = refused.json().to_string();
        assert!(refused.status == 422 && body.contains(says), "{how}: {} {body}", refused.status);
    }
    assert_eq!(failures(), Some(ways.len() as u64));

    let skip = server.admin_json("PATCH", "/plugins/step-misbehaves", r#"{"on_failure": "skip"}"#);
    assert_eq!(skip.ok()["on_failure"], "skip");
    for (how, says) in ways {
        let before = failures();
        let (picture, reply) = drawn(&server, with(how));
        assert_eq!(picture.data, plain.data, "{how}: nothing of it is left in the picture");
        assert!(!picture.infotext.contains("Misbehave"), "{}", picture.infotext);
        let warnings = reply["warnings"].to_string();
        assert!(warnings.contains("Misbehave was left out") && warnings.contains(says), "{how}: {warnings}");
        // It is called once and then no more.
        assert_eq!(failures(), before.map(|count| count + 1), "{how}");
    }

    // One that changes nothing is told of nowhere; one that is left out midway has acted until then.
    for (how, acts) in [("nothing", false), ("halves, then panics", true)] {
        let (picture, reply) = drawn(&server, with(how));
        assert_eq!(picture.data != plain.data, acts, "{how}");
        assert_eq!(picture.infotext.contains("Misbehave: "), acts, "{how}: {}", picture.infotext);
        assert_eq!(reply["warnings"].to_string().contains("Misbehave was left out"), acts, "{how}: {reply}");
        let result = server.result(&server.submit(&quick_with(with(how))));
        let told = result["plugins"].as_array().map_or(0, Vec::len);
        assert_eq!(told, usize::from(acts), "{how}: {result}");
    }

    // Read with the grant, and written back as it was.
    let granted = server.admin_json("PUT", "/plugins/step-misbehaves/grants", r#"{"read_tensors": true}"#);
    assert_eq!(granted.ok()["granted"]["read_tensors"], true);
    let (read, _) = drawn(&server, with("reads"));
    assert_eq!(read.data, plain.data);
    assert!(read.infotext.contains("Misbehave: "), "{}", read.infotext);
}
