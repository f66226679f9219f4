//! Pictures that a plugin sees twice: as they were drawn, and as the client gets them.

use serde_json::{Value, json};

use super::drawing::{draw, png};
use super::scripts::{part, run};
use crate::support::{Bench, component, quick_with};

const GUEST: &str = "finish-stages";
const SEA: [u8; 3] = [10, 60, 120];

/// The lower right quarter of a picture of the sea is drawn anew, alone.
fn quarter(changes: Value) -> Value {
    let mut body = json!({
        "init_images": [png(128, 96, |_, _| SEA)],
        "mask": png(128, 96, |x, y| if x >= 64 && y >= 48 { [255; 3] } else { [0; 3] }),
        "mask_blur": 0, "inpaint_full_res": true, "inpaint_full_res_padding": 0,
    });
    body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    body
}

#[test]
fn a_part_that_is_drawn_is_seen_alone_and_then_in_its_place() {
    let bench = Bench::new().plugin("guests", GUEST);
    let server = bench.start();
    // What a plugin makes of a part is laid into the whole, whatever its size.
    for changes in [json!({}), json!({"prompt": "shrinks"})] {
        let (picture, _) = draw(&server, "img2img", quarter(changes));
        let text = &picture.infotext;
        assert!(text.contains(", Decoded: 64x64, Composited: 128x96 and seen before, Version: "), "{text}");
        assert_eq!((picture.width, picture.height), (128, 96));
        assert!(part(&picture, (72, 56), (56, 40)).iter().all(|level| *level == 255));
        assert!(part(&picture, (0, 0), (128, 40)).chunks(3).all(|colour| colour == SEA));
        assert!(part(&picture, (0, 0), (56, 96)).chunks(3).all(|colour| colour == SEA));
    }

    // Without a source there is nothing to lay it into.
    let (picture, _) = draw(&server, "txt2img", json!({}));
    assert!(picture.infotext.contains(", Decoded: 64x64, Composited: 64x64 and seen before"));
    assert!(picture.data.iter().all(|level| *level == 255));
}

#[test]
fn a_failure_before_a_picture_is_whole_costs_what_one_behind_it_costs() {
    let bench = Bench::new().plugin("guests", GUEST);
    let server = bench.start();
    let asked = |prompt: &str| server.post("/sdapi/v1/txt2img", &quick_with(json!({"prompt": prompt})));
    let failed = asked("fails");
    let told = failed.json().to_string();
    assert!(failed.status == 500 && told.contains("not before it is whole"), "{} {told}", failed.status);
    let refused = asked("refuses");
    let told = refused.json().to_string();
    assert!(refused.status == 422 && told.contains("Not this one."), "{} {told}", refused.status);

    server.admin_json("PATCH", "/plugins/finish-stages", r#"{"on_failure": "skip"}"#).ok();
    let (picture, reply) = draw(&server, "txt2img", json!({"prompt": "fails", "batch_size": 2}));
    let told = "finish-stages was left out: plugin finish-stages failed in finish: not before it is whole";
    assert_eq!(reply["warnings"], json!([told]));
    let text = &picture.infotext;
    assert!(text.contains(", Composited: 64x64 and not seen before, Version: "), "{text}");
    assert!(picture.data.iter().any(|level| *level != 255));
    assert_eq!(server.admin("GET", "/plugins/finish-stages", Vec::new()).ok()["failures"], 3);
}

#[test]
fn a_hook_of_requests_that_is_left_out_is_told_to_the_client() {
    let bench = Bench::new().plugin("guests", "panic").plugin("guests", "many-outputs");
    let server = bench.start();
    for plugin in ["panic", "many-outputs"] {
        server.admin_json("PATCH", &format!("/plugins/{plugin}"), r#"{"on_failure": "skip"}"#).ok();
    }
    let (_, reply) = draw(&server, "txt2img", json!({}));
    let warnings = reply["warnings"].as_array().unwrap();
    for (warning, says) in warnings.iter().zip([
        "panic was left out: plugin panic failed in before: ",
        "many-outputs was left out: plugin many-outputs failed in after: it returned 1000 pictures",
    ]) {
        assert!(warning.as_str().unwrap().starts_with(says), "{warning}");
    }
    assert_eq!(warnings.len(), 2, "{warnings:?}");
}

#[test]
fn what_is_told_of_a_picture_goes_with_it_where_a_hook_turns_pictures_or_drops_them() {
    let bench = Bench::new().plugin("guests", "many-outputs");
    let server = bench.start();
    for (prompt, seeds) in [
        ("kept", vec![1, 2]),
        ("without the first", vec![2]),
        ("turned around", vec![2, 1]),
        ("another behind, without the first", vec![2]),
        ("all anew", vec![1, 2]),
    ] {
        let (pictures, info) = run(&server, "txt2img", json!({"prompt": prompt, "batch_size": 2}));
        assert_eq!(info["all_seeds"], json!(seeds), "{prompt}");
        let told: Vec<_> = info["infotexts"].as_array().unwrap().iter().map(Value::as_str).collect();
        assert_eq!(told.len(), seeds.len(), "{prompt}");
        for ((picture, told), seed) in pictures.iter().zip(told).zip(&seeds) {
            assert_eq!(Some(picture.infotext.as_str()), told, "{prompt}");
            assert!(picture.infotext.contains(&format!(" Seed: {seed},")), "{prompt}: {}", picture.infotext);
        }
        assert!(pictures[seeds.len()..].iter().all(|added| added.infotext.is_empty()), "{prompt}");
    }
}

#[test]
fn each_picture_that_a_hook_adds_is_saved_under_a_number_of_its_own() {
    let bench = Bench::new().plugin("guests", "many-outputs");
    let server = bench.start();
    let options = json!({
        "samples_filename_pattern": "[generation_number]", "save_images_add_number": false, "save_to_dirs": false,
    });
    let body = json!({"prompt": "two for the first", "batch_size": 2, "save_images": true, "override_settings": options});
    server.post("/sdapi/v1/txt2img", &quick_with(body)).ok();
    let files = std::fs::read_dir(bench.data.path().join("outputs/default/txt2img-images")).unwrap();
    let mut names: Vec<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["2.png", "3.png", "4.png"]);
}

#[test]
fn a_task_tells_which_plugins_changed_it() {
    let bench = Bench::new().config("[grants.watermark.settings]\ntext = \"gesso\"\n");
    let bench = bench.plugin("plugins", "watermark").plugin("guests", GUEST).plugin("guests", "many-outputs");
    let server = bench.start();
    let told = |changes: Value| {
        let id = server.submit(&quick_with(changes));
        let result = server.result(&id);
        assert_eq!(result["status"], "succeeded", "{result}");
        assert_eq!(server.get(&format!("/tasks/{id}")).ok()["plugins"], result["plugins"]);
        result["plugins"].clone()
    };
    let plugin = |id: &str| {
        let version = server.admin("GET", &format!("/plugins/{id}"), Vec::new()).ok()["version"].clone();
        json!({"id": id, "version": version})
    };
    let size = |prompt: &str| json!({"prompt": prompt, "width": 128, "height": 128});
    let (stages, many, mark) = (plugin(GUEST), plugin("many-outputs"), plugin("watermark"));
    // What gives back what it was given has changed nothing.
    assert_eq!(told(size("kept")), json!([stages, mark]));
    let mut turned = size("turned around");
    turned["batch_size"] = 2.into();
    let turned = told(turned);
    assert_eq!(turned.as_array().unwrap().len(), 3, "{turned}");
    assert!([&stages, &many, &mark].iter().all(|plugin| turned.as_array().unwrap().contains(plugin)));

    for id in [GUEST, "watermark"] {
        server.admin_json("PATCH", &format!("/plugins/{id}"), r#"{"enabled": false}"#).ok();
    }
    assert_eq!(told(size("kept")), json!([]));
    // One that writes into prompts.
    let good = std::fs::read(component("guests", "good-v1")).unwrap();
    server.admin_json("PATCH", "/plugins/many-outputs", r#"{"enabled": false}"#).ok();
    assert_eq!(server.admin("POST", "/plugins", good).status, 201);
    assert_eq!(told(size("a hill")), json!([plugin("good")]));
}

#[test]
fn a_hook_whose_manifest_names_no_stage_sees_a_picture_once() {
    let bench = Bench::new().plugin("examples", "example-picture-hook");
    let server = bench.start();
    let calls =
        || server.admin("GET", "/plugins/example-picture-hook", Vec::new()).ok()["calls"].as_u64().unwrap();
    let before = calls();
    let (picture, _) = draw(&server, "img2img", quarter(json!({})));
    assert!(picture.infotext.contains(", Brightness: "), "{}", picture.infotext);
    assert_eq!(calls(), before + 1);
}
