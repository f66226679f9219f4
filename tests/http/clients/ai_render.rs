//! AI Render, an add-on of Blender's: what was rendered is drawn over.

use serde_json::{Value, json};

use super::{names, picture};
use crate::http::drawing::{models, striped};
use crate::http::redraw::write_adapter;
use crate::support::Bench;

/// The whole menu, with names of every age.
const SAMPLERS: [&str; 14] = [
    "Euler",
    "Euler a",
    "Heun",
    "DPM2",
    "DPM2 a",
    "LMS",
    "DPM fast",
    "DPM adaptive",
    "DPM++ 2S a Karras",
    "DPM++ 2M Karras",
    "DPM++ 2S a",
    "DPM++ 2M",
    "PLMS",
    "DDIM",
];

/// The sampler stands under its old name; what the add-on itself calls things goes along.
fn drawing(sampler: &str) -> Value {
    json!({
        "prompt": "fishing village at sunset, oil painting", "negative_prompt": "blurry, text", "width": 64,
        "height": 64, "image_similarity": 0.4, "denoising_strength": 0.6, "seed": 1592, "cfg_scale": 7, "steps": 4,
        "sampler": sampler, "sampler_index": sampler, "init_images": [striped(64, 64)],
    })
}

#[test]
fn ai_render_draws_over_a_render_with_each_sampler_of_its_menu() {
    let bench = Bench::new();
    let server = bench.start();
    for sampler in SAMPLERS {
        let reply = server.post("/sdapi/v1/img2img", &drawing(sampler)).ok();
        let text = picture(&reply["images"][0]).infotext;
        let label = sampler.strip_suffix(" Karras").unwrap_or(sampler);
        assert!(text.contains(&format!("Sampler: {label},")) && text.contains("Seed: 1592"), "{text}");
    }
    // By these words it tells a web UI without its API, so nothing else may be answered with them.
    let off = server.get("/sdapi/v1/img2img/no-such");
    assert_eq!((off.status, off.json()), (404, json!({"detail": "Not Found"})));
    let refused = server.post("/sdapi/v1/img2img", &drawing("no such sampler"));
    assert_ne!(refused.status, 404, "{}", refused.json());
}

#[test]
fn ai_render_names_a_module_and_a_model_and_means_the_render() {
    let models = models();
    write_adapter(&models.path().join("ControlNet/t2iadapter_canny.safetensors"));
    let bench = Bench::new().models_at(models.path()).plugin("plugins", "preprocessors");
    let server = bench.start();
    // Of both lists it takes the first that has a word in it.
    let first = |list: &str| {
        let found = server.get(&format!("/controlnet/{list}")).ok()[list].clone();
        let mut found = found.as_array().unwrap().iter().filter_map(Value::as_str);
        found.find(|name| name.contains("canny")).unwrap().to_owned()
    };
    let (model, module) = (first("model_list"), first("module_list"));
    let mut body = drawing("DPM++ 2M Karras");
    let plain = picture(&server.post("/sdapi/v1/img2img", &body).ok()["images"][0]);
    for unit in
        [json!({"module": module, "model": model}), json!({"weight": 1.0, "module": module, "model": model})]
    {
        body["alwayson_scripts"] = json!({"controlnet": {"args": [unit]}});
        let reply = server.post("/sdapi/v1/img2img", &body).ok();
        let steered = picture(&reply["images"][0]);
        assert!(steered.infotext.contains("Module: canny"), "{}", steered.infotext);
        assert!(steered.data != plain.data, "the unit changed nothing");
    }
}

#[test]
fn ai_render_enlarges_what_it_drew() {
    let bench = Bench::new();
    let server = bench.start();
    let upscalers = names(&server.get("/sdapi/v1/upscalers").ok(), "name");
    let upscaler = upscalers.iter().find(|name| *name != "None").unwrap();
    let body = json!({
        "resize_mode": 0, "show_extras_results": true, "gfpgan_visibility": 0, "codeformer_visibility": 0,
        "codeformer_weight": 0, "upscaling_resize": 2.0, "upscaling_resize_w": 4096, "upscaling_resize_h": 4096,
        "upscaling_crop": true, "upscaler_1": upscaler, "upscaler_2": "None", "extras_upscaler_2_visibility": 0,
        "upscale_first": true, "image": striped(64, 64),
    });
    assert_eq!(picture(&server.post("/sdapi/v1/extra-single-image", &body).ok()["image"]).width, 128);
}
