//! Networks of the models folder that plugins look with: maps, and backgrounds taken out.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use tempfile::TempDir;

use super::drawing::{draw, png};
use crate::support::{Bench, checkout, decode, quick_with};

/// The demo checkpoint, and networks of the torch crate's fixtures: the folder each lies in, which one it is, its name.
pub(super) fn models_with(networks: &[(&str, &str, &str)]) -> TempDir {
    let models = tempfile::tempdir().unwrap();
    let checkpoint = "demo-v3.safetensors";
    let copy = |from: &str, to: &str| std::fs::copy(checkout().join(from), models.path().join(to)).unwrap();
    copy(&format!("examples/demo-model/{checkpoint}"), checkpoint);
    for (folder, network, name) in networks {
        std::fs::create_dir_all(models.path().join(folder)).unwrap();
        let fixture = format!("host/torch/tests/fixtures/networks/{network}.torchscript");
        copy(&fixture, &format!("{folder}/{name}.torchscript"));
    }
    models
}

fn preprocessors_with(models: &TempDir) -> Bench {
    let bench = Bench::new().models_at(models.path()).plugin("plugins", "preprocessors");
    bench.config("[grants.preprocessors]\nmodels = [\"*\"]\n")
}

#[test]
fn a_module_looks_with_its_network_and_says_where_it_is_missing() {
    let models = models_with(&[("networks", "redness", "depth")]);
    let bench = preprocessors_with(&models);
    let server = bench.start();
    let picture = png(64, 64, |x, _| [(x * 4) as u8, 90, 90]);
    let detect = |module: &str| {
        let body = json!({"controlnet_module": module, "controlnet_input_images": [picture], "controlnet_processor_res": 64});
        server.post("/controlnet/detect", &body)
    };
    let reply = detect("depth_midas").ok();
    let map = decode(&BASE64_STANDARD.decode(reply["images"][0].as_str().unwrap()).unwrap());
    let row: Vec<u8> = map.data[..64 * 3].chunks(3).map(|pixel| pixel[0]).collect();
    assert_eq!((row[0], row[63]), (0, 255));
    assert!(row.is_sorted(), "{row:?}");
    let reply = detect("softedge_hed");
    assert_eq!(reply.status, 422, "{}", reply.json());
    assert!(reply.json().to_string().contains("ControlNetHED.torchscript"), "{}", reply.json());
    let reply = detect("softedge_anyline");
    assert_eq!(reply.status, 422, "{}", reply.json());
    assert!(reply.json().to_string().contains("MTEED.torchscript"), "{}", reply.json());
}

#[test]
fn people_are_drawn_where_a_network_sees_their_parts() {
    let models = models_with(&[("networks", "poses", "body_pose_model")]);
    let bench = preprocessors_with(&models);
    let server = bench.start();
    let detect = |module: &str, picture: &str| {
        let body = json!({"controlnet_module": module, "controlnet_input_images": [picture], "controlnet_processor_res": 184});
        server.post("/controlnet/detect", &body)
    };
    // Neck, right shoulder, elbow and wrist: squares of the places that the network gives a number for, by their red.
    let red = |x: u32, y: u32| match (x / 8, y / 8) {
        (8, 11) => 100,
        (13, 11) => 150,
        (18, 11) => 200,
        (23, 11) => 250,
        _ => 0,
    };
    let reply = detect("openpose", &png(280, 184, |x, y| [red(x, y), 0, 0])).ok();
    let map = decode(&BASE64_STANDARD.decode(reply["images"][0].as_str().unwrap()).unwrap());
    assert_eq!((map.width, map.height), (280, 184));
    let at = |x: usize, y: usize| &map.data[(y * 280 + x) * 3..][..3];
    assert_eq!((at(67, 91), at(107, 91)), (&[255, 85, 0][..], &[255, 170, 0][..]));
    assert_eq!((at(147, 91), at(187, 91)), (&[255, 255, 0][..], &[170, 255, 0][..]));
    assert_eq!((at(87, 91), at(127, 91)), (&[153, 0, 0][..], &[153, 102, 0][..]), "limbs between them");
    // What is told of them draws the same again.
    let poses = &reply["poses"];
    assert_eq!(poses[0]["people"][0]["pose_keypoints_2d"].as_array().unwrap().len(), 3 * 18);
    let drawn = server.post("/controlnet/render_openpose_json", poses).ok();
    assert_eq!(decode(&BASE64_STANDARD.decode(drawn["images"][0].as_str().unwrap()).unwrap()).data, map.data);
    let lit: Vec<usize> = (0..280 * 184).filter(|place| map.data[place * 3..][..3] != [0; 3]).collect();
    assert!(lit.iter().all(|place| (63..193).contains(&(place % 280)) && (86..98).contains(&(place / 280))));

    let reply = detect("openpose", &png(280, 184, |_, _| [0; 3])).ok();
    let map = decode(&BASE64_STANDARD.decode(reply["images"][0].as_str().unwrap()).unwrap());
    assert!(map.data.iter().all(|level| *level == 0), "nobody is there");
    let reply = detect("openpose_full", &png(280, 184, |_, _| [0; 3]));
    assert_eq!(reply.status, 422, "{}", reply.json());
    assert!(reply.json().to_string().contains("hand_pose_model.torchscript"), "{}", reply.json());
}

#[test]
fn things_are_told_apart_by_two_networks_that_hand_tensors_on() {
    let models = models_with(&[
        ("networks", "mask_encoder", "mobile_sam_encoder"),
        ("networks", "mask_decoder", "mobile_sam_decoder"),
    ]);
    let bench = preprocessors_with(&models);
    let server = bench.start();
    // The decoder takes what the encoder gave and points, and gives masks and how sure it is of each.
    let is_thing = |x: u32, y: u32| (16..48).contains(&x) && y < 32;
    let picture = png(64, 64, |x, y| if is_thing(x, y) { [255, 90, 0] } else { [0, 90, 200] });
    let body = json!({"controlnet_module": "mobile_sam", "controlnet_input_images": [picture], "controlnet_processor_res": 64});
    let reply = server.post("/controlnet/detect", &body).ok();
    let map = decode(&BASE64_STANDARD.decode(reply["images"][0].as_str().unwrap()).unwrap());
    assert_eq!((map.width, map.height), (64, 64));
    let (pixels, _) = map.data.as_chunks::<3>();
    let (thing, rest) = (pixels[16], pixels[0]);
    assert!(thing != rest && thing != [0; 3] && rest != [0; 3], "{thing:?} {rest:?}");
    for (place, pixel) in (0..).zip(pixels) {
        let (x, y) = (place % 64, place / 64);
        assert_eq!(*pixel, if is_thing(x, y) { thing } else { rest }, "{x}, {y}");
    }
}

#[test]
fn backgrounds_become_transparent_or_the_mask_comes_instead() {
    let models = models_with(&[("networks", "redness", "u2net")]);
    let bench = Bench::new().models_at(models.path()).plugin("plugins", "rembg");
    let bench = bench.config("[grants.rembg]\nmodels = [\"u2net*\"]\n");
    let server = bench.start();
    let with = |args: serde_json::Value| {
        draw(&server, "txt2img", json!({"alwayson_scripts": {"Rembg": {"args": args}}})).0
    };
    let (plain, cut) = (with(json!({})), with(json!({"model": "u2net"})));
    let mask = with(json!(["u2net", true]));
    assert!(
        !plain.infotext.contains("Rembg") && cut.infotext.contains("Rembg model: u2net"),
        "{}",
        cut.infotext
    );
    let pixels = (plain.width * plain.height) as usize;
    assert_eq!((plain.data.len(), cut.data.len(), mask.data.len()), (pixels * 3, pixels * 4, pixels));
    for (place, pixel) in cut.data.chunks(4).enumerate() {
        assert_eq!((&pixel[..3], pixel[3]), (&plain.data[place * 3..][..3], mask.data[place]));
    }
    // What is red stays, of what the network makes of it.
    let reddest = (0..pixels).max_by_key(|place| plain.data[place * 3]).unwrap();
    let least = (0..pixels).min_by_key(|place| plain.data[place * 3]).unwrap();
    assert!(mask.data[reddest] > 200 && mask.data[least] < 55, "{} {}", mask.data[reddest], mask.data[least]);
    let reply = server
        .post("/txt2img", &quick_with(json!({"alwayson_scripts": {"rembg": {"args": {"model": "isnet"}}}})));
    let message = reply.json()["message"].as_str().unwrap().to_owned();
    assert!(
        (400..500).contains(&reply.status) && message.contains("the networks here are: u2net"),
        "{message}"
    );
}
