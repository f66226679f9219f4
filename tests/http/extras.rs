//! Enlarging pictures and asking them how they were drawn, in the web UI's shapes.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_picture::mix::blend;
use gesso_picture::resize::{Filter, resize};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::support::{Bench, Server, checkout, decode, quick};

pub(super) const SINGLE: &str = "/sdapi/v1/extra-single-image";
const BATCH: &str = "/sdapi/v1/extra-batch-images";

/// Waves of three lengths, so that no two parts are equal.
pub(super) fn waves(width: u32, height: u32) -> Pixels {
    let level = |x: u32, y: u32, channel: u32| {
        let phase = f64::from(x * (2 + channel) + y * (3 + channel)) * 0.21;
        (127.5 + 120.0 * phase.sin()) as u8
    };
    let rows = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    let data = rows.flat_map(|(x, y)| [0, 1, 2].map(|channel| level(x, y, channel))).collect();
    Pixels::new(width, height, PixelFormat::Rgb8, data).unwrap()
}

pub(super) fn base64_png(picture: &Pixels) -> String {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, picture.width, picture.height);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&picture.data).unwrap();
    writer.finish().unwrap();
    BASE64_STANDARD.encode(bytes)
}

pub(super) fn pixels(base64: &Value) -> Pixels {
    let picture = decode(&BASE64_STANDARD.decode(base64.as_str().unwrap()).unwrap());
    Pixels::new(picture.width, picture.height, PixelFormat::Rgb8, picture.data).unwrap()
}

/// The result for one picture.
#[track_caller]
pub(super) fn enlarged(server: &Server, picture: &Pixels, changes: Value) -> Pixels {
    let mut body = json!({"image": base64_png(picture), "upscaler_1": "Lanczos"});
    body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    pixels(&server.post(SINGLE, &body).ok()["image"])
}

#[test]
fn filters_enlarge_and_mix_as_pillow_does() {
    let bench = Bench::new();
    let server = bench.start();
    let source = waves(24, 16);
    let lanczos = resize(&source, 48, 32, Filter::Lanczos).unwrap();
    let nearest = resize(&source, 48, 32, Filter::Nearest).unwrap();
    assert_eq!(enlarged(&server, &source, json!({})), lanczos);
    assert_eq!(enlarged(&server, &source, json!({"upscaler_1": "None"})), source);
    let both = json!({"upscaler_2": "Nearest", "extras_upscaler_2_visibility": "0.25"});
    assert_eq!(enlarged(&server, &source, both), blend(&lanczos, &nearest, 0.25).unwrap());

    let body = json!({
        "imageList": [{"data": base64_png(&source), "name": "a.png"}, {"data": base64_png(&waves(8, 8))}],
        "upscaler_1": "Nearest",
    });
    let reply = server.post(BATCH, &body).ok();
    assert_eq!(pixels(&reply["images"][0]), nearest);
    assert_eq!(pixels(&reply["images"][1]).width, 16);
    assert_eq!(reply["images"].as_array().unwrap().len(), 2);
    assert_eq!(reply["html_info"], "<p>Postprocess upscale by: 2, Postprocess upscaler: Nearest</p>");
}

#[test]
fn a_size_is_covered_and_then_cut_or_kept() {
    let bench = Bench::new();
    let server = bench.start();
    let source = waves(24, 16);
    let size = |crop: bool, width: u32, height: u32| json!({"resize_mode": 1, "upscaling_resize_w": width, "upscaling_resize_h": height, "upscaling_crop": crop});
    let covering = resize(&source, 96, 64, Filter::Lanczos).unwrap();
    assert_eq!(enlarged(&server, &source, size(false, 64, 64)), covering);
    let middle: Vec<u8> =
        covering.data.chunks_exact(96 * 3).flat_map(|row| &row[16 * 3..80 * 3]).copied().collect();
    let cut = enlarged(&server, &source, size(true, 64, 64));
    assert_eq!((cut.width, cut.height, cut.data), (64, 64, middle));
    let odd = enlarged(&server, &source, size(true, 50, 41));
    assert_eq!((odd.width, odd.height), (50, 41));
    assert!(odd.data.chunks_exact(3).all(|pixel| pixel != [0, 0, 0]), "a black edge");
}

/// An ESRGAN network that doubles the sides and says blue, green, red = 0.2, 0.4, 0.6 whatever it sees: the last
/// bias is all that is not zero. Web UIs feed and read upscalers blue first.
fn constant_esrgan(path: &Path) {
    let (features, growth) = (4, 4);
    let mut shapes: Vec<(String, [usize; 2])> = vec![("model.0".into(), [features, 3])];
    for dense in 1..=3 {
        for convolution in 0..5 {
            let outputs = if convolution == 4 { features } else { growth };
            let name = format!("model.1.sub.0.RDB{dense}.conv{}.0", convolution + 1);
            shapes.push((name, [outputs, features + convolution * growth]));
        }
    }
    let rest = [("model.1.sub.1", features), ("model.3", features), ("model.5", features), ("model.7", 3)];
    shapes.extend(rest.map(|(name, outputs)| (name.into(), [outputs, features])));
    let (mut header, mut data) = (Map::new(), Vec::<u8>::new());
    let mut add = |name: String, shape: Value, values: Vec<f32>| {
        let from = data.len();
        data.extend(values.into_iter().flat_map(f32::to_le_bytes));
        header.insert(name, json!({"dtype": "F32", "shape": shape, "data_offsets": [from, data.len()]}));
    };
    for (name, [outputs, inputs]) in shapes {
        let bias = if name == "model.7" { vec![0.2, 0.4, 0.6] } else { vec![0.0; outputs] };
        add(format!("{name}.weight"), json!([outputs, inputs, 3, 3]), vec![0.0; outputs * inputs * 9]);
        add(format!("{name}.bias"), json!([outputs]), bias);
    }
    let header = Value::Object(header).to_string();
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
    std::fs::write(path, file).unwrap();
}

/// A models folder with two networks and a file that is none.
pub(super) fn networks() -> TempDir {
    let models = tempfile::tempdir().unwrap();
    write_networks(models.path());
    models
}

pub(super) fn write_networks(models: &Path) {
    let folder = models.join("ESRGAN");
    std::fs::create_dir(&folder).unwrap();
    constant_esrgan(&folder.join("one-colour.safetensors"));
    std::fs::write(folder.join("notes.pth"), "no weights").unwrap();
    let compact = checkout().join("host/torch/tests/fixtures/compact_x4.pth");
    std::fs::copy(compact, folder.join("compact.pth")).unwrap();
}

#[test]
fn networks_are_listed_with_their_own_scale_and_used() {
    let models = networks();
    let bench = Bench::new().models_at(models.path());
    let server = bench.start();
    let list = server.get("/sdapi/v1/upscalers").ok();
    let list: Vec<_> =
        list.as_array().unwrap().iter().map(|entry| (&entry["name"], &entry["scale"])).collect();
    let names = ["None", "Lanczos", "Nearest", "compact", "one-colour"].map(Value::from);
    let scales = [4, 4, 4, 4, 2].map(Value::from);
    assert_eq!(list, names.iter().zip(&scales).collect::<Vec<_>>());

    let source = waves(24, 16);
    let double = enlarged(&server, &source, json!({"upscaler_1": "one-colour"}));
    assert_eq!((double.width, double.height), (48, 32));
    assert!(double.data.chunks_exact(3).all(|pixel| pixel == [153, 102, 51]), "{:?}", &double.data[..3]);
    // Twice through the network and back from four times to three.
    let triple = enlarged(&server, &source, json!({"upscaler_1": "one-colour", "upscaling_resize": 3}));
    assert_eq!((triple.width, triple.height, triple.data[0]), (72, 48, 153));
    let other = enlarged(&server, &source, json!({"upscaler_1": "compact", "upscaling_resize": 4}));
    assert_eq!((other.width, other.height), (96, 64));
    assert_ne!(other, resize(&source, 96, 64, Filter::Lanczos).unwrap());
    let half = json!({"upscaler_2": "one-colour", "extras_upscaler_2_visibility": 0.5});
    let lanczos = resize(&source, 48, 32, Filter::Lanczos).unwrap();
    assert_eq!(enlarged(&server, &source, half), blend(&lanczos, &double, 0.5).unwrap());
}

#[track_caller]
pub(super) fn problems(server: &Server, path: &str, body: &Value) -> Vec<(String, String)> {
    let reply = server.post(path, body);
    assert_eq!(reply.status, 422, "{}", String::from_utf8_lossy(&reply.body));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let detail = reply.json()["detail"].as_array().unwrap().clone();
    detail.iter().map(|problem| (text(&problem["loc"][1]), text(&problem["msg"]))).collect()
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    let models = networks();
    let bench = Bench::new().models_at(models.path());
    let server = bench.start();
    let picture = base64_png(&waves(24, 16));
    let one = |changes: Value, field: &str, part: &str| {
        let mut body = json!({"image": picture, "upscaler_1": "Lanczos"});
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let problems = problems(&server, SINGLE, &body);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].0, field);
        assert!(problems[0].1.contains(part), "{part:?} is not in {:?}", problems[0].1);
    };
    one(json!({"upscaler_1": "one-color"}), "upscaler_1", "did you mean \"one-colour\"?");
    one(json!({"upscaler_1": "../x"}), "upscaler_1", "Lanczos and Nearest are always there");
    one(json!({"codeformer_visibility": 1.5}), "codeformer_visibility", "between 0 and 1");
    one(json!({"codeformer_weight": -1}), "codeformer_weight", "between 0 and 1");
    one(json!({"upscaling_resize": 9}), "upscaling_resize", "at most 8");
    one(json!({"upscaling_resize": "big"}), "upscaling_resize", "must be a finite number");
    one(json!({"resize_mode": 1, "upscaling_resize_h": 0}), "upscaling_resize_h", "between 1 and 2048");
    one(json!({"upscaling_resize": 0.1}), "body", "choose a scale");
    one(json!({"image": ""}), "image", "must hold a picture");
    one(json!({"image": "!"}), "image", "base64");
    one(json!({"image": BASE64_STANDARD.encode("no picture")}), "image", "PNG");
    let thin = json!({"image": base64_png(&waves(2, 400)), "resize_mode": 1, "upscaling_resize_w": 2000});
    one(thin, "upscaling_resize_w", "ask for less");

    let both = json!({
        "imageList": [{"data": picture}], "upscaler_1": "a", "upscaler_2": "b", "extras_upscaler_2_visibility": 1,
    });
    let fields: Vec<_> = problems(&server, BATCH, &both).into_iter().map(|problem| problem.0).collect();
    assert_eq!(fields, ["upscaler_1", "upscaler_2"]);
    assert_eq!(problems(&server, BATCH, &json!({}))[0].0, "imageList");
    assert_eq!(enlarged(&server, &waves(8, 8), json!({})).width, 16, "the server goes on");
}

#[test]
fn a_picture_tells_how_it_was_drawn_also_after_it_was_enlarged() {
    let bench = Bench::new();
    let server = bench.start();
    let drawn = server.post("/sdapi/v1/txt2img", &quick()).ok()["images"][0].take();
    let infotext = decode(&BASE64_STANDARD.decode(drawn.as_str().unwrap()).unwrap()).infotext;
    let uri = format!("data:image/png;base64,{}", drawn.as_str().unwrap());
    let told = server.post("/sdapi/v1/png-info", &json!({"image": uri})).ok();
    assert_eq!((&told["info"], &told["items"]), (&json!(infotext), &json!({})));
    let parameters = &told["parameters"];
    assert_eq!(parameters["Prompt"], "mountain landscape during sunset");
    assert_eq!((&parameters["Seed"], &parameters["Size-1"]), (&json!("1"), &json!("64")));

    let body = json!({"image": drawn, "upscaler_1": "Lanczos", "upscaling_resize": 1.5});
    let enlarged = server.post(SINGLE, &body).ok()["image"].take();
    assert_eq!(pixels(&enlarged).width, 96);
    let told = server.post("/sdapi/v1/png-info", &json!({"image": enlarged})).ok();
    let done = "Postprocess upscale by: 1.5, Postprocess upscaler: Lanczos";
    assert_eq!((&told["info"], &told["items"]), (&json!(infotext), &json!({"postprocessing": done})));

    for format in ["png", "jpg"] {
        let silent = json!({"enable_pnginfo": false, "samples_format": format});
        assert_eq!(server.post("/sdapi/v1/options", &silent).ok(), Value::Null);
        let reply = server.post(SINGLE, &body).ok();
        assert_eq!(reply["html_info"], format!("<p>{done}</p>"));
        let told = server.post("/sdapi/v1/png-info", &json!({"image": reply["image"]})).ok();
        assert_eq!(told, json!({"info": "", "items": {}, "parameters": {}}), "{format}");
    }
    server.post("/sdapi/v1/options", &json!({"enable_pnginfo": null, "samples_format": null})).ok();

    let silent = json!({"image": base64_png(&waves(8, 8))});
    let told = server.post("/sdapi/v1/png-info", &silent).ok();
    assert_eq!(told, json!({"info": "", "items": {}, "parameters": {}}));
    assert_eq!(problems(&server, "/sdapi/v1/png-info", &json!({"image": "bm8="}))[0].0, "image");
    assert_eq!(problems(&server, "/sdapi/v1/png-info", &json!({}))[0].0, "image");
}

/// A number of `GET /metrics`.
fn metric(server: &Server, name: &str) -> f64 {
    let text = String::from_utf8(server.get("/metrics").body).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is not in {text}")).parse().unwrap()
}

#[track_caller]
fn wait_for_engine_jobs(server: &Server, jobs: f64) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while metric(server, "gesso_engine_jobs") != jobs {
        assert!(Instant::now() < deadline, "the engine does not come to {jobs} jobs");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn an_interrupt_ends_an_enlargement_and_so_does_hanging_up() {
    let models = networks();
    let bench = Bench::new().models_at(models.path());
    let server = bench.start();
    // Hundreds of tiles in two runs of the network.
    let body = json!({"image": base64_png(&waves(512, 512)), "upscaler_1": "compact", "upscaling_resize": 8});
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| server.post(SINGLE, &body));
        wait_for_engine_jobs(&server, 1.0);
        assert_ne!(server.get("/sdapi/v1/progress").ok()["progress"], 0.0);
        server.post("/sdapi/v1/interrupt", &json!({})).ok();
        assert_eq!(waiting.join().unwrap().status, 409);
    });

    let mut stream = TcpStream::connect(server.url.trim_start_matches("http://")).unwrap();
    let body = body.to_string();
    let length = body.len();
    let head = format!("POST {SINGLE} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all([head, body].concat().as_bytes()).unwrap();
    wait_for_engine_jobs(&server, 1.0);
    drop(stream);
    wait_for_engine_jobs(&server, 0.0);
    assert_eq!(metric(&server, "gesso_images_total"), 0.0, "an enlargement went on to its end");
    enlarged(&server, &waves(8, 8), json!({}));
    assert_eq!(metric(&server, "gesso_images_total"), 1.0, "the engine counts what it ends");
    assert_eq!(metric(&server, "gesso_tasks_running"), 0.0);
}
