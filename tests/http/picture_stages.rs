//! Pictures that a plugin sees twice: as they were drawn, and as the client gets them.

use serde_json::{Value, json};

use super::drawing::{draw, png};
use super::scripts::part;
use crate::support::{Bench, quick_with};

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
    let (picture, _) = draw(&server, "txt2img", json!({"prompt": "fails"}));
    let text = &picture.infotext;
    assert!(text.contains(", Composited: 64x64 and not seen before, Version: "), "{text}");
    assert!(picture.data.iter().any(|level| *level != 255));
    assert_eq!(server.admin("GET", "/plugins/finish-stages", Vec::new()).ok()["failures"], 2);
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
