//! Restoring faces through the extras routes, with networks whose last biases are all that is not zero: they find one
//! face in every picture, and draw it in one colour.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use gesso_core::pixels::Pixels;
use gesso_picture::resize::{Filter, resize};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::extras::{SINGLE, base64_png, enlarged, pixels, problems, waves};
use super::redraw::redraws;
use crate::support::{Bench, checkout, quick};

/// Side of the pictures, and of what the detector searches them at.
const SIDE: f32 = 96.0;
const SEARCHED: f32 = 640.0;

/// Shape, mean and spread of each tensor.
type Recipe = BTreeMap<String, (Vec<usize>, f64, f64)>;
type Biases<'a> = &'a [(&'a str, Vec<f32>)];

/// Writes a network of a fixture file with zeros for its weights. What is left out of the file reads as zero, and
/// takes no room on the disk.
fn network(path: &Path, fixture: &str, case: &str, biases: Biases<'_>) {
    let fixture = std::fs::read(checkout().join("host/torch/tests/fixtures").join(fixture)).unwrap();
    let length = u64::from_le_bytes(fixture[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&fixture[8..8 + length]).unwrap();
    let cases = header["__metadata__"]["cases"].as_str().unwrap();
    let cases: BTreeMap<String, Recipe> = serde_json::from_str(cases).unwrap();
    let (mut header, mut end, mut places) = (Map::new(), 0, Vec::new());
    for (name, (shape, ..)) in &cases[case] {
        let from = end;
        end += shape.iter().product::<usize>() * size_of::<f32>();
        header.insert(name.clone(), json!({"dtype": "F32", "shape": shape, "data_offsets": [from, end]}));
        places.extend(biases.iter().filter(|(key, _)| key == name).map(|(_, values)| (from, values)));
    }
    assert_eq!(places.len(), biases.len(), "a bias is not in {case}");
    let header = Value::Object(header).to_string();
    let begin = 8 + header.len();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len((begin + end) as u64).unwrap();
    for (place, values) in places {
        file.seek(SeekFrom::Start((begin + place) as u64)).unwrap();
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        file.write_all(&bytes).unwrap();
    }
}

/// A detector that finds a face in the middle two thirds of a picture, or none.
fn detector(models: &Path, finds: bool) {
    // FFHQ's landmarks in a face of 512 pixels.
    let face = [192.98, 239.95, 318.90, 240.19, 256.63, 314.02, 201.26, 371.41, 313.09, 371.15];
    let in_picture = face.map(|at: f32| at / 512.0 * SIDE * 2.0 / 3.0 + SIDE / 6.0);
    // The first anchor of the coarsest level: 256 pixels around (16, 16); places count in tenths of its side.
    let mut landmarks = in_picture.map(|at| (at / SIDE * SEARCHED - 16.0) / 25.6).to_vec();
    landmarks.resize(20, 0.0);
    let none = vec![10.0, 0.0, 10.0, 0.0];
    let found = if finds { vec![0.0, 10.0, 10.0, 0.0] } else { none.clone() };
    let biases = [
        ("ClassHead.0.conv1x1.bias", none.clone()),
        ("ClassHead.1.conv1x1.bias", none),
        ("ClassHead.2.conv1x1.bias", found),
        // Boxes so large that all of them are one face.
        ("BboxHead.2.conv1x1.bias", vec![0.0, 0.0, 14.0, 14.0, 0.0, 0.0, 0.0, 0.0]),
        ("LandmarkHead.2.conv1x1.bias", landmarks),
    ];
    let path = models.join("GFPGAN/detection_Resnet50_Final.safetensors");
    network(&path, "faces.safetensors", "detector", &biases);
}

/// GFPGAN draws red and CodeFormer draws blue.
fn models(finds: bool) -> TempDir {
    let models = tempfile::tempdir().unwrap();
    let at = |file: &str| models.path().join(file);
    detector(models.path(), finds);
    let mut skin = vec![0.0; 19];
    skin[1] = 1.0;
    let parser = at("facelib/parsing_parsenet.safetensors");
    network(&parser, "faces.safetensors", "parser", &[("out_mask_conv.conv2d.bias", skin)]);
    let red = ("stylegan_decoder.to_rgb1.bias", vec![0.6, -0.2, -0.6]);
    network(&at("GFPGAN/GFPGANv1.4.safetensors"), "restorers.safetensors", "gfpgan", &[red]);
    let blue = ("generator.blocks.11.bias", vec![-0.6, -0.2, 0.6]);
    network(&at("Codeformer/codeformer.safetensors"), "restorers.safetensors", "codeformer", &[blue]);
    models
}

fn colour(picture: &Pixels, x: u32, y: u32) -> [u8; 3] {
    let start = ((y * picture.width + x) * 3) as usize;
    picture.data[start..start + 3].try_into().unwrap()
}

#[test]
fn faces_are_restored_in_their_place_and_mixed_by_visibility() {
    let models = models(true);
    let bench = Bench::new().models_at(models.path());
    let server = bench.start();
    let list = server.get("/sdapi/v1/face-restorers").ok();
    assert_eq!(list, json!([{"name": "CodeFormer", "cmd_dir": null}, {"name": "GFPGAN", "cmd_dir": null}]));

    let source = waves(SIDE as u32, SIDE as u32);
    let only = |step: Value| {
        let mut body = json!({"image": base64_png(&source)});
        body.as_object_mut().unwrap().extend(step.as_object().unwrap().clone());
        let reply = server.post(SINGLE, &body).ok();
        (pixels(&reply["image"]), reply["html_info"].as_str().unwrap().to_owned())
    };
    let (restored, done) = only(json!({"gfpgan_visibility": 1}));
    assert_eq!(done, "<p>GFPGAN visibility: 1</p>");
    for at in [22, 48, 72] {
        assert_eq!(colour(&restored, at, 48), [204, 102, 51], "{at}");
        assert_eq!(colour(&restored, 48, at), [204, 102, 51], "{at}");
    }
    for at in [0, 14, 82, 95] {
        assert_eq!(colour(&restored, at, 48), colour(&source, at, 48), "{at}");
        assert_eq!(colour(&restored, 48, at), colour(&source, 48, at), "{at}");
    }
    // The size first, then GFPGAN, then CodeFormer.
    let steps = json!({
        "upscaler_1": "Nearest", "gfpgan_visibility": 1, "codeformer_visibility": 0.5, "codeformer_weight": 0.25,
    });
    let (both, done) = only(steps);
    let steps = "GFPGAN visibility: 1, CodeFormer visibility: 0.5, CodeFormer weight: 0.25";
    assert_eq!(done, format!("<p>Postprocess upscale by: 2, Postprocess upscaler: Nearest, {steps}</p>"));
    assert_eq!((both.width, colour(&both, 96, 96)), (192, [127, 102, 127]));
    let large = resize(&source, 192, 192, Filter::Nearest).unwrap();
    assert_eq!(colour(&both, 3, 3), colour(&large, 3, 3));
    // An option says it otherwise: GFPGAN is the last to draw the face.
    let order = json!({"postprocessing_operation_order": ["CodeFormer", "Upscale"]});
    assert_eq!(server.post("/sdapi/v1/options", &order).ok(), Value::Null);
    let steps = json!({"upscaler_1": "Nearest", "gfpgan_visibility": 1, "codeformer_visibility": 0.5});
    let (both, done) = only(steps);
    let steps = [
        "CodeFormer visibility: 0.5, CodeFormer weight: 0",
        "Postprocess upscale by: 2",
        "Postprocess upscaler: Nearest",
        "GFPGAN visibility: 1",
    ];
    assert_eq!(done, format!("<p>{}</p>", steps.join(", ")));
    assert_eq!((both.width, colour(&both, 96, 96)), (192, [204, 102, 51]));
}

#[test]
fn a_drawing_restores_faces_with_what_there_is() {
    let models = models(true);
    let checkpoint = checkout().join("examples/demo-model/demo-v3.safetensors");
    std::os::unix::fs::symlink(checkpoint, models.path().join("demo-v3.safetensors")).unwrap();
    let bench = Bench::new().models_at(models.path());
    let server = bench.start();
    let faces =
        json!({"face_restoration": true, "face_restoration_model": "CodeFormer", "code_former_weight": 0.25});
    let says = ["Face restoration: CodeFormer, CodeFormer weight: 0.25"];
    redraws(&server, "txt2img", json!({"override_settings": faces}), json!({}), &says);
    let mut body = quick();
    body["restore_faces"] = true.into();
    std::fs::remove_file(models.path().join("Codeformer/codeformer.safetensors")).unwrap();
    let reply = server.post("/sdapi/v1/txt2img", &body).ok();
    let info: Value = serde_json::from_str(reply["info"].as_str().unwrap()).unwrap();
    assert_eq!((&info["restore_faces"], &info["face_restoration_model"]), (&json!(true), &json!("GFPGAN")));
    let infotext = info["infotexts"][0].as_str().unwrap();
    assert!(infotext.contains("Seed: 1, Face restoration: GFPGAN, Size: 64x64"), "{infotext}");
    assert_eq!(colour(&pixels(&reply["images"][0]), 32, 32), [204, 102, 51]);

    let mut chosen = body.clone();
    chosen["override_settings"] = json!({"face_restoration_model": "CodeFormer"});
    let found = problems(&server, "/sdapi/v1/txt2img", &chosen);
    assert!(found[0].1.contains("put codeformer.pth into"), "one that is chosen is not replaced: {found:?}");
    chosen["override_settings"] = json!({"face_restoration_model": "None"});
    let reply = server.post("/sdapi/v1/txt2img", &chosen).ok();
    assert!(!reply["info"].as_str().unwrap().contains("Face restoration"));

    std::fs::remove_file(models.path().join("GFPGAN/GFPGANv1.4.safetensors")).unwrap();
    let found = problems(&server, "/sdapi/v1/txt2img", &body);
    assert!(found[0].0 == "restore_faces" && found[0].1.contains("put codeformer.pth into"), "{found:?}");
}

#[test]
fn a_picture_without_a_face_comes_back_as_it_was() {
    let models = models(false);
    let bench = Bench::new().models_at(models.path());
    let source = waves(16, 24);
    let step = json!({"upscaler_1": "None", "codeformer_visibility": 1});
    assert_eq!(enlarged(&bench.start(), &source, step), source);
}

#[test]
fn a_missing_file_is_named_with_the_field_and_the_folder() {
    let models = models(true);
    std::fs::remove_file(models.path().join("facelib/parsing_parsenet.safetensors")).unwrap();
    std::fs::remove_file(models.path().join("Codeformer/codeformer.safetensors")).unwrap();
    let bench = Bench::new().models_at(models.path());
    let server = bench.start();
    assert_eq!(server.get("/sdapi/v1/face-restorers").ok(), json!([{"name": "GFPGAN", "cmd_dir": null}]));
    let body =
        json!({"image": base64_png(&waves(8, 8)), "gfpgan_visibility": 1, "codeformer_visibility": 0.1});
    let found = problems(&server, SINGLE, &body);
    let wanted = [
        ("gfpgan_visibility", "parsing_parsenet.pth into the folder GFPGAN"),
        ("codeformer_visibility", "codeformer.pth into the folder Codeformer"),
        ("codeformer_visibility", "parsing_parsenet.pth into the folder GFPGAN"),
    ];
    assert_eq!(found.len(), wanted.len(), "{found:?}");
    for ((field, message), (wanted_field, part)) in found.iter().zip(wanted) {
        assert!(field == wanted_field && message.contains(part), "{field}: {message}");
    }
}
