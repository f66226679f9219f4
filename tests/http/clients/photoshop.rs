//! Two plugins of Photoshop's: Auto-Photoshop, which has a ControlNet tab, and stable.art, which repaints selections.

use serde_json::{Value, json};

use super::{bare, component, info, names, picture, png_info};
use crate::http::drawing::{models, png, striped};
use crate::http::redraw::write_adapter;
use crate::support::{Bench, request};

/// The left third, as a selection.
fn selection() -> String {
    png(64, 64, |x, _| if x < 20 { [255; 3] } else { [0; 3] })
}

#[test]
fn auto_photoshop_fills_its_menus_and_shows_as_many_units_as_controlnet_takes() {
    let models = models();
    write_adapter(&models.path().join("ControlNet/t2iadapter_canny.safetensors"));
    let bench = Bench::new().models_at(models.path()).plugin("plugins", "preprocessors");
    let server = bench.start();
    let get = |path: &str| server.get(path).ok();
    assert_eq!(
        names(&get("/sdapi/v1/sd-models"), "title"),
        [get("/sdapi/v1/options")["sd_model_checkpoint"].as_str().unwrap()]
    );
    assert!(names(&get("/sdapi/v1/samplers"), "name").contains(&"Euler a".to_owned()));
    assert_eq!(names(&get("/sdapi/v1/loras"), "name"), Vec::<String>::new());
    assert!(names(&get("/sdapi/v1/upscalers"), "name").contains(&"Lanczos".to_owned()));
    assert!(get("/sdapi/v1/embeddings")["loaded"].is_object());
    assert!(get("/sdapi/v1/scripts")["img2img"].is_array());
    // When it begins.
    let weight = json!({"inpainting_mask_weight": 1});
    assert_eq!(server.post("/sdapi/v1/options", &weight).ok(), Value::Null);
    assert_eq!(get("/sdapi/v1/options")["inpainting_mask_weight"], 1.0);
    assert_eq!(get("/controlnet/version")["version"], 3);
    assert_eq!(get("/controlnet/model_list")["model_list"].as_array().unwrap().len(), 1);
    let modules = get("/controlnet/module_list?alias_name=1");
    for name in modules["module_list"].as_array().unwrap() {
        let detail = &modules["module_detail"][name.as_str().unwrap()];
        assert!(detail["model_free"].is_boolean() && detail["sliders"].is_array(), "{name}: {detail}");
    }
    // The name by which the number went when it was written; without it there are no units in the tab.
    assert_eq!(get("/controlnet/settings")["control_net_max_models_num"], 10);
    // A part of its own for the web UI, which it does without.
    assert_eq!(server.get("/sdapi/auto-photoshop-sd/heartbeat").status, 404);
}

#[test]
fn older_versions_of_auto_photoshop_read_menus_from_the_page() {
    let bench = Bench::new();
    let server = bench.start();
    let config = server.get("/config").ok();
    let upscalers = component(&config, "txt2img_hr_upscaler")["choices"].clone();
    for name in ["Latent", "Lanczos"] {
        assert!(upscalers.as_array().unwrap().contains(&json!(name)), "{name} is not in {upscalers}");
    }
    assert_eq!(component(&config, "setting_control_net_max_models_num")["value"], 10);
}

#[test]
fn auto_photoshop_repaints_with_a_unit_of_controlnet_and_asks_each_picture_how_it_was_drawn() {
    let models = models();
    write_adapter(&models.path().join("ControlNet/t2iadapter_canny.safetensors"));
    let bench = Bench::new().models_at(models.path()).plugin("plugins", "preprocessors");
    let server = bench.start();
    let (source, mask) = (bare(&striped(64, 64)), bare(&selection()));
    let model = server.get("/controlnet/model_list").ok()["model_list"][0].clone();
    // It sends every unit of its tab, those that are off too.
    let unit = |enabled: bool, image: &str, module: &str, model: &Value| {
        json!({
            "enabled": enabled, "input_image": image, "mask": "", "module": module, "model": model, "weight": 1.0,
            "resize_mode": "Scale to Fit (Inner Fit)", "lowvram": true, "processor_res": 512, "threshold_a": 100,
            "threshold_b": 200, "guidance_start": 0, "guidance_end": 1, "guessmode": false, "control_mode": "Balanced",
            "pixel_perfect": true,
        })
    };
    let units = json!([unit(true, &source, "canny", &model), unit(false, "", "", &json!(""))]);
    let body = json!({
        "selection_info": {"left": 0, "right": 64, "top": 0, "bottom": 64, "width": 64, "height": 64},
        "prompt": "a harbour in the fog", "negative_prompt": "text", "init_images": [source], "mask": mask,
        "expanded_mask": mask, "mask_expansion": 0, "mask_blur": 4, "inpaint_full_res": false,
        "inpaint_full_res_padding": 0, "inpainting_fill": 1, "denoising_strength": 0.7, "steps": 4,
        "sampler_index": "Euler a", "width": 64, "height": 64, "batch_size": 2, "cfg_scale": 7, "seed": "-1",
        "subseed": -1, "restore_faces": false, "tiling": false, "use_sharp_mask": "none",
        "uniqueDocumentId": "c5a8f1", "mode": "inpaint", "override_settings": {},
        "override_settings_restore_afterwards": true, "controlnet_units": units,
        "alwayson_scripts": {"controlnet": {"args": units}},
    });
    let reply = server.post("/sdapi/v1/img2img", &body).ok();
    let images = reply["images"].as_array().unwrap();
    // What is beyond the batch it takes for the maps of the units.
    assert_eq!(images.len(), 3);
    for image in &images[..2] {
        let text = png_info(&server, image);
        assert_eq!(text, picture(image).infotext);
        let last = text.lines().last().unwrap();
        assert!(last.contains("Seed: ") && last.contains("Sampler: Euler a,"), "{last}");
    }
    assert_eq!(picture(&images[2]).width, 64);
    // A body is announced and not there.
    let interrupt = format!("{}/sdapi/v1/interrupt", server.url);
    let json_type = [("accept", "application/json"), ("content-type", "application/json")];
    assert_eq!(request("POST", &interrupt, &json_type, Vec::new()).ok(), json!({}));
    assert!(server.get("/sdapi/v1/progress?skip_current_image=false").ok()["progress"].is_number());
}

#[test]
fn stable_art_repaints_a_selection_several_times_and_again_by_the_seed_of_one() {
    let bench = Bench::new();
    let server = bench.start();
    assert_eq!(names(&server.get("/sdapi/v1/sd-models").ok(), "title").len(), 1);
    assert_eq!(names(&server.get("/sdapi/v1/prompt-styles").ok(), "name"), Vec::<String>::new());
    // Whether anything is there at all.
    assert_eq!(server.get("").status, 307);
    let repaint = |seed: i64, count: &str| {
        // What was typed in is text once the panel was opened anew.
        let body = json!({
            "init_images": [striped(64, 64)], "resize_mode": 0, "denoising_strength": 0.75, "mask": selection(),
            "mask_blur": 4, "inpainting_fill": 1, "inpaint_full_res": true, "inpaint_full_res_padding": 32,
            "inpainting_mask_invert": 0, "prompt": "a harbour in the fog", "styles": [], "seed": seed, "subseed": -1,
            "subseed_strength": 0, "seed_resize_from_h": -1, "seed_resize_from_w": -1, "batch_size": count, "n_iter": 1,
            "steps": 4, "cfg_scale": 7, "width": 64, "height": 64, "restore_faces": false, "tiling": false,
            "negative_prompt": "", "eta": 0, "s_churn": 0, "s_tmax": 0, "s_tmin": 0, "s_noise": 1,
            "override_settings": {}, "sampler_index": "DPM++ 2S a Karras", "include_init_images": false,
        });
        let reply = server.post("/sdapi/v1/img2img", &body).ok();
        let seeds: Vec<i64> =
            info(&reply)["all_seeds"].as_array().unwrap().iter().map(|seed| seed.as_i64().unwrap()).collect();
        let pictures: Vec<_> = reply["images"].as_array().unwrap().iter().map(picture).collect();
        assert_eq!(seeds.len(), pictures.len());
        (seeds, pictures)
    };
    let (seeds, pictures) = repaint(-1, "2");
    assert_eq!(pictures.len(), 2);
    for drawn in &pictures {
        // Far from the selection everything is as it was.
        assert_eq!(drawn.data[(60 * 64 + 60) * 3..][..3], [240, 240, 40]);
    }
    let (again, same) = repaint(seeds[1], "1");
    assert_eq!(again, [seeds[1]]);
    // The parity bound: one grey level on 99.9 % of the values.
    let apart = same[0].data.iter().zip(&pictures[1].data).filter(|(a, b)| a.abs_diff(**b) > 1).count();
    assert!(apart * 1000 <= same[0].data.len(), "{apart} of {} values differ", same[0].data.len());
}

#[test]
fn stable_art_draws_from_text_with_every_field_at_its_own_default() {
    let bench = Bench::new();
    let server = bench.start();
    let body = json!({
        "enable_hr": false, "denoising_strength": 0, "firstphase_width": 0, "firstphase_height": 0, "styles": [],
        "prompt": "a harbour in the fog", "negative_prompt": "", "seed": -1, "subseed": -1, "subseed_strength": 0,
        "seed_resize_from_h": -1, "seed_resize_from_w": -1, "batch_size": "1", "n_iter": 1, "steps": 4, "cfg_scale": 7,
        "width": 64, "height": 64, "restore_faces": false, "tiling": false, "eta": 0, "s_churn": 0, "s_tmax": 0,
        "s_tmin": 0, "s_noise": 1, "override_settings": {}, "sampler_index": "LMS Karras",
    });
    let reply = server.post("/sdapi/v1/txt2img", &body).ok();
    assert_eq!(picture(&reply["images"][0]).width, 64);
    assert!(info(&reply)["all_seeds"][0].as_i64().unwrap() >= 0);
}
