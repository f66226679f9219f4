//! Plugins that read along in infotexts, that lay out grids, and that hear of saved pictures and loaded checkpoints: what the
//! examples do, and what one that misbehaves may cost.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::support::{Bench, Picture, Server, decode, eventually, quick, quick_with};

const PNG_INFO: &str = "/sdapi/v1/png-info";
const TEXT: &str = "a dog, asleep\nNegative prompt: rain\nSteps: 2, Sampler: Euler, CFG scale: 5, Seed: 5, Size: 64x64, \
                    Template: \"a cat, awake\", Negative Template: fog";

/// A small picture with that text in it, in base64.
fn picture_that_says(text: &str) -> String {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, 8, 8);
    encoder.set_color(png::ColorType::Rgb);
    encoder.add_text_chunk("parameters".into(), text.into()).unwrap();
    encoder.write_header().unwrap().write_image_data(&[0; 8 * 8 * 3]).unwrap();
    BASE64_STANDARD.encode(file)
}

fn info(reply: &Value) -> Value {
    serde_json::from_str(reply["info"].as_str().unwrap()).unwrap()
}

/// The first picture of a reply.
fn first(reply: &Value) -> Picture {
    decode(&BASE64_STANDARD.decode(reply["images"][0].as_str().unwrap()).unwrap())
}

/// The lines of a plugin's log.
fn lines(server: &Server, id: &str) -> Vec<String> {
    let log = server.admin("GET", &format!("/plugins/{id}/logs"), Vec::new()).ok();
    log.as_array().unwrap().iter().map(|line| line["text"].as_str().unwrap().to_owned()).collect()
}

/// What the examples of one language do, whose ids begin with `before`.
pub(super) fn check_events(server: &Server, before: &str) {
    // The text is told as it is, its parts as the plugin left them.
    let told = server.post(PNG_INFO, &json!({"image": picture_that_says(TEXT)})).ok();
    assert_eq!(told["info"], TEXT);
    let parameters = &told["parameters"];
    assert_eq!(
        (&parameters["Prompt"], &parameters["Negative prompt"]),
        (&json!("a cat, awake"), &json!("fog"))
    );
    assert_eq!((&parameters["Seed"], &parameters["Template"]), (&json!("5"), &Value::Null));

    // They are what a request is filled from; what it says itself goes before.
    let body = json!({"infotext": TEXT, "negative_prompt": "snow", "save_images": true, "batch_size": 2});
    let reply = server.post("/sdapi/v1/txt2img", &body).ok();
    assert_eq!(reply["parameters"]["infotext"], TEXT);
    let drawn = info(&reply);
    assert!(drawn["prompt"].as_str().unwrap().starts_with("a cat, awake"), "{drawn}");
    assert_eq!((&drawn["negative_prompt"], &drawn["seed"]), (&json!("snow"), &json!(5)));

    let saved = lines(server, &format!("{before}save-hook"));
    let of = |what: &str| {
        saved.iter().filter(|line| line.starts_with(&format!("saved the {what} default/"))).count()
    };
    assert_eq!((of("picture"), of("grid")), (2, 1), "{saved:?}");

    // Of three pictures the options make two rows, the plugin one.
    let body = quick_with(json!({"steps": 1, "save_images": true, "batch_size": 3}));
    let reply = server.post("/sdapi/v1/txt2img", &body).ok();
    assert_eq!(reply["images"].as_array().unwrap().len(), 4);
    let grid = first(&reply);
    assert_eq!((grid.width, grid.height), (192, 64));

    let loaded = || lines(server, &format!("{before}model-hook"));
    let is_told = |line: &String| line.starts_with("loaded demo-v3 [") && line.ends_with("], for drawing");
    eventually("the checkpoint is told", || loaded().iter().any(is_told));
}

#[test]
fn a_saved_picture_is_told_once_by_where_it_lies() {
    let bench = Bench::new().plugin("examples", "example-save-hook");
    let server = bench.start();
    let told = || lines(&server, "example-save-hook");
    server.post("/sdapi/v1/txt2img", &quick()).ok();
    assert_eq!(told(), Vec::<String>::new(), "nothing was saved");
    server.post("/sdapi/v1/txt2img", &quick_with(json!({"save_images": true}))).ok();
    let told = told();
    let [line] = &told[..] else { panic!("{told:?}") };
    let (path, rest) = line.strip_prefix("saved the picture ").unwrap().split_once(", ").unwrap();
    let file = bench.data.path().join("outputs").join(path);
    assert_eq!(rest, format!("{} bytes of png", std::fs::metadata(file).unwrap().len()));
}

#[test]
fn a_checkpoint_is_told_whenever_it_comes_into_memory() {
    let bench = Bench::new().plugin("examples", "example-model-hook");
    let server = bench.start();
    let told = || lines(&server, "example-model-hook").len();
    assert_eq!(told(), 0);
    for times in [1, 2] {
        server.post("/sdapi/v1/txt2img", &quick_with(json!({"steps": 1}))).ok();
        // It is there already.
        server.post("/sdapi/v1/txt2img", &quick_with(json!({"steps": 1}))).ok();
        eventually("it is told", || told() == times);
        server.post("/sdapi/v1/unload-checkpoint", &json!("")).ok();
    }
}

#[test]
fn a_hook_that_misbehaves_costs_its_request_or_a_count() {
    let bench = Bench::new().plugin("guests", "events-misbehave");
    let server = bench.start();
    let failures =
        || server.admin("GET", "/plugins/events-misbehave", Vec::new()).ok()["failures"].as_u64().unwrap();
    let misbehave = |place: &str, how: &str| {
        let grants = json!({"settings": {"place": place, "how": how}}).to_string();
        server.admin_json("PUT", "/plugins/events-misbehave/grants", &grants).ok();
    };
    let on_failure = |what: &str| {
        let policy = json!({"on_failure": what}).to_string();
        server.admin_json("PATCH", "/plugins/events-misbehave", &policy).ok();
    };
    let asked = json!({"image": picture_that_says(TEXT)});
    let filled = json!({"infotext": TEXT});
    let saved = quick_with(json!({"steps": 1, "save_images": true}));
    let gridded = quick_with(json!({"steps": 1, "save_images": true, "batch_size": 2}));
    let ways = [
        ("on-infotext", PNG_INFO, &asked, "loops", "processor time"),
        ("on-infotext", PNG_INFO, &asked, "panics", "on purpose"),
        ("on-infotext", PNG_INFO, &asked, "repeats", "stands there twice"),
        ("on-infotext", PNG_INFO, &asked, "swells", "at most"),
        ("on-infotext", "/sdapi/v1/txt2img", &filled, "faults", "out of order"),
        ("on-saved", "/sdapi/v1/txt2img", &saved, "panics", "on purpose"),
        ("on-saved", "/sdapi/v1/txt2img", &saved, "refuses", "Not this one."),
        ("on-grid", "/sdapi/v1/txt2img", &gridded, "panics", "on purpose"),
        ("on-grid", "/sdapi/v1/txt2img", &gridded, "empties", "without pictures"),
        ("on-grid", "/sdapi/v1/txt2img", &gridded, "crowds", "1 columns and 1 rows for 2 pictures"),
    ];
    for (place, path, body, how, says) in ways {
        misbehave(place, how);
        let before = failures();
        on_failure("fail");
        let failed = server.post(path, body);
        let told = failed.json().to_string();
        assert_eq!(failed.status, 500, "{place} {how}: {told}");
        assert!(told.contains(&format!("failed in {place}")) && told.contains(says), "{place} {how}: {told}");
        assert_eq!(failures(), before + 1, "{place} {how}");
        on_failure("skip");
        let skipped = server.post(path, body).ok();
        assert!(failures() > before + 1, "{place} {how}: it is counted");
        if path != PNG_INFO {
            let says = format!("events-misbehave was left out: plugin events-misbehave failed in {place}: ");
            assert!(skipped["warnings"].to_string().contains(&says), "{how}: {}", skipped["warnings"]);
        }
    }
    misbehave("on-infotext", "repeats");
    let told = server.post(PNG_INFO, &asked).ok();
    assert_eq!(told["parameters"]["Template"], "a cat, awake", "nothing of it is left in the parts");

    misbehave("on-grid", "crowds");
    let grid = first(&server.post("/sdapi/v1/txt2img", &gridded).ok());
    assert_eq!((grid.width, grid.height), (128, 64), "the grid is as it was before the hook");

    // One that is too long, and one of too many pixels, are no grid; the pictures are there all the same.
    for (how, count) in [("stretches", 2), ("spreads", 2), ("drops", 3)] {
        misbehave("on-grid", how);
        let reply = server.post("/sdapi/v1/txt2img", &gridded).ok();
        assert_eq!(reply["images"].as_array().unwrap().len(), count, "{how}");
        assert_eq!(info(&reply)["index_of_first_image"], count - 2, "{how}");
    }
    let reply = server.post("/sdapi/v1/txt2img", &gridded).ok();
    assert_eq!((first(&reply).width, first(&reply).height), (64, 128), "one picture, and a cell without");

    // What is wrong with a text is the client's to hear, and no failure.
    on_failure("fail");
    misbehave("on-infotext", "refuses");
    let before = failures();
    for (path, body) in [(PNG_INFO, &asked), ("/sdapi/v1/txt2img", &filled)] {
        let refused = server.post(path, body);
        let told = refused.json().to_string();
        assert!(refused.status == 422 && told.contains("Not this one."), "{} {told}", refused.status);
    }
    misbehave("on-grid", "refuses");
    let refused = server.post("/sdapi/v1/txt2img", &gridded);
    let told = refused.json();
    assert_eq!((refused.status, &told["detail"][0]["loc"][1]), (422, &json!("alwayson_scripts")), "{told}");
    assert_eq!(failures(), before);

    // What is wrong with the rest of a request is told before a plugin is asked about its text.
    misbehave("on-infotext", "panics");
    for wrong in [json!({"width": "wide"}), json!({"override_settings": {"samples_format": "tiff"}})] {
        let mut body = filled.clone();
        body.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
        assert_eq!(server.post("/sdapi/v1/txt2img", &body).status, 422, "{wrong}");
    }
    assert_eq!(failures(), before);

    // Nobody waits for one that hears of checkpoints, whatever a failure of it is to cost.
    misbehave("on-loaded", "panics");
    server.post("/sdapi/v1/unload-checkpoint", &json!("")).ok();
    server.post("/sdapi/v1/txt2img", &quick_with(json!({"steps": 1}))).ok();
    eventually("it is counted", || failures() == before + 1);
}
