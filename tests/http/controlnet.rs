//! ControlNet's modules, made by a plugin: the routes that list and try them, and units that name one.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::drawing::{draw, models, png, striped};
use super::extras::problems;
use super::redraw::{redraws, write_adapter};
use crate::support::{Bench, Picture, Server, checkout, decode, quick_with};

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
    let reference = &list["module_detail"]["reference_only"];
    assert_eq!(
        (&reference["model_free"], &reference["sliders"][1]["name"], &reference["sliders"][1]["value"]),
        (&json!(true), &json!("Style Fidelity"), &json!(0.5))
    );
    assert_eq!(list["module_detail"]["canny"]["model_free"], false);
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
        ["depth_midas", "softedge_pidinet", "mlsd"]
    );
    assert_eq!(
        [first("Inpaint"), first("Recolor"), first("Tile"), first("Segmentation")],
        ["inpaint_only", "recolor_luminance", "tile_resample", "seg_ofade20k"]
    );
    assert_eq!(
        (first("Reference"), &types["control_types"]["Reference"]["module_list"]),
        ("reference_only".into(), &json!(["none", "reference_only"]))
    );
    let normals = &types["control_types"]["NormalMap"]["module_list"];
    assert_eq!(normals, &json!(["none", "normal_bae", "normal_midas", "normal_dsine"]));
    let lines = &list["module_detail"]["softedge_anyline"]["sliders"];
    assert_eq!((&lines[0]["value"], &lines[1]["name"]), (&json!(1280), &json!("Safe Steps")));
    let background = &list["module_detail"]["normal_map"]["sliders"][1];
    assert_eq!((&background["name"], &background["value"]), (&json!("Background Threshold"), &json!(0.4)));
    let sharp = &list["module_detail"]["tile_colorfix+sharp"]["sliders"];
    assert_eq!((&sharp[1]["value"], &sharp[2]["name"]), (&json!(8.0), &json!("Sharpness")));
    let poses = &types["control_types"]["OpenPose"];
    assert_eq!(
        poses["module_list"],
        json!([
            "none",
            "openpose_full",
            "openpose_hand",
            "openpose_faceonly",
            "openpose_face",
            "openpose",
            "dw_openpose_full",
            "densepose_parula (black bg & blue torso)",
            "densepose (pruple bg & purple torso)",
            "animal_openpose"
        ])
    );
    assert_eq!(poses["default_option"], "openpose_full");
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
    let reference =
        map(json!({"controlnet_module": "reference_only", "controlnet_input_images": [striped(64, 96)]}));
    assert!(reference.data == plain.data, "a reference is its own map");
    let own =
        map(json!({"controlnet_module": "tile_colorfix", "controlnet_input_images": [striped(64, 96)]}));
    assert!(own.data == plain.data, "its map is the picture");

    let (module, pictures) = ("controlnet_module", "controlnet_input_images");
    for (body, field, says) in [
        (json!({module: "clip_vision", pictures: [striped(8, 8)]}), module, "Module not available"),
        (json!({module: "depth", pictures: [striped(8, 8)]}), module, "an admin grants them"),
        (json!({module: "canny"}), pictures, "No image selected"),
        (json!({module: "canny", pictures: ["?"]}), pictures, ""),
        (json!({module: "canny", pictures: [""]}), pictures, "picture 0 is empty"),
        (json!({module: "canny", pictures: 3}), pictures, "must be"),
        // Of so thin a strip, the map at 512 would take more memory than a plugin has.
        (
            json!({module: "scribble_xdog", pictures: [striped(16, 1024)]}),
            "controlnet_processor_res",
            "choose a smaller processor_res",
        ),
        (json!({module: "inpaint", pictures: [striped(8, 8)]}), "controlnet_masks", "needs a mask"),
        (json!({module: "inpaint_only", pictures: [striped(8, 8)]}), "controlnet_masks", "needs a mask"),
        (
            json!({module: "inpaint_only+lama", pictures: [striped(8, 8)], "controlnet_masks": [striped(8, 8)]}),
            module,
            "an admin grants them",
        ),
    ] {
        let found = problems(&server, "/controlnet/detect", &body);
        assert!(found.len() == 1 && found[0].0 == field && found[0].1.contains(says), "{body} {found:?}");
    }
}

/// A picture of the plugin's own fixtures, or what OpenCV made of it.
fn fixture(name: &str) -> Picture {
    let file = checkout().join("plugins/preprocessors/tests/fixtures/maps.safetensors");
    let file = std::fs::read(file).unwrap();
    let (length, rest) = file.split_first_chunk::<8>().unwrap();
    let (head, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let head: Value = serde_json::from_slice(head).unwrap();
    let number = |value: &Value| value.as_u64().unwrap() as usize;
    let (offsets, shape) = (&head[name]["data_offsets"], &head[name]["shape"]);
    let data = &data[number(&offsets[0])..number(&offsets[1])];
    let is_grey = shape.as_array().unwrap().len() == 2;
    let data = if is_grey { data.iter().flat_map(|level| [*level; 3]).collect() } else { data.to_vec() };
    let (width, height) = (number(&shape[1]) as u32, number(&shape[0]) as u32);
    Picture { width, height, data, infotext: String::new() }
}

#[test]
fn the_component_makes_the_maps_that_opencv_makes() {
    let models = models();
    let bench = bench(&models);
    let server = bench.start();
    for (name, module, thresholds) in [
        ("demo", "canny", [60.0, 140.0]),
        ("shapes", "canny", [60.0, 140.0]),
        ("demo", "blur_gaussian", [3.5, -1.0]),
        ("shapes", "threshold", [90.0, -1.0]),
    ] {
        let source = fixture(name);
        let pixel = |x: u32, y: u32| {
            let place = ((y * source.width + x) * 3) as usize;
            [source.data[place], source.data[place + 1], source.data[place + 2]]
        };
        let body = json!({"controlnet_module": module, "controlnet_processor_res": 96,
            "controlnet_input_images": [png(source.width, source.height, pixel)],
            "controlnet_threshold_a": thresholds[0], "controlnet_threshold_b": thresholds[1]});
        let map = picture(&server.post("/controlnet/detect", &body).ok()["images"][0]);
        let wanted = fixture(&format!("{name}.{module}"));
        assert_eq!((map.width, map.height), (wanted.width, wanted.height), "{name} {module}");
        assert!(map.data == wanted.data, "{name} {module}");
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
        json!({"alwayson_scripts": {"ControlNet": {"args": [unit(json!({"module": "clip_vision"}))]}}}),
    );
    let reply = server.post("/sdapi/v1/txt2img", &body);
    let text = reply.json().to_string();
    assert!(reply.status == 422 && text.contains("clip_vision") && text.contains("canny"), "{text}");
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

/// Pixels of a picture, each with its place from the left.
fn pixels(picture: &Picture) -> impl Iterator<Item = (u32, [u8; 3])> {
    let (pixels, _) = picture.data.as_chunks::<3>();
    (0..picture.width).cycle().zip(pixels.iter().copied())
}

fn mean(picture: &Picture, channel: usize) -> f64 {
    let count = f64::from(picture.width * picture.height);
    pixels(picture).map(|(_, pixel)| f64::from(pixel[channel])).sum::<f64>() / count
}

/// Draws with one unit; the picture, and the map behind it.
fn with_unit(server: &Server, route: &str, unit: &Value, mut changes: Value) -> (Picture, Picture) {
    changes["alwayson_scripts"] = json!({"controlnet": {"args": [unit]}});
    let (drawn, reply) = draw(server, route, changes);
    (drawn, picture(&reply["images"][1]))
}

#[test]
fn what_a_mask_leaves_is_the_units_own_picture_again() {
    let models = models();
    write_adapter(&models.path().join("ControlNet/lines.safetensors"));
    let bench = bench(&models);
    let server = bench.start();
    let mask = png(64, 64, |x, _| [if x < 32 { 255 } else { 0 }; 3]);
    let source = decode(&BASE64_STANDARD.decode(striped(64, 64).split_once(',').unwrap().1).unwrap());
    let unit =
        |module: &str| json!({"model": "lines", "module": module, "image": striped(64, 64), "mask": mask});
    let init = json!({"init_images": [png(64, 64, |_, _| [90; 3])], "denoising_strength": 0.8});
    for (route, changes) in [("txt2img", json!({})), ("img2img", init)] {
        let (plain, _) = with_unit(&server, route, &unit("inpaint_global_harmonious"), changes.clone());
        let (pasted, _) = with_unit(&server, route, &unit("inpaint_only"), changes);
        let triples = pixels(&pasted).zip(pixels(&plain)).zip(pixels(&source));
        for (((x, pasted), (_, plain)), (_, source)) in triples {
            match x {
                0..32 => assert_eq!(pasted, plain, "{route}: what is hidden is drawn, at {x}"),
                // Between lies the soft edge.
                51.. => assert_eq!(pasted, source, "{route}: the rest is kept, at {x}"),
                _ => {}
            }
        }
        assert!(pixels(&plain).zip(pixels(&source)).any(|(a, b)| a.0 >= 51 && a.1 != b.1), "{route}");
    }
    // In two passes, at the size of the second.
    let flat = png(64, 64, |_, _| [40, 80, 120]);
    let unit = json!({"model": "lines", "module": "inpaint_only", "image": flat, "mask": mask});
    let twice = json!({"enable_hr": true, "denoising_strength": 0.5, "hr_scale": 1.5});
    let (large, _) = with_unit(&server, "txt2img", &unit, twice);
    assert_eq!((large.width, large.height), (96, 96));
    assert!(pixels(&large).all(|(x, pixel)| x < 68 || pixel == [40, 80, 120]));
    assert!(pixels(&large).any(|(x, pixel)| x < 48 && pixel != [40, 80, 120]));
}

#[test]
fn a_recoloured_picture_has_the_light_of_its_source() {
    let models = models();
    write_adapter(&models.path().join("ControlNet/lines.safetensors"));
    let bench = bench(&models);
    let server = bench.start();
    let unit = |module: &str, picture: String| json!({"model": "lines", "module": module, "image": picture});
    let ramp = || png(64, 64, |x, y| [(x * 3 + 20) as u8, 60, (y + 40) as u8]);
    let (drawn, map) = with_unit(&server, "txt2img", &unit("recolor_intensity", ramp()), json!({}));
    for ((_, drawn), (_, map)) in pixels(&drawn).zip(pixels(&map)) {
        assert_eq!(drawn.iter().max(), Some(&map[0]));
    }
    assert!(pixels(&drawn).any(|(_, [r, g, b])| r != g || g != b), "its colours are gone");
    // Light in two passes, from a source of one light.
    let flat = || png(64, 64, |_, _| [90; 3]);
    let twice = json!({"enable_hr": true, "denoising_strength": 0.5, "hr_scale": 1.5});
    let luma = |[r, g, b]: [u8; 3]| 0.2126 * f64::from(r) + 0.7152 * f64::from(g) + 0.0722 * f64::from(b);
    let spread = |picture: &Picture| {
        let levels: Vec<f64> = pixels(picture).map(|(_, pixel)| luma(pixel)).collect();
        let mean = levels.iter().sum::<f64>() / levels.len() as f64;
        levels.iter().map(|level| (level - mean).abs()).sum::<f64>() / levels.len() as f64
    };
    let (lit, _) = with_unit(&server, "txt2img", &unit("recolor_luminance", flat()), twice.clone());
    let (plain, _) = with_unit(&server, "txt2img", &unit("none", flat()), twice);
    assert_eq!((lit.width, plain.width), (96, 96));
    assert!(spread(&lit) * 2.0 < spread(&plain), "{} {}", spread(&lit), spread(&plain));
    assert!((60.0..110.0).contains(&mean(&lit, 1)), "{}", mean(&lit, 1));
}

#[test]
fn a_tile_keeps_the_tones_of_its_source_and_is_drawn_again_from_its_text() {
    let models = models();
    write_adapter(&models.path().join("ControlNet/lines.safetensors"));
    let bench = bench(&models);
    let server = bench.start();
    let red = png(64, 64, |_, _| [200, 60, 60]);
    let unit = |changes: Value| {
        let mut unit = json!({"model": "lines", "image": red, "threshold_a": 3});
        unit.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        unit
    };
    let far = |picture: &Picture| {
        [200.0_f64, 60.0, 60.0]
            .iter()
            .enumerate()
            .map(|(channel, level)| (mean(picture, channel) - level).abs())
            .fold(0.0, f64::max)
    };
    let (plain, _) = with_unit(&server, "txt2img", &unit(json!({"module": "none"})), json!({}));
    let (fixed, _) = with_unit(&server, "txt2img", &unit(json!({"module": "tile_colorfix"})), json!({}));
    let sharp = unit(json!({"module": "tile_colorfix+sharp", "threshold_b": 2}));
    let (sharp_drawn, _) = with_unit(&server, "txt2img", &sharp, json!({}));
    assert!(far(&plain) > 15.0 && far(&fixed) < 10.0, "{} {}", far(&plain), far(&fixed));
    assert!(sharp_drawn.data != fixed.data, "sharpness changed nothing");
    let changes = json!({"alwayson_scripts": {"controlnet": {"args": [sharp]}}});
    let pictures = json!({"alwayson_scripts": {"controlnet": {"args": [{"image": red}]}}});
    redraws(&server, "txt2img", changes, pictures, &["Module: tile_colorfix+sharp", "Threshold B: 2"]);
}

#[test]
fn a_picture_is_drawn_after_another_without_a_model() {
    // Neither a plugin nor a control network is there.
    let bench = Bench::new();
    let server = bench.start();
    let unit = |level: u8, changes: Value| {
        let mut unit = json!({"module": "reference_only", "image": png(64, 64, |_, _| [level; 3])});
        unit.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        unit
    };
    let after = |level: u8, changes: Value| {
        with_unit(&server, "txt2img", &unit(level, changes), json!({"steps": 8})).0
    };
    // Drawn after a picture of the checkpoint's own, another has its colours.
    let large = |prompt: &str, seed: u32| json!({"prompt": prompt, "seed": seed, "steps": 20, "width": 128, "height": 128});
    let square = large("a small green square", 3);
    let (without, _) = draw(&server, "txt2img", square.clone());
    for prompt in ["city skyline at night with moon and stars", "sea at sunset"] {
        let (reference, reply) = draw(&server, "txt2img", large(prompt, 5));
        let unit = json!({"module": "reference_only", "image": reply["images"][0]});
        let (with, _) = with_unit(&server, "txt2img", &unit, square.clone());
        let far = |picture: &Picture| {
            (0..3).map(|channel| (mean(picture, channel) - mean(&reference, channel)).abs()).sum::<f64>()
        };
        assert!(far(&with) < 0.8 * far(&without), "{prompt}: {} {}", far(&with), far(&without));
    }
    let (plain, _) = draw(&server, "txt2img", json!({"steps": 8}));
    let (bright, dark) = (after(235, json!({})), after(15, json!({})));
    assert!(bright.infotext.contains("Module: reference_only, Model: None"), "{}", bright.infotext);
    assert!(bright.data != plain.data && dark.data != plain.data && bright.data != dark.data);
    for changes in [json!({"weight": 0}), json!({"guidance_start": 0.95, "guidance_end": 1})] {
        assert!(after(235, changes.clone()).data == plain.data, "{changes}");
    }
    // How many attentions read it, in which steps, and how far the negative prompt keeps to itself.
    for changes in [
        json!({"weight": 0.3}),
        json!({"guidance_end": 0.3}),
        json!({"threshold_a": 1}),
        json!({"control_mode": "My prompt is more important"}),
    ] {
        let other = after(235, changes.clone());
        assert!(other.data != bright.data && other.data != plain.data, "{changes}");
    }
    let changes = json!({"steps": 4, "alwayson_scripts": {"controlnet": {"args": [{"module": "reference_only", "weight": 0.7, "threshold_a": 0.25}]}}});
    let given = json!({"alwayson_scripts": {"controlnet": {"args": [unit(90, json!({"enabled": true}))]}}});
    redraws(&server, "txt2img", changes, given, &["Module: reference_only", "Threshold A: 0.25"]);

    let body = quick_with(
        json!({"alwayson_scripts": {"controlnet": {"args": [{"enabled": true, "module": "reference_only"}]}}}),
    );
    let reply = server.post("/sdapi/v1/txt2img", &body);
    let text = reply.json().to_string();
    assert!(reply.status == 422 && text.contains("reference_only has no image"), "{text}");
}

#[test]
fn pictures_of_a_batch_are_drawn_after_another_as_alone_and_in_two_passes_too() {
    let bench = Bench::new();
    let server = bench.start();
    let unit = json!({"module": "reference_only", "image": striped(96, 64)});
    let reply = |mut changes: Value| {
        changes["alwayson_scripts"] = json!({"controlnet": {"args": [unit]}});
        draw(&server, "txt2img", changes).1
    };
    let both = reply(json!({"seed": 5, "batch_size": 2}));
    for (index, seed) in [(0, 5), (1, 6)] {
        let alone = picture(&reply(json!({"seed": seed}))["images"][0]);
        let beside = picture(&both["images"][index]);
        let far = alone.data.iter().zip(&beside.data).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(far <= Some(1), "{index}: {far:?}");
    }
    let twice = |option: &str| {
        let mut unit = unit.clone();
        unit["hr_option"] = option.into();
        let changes = json!({"enable_hr": true, "denoising_strength": 0.6, "hr_scale": 1.5});
        with_unit(&server, "txt2img", &unit, changes).0
    };
    let [whole, low, high] = ["Both", "Low res only", "High res only"].map(twice);
    assert_eq!((whole.width, whole.height), (96, 96));
    assert!(whole.data != low.data && whole.data != high.data && low.data != high.data);
}

#[test]
fn people_are_drawn_from_their_points() {
    let bench = Bench::new();
    let server = bench.start();
    let render = |body: Value| server.post("/controlnet/render_openpose_json", &body);
    // The nose, and the neck, which are joined.
    let person = json!({"pose_keypoints_2d": [32, 20, 1, 32, 60, 1]});
    let canvas = json!({"people": [person], "canvas_width": 64, "canvas_height": 96});
    let reply = render(json!([canvas])).ok();
    assert_eq!((&reply["info"], reply["images"].as_array().unwrap().len()), (&json!("Success"), 1));
    let drawn = picture(&reply["images"][0]);
    assert_eq!((drawn.width, drawn.height), (64, 96));
    let at = |x: usize, y: usize| &drawn.data[(y * 64 + x) * 3..][..3];
    assert_eq!((at(32, 20), at(32, 60), at(2, 2)), (&[255, 0, 0][..], &[255, 85, 0][..], &[0; 3][..]));
    assert_eq!(at(32, 40), [0, 0, 153], "the thirteenth limb is blue");
    assert_eq!(render(json!([])).ok(), json!({"info": "No pose data detected."}));
    let wrong = render(json!([{"people": [], "canvas_width": 0, "canvas_height": 8}]));
    assert!(wrong.status == 422 && wrong.json().to_string().contains("canvas_width"), "{}", wrong.json());
}

#[test]
fn people_that_a_module_finds_are_told_beside_its_maps() {
    let bench = Bench::new().plugin("guests", "annotator-tells");
    let server = bench.start();
    let detect = |module: &str| {
        let pictures = [striped(64, 96), striped(32, 48)];
        let body = json!({"controlnet_module": module, "controlnet_input_images": pictures});
        server.post("/controlnet/detect", &body)
    };
    let told = detect("openpose_told").ok();
    let (poses, second) = (&told["poses"], picture(&told["images"][1]));
    assert_eq!((second.width, second.height), (32, 48));
    assert_eq!((&poses[1]["canvas_width"], &poses[1]["canvas_height"]), (&json!(32), &json!(48)));
    // What is told can be drawn as it is.
    let drawn = server.post("/controlnet/render_openpose_json", poses).ok();
    assert_eq!(drawn["images"].as_array().unwrap().len(), 2);
    assert_eq!(picture(&drawn["images"][0]).data[(24 * 64 + 32) * 3..][..3], [255, 0, 0]);

    let untold = detect("untold").ok();
    assert!(untold["images"].as_array().unwrap().len() == 2 && untold.get("poses").is_none(), "{untold}");
    for (module, says) in [("told_in_a_list", "not a JSON object"), ("told_too_much", "at most 1048576")] {
        let failed = detect(module);
        let text = failed.json().to_string();
        assert!(failed.status >= 500 && text.contains(says), "{} {text}", failed.status);
    }
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
    // Without a ControlNet a picture is drawn over the guide, as the page does it: the letters stay dark on light.
    let changes = json!({"init_images": [BASE64_STANDARD.encode(&guide.body)], "denoising_strength": 0.3});
    let (over, _) = draw(&server, "img2img", changes);
    let letters = decode(&guide.body);
    let mean = |is_letter: bool| {
        let places = (0..letters.data.len()).filter(|place| (letters.data[*place] < 128) == is_letter);
        let levels: Vec<f64> = places.map(|place| f64::from(over.data[place * 3 + 1])).collect();
        levels.iter().sum::<f64>() / levels.len() as f64
    };
    assert!(mean(true) < mean(false), "{} {}", mean(true), mean(false));

    let refused = server.post(
        "/sdapi/v1/txt2img",
        &quick_with(json!({"alwayson_scripts": {"art-text": {"args": {"text": "文字", "model": "x"}}}})),
    );
    let text = String::from_utf8_lossy(&refused.body).into_owned();
    assert!(refused.status == 422 && text.contains("has no '文'"), "{} {text}", refused.status);
}
