//! What a ControlNet unit says beside its model and its map: how strongly it acts, when, where, in which pass, and beside
//! others.

use serde_json::{Value, json};

use super::drawing::{difference, draw, models, png, striped};
use super::redraw::{redraws, write_adapter};
use super::scripts::run;
use crate::support::{Bench, Picture, Server, checkout, quick_with};

/// With units of the adapter `lines`.
fn with(server: &Server, units: &[Value], changes: Value) -> Picture {
    let units: Vec<Value> = units
        .iter()
        .map(|changes| {
            let mut unit = json!({"model": "lines", "image": striped(64, 64), "save_detected_map": false});
            unit.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            unit
        })
        .collect();
    let mut body = json!({"steps": 4, "alwayson_scripts": {"controlnet": {"args": units}}});
    body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    draw(server, "txt2img", body).0
}

#[test]
fn units_act_as_strongly_as_long_and_where_they_say() {
    let models = models();
    write_adapter(&models.path().join("ControlNet/lines.safetensors"));
    let bench = Bench::new().models_at(models.path());
    let server = bench.start();
    let of = |units: &[Value]| with(&server, units, json!({}));
    let plain = of(&[]);
    let whole = of(&[json!({})]);
    assert!(difference(&plain, &whole) > 0.2);
    let same = |a: &Picture, b: &Picture| difference(a, b) < 0.05;
    let white = png(64, 64, |_, _| [255; 3]);
    let black = png(64, 64, |_, _| [0; 3]);
    for unit in [
        json!({"weight": 0}),
        json!({"advanced_weighting": [0, 0, 0, 0]}),
        json!({"effective_region_mask": black}),
        json!({"hr_option": "High res only"}),
        json!({"enabled": false}),
    ] {
        assert!(same(&of(std::slice::from_ref(&unit)), &plain), "{unit} acts");
    }
    for unit in [
        json!({"weight": 1}),
        json!({"advanced_weighting": [1, 1, 1, 1]}),
        json!({"effective_region_mask": white}),
        json!({"hr_option": "Low res only"}),
        json!({"control_mode": "Balanced", "guidance_start": 0, "guidance_end": 1}),
    ] {
        assert!(same(&of(std::slice::from_ref(&unit)), &whole), "{unit} does not act as if it were not said");
    }
    let left = png(64, 64, |x, _| if x < 32 { [255; 3] } else { [0; 3] });
    let mut seen: Vec<(Value, Picture)> = Vec::new();
    for unit in [
        json!({"weight": 0.5}),
        json!({"guidance_end": 0.4}),
        json!({"guidance_start": 0.6}),
        json!({"control_mode": "My prompt is more important"}),
        json!({"control_mode": "ControlNet is more important"}),
        json!({"effective_region_mask": left}),
    ] {
        let drawn = of(std::slice::from_ref(&unit));
        for (other, known) in [(json!("no unit"), &plain), (json!("a whole one"), &whole)]
            .iter()
            .map(|(name, known)| (name, *known))
            .chain(seen.iter().map(|(other, known)| (other, known)))
        {
            assert!(drawn.data != known.data, "{unit} draws what {other} does");
        }
        seen.push((unit, drawn));
    }
    // What units add is a sum.
    let halves = of(&[json!({"weight": 0.5}), json!({"weight": 0.5})]);
    assert!(difference(&halves, &whole) < 0.5, "{}", difference(&halves, &whole));
    let other = json!({"image": striped(96, 64), "resize_mode": "Resize and Fill", "weight": 0.7});
    let both = of(&[json!({}), other.clone()]);
    assert!(both.data != whole.data && both.data != of(&[other]).data);
    let crossed =
        json!({"model": "lines", "image": striped(64, 64), "guidance_start": 0.8, "guidance_end": 0.2});
    let body = quick_with(json!({"alwayson_scripts": {"controlnet": {"args": [crossed]}}}));
    let reply = server.post("/sdapi/v1/txt2img", &body);
    assert_eq!(reply.status, 422, "{}", reply.json());
    assert!(reply.json().to_string().contains("guidance_start"), "{}", reply.json());
}

#[test]
fn factors_that_do_not_fit_a_network_are_laid_to_their_unit() {
    let models = models();
    write_adapter(&models.path().join("ControlNet/lines.safetensors"));
    let bench = Bench::new().models_at(models.path());
    let server = bench.start();
    let unit = json!({"model": "lines", "image": striped(64, 64), "advanced_weighting": [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]});
    let args = json!([{"enabled": false}, unit]);
    let body = quick_with(json!({"alwayson_scripts": {"controlnet": {"args": args}}}));
    let told = server.post("/sdapi/v1/txt2img", &body).json();
    assert_eq!(told["detail"][0]["loc"], json!(["body", "alwayson_scripts.controlnet.args.1"]), "{told}");
    assert!(told["detail"][0]["msg"].as_str().unwrap().contains("has 10 factors"), "{told}");
}

#[test]
fn units_act_in_the_pass_they_are_for_and_fit_their_maps_as_they_say() {
    let models = models();
    write_adapter(&models.path().join("ControlNet/lines.safetensors"));
    let bench = Bench::new().models_at(models.path());
    let server = bench.start();
    let two =
        json!({"enable_hr": true, "denoising_strength": 0.6, "hr_scale": 1.5, "hr_second_pass_steps": 3});
    let pictures: Vec<Picture> = ["Both", "Low res only", "High res only"]
        .iter()
        .map(|option| with(&server, &[json!({"hr_option": option})], two.clone()))
        .chain([with(&server, &[], two.clone())])
        .collect();
    for (place, one) in pictures.iter().enumerate() {
        assert!(pictures[..place].iter().all(|other| other.data != one.data), "{place}");
    }
    let wide =
        |mode: Value| with(&server, &[json!({"image": striped(128, 64), "resize_mode": mode})], json!({}));
    let fitted = [0, 1, 2].map(|mode| wide(json!(mode)));
    assert!(
        fitted[0].data != fitted[1].data
            && fitted[1].data != fitted[2].data
            && fitted[0].data != fitted[2].data
    );
    for (mode, name) in ["Just Resize", "Crop and Resize", "Resize and Fill"].iter().enumerate() {
        assert!(wide(json!(name)).data == fitted[mode].data, "{name}");
    }
    let given = json!({"alwayson_scripts": {"controlnet": {"args": [{"image": striped(128, 64)}]}}});
    let changes = json!({"alwayson_scripts": {"controlnet": {"args": [{"model": "lines", "weight": 0.8,
        "guidance_start": 0.2, "guidance_end": 0.9, "control_mode": 2, "resize_mode": 0, "pixel_perfect": true}]}}});
    let says = ["Weight: 0.8", "Guidance Start: 0.2, Guidance End: 0.9, Pixel Perfect: True"];
    redraws(&server, "txt2img", changes, given, &says);
}

#[test]
fn without_a_picture_of_its_own_a_unit_has_the_one_that_is_drawn_over_where_it_is_drawn() {
    let models = models();
    write_adapter(&models.path().join("ControlNet/lines.safetensors"));
    let bench = Bench::new().models_at(models.path());
    let server = bench.start();
    let source = striped(128, 64);
    let over = |unit: Value, changes: &Value| {
        let mut all = json!({"enabled": true, "model": "lines", "save_detected_map": false});
        all.as_object_mut().unwrap().extend(unit.as_object().unwrap().clone());
        let mut body = json!({"init_images": [source], "denoising_strength": 0.8, "steps": 4});
        body["alwayson_scripts"] = json!({"controlnet": {"args": [all]}});
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        draw(&server, "img2img", body).0.data
    };
    for mode in [1, 2] {
        let request = json!({"resize_mode": mode});
        let [wanted, other] =
            [mode, 0].map(|own| over(json!({"image": source, "resize_mode": own}), &request));
        assert!(wanted != other, "{mode}: of its own picture the unit says how it is fitted");
        assert!(over(json!({"resize_mode": 0}), &request) == wanted, "{mode}");
    }
    // As wide as the mask and as high as the picture: no square, which it is drawn as.
    let mask = png(128, 64, |x, _| if (8..120).contains(&x) { [255; 3] } else { [0; 3] });
    let part = json!({"mask": mask, "inpaint_full_res": true, "mask_blur": 0});
    let [stretched, filled] = [0, 2].map(|own| over(json!({"resize_mode": own}), &part));
    assert!(stretched == filled, "what is cut out is contained, whatever the unit says");
    assert!(stretched != over(json!({"weight": 0}), &part), "the unit does not act");
}

#[test]
fn a_picture_of_too_odd_a_shape_to_cover_what_is_drawn_is_refused() {
    let models = models();
    write_adapter(&models.path().join("ControlNet/lines.safetensors"));
    let bench = Bench::new().models_at(models.path()).config("[limits]\npixels_max = 4096\n");
    let server = bench.start();
    for (mode, status) in [("Crop and Resize", 422), ("Just Resize", 200), ("Resize and Fill", 200)] {
        let unit = json!({"model": "lines", "image": striped(8, 1024), "resize_mode": mode});
        let body = quick_with(json!({"alwayson_scripts": {"controlnet": {"args": [unit]}}}));
        let reply = server.post("/sdapi/v1/txt2img", &body);
        let text = reply.json().to_string();
        assert_eq!(reply.status, status, "{mode} {text:.400}");
        let why = "a ControlNet image would be enlarged to 524288 pixels";
        assert!(status == 200 || text.contains(why), "{text}");
    }
}

#[test]
fn plugins_change_and_draw_requests_whose_units_have_large_pictures() {
    let models = models();
    write_adapter(&models.path().join("ControlNet/lines.safetensors"));
    let words = checkout().join("examples/wildcards");
    let grant = format!("[grants.dynamic-prompts.folders]\nwildcards = \"{}\"\n", words.display());
    let bench = Bench::new().models_at(models.path()).config(&grant);
    let bench = bench.plugin("plugins", "dynamic-prompts").plugin("plugins", "scripts");
    let server = bench.start();
    // Nothing that a PNG could take less room for: more than a hook may add, or a drawing be asked for with.
    let image = png(640, 512, |x, y| {
        let mut noise = (x * 640 + y + 1).wrapping_mul(0x9E37_79B1);
        noise = (noise ^ (noise >> 15)).wrapping_mul(0x85EB_CA77);
        noise ^= noise >> 13;
        [noise as u8, (noise >> 8) as u8, (noise >> 16) as u8]
    });
    assert!(image.len() > 1 << 20, "{}", image.len());
    let with = |mut changes: Value| {
        let unit = json!({"model": "lines", "image": image, "save_detected_map": false});
        changes["alwayson_scripts"] = json!({"controlnet": {"args": [unit]}});
        changes
    };
    let (chosen, reply) = draw(&server, "txt2img", with(json!({"prompt": "a {red|blue} boat"})));
    let info: Value = serde_json::from_str(reply["info"].as_str().unwrap()).unwrap();
    let prompt = &info["prompt"];
    assert!(prompt == "a red boat" || prompt == "a blue boat", "{prompt}");
    assert_eq!(reply["parameters"]["alwayson_scripts"]["controlnet"]["args"][0]["image"], json!(image));
    let (alone, _) = draw(&server, "txt2img", with(json!({"prompt": prompt})));
    let (plain, _) = draw(&server, "txt2img", json!({"prompt": prompt}));
    assert!(difference(&chosen, &alone) < 0.05 && chosen.data != plain.data);

    let matrix = with(json!({"script_name": "Prompt matrix", "prompt": "sea|night"}));
    let (pictures, _) = run(&server, "txt2img", matrix);
    let (sea, _) = draw(&server, "txt2img", with(json!({"prompt": "sea"})));
    assert!(difference(&pictures[1], &sea) < 0.05);
}
