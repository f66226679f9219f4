//! Pictures that a plugin looks at with a network and paints over where it finds something.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::drawing::{draw, png};
use super::networks::models_with;
use crate::support::{Bench, Picture, Server, decode, quick_with};

const GRANT: &str = "[grants.adetailer]\nmodels = [\"*\"]\n";
const SIDE: u32 = 128;

/// Sea blue, and a red square in the lower right cell.
fn square() -> String {
    png(SIDE, SIDE, |x, y| if x >= 96 && y >= 96 { [230, 20, 20] } else { [60, 80, 160] })
}

/// The red square is the only find: it fills its cell, whose box is half a cell wider.
fn is_near_the_square(place: usize, margin: usize) -> bool {
    let (x, y) = (place % SIDE as usize, place / SIDE as usize);
    x >= 80 - margin && y >= 80 - margin
}

fn over_the_square(args: Value, more: Value) -> Value {
    let mut body = json!({"init_images": [square()], "width": SIDE, "height": SIDE, "steps": 4, "prompt": "sea at night",
        "alwayson_scripts": {"ADetailer": {"args": args}}});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn changed(a: &Picture, b: &Picture) -> Vec<usize> {
    assert_eq!((a.width, a.height), (b.width, b.height));
    let pixels = a.data.chunks(3).zip(b.data.chunks(3)).enumerate();
    pixels.filter(|(_, (a, b))| a != b).map(|(place, _)| place).collect()
}

#[test]
fn what_a_detector_finds_is_painted_again_and_nothing_else() {
    let models = models_with(&[("adetailer", "red_places", "red_places")]);
    let bench = Bench::new().models_at(models.path()).config(GRANT).plugin("plugins", "adetailer");
    let server = bench.start();
    let detail =
        json!({"ad_model": "red_places.pt", "ad_denoising_strength": 0.9, "ad_prompt": "[PROMPT], moon"});
    let (plain, _) = draw(&server, "img2img", over_the_square(json!([true, true, {}]), json!({})));
    assert!(!plain.infotext.contains("ADetailer"), "{}", plain.infotext);
    // The first drawing is left out: what is not found is the picture that was sent.
    let (detailed, reply) = draw(&server, "img2img", over_the_square(json!([true, true, detail]), json!({})));
    let sent = decode(&BASE64_STANDARD.decode(square().split_once(',').unwrap().1).unwrap());
    let places = changed(&sent, &detailed);
    assert!(places.len() > 500, "{} pixels changed", places.len());
    // Masks grow by two pixels and are blurred by four.
    let far: Vec<_> = places.iter().filter(|place| !is_near_the_square(**place, 14)).collect();
    assert!(far.is_empty(), "{} of {} pixels changed elsewhere", far.len(), places.len());
    let text = &detailed.infotext;
    assert!(
        text.starts_with("sea at night\n") && text.contains(", ADetailer model: red_places.pt, "),
        "{text}"
    );
    assert!(text.contains("ADetailer prompt: \"[PROMPT], moon\"") && text.contains(", Version: "), "{text}");
    let info: Value = serde_json::from_str(reply["info"].as_str().unwrap()).unwrap();
    assert_eq!(info["infotexts"][0].as_str(), Some(text.as_str()));
    assert_eq!(reply["parameters"]["alwayson_scripts"]["ADetailer"]["args"][2], detail);

    // The same request paints the same, another seed otherwise, and a picture without finds stays as it is.
    let again = draw(&server, "img2img", over_the_square(json!([true, true, detail]), json!({}))).0;
    assert_eq!(again.data, detailed.data);
    let other = draw(&server, "img2img", over_the_square(json!([true, true, detail]), json!({"seed": 2}))).0;
    assert!(!changed(&other, &detailed).is_empty());
    let mut strict = detail.clone();
    strict["ad_confidence"] = json!(0.95);
    let (unfound, _) = draw(&server, "img2img", over_the_square(json!([true, true, strict]), json!({})));
    assert!(changed(&sent, &unfound).is_empty());
    assert!(unfound.infotext.contains("ADetailer confidence: 0.95"), "{}", unfound.infotext);
}

#[test]
fn what_a_mask_keeps_is_not_painted_over() {
    let models = models_with(&[("adetailer", "red_places", "red_places")]);
    let bench = Bench::new().models_at(models.path()).config(GRANT).plugin("plugins", "adetailer");
    let server = bench.start();
    let mask = png(SIDE, SIDE, |x, y| if x < 48 && y < 48 { [255; 3] } else { [0; 3] });
    let detail = json!([{"ad_model": "red_places", "ad_denoising_strength": 0.9}]);
    let more = json!({"mask": mask, "inpaint_full_res": false, "mask_blur": 0, "denoising_strength": 0.9});
    let (drawn, _) = draw(&server, "img2img", over_the_square(detail, more));
    assert!(drawn.infotext.contains("ADetailer model: red_places"), "{}", drawn.infotext);
    let sent = decode(&BASE64_STANDARD.decode(square().split_once(',').unwrap().1).unwrap());
    let places = changed(&sent, &drawn);
    assert!(places.len() > 500, "{} pixels changed", places.len());
    let kept: Vec<_> = places.iter().filter(|place| is_near_the_square(**place, 0)).collect();
    assert!(kept.is_empty(), "{} pixels of the square changed", kept.len());
}

#[test]
fn a_batch_and_the_pictures_of_a_script_are_looked_at_one_by_one() {
    let models = models_with(&[("adetailer", "red_places", "red_places")]);
    let bench = Bench::new().models_at(models.path()).config(GRANT);
    let bench = bench.plugin("plugins", "adetailer").plugin("plugins", "scripts");
    let server = bench.start();
    let detail = json!([{"ad_model": "red_places", "ad_mask_merge_invert": "Merge", "ad_steps": 2, "ad_use_steps": true}]);
    let told = |reply: &Value| {
        let info: Value = serde_json::from_str(reply["info"].as_str().unwrap()).unwrap();
        let texts = info["infotexts"].as_array().unwrap();
        texts.iter().filter(|text| text.as_str().unwrap().contains("ADetailer steps: 2")).count()
    };
    let (_, batch) = draw(
        &server,
        "img2img",
        over_the_square(detail.clone(), json!({"batch_size": 2, "denoising_strength": 0.1})),
    );
    assert_eq!((batch["images"].as_array().unwrap().len(), told(&batch)), (2, 2));
    let (_, plot) = draw(
        &server,
        "img2img",
        over_the_square(
            detail,
            json!({"script_name": "X/Y/Z plot", "script_args": ["Steps", "2-3", [], "Nothing", "", [],
            "Nothing", "", [], true, true, false, false, false, false, false, 0], "denoising_strength": 0.1}),
        ),
    );
    assert_eq!(
        (plot["images"].as_array().unwrap().len(), told(&plot)),
        (3, 3),
        "two pictures, and the grid by the first of them"
    );
}

#[test]
fn what_all_pictures_of_a_request_have_painted_counts_together() {
    let models = models_with(&[("adetailer", "red_places", "red_places")]);
    let bench = Bench::new().models_at(models.path()).config("[limits]\nscript_jobs_max = 2\n").config(GRANT);
    let bench = bench.plugin("plugins", "adetailer");
    let server = bench.start();
    let batch = |count: u32| {
        let args = json!([true, true, {"ad_model": "red_places", "ad_mask_merge_invert": "Merge"}]);
        let body = over_the_square(args, json!({"batch_size": count, "steps": 1}));
        server.post("/img2img", &quick_with(body))
    };
    assert_eq!(batch(2).ok()["status"], "succeeded");
    let reply = batch(3);
    let message = reply.json()["message"].as_str().unwrap().to_owned();
    assert!((400..500).contains(&reply.status) && message.contains("limits.script_jobs_max"), "{message}");
}

#[test]
fn what_cannot_be_found_is_refused_before_anything_is_drawn() {
    let models = models_with(&[("adetailer", "red_places", "red_places")]);
    let bench = Bench::new().models_at(models.path()).config(GRANT).plugin("plugins", "adetailer");
    let server = bench.start();
    let refused = |args: Value| {
        let body = quick_with(json!({"alwayson_scripts": {"ADetailer": {"args": args}}}));
        let reply = server.post("/txt2img", &body);
        assert!((400..500).contains(&reply.status), "{}: {}", reply.status, reply.json());
        reply.json()["message"].as_str().unwrap().to_owned()
    };
    let message = refused(json!([{"ad_model": "face_yolov8n.pt"}]));
    assert!(message.contains("red_places") && message.contains("format=torchscript"), "{message}");
    let message = refused(json!([{"ad_model": "red_places", "ad_denoising_strength": 3}]));
    assert!(message.contains("ad_denoising_strength is 3; it takes 0 to 1"), "{message}");
    assert_eq!(server.get("/ext/adetailer/v1/ad_model").ok(), json!({"ad_model": ["red_places"]}));
    assert_eq!(
        server.get("/ext/adetailer/v1/schema").ok()["properties"]["ad_confidence"]["default"],
        json!(0.3)
    );
}

#[test]
fn a_network_runs_only_where_it_is_granted() {
    let models = models_with(&[("adetailer", "red_places", "red_places")]);
    let bench = Bench::new().models_at(models.path()).plugin("plugins", "adetailer");
    let server = bench.start();
    let asked = |server: &Server| {
        let body =
            quick_with(json!({"alwayson_scripts": {"ADetailer": {"args": [{"ad_model": "red_places"}]}}}));
        server.post("/txt2img", &body)
    };
    let reply = asked(&server);
    assert!((400..500).contains(&reply.status), "{}", reply.status);
    assert!(reply.json()["message"].as_str().unwrap().contains("an admin grants them"), "{}", reply.json());
    let status = server.admin("GET", "/plugins/adetailer", Vec::new()).ok();
    assert_eq!(status["wants"]["models"], json!(["*"]));
    let grant = |models: Value| {
        server
            .admin("PUT", "/plugins/adetailer/grants", json!({"models": models}).to_string().into_bytes())
            .ok()
    };
    grant(json!(["face_*"]));
    let reply = asked(&server);
    assert!(
        reply.json()["message"].as_str().unwrap().contains("the detectors here are: none"),
        "{}",
        reply.json()
    );
    assert_eq!(grant(json!(["red_*"]))["granted"]["models"], json!(["red_*"]));
    assert_eq!(asked(&server).ok()["status"], "succeeded");
}
