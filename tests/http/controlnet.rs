//! ControlNet's modules, made by a plugin: the routes that list and try them, and units that name one.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::drawing::{models, png, striped};
use super::redraw::write_adapter;
use crate::support::{Bench, Picture, decode, quick_with};

fn bench(models: &tempfile::TempDir) -> Bench {
    Bench::new().models_at(models.path()).plugin("plugins", "preprocessors")
}

fn picture(value: &Value) -> Picture {
    decode(&BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap())
}

#[test]
fn modules_and_models_are_listed_as_controlnet_lists_them() {
    let models = models();
    write_adapter(&models.path().join("ControlNet/t2iadapter_canny.safetensors"));
    let bench = bench(&models);
    let server = bench.start();
    assert_eq!(server.get("/controlnet/version").ok(), json!({"version": 3}));
    assert_eq!(server.get("/controlnet/settings").ok()["control_net_unit_count"], 10);
    let list = server.get("/controlnet/module_list").ok();
    let names: Vec<&str> =
        list["module_list"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(names[0], "none");
    assert!(names.contains(&"canny") && names.contains(&"inpaint"), "{names:?}");
    assert_eq!(list["module_detail"].as_object().unwrap().len(), names.len());
    let sliders = &list["module_detail"]["canny"]["sliders"];
    assert_eq!(
        (&sliders[0]["name"], &sliders[1]["name"], &sliders[2]["value"]),
        (&json!("Resolution"), &json!("Low Threshold"), &json!(200.0))
    );
    let labels = server.get("/controlnet/module_list?alias_names=true").ok();
    assert!(
        labels["module_list"].as_array().unwrap().contains(&json!("inpaint_global_harmonious")),
        "{labels}"
    );
    let models = server.get("/controlnet/model_list").ok();
    let model = models["model_list"][0].as_str().unwrap();
    assert!(
        model.starts_with("t2iadapter_canny [") && model.len() == "t2iadapter_canny [12345678]".len(),
        "{model}"
    );
    let types = server.get("/controlnet/control_types").ok();
    let canny = &types["control_types"]["Canny"];
    assert_eq!((&canny["default_option"], &canny["default_model"]), (&json!("canny"), &json!(model)));
    let first = |tag: &str| types["control_types"][tag]["default_option"].as_str().unwrap().to_owned();
    assert_eq!(
        [first("Depth"), first("SoftEdge"), first("MLSD")],
        ["depth_midas", "softedge_pidinet", "invert (from white bg & black line)"]
    );
    assert_eq!(types["control_types"]["OpenPose"]["module_list"], json!(["none"]));
}

#[test]
fn a_map_is_made_without_drawing_anything() {
    let models = models();
    let bench = bench(&models);
    let server = bench.start();
    let detect = |body: Value| server.post("/controlnet/detect", &body);
    let map = |body: Value| picture(&detect(body).ok()["images"][0]);
    let edges = map(json!({
        "controlnet_module": "Canny", "controlnet_input_images": [striped(64, 96)], "controlnet_processor_res": 128
    }));
    assert_eq!((edges.width, edges.height), (128, 192), "the short side is at the resolution");
    let white = edges.data.iter().filter(|level| **level == 255).count();
    assert!(
        white > 0 && white < edges.data.len() / 2 && edges.data.iter().all(|level| [0, 255].contains(level))
    );
    // The resolution is out of range, so it is the default; older clients name the pictures otherwise.
    let inverted = map(
        json!({"controlnet_module": "invert (from white bg & black line)", "controlnet_images": [striped(64, 96)],
        "controlnet_processor_res": 7}),
    );
    let plain = map(json!({"controlnet_input_images": [striped(64, 96)]}));
    assert!(inverted.data.iter().zip(&plain.data).all(|(a, b)| *a == 255 - *b));

    for (body, says) in [
        (
            json!({"controlnet_module": "openpose", "controlnet_input_images": [striped(8, 8)]}),
            "Module not available",
        ),
        (
            json!({"controlnet_module": "depth", "controlnet_input_images": [striped(8, 8)]}),
            "an admin grants them",
        ),
        (json!({"controlnet_module": "canny"}), "No image selected"),
        (json!({"controlnet_module": "canny", "controlnet_input_images": ["?"]}), "controlnet_input_images"),
        (json!({"controlnet_module": "canny", "controlnet_input_images": [""]}), "picture 0 is empty"),
        (json!({"controlnet_module": "canny", "controlnet_input_images": 3}), "must be"),
        (json!({"controlnet_module": "inpaint", "controlnet_input_images": [striped(8, 8)]}), "needs a mask"),
    ] {
        let reply = detect(body.clone());
        assert_eq!(reply.status, 422, "{body} {}", reply.json());
        assert!(reply.json().to_string().contains(says), "{}", reply.json());
    }
}

#[test]
fn a_unit_is_steered_by_the_map_of_its_module() {
    let models = models();
    write_adapter(&models.path().join("ControlNet/lines.safetensors"));
    let bench = bench(&models);
    let server = bench.start();
    let draw = |unit: Value| {
        let mut body = quick_with(json!({"seed": 5, "alwayson_scripts": {"ControlNet": {"args": [unit]}}}));
        body["width"] = 64.into();
        body["height"] = 96.into();
        let reply = server.post("/sdapi/v1/txt2img", &body);
        assert_eq!(reply.status, 200, "{}", reply.json());
        let reply = reply.ok();
        (picture(&reply["images"][0]), picture(&reply["images"][1]))
    };
    let detected = server.post("/controlnet/detect", &json!({
        "controlnet_module": "canny", "controlnet_input_images": [striped(64, 96)], "controlnet_processor_res": 64
    }));
    let map = detected.ok()["images"][0].as_str().unwrap().to_owned();
    let unit = |changes: Value| {
        let mut unit = json!({"model": "lines", "image": striped(64, 96)});
        unit.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        unit
    };
    let (drawn, shown) = draw(unit(json!({"module": "canny", "pixel_perfect": true})));
    assert_eq!(shown.data, picture(&json!(map)).data, "pixel-perfect is the drawing's short side");
    assert!(drawn.infotext.contains("Module: canny"), "{}", drawn.infotext);
    let (by_map, _) = draw(json!({"model": "lines", "image": map}));
    assert!(by_map.data == drawn.data, "the finished map steers alike");
    let (plain, _) = draw(unit(json!({})));
    assert!(plain.data != drawn.data, "the picture itself steers otherwise");

    let body = quick_with(
        json!({"alwayson_scripts": {"ControlNet": {"args": [unit(json!({"module": "openpose_full"}))]}}}),
    );
    let reply = server.post("/sdapi/v1/txt2img", &body);
    let text = reply.json().to_string();
    assert!(reply.status == 422 && text.contains("openpose_full") && text.contains("canny"), "{text}");
}

#[test]
fn what_is_to_be_repainted_is_hidden_from_the_network() {
    let models = models();
    write_adapter(&models.path().join("ControlNet/lines.safetensors"));
    let bench = bench(&models);
    let server = bench.start();
    let draw = |mask: Value| {
        let unit = json!({"model": "lines", "module": "inpaint_global_harmonious", "image": {"image": striped(64, 64), "mask": mask}});
        let body = quick_with(json!({"alwayson_scripts": {"controlnet": {"args": [unit]}}}));
        picture(&server.post("/sdapi/v1/txt2img", &body).ok()["images"][0]).data
    };
    let mask = |level: u8| png(64, 64, |_, _| [level; 3]);
    let (shown, hidden) = (draw(json!(mask(0))), draw(json!(mask(255))));
    assert!(shown != hidden);
}

#[test]
fn letters_guide_a_picture_as_their_guide_does() {
    let models = models();
    write_adapter(&models.path().join("ControlNet/t2iadapter_sketch.safetensors"));
    let bench = Bench::new().models_at(models.path()).plugin("plugins", "art-text");
    let server = bench.start();
    let page = server.get("/ext/art-text/");
    assert!(page.status == 200 && String::from_utf8_lossy(&page.body).contains("page.js"));
    let guide = server.get("/ext/art-text/guide.png?text=Gesso&width=64&height=64&invert=1");
    assert_eq!(guide.header("content-type"), "image/png");
    let drawn = |scripts: Value| {
        let reply = server.post("/sdapi/v1/txt2img", &quick_with(json!({"alwayson_scripts": scripts}))).ok();
        picture(&reply["images"][0]).data
    };
    let args = json!({"text": "Gesso", "model": "t2iadapter_sketch", "invert": true});
    let lettered = drawn(json!({"art-text": {"args": args}}));
    let unit =
        json!({"enabled": true, "model": "t2iadapter_sketch", "image": BASE64_STANDARD.encode(&guide.body)});
    assert!(
        lettered == drawn(json!({"controlnet": {"args": [unit]}})),
        "the guide itself draws another picture"
    );
    assert!(lettered != drawn(json!({})), "the letters changed nothing");

    let refused = server.post(
        "/sdapi/v1/txt2img",
        &quick_with(json!({"alwayson_scripts": {"art-text": {"args": {"text": "文字", "model": "x"}}}})),
    );
    let text = String::from_utf8_lossy(&refused.body).into_owned();
    assert!(refused.status == 422 && text.contains("has no '文'"), "{} {text}", refused.status);
}
