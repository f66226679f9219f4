//! What a web UI's users draw with, through the server: over pictures, in two passes, with prompts that change, with LoRAs
//! and embeddings, with every sampler.

use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Bench, Picture, Server, checkout, decode, quick_with};

/// Draws by the web UI's route; the first picture and the reply.
#[track_caller]
pub(super) fn draw(server: &Server, route: &str, changes: Value) -> (Picture, Value) {
    let reply = server.post(&format!("/sdapi/v1/{route}"), &quick_with(changes)).ok();
    let picture = BASE64_STANDARD.decode(reply["images"][0].as_str().unwrap()).unwrap();
    (decode(&picture), reply)
}

#[track_caller]
fn txt2img(server: &Server, changes: Value) -> Picture {
    draw(server, "txt2img", changes).0
}

/// A PNG of one colour in a data URI, or with what `paint` makes of each place.
pub(super) fn png(width: u32, height: u32, paint: impl Fn(u32, u32) -> [u8; 3]) -> String {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    let data: Vec<u8> =
        (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).flat_map(|(x, y)| paint(x, y)).collect();
    encoder.write_header().unwrap().write_image_data(&data).unwrap();
    format!("data:image/png;base64,{}", BASE64_STANDARD.encode(bytes))
}

pub(super) fn striped(width: u32, height: u32) -> String {
    png(width, height, |x, y| {
        [(x * 4) as u8, (y * 4) as u8, if (x / 8).is_multiple_of(2) { 200 } else { 40 }]
    })
}

/// Mean difference of two pictures in grey levels.
#[track_caller]
pub(super) fn difference(a: &Picture, b: &Picture) -> f64 {
    assert_eq!((a.width, a.height), (b.width, b.height));
    let sum: u64 = a.data.iter().zip(&b.data).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / a.data.len() as f64
}

#[test]
fn every_sampler_and_every_schedule_draws_a_picture_of_its_own() {
    let bench = Bench::new();
    let server = bench.start();
    let names = |path: &str, key: &str| -> Vec<String> {
        let list = server.get(path).ok();
        list.as_array().unwrap().iter().map(|entry| entry[key].as_str().unwrap().to_owned()).collect()
    };
    let samplers = names("/sdapi/v1/samplers", "name");
    assert_eq!(samplers.len(), 20);
    let mut seen: Vec<(String, Picture)> = Vec::new();
    for sampler in samplers {
        let picture = txt2img(&server, json!({"sampler_name": sampler, "steps": 6}));
        assert!(picture.infotext.contains(&format!("Sampler: {sampler},")), "{}", picture.infotext);
        for (other, known) in &seen {
            assert!(picture.data != known.data, "{sampler} draws what {other} does");
        }
        seen.push((sampler, picture));
    }
    for schedule in names("/sdapi/v1/schedulers", "label") {
        let picture = txt2img(&server, json!({"sampler_name": "Euler", "scheduler": schedule, "steps": 4}));
        assert!(picture.infotext.contains(&format!("Schedule type: {schedule},")), "{}", picture.infotext);
    }
}

#[test]
fn image_to_image_keeps_more_of_the_picture_the_lower_its_strength() {
    let bench = Bench::new();
    let server = bench.start();
    let source = striped(64, 64);
    let over = |strength: f64| {
        draw(
            &server,
            "img2img",
            json!({"init_images": [source], "denoising_strength": strength, "steps": 10}),
        )
        .0
    };
    let [faint, middle, whole] = [0.05, 0.5, 1.0].map(over);
    let (near, far) = (difference(&faint, &middle), difference(&faint, &whole));
    assert!(near < far, "{near} {far}");
    assert!(faint.infotext.contains("Denoising strength: 0.05"), "{}", faint.infotext);
}

#[test]
fn a_strength_that_asks_for_no_step_gives_the_picture_back_and_the_server_goes_on() {
    let bench = Bench::new();
    let server = bench.start();
    let body = json!({"init_images": [striped(64, 64)], "denoising_strength": 0, "sampler_name": "DDIM"});
    let first = draw(&server, "img2img", body.clone()).0;
    assert_eq!(draw(&server, "img2img", body).0.data, first.data);
    let exact = json!({"init_images": [striped(64, 64)], "denoising_strength": 1e-9, "steps": 5,
                       "override_settings": {"img2img_fix_steps": true}});
    draw(&server, "img2img", exact);
    assert_eq!(server.get("/health/ready").status, 200);
}

#[test]
fn the_echo_leaves_the_pictures_out_unless_it_is_asked_for_them() {
    let bench = Bench::new();
    let server = bench.start();
    let source = striped(64, 64);
    let (_, reply) = draw(&server, "img2img", json!({"init_images": [source]}));
    assert_eq!(
        (&reply["parameters"]["init_images"], &reply["parameters"]["mask"]),
        (&Value::Null, &Value::Null)
    );
    let (_, reply) = draw(&server, "img2img", json!({"init_images": [source], "include_init_images": true}));
    assert_eq!(reply["parameters"]["init_images"], json!([source]));
}

#[test]
fn inpainting_leaves_what_is_not_masked_as_it_was() {
    let bench = Bench::new();
    let server = bench.start();
    let source = striped(64, 64);
    let mask = png(64, 64, |x, _| if x < 24 { [255; 3] } else { [0; 3] });
    for extra in [
        json!({"inpaint_full_res": false, "inpainting_fill": 0}),
        json!({"inpaint_full_res": false, "inpainting_fill": 1}),
        json!({"inpaint_full_res": false, "inpainting_fill": 2}),
        json!({"inpaint_full_res": false, "inpainting_fill": 3, "sampler_name": "DDIM"}),
        json!({"inpaint_full_res": true, "inpaint_full_res_padding": 8}),
    ] {
        let mut body = json!({"init_images": [source], "mask": mask, "mask_blur": 0, "denoising_strength": 1.0, "steps": 5});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let (picture, _) = draw(&server, "img2img", body);
        let at = |x: usize, y: usize| &picture.data[(y * 64 + x) * 3..][..3];
        let was =
            |x: u32, y: u32| [(x * 4) as u8, (y * 4) as u8, if (x / 8).is_multiple_of(2) { 200 } else { 40 }];
        for (x, y) in [(24, 0), (40, 33), (63, 63)] {
            assert_eq!(at(x, y), was(x as u32, y as u32), "{extra} at {x}, {y}");
        }
        let repainted = (0..64).flat_map(|y| (0..24).map(move |x| (x, y)));
        let changed = repainted.filter(|(x, y)| at(*x, *y) != was(*x as u32, *y as u32)).count();
        assert!(changed > 64 * 24 / 2, "{extra}: only {changed} pixels were repainted");
    }
}

#[test]
fn soft_inpainting_shows_what_changed_and_leaves_the_rest_as_it_was() {
    let bench = Bench::new();
    let server = bench.start();
    let source = striped(64, 64);
    let mask = png(64, 64, |x, _| if x < 24 { [255; 3] } else { [0; 3] });
    let was =
        |x: usize, y: usize| [(x * 4) as u8, (y * 4) as u8, if (x / 8).is_multiple_of(2) { 200 } else { 40 }];
    let body = |script: &str, args: Value| {
        json!({"init_images": [source], "mask": mask, "mask_blur": 0, "inpaint_full_res": false, "inpainting_fill": 1,
               "denoising_strength": 1.0, "steps": 5, "alwayson_scripts": {script: {"args": args}}})
    };
    let changed = |args: Value| {
        let (picture, _) = draw(&server, "img2img", body("Soft Inpainting", args));
        let at = |x: usize, y: usize| &picture.data[(y * 64 + x) * 3..][..3];
        for y in 0..64 {
            assert_eq!(at(63, y), was(63, y), "far from the mask at {y}");
        }
        let places = (0..64).flat_map(|y| (0..24).map(move |x| (x, y)));
        (places.filter(|(x, y)| at(*x, *y) != was(*x, *y)).count(), picture)
    };
    let (usual, picture) = changed(json!([true]));
    assert!(usual > 64 * 24 / 4, "{usual}");
    assert!(picture.infotext.contains("Soft inpainting enabled: True"), "{}", picture.infotext);
    let (few, _) = changed(json!({"difference_threshold": 8, "difference_contrast": 8}));
    assert!(few < usual, "{few} {usual}");
    let (_, off) = changed(json!([false]));
    assert!(!off.infotext.contains("Soft"), "{}", off.infotext);
    let (hard, _) = draw(&server, "img2img", body("controlnet", json!([])));
    assert!(off.data == hard.data && off.data != picture.data);

    let wrong = quick_with(body("soft inpainting", json!([true, 1, 0.5, 0.25])));
    let reply = server.post("/sdapi/v1/img2img", &wrong);
    let text = reply.json().to_string();
    assert!(reply.status == 422 && text.contains("Transition contrast boost"), "{text}");
    let scripts = json!({"soft inpainting": {"args": [true]}});
    let reply = server.post("/sdapi/v1/txt2img", &quick_with(json!({"alwayson_scripts": scripts})));
    let text = reply.json().to_string();
    assert!(reply.status == 422 && text.contains("soft inpainting not found"), "{text}");
}

#[test]
fn a_blank_mask_is_said_and_an_unreadable_picture_is_the_clients_error() {
    let bench = Bench::new();
    let server = bench.start();
    let blank = png(64, 64, |_, _| [0; 3]);
    let (_, reply) = draw(&server, "img2img", json!({"init_images": [striped(64, 64)], "mask": blank}));
    assert!(reply["warnings"][0].as_str().unwrap().contains("mask is blank"), "{reply}");
    for (image, word) in [("!!!", "base64"), ("aGVsbG8=", "PNG, JPEG"), ("", "empty")] {
        let reply = server.post("/sdapi/v1/img2img", &quick_with(json!({"init_images": [image]})));
        assert_eq!(reply.status, 422, "{image}");
        let text = reply.json().to_string();
        assert!(text.contains(word) && !text.contains("panicked"), "{text}");
    }
    let reply = server.post("/sdapi/v1/img2img", &quick_with(json!({})));
    assert_eq!((reply.status, reply.json()["detail"].as_str().unwrap()), (404, "Init image not found"));
}

#[test]
fn a_second_pass_draws_larger_by_every_upscaler() {
    let bench = Bench::new();
    let server = bench.start();
    let mut upscalers: Vec<String> = ["latent-upscale-modes", "upscalers"]
        .iter()
        .flat_map(|list| server.get(&format!("/sdapi/v1/{list}")).ok().as_array().unwrap().clone())
        .map(|entry| entry["name"].as_str().unwrap().to_owned())
        .filter(|name| name != "None")
        .collect();
    assert_eq!(upscalers.len(), 8, "{upscalers:?}");
    let body = |upscaler: &str| {
        json!({"enable_hr": true, "denoising_strength": 0.4, "hr_scale": 1.5, "hr_upscaler": upscaler,
               "hr_second_pass_steps": 3})
    };
    let first = txt2img(&server, body(&upscalers.remove(0)));
    assert_eq!((first.width, first.height), (96, 96));
    assert!(first.infotext.contains("Size: 64x64"), "{}", first.infotext);
    for upscaler in upscalers {
        let picture = txt2img(&server, body(&upscaler));
        assert_eq!((picture.width, picture.height), (96, 96), "{upscaler}");
        // Antialiasing changes nothing where a latent is enlarged.
        assert!(picture.data != first.data || upscaler == "Latent (antialiased)", "{upscaler}");
        assert!(picture.infotext.contains("Hires upscale: 1.5"), "{}", picture.infotext);
    }
    let cropped = json!({"enable_hr": true, "denoising_strength": 0.4, "hr_resize_x": 96, "hr_resize_y": 64});
    let cropped = txt2img(&server, cropped);
    assert_eq!((cropped.width, cropped.height), (96, 64));
    let unknown = quick_with(json!({"enable_hr": true, "denoising_strength": 0.4, "hr_upscaler": "8x-foo"}));
    let reply = server.post("/sdapi/v1/txt2img", &unknown);
    assert!(reply.status == 422 && reply.json().to_string().contains("8x-foo"), "{}", reply.json());
}

#[test]
fn prompts_change_over_the_steps_and_combine() {
    let bench = Bench::new();
    let server = bench.start();
    let of = |prompt: &str| txt2img(&server, json!({"prompt": prompt, "steps": 8})).data;
    let (sea, desert) = (of("sea at night"), of("desert at noon"));
    let changing = of("[sea at night:desert at noon:0.5]");
    assert!(changing != sea && changing != desert);
    assert_eq!(of("[sea at night:desert at noon:0]"), of("desert at noon"));
    assert_ne!(of("[sea at night|desert at noon]"), changing);
    let both = of("sea at night AND desert at noon");
    assert!(both != sea && both != desert && both != of("sea at night AND desert at noon:0.5"));
    assert_eq!(of("sea at night AND desert at noon:0"), sea);
    assert_eq!(of("sea at night # and what nobody reads"), of("sea at night "));
}

/// A models folder like a web UI's, with the demo checkpoint in it.
pub(super) fn models() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = folder.path().join("Stable-diffusion");
    std::fs::create_dir(&checkpoints).unwrap();
    std::fs::copy(
        checkout().join("examples/demo-model/demo-v3.safetensors"),
        checkpoints.join("demo-v3.safetensors"),
    )
    .unwrap();
    folder
}

/// Writes a safetensors file of f32 tensors whose numbers go up and down by their place.
pub(super) fn write_tensors(path: &Path, tensors: &[(&str, &[usize], f32)]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, shape, size) in tensors {
        let begin = data.len();
        for place in 0..shape.iter().product::<usize>() {
            data.extend(((place as f32 * 1.7 + name.len() as f32).sin() * size).to_le_bytes());
        }
        header.insert(
            (*name).into(),
            json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, data.len()]}),
        );
    }
    let header = Value::Object(header).to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.into_bytes());
    bytes.extend(data);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_lora_acts_while_it_is_named_and_leaves_no_trace() {
    let models = models();
    let module = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k";
    write_tensors(
        &models.path().join("Lora/style.safetensors"),
        &[
            (&format!("{module}.lora_down.weight"), &[4, WIDTH], 0.7),
            (&format!("{module}.lora_up.weight"), &[CHANNELS, 4], 0.7),
        ],
    );
    let bench = Bench::new().models_at(models.path());
    let server = bench.start();
    assert_eq!(server.get("/sdapi/v1/loras").ok()[0]["name"], "style");
    let of = |prompt: &str| txt2img(&server, json!({"prompt": prompt}));
    let plain = of("sea at night");
    let styled = of("sea at night<lora:style:1>");
    assert!(styled.data != plain.data);
    assert!(styled.infotext.contains("Lora hashes: \"style: "), "{}", styled.infotext);
    assert!(of("sea at night<lora:style:0.5>").data != styled.data);
    assert!(of("sea at night<lora:style:1:start=2>").data != styled.data);
    assert_eq!(of("sea at night<lora:style:0>").data, plain.data);
    assert_eq!(of("sea at night# <lora:style:1>").data, plain.data, "a comment acts");
    // One that ends before the first step leaves the UNet alone, and others' texts too.
    assert_eq!(of("sea at night<lora:style:1:stop=1>").data, plain.data);
    assert_eq!(of("sea at night<lora:style:1>").data, styled.data);
    assert_eq!(of("sea at night").data, plain.data, "the LoRA left something behind");
    let (missing, reply) = draw(&server, "txt2img", json!({"prompt": "sea at night<lora:gone:1>"}));
    assert_eq!(missing.data, plain.data);
    assert!(reply["warnings"][0].as_str().unwrap().starts_with("Lora not found: "), "{reply}");
    let ignored =
        txt2img(&server, json!({"prompt": "sea at night<lora:style:1>", "disable_extra_networks": true}));
    assert_eq!(ignored.data, plain.data);
}

#[test]
fn a_lora_that_does_not_fit_is_told_of_and_the_picture_drawn() {
    let models = models();
    let module = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k";
    let foreign = "lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight";
    let (down, up) = (format!("{module}.lora_down.weight"), format!("{module}.lora_up.weight"));
    let parts: [(&str, &[usize], f32); 2] = [(&down, &[4, WIDTH], 0.7), (&up, &[CHANNELS, 4], 0.7)];
    let write = |name: &str, tensors: &[(&str, &[usize], f32)]| {
        write_tensors(&models.path().join(format!("Lora/{name}.safetensors")), tensors);
    };
    write("style", &parts);
    write("partly", &[parts[0], parts[1], (foreign, &[4, 8], 0.7)]);
    write("large", &[(foreign, &[4, 8], 0.7)]);
    write("wide", &[(&down, &[4, WIDTH + 8], 0.7), parts[1]]);
    let bench = Bench::new().models_at(models.path());
    let server = bench.start();
    let of = |prompt: &str| {
        let (picture, reply) = draw(&server, "txt2img", json!({"prompt": prompt}));
        (picture.data, reply["warnings"].clone())
    };
    let says = |warnings: &Value, words: &[&str]| {
        let told = warnings[0].as_str().unwrap_or_default();
        assert!(words.iter().all(|word| told.contains(word)), "{warnings}");
        assert_eq!(warnings.as_array().map(Vec::len), Some(1), "{warnings}");
    };
    let (plain, none) = of("sea at night");
    assert_eq!(none, Value::Null);
    // The second time the networks are in memory.
    for _ in 0..2 {
        let (drawn, warnings) = of("sea at night<lora:large:1>");
        assert_eq!(drawn, plain);
        says(&warnings, &["large", "Stable Diffusion XL"]);
    }
    for steps in ["", ":start=2", ":stop=2"] {
        let (drawn, warnings) = of(&format!("sea at night<lora:wide:1{steps}>"));
        assert_eq!(drawn, plain, "{steps}");
        says(&warnings, &["wide", "does not fit"]);
    }
    let (styled, none) = of("sea at night<lora:style:1>");
    assert_eq!(none, Value::Null);
    assert_ne!(styled, plain);
    let (drawn, warnings) = of("sea at night<lora:partly:1>");
    assert_eq!(drawn, styled);
    says(&warnings, &["partly", foreign]);
    let (drawn, warnings) = of("sea at night<lora:style:1:lbw=1,1,1>");
    assert_eq!(drawn, plain);
    says(&warnings, &["style", "lbw", "17 or 26"]);
}

/// Width of the demo checkpoint's texts, and channels of its input block 4.
const WIDTH: usize = 64;
const CHANNELS: usize = 64;

#[test]
fn a_textual_inversion_is_read_where_its_name_stands() {
    let models = models();
    write_tensors(&models.path().join("embeddings/easyfix.safetensors"), &[("emb_params", &[3, WIDTH], 0.5)]);
    write_tensors(
        &models.path().join("embeddings/toowide.safetensors"),
        &[("emb_params", &[1, WIDTH + 8], 0.5)],
    );
    let bench = Bench::new().models_at(models.path());
    let server = bench.start();
    let of = |prompt: &str| txt2img(&server, json!({"prompt": prompt})).data;
    let plain = of("sea, at night");
    assert_ne!(of("sea, easyfix, at night"), plain);
    assert_ne!(of("sea, (easyfix:1.4), at night"), of("sea, easyfix, at night"));
    // One of another width is words like any other.
    assert_ne!(of("sea, toowide, at night"), plain);
}

#[test]
fn a_controlnet_file_that_is_none_and_a_module_that_is_not_here_are_named() {
    let models = models();
    write_tensors(&models.path().join("ControlNet/odd.safetensors"), &[("x", &[2], 1.0)]);
    let bench = Bench::new().models_at(models.path());
    let server = bench.start();
    let body = |changes: Value| {
        let mut unit = json!({"model": "odd", "image": striped(64, 64)});
        unit.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        quick_with(json!({"alwayson_scripts": {"controlnet": {"args": [unit]}}}))
    };
    let unit = |changes: Value| server.post("/sdapi/v1/txt2img", &body(changes));
    for (changes, status, word) in [
        (json!({"module": "canny"}), 422, "finished map"),
        (json!({"model": "gone"}), 422, "ControlNet model"),
        (json!({"image": ""}), 422, "no image"),
        (json!({}), 422, "odd"),
    ] {
        let reply = unit(changes.clone());
        assert_eq!(reply.status, status, "{changes} {}", reply.json());
        let text = reply.json().to_string();
        assert!(text.contains(word) && !text.contains("/tmp"), "{text}");
    }
    // Nobody waits for a task to hear of these.
    for changes in [json!({"module": "canny"}), json!({"model": "gone"}), json!({"image": ""})] {
        let headers = [("Request-Type", "async")];
        let reply = server.post_with("/sdapi/v1/txt2img", &headers, &body(changes.clone()));
        assert_eq!(reply.status, 422, "{changes} {}", reply.json());
    }
    // What only shows while a file loads ends the task, with a code of its own.
    let failed = server.post("/txt2img", &body(json!({})));
    let told = failed.json();
    assert_eq!(
        (failed.status, &told["status"], &told["code"]),
        (422, &json!("failed"), &json!("unusable_model"))
    );
    assert_eq!(told["errors"][0]["pointer"], "#");
    let off = unit(json!({"enabled": false}));
    assert_eq!(off.status, 200);
}

#[test]
fn a_vae_that_does_not_fit_is_named_instead_of_the_checkpoint() {
    let models = models();
    let flux: &[(&str, &[usize], f32)] = &[("decoder.conv_in.weight", &[8, 16, 3, 3], 0.5)];
    write_tensors(&models.path().join("VAE/flux.safetensors"), flux);
    write_tensors(&models.path().join("VAE/none.safetensors"), &[("x", &[2], 0.5)]);
    let bench = Bench::new().models_at(models.path());
    let server = bench.start();
    for (name, why) in [("flux", "16 latent channels"), ("none", "is missing")] {
        let body = quick_with(json!({"override_settings": {"sd_vae": name}}));
        let failed = server.post("/txt2img", &body);
        let told = failed.json();
        assert_eq!((failed.status, &told["code"]), (422, &json!("unusable_model")), "{told}");
        assert_eq!(told["errors"][0]["pointer"], "#/override_settings", "{told}");
        let message = told["message"].as_str().unwrap();
        let file = format!("{name}.safetensors");
        assert!(message.contains("sd_vae") && message.contains(&file) && message.contains(why), "{message}");
        assert!(!message.contains("demo-v3"), "{message}");
    }
}

#[test]
fn pictures_may_have_prompts_and_seeds_of_their_own() {
    let bench = Bench::new();
    let server = bench.start();
    let own = json!([{"prompt": "sea at night"}, {"prompt": "desert at noon", "seed": 9}, {}]);
    let (_, reply) =
        draw(&server, "txt2img", json!({"prompt": "mountains", "seed": 4, "n_iter": 3, "per_picture": own}));
    let info: Value = serde_json::from_str(reply["info"].as_str().unwrap()).unwrap();
    assert_eq!(info["all_prompts"], json!(["sea at night", "desert at noon", "mountains"]));
    assert_eq!(info["all_seeds"], json!([4, 9, 6]));
    assert_eq!(reply["parameters"]["per_picture"], own);
    let pictures = reply["images"].as_array().unwrap().iter();
    let pictures: Vec<_> =
        pictures.map(|text| decode(&BASE64_STANDARD.decode(text.as_str().unwrap()).unwrap())).collect();
    for (place, (prompt, seed)) in
        [("sea at night", 4), ("desert at noon", 9), ("mountains", 6)].into_iter().enumerate()
    {
        let alone = txt2img(&server, json!({"prompt": prompt, "seed": seed}));
        assert!(difference(&alone, &pictures[place]) < 0.01, "{prompt}");
        assert_eq!(alone.infotext, pictures[place].infotext);
    }
    let reply = server.post("/txt2img", &quick_with(json!({"per_picture": [{}, {}]})));
    let message = reply.json()["message"].as_str().unwrap().to_owned();
    assert!(
        reply.status == 400 && message.contains("2 entries for 1 pictures"),
        "{} {message}",
        reply.status
    );
}
