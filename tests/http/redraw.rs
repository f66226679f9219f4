//! That a picture's own text draws it again: what the server wrote into a picture goes back as `infotext`, with the
//! pictures that went in, and the same bytes come out. One row for each set of features.

use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use super::drawing::{draw, models, png, striped, write_tensors};
use crate::support::{Bench, Picture, Server, checkout, decode};

/// Draws, then draws again from the text and `given` alone. `says` must stand in the text.
#[track_caller]
pub(super) fn redraws(server: &Server, route: &str, changes: Value, given: Value, says: &[&str]) -> Value {
    let mut body = changes.as_object().unwrap().clone();
    merge(&mut body, given.as_object().unwrap());
    let (first, reply) = draw(server, route, Value::Object(body));
    for field in says {
        assert!(first.infotext.contains(field), "{field} is not in: {}", first.infotext);
    }
    let again = drawn_again(server, route, &given, &first.infotext);
    assert_eq!(again.infotext, first.infotext, "{changes}");
    assert!(again.data == first.data, "{changes}: {}", first.infotext);
    reply
}

/// What a text draws, with `given` beside it.
#[track_caller]
fn drawn_again(server: &Server, route: &str, given: &Value, text: &str) -> Picture {
    let mut body = given.as_object().unwrap().clone();
    body.insert("infotext".into(), text.into());
    let reply = server.post(&format!("/sdapi/v1/{route}"), &Value::Object(body)).ok();
    picture(&reply["images"][0])
}

#[track_caller]
fn picture(image: &Value) -> Picture {
    decode(&BASE64_STANDARD.decode(image.as_str().unwrap()).unwrap())
}

/// Lays objects into objects and lists over lists, as a client that adds pictures does.
fn merge(into: &mut Map<String, Value>, from: &Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(key), value) {
            (Some(Value::Object(known)), Value::Object(value)) => merge(known, value),
            (Some(Value::Array(known)), Value::Array(values)) if values.iter().all(Value::is_object) => {
                for (known, value) in known.iter_mut().zip(values) {
                    merge(known.as_object_mut().unwrap(), value.as_object().unwrap());
                }
            }
            _ => {
                into.insert(key.clone(), value.clone());
            }
        }
    }
}

#[test]
fn a_picture_from_text_draws_itself_again() {
    let bench = Bench::new();
    let server = bench.start();
    for (changes, says) in [
        (
            json!({"sampler_name": "DPM++ 2M SDE", "prompt": "a [sea:desert:0.4] (at night:1.3)",
                   "negative_prompt": "noon AND (grey:0.5)", "s_noise": 1.02}),
            &["Negative prompt: noon", "Schedule type: Exponential", "Sigma noise: 1.02"][..],
        ),
        (
            json!({"sampler_name": "Euler a", "subseed": 9, "subseed_strength": 0.3, "eta": 0.7,
                   "override_settings": {"eta_noise_seed_delta": 31337, "CLIP_stop_at_last_layers": 2}}),
            &["Variation seed: 9", "Eta: 0.7", "ENSD: 31337", "Clip skip: 2"],
        ),
        (
            json!({"sampler_name": "Restart", "seed_resize_from_w": 96, "seed_resize_from_h": 64,
                   "override_settings": {"randn_source": "CPU", "eta_noise_seed_delta": 5}, "steps": 20}),
            &["Seed resize from: 96x64", "RNG: CPU", "ENSD: 5"],
        ),
        (
            json!({"sampler_name": "DDIM", "override_settings": {"eta_ddim": 0.8, "eta_noise_seed_delta": 5}}),
            &["Eta DDIM: 0.8", "ENSD: 5"],
        ),
        (
            json!({"sampler_name": "Heun", "scheduler": "Exponential", "s_churn": 5, "s_noise": 1.01, "s_tmin": 0.1,
                   "s_tmax": 9, "override_settings": {"sgm_noise_multiplier": true, "sigma_max": 10, "rho": 5}}),
            &["Sigma churn: 5", "Sigma tmin: 0.1", "Sigma tmax: 9", "Schedule max sigma: 10", "SGM noise"],
        ),
        (
            json!({"scheduler": "Beta", "s_min_uncond": 3, "override_settings": {"beta_dist_alpha": 0.8,
                   "s_min_uncond_all": true, "skip_early_cond": 0.3, "sd_noise_schedule": "Zero Terminal SNR",
                   "always_discard_next_to_last_sigma": true}, "steps": 5}),
            &[
                "Beta schedule alpha: 0.8",
                "NGMS: 3",
                "NGMS all steps",
                "Skip Early CFG: 0.3",
                "Noise Schedule",
            ],
        ),
        (
            json!({"scheduler": "Karras", "override_settings": {"use_downcasted_alpha_bar": true}}),
            &["Downcast alphas_cumprod: True"],
        ),
        (
            json!({"sampler_name": "DDIM", "steps": 5, "override_settings": {"use_downcasted_alpha_bar": true,
                   "sd_noise_schedule": "Zero Terminal SNR"}}),
            &["Downcast alphas_cumprod: True, Noise Schedule: Zero Terminal SNR"],
        ),
        (
            json!({"sampler_name": "UniPC", "steps": 5, "tiling": true,
                   "override_settings": {"uni_pc_variant": "bh2", "uni_pc_order": 2}}),
            &["UniPC variant: bh2", "UniPC order: 2", "Tiling: True"],
        ),
        (
            json!({"override_settings": {"token_merging_ratio": 0.5}, "scheduler": "Karras"}),
            &["Token merging ratio: 0.5, RNG"],
        ),
        (
            json!({"prompt": "sea (at night:1.5) BREAK desert", "override_settings": {"emphasis": "No norm"}}),
            &["Emphasis: No norm"],
        ),
        (
            json!({"prompt": "sea, ".repeat(30) + "desert", "override_settings": {"comma_padding_backtrack": 0}}),
            &["Comma padding backtrack: 0"],
        ),
        (
            json!({"prompt": "[sea|desert] by day\nAND (night:0.8) :-0.4", "negative_prompt": "[fog:rain:2], a: b",
                   "override_settings": {"use_old_scheduling": true}}),
            &["by day\nAND (night:0.8) :-0.4\nNegative prompt: [fog", "Old prompt editing timelines: True"],
        ),
        (
            json!({"prompt": "(sea:1.4) [desert]", "override_settings": {"emphasis": "Ignore"}}),
            &["Emphasis: Ignore"],
        ),
        (
            json!({"prompt": "(sea:1.4) BREAK", "override_settings": {"emphasis": "None"}}),
            &["Emphasis: None"],
        ),
        (
            json!({"sampler_name": "UniPC", "steps": 5, "override_settings": {"uni_pc_skip_type": "logSNR",
                   "uni_pc_lower_order_final": false}}),
            &["UniPC skip type: logSNR", "UniPC lower order final: False"],
        ),
    ] {
        redraws(&server, "txt2img", changes, json!({}), says);
    }
}

#[test]
fn an_older_web_uis_text_draws_with_that_ones_noise_table_unless_options_say_otherwise() {
    let bench = Bench::new();
    let server = bench.start();
    let halves = json!({"override_settings": {"use_downcasted_alpha_bar": true}});
    let today = draw(&server, "txt2img", json!({})).0;
    let then = draw(&server, "txt2img", halves).0;
    assert!(then.data != today.data);
    let (text, _) = today.infotext.rsplit_once(", Version: ").unwrap();
    let old = format!("{text}, Version: v1.6.0");
    let drawn = |given: Value, text: &str| drawn_again(&server, "txt2img", &given, text);
    let own = |by_version: bool| json!({"override_settings": {"auto_backcompat": by_version}});
    let again = drawn(json!({}), &old);
    assert!(again.data == then.data && again.infotext == then.infotext, "{}", again.infotext);
    assert!(drawn(own(false), &old).data == today.data);
    assert!(drawn(json!({}), &format!("{text}, Version: v1.10.1")).data == today.data);
    server.post("/sdapi/v1/options", &json!({"auto_backcompat": false})).ok();
    assert!(drawn(json!({}), &old).data == today.data);
    assert!(drawn(own(true), &old).data == then.data);
    server.post("/sdapi/v1/options", &json!({"use_downcasted_alpha_bar": true})).ok();
    assert!(draw(&server, "txt2img", json!({})).0.data == then.data, "saved, it acts on every drawing");
}

/// Seeds count up over a batch and over the batches; with a variation its seeds do.
#[test]
fn every_picture_of_a_batch_draws_itself_again_alone() {
    // Rows that share a call of the network may differ in their last bits.
    let bench = Bench::new().config("deterministic = true\n");
    let server = bench.start();
    for (route, changes, given, says) in [
        ("txt2img", json!({"sampler_name": "Euler a"}), json!({}), "Seed: 4,"),
        (
            "txt2img",
            json!({"sampler_name": "DPM++ SDE", "subseed": 7, "subseed_strength": 0.4}),
            json!({}),
            "Seed: 1, Size: 64x64",
        ),
        (
            "txt2img",
            json!({"sampler_name": "DDIM", "eta": 0.5, "steps": 5, "enable_hr": true, "hr_scale": 1.5,
                   "denoising_strength": 0.6}),
            json!({}),
            "Eta DDIM: 0.5",
        ),
        (
            "img2img",
            json!({"sampler_name": "LCM", "denoising_strength": 0.7}),
            json!({"init_images": [striped(64, 64)]}),
            "Seed: 4,",
        ),
        (
            "img2img",
            json!({"inpainting_fill": 2, "inpaint_full_res": false, "denoising_strength": 0.7}),
            json!({"init_images": [striped(64, 64)], "mask": png(64, 64, |x, _| [if x < 40 { 255 } else { 0 }; 3])}),
            "Masked content: latent noise",
        ),
    ] {
        let mut body = changes.as_object().unwrap().clone();
        merge(&mut body, given.as_object().unwrap());
        merge(&mut body, json!({"batch_size": 2, "n_iter": 2}).as_object().unwrap());
        let (_, reply) = draw(&server, route, Value::Object(body));
        let drawn: Vec<Picture> = reply["images"].as_array().unwrap().iter().map(picture).collect();
        assert_eq!(drawn.len(), 4);
        assert!(drawn[3].infotext.contains(says), "{says} is not in: {}", drawn[3].infotext);
        for (place, picture) in drawn.iter().enumerate() {
            assert!(drawn[..place].iter().all(|other| other.data != picture.data), "{changes}: {place}");
            let again = drawn_again(&server, route, &given, &picture.infotext);
            assert_eq!(again.infotext, picture.infotext, "{changes}: {place}");
            assert!(again.data == picture.data, "{changes}: {place}: {}", picture.infotext);
        }
    }
}

#[test]
fn pictures_of_every_sampler_and_schedule_draw_themselves_again() {
    let bench = Bench::new();
    let server = bench.start();
    let names = |path: &str, key: &str| -> Vec<String> {
        let list = server.get(path).ok();
        list.as_array().unwrap().iter().map(|entry| entry[key].as_str().unwrap().to_owned()).collect()
    };
    let samplers = names("/sdapi/v1/samplers", "name");
    assert_eq!(samplers.len(), 20);
    for sampler in samplers {
        let says = format!("Sampler: {sampler},");
        redraws(&server, "txt2img", json!({"sampler_name": sampler, "steps": 4}), json!({}), &[&says]);
    }
    for schedule in names("/sdapi/v1/schedulers", "label") {
        let says = format!("Schedule type: {schedule},");
        redraws(&server, "txt2img", json!({"scheduler": schedule}), json!({}), &[&says]);
    }
}

#[test]
fn a_picture_in_two_passes_draws_itself_again() {
    let models = models();
    let demo = Safetensors::demo();
    let mut other = demo.clone();
    other.zero("model.diffusion_model.out.2.bias");
    other.write(&models.path().join("Stable-diffusion/other.safetensors"));
    let bench = Bench::new().models_at(models.path());
    let server = bench.start();
    for (changes, says) in [
        (
            json!({"hr_upscaler": "Latent (nearest)", "hr_sampler_name": "DDIM", "hr_second_pass_steps": 5,
                   "hr_prompt": "desert", "hr_negative_prompt": "sea"}),
            &["Hires sampler: DDIM", "Hires prompt: desert", "Hires negative prompt: sea"][..],
        ),
        (
            json!({"hr_scheduler": "Karras", "override_settings": {"token_merging_ratio_hr": 0.5}}),
            &["Token merging ratio hr: 0.5, RNG"],
        ),
        (
            json!({"hr_upscaler": "Lanczos", "sampler_name": "DPM++ 2M", "hr_sampler_name": "Euler"}),
            &["Schedule type: Karras", "Hires schedule type: Automatic", "Hires upscaler: Lanczos"],
        ),
        (
            json!({"sampler_name": "Euler a", "hr_sampler_name": "DDIM CFG++", "hr_second_pass_steps": 4,
                   "override_settings": {"eta_ancestral": 0.5, "eta_ddim": 0.9, "eta_noise_seed_delta": 7}}),
            &["Eta: 0.5", "Eta DDIM: 0.9", "ENSD: 7"],
        ),
        (
            json!({"hr_scheduler": "Simple", "hr_checkpoint_name": "other", "hr_resize_x": 96, "hr_resize_y": 80}),
            &["Hires schedule type: Simple", "Hires checkpoint: other", "Hires resize: 96x80"],
        ),
    ] {
        let mut body = json!({"enable_hr": true, "denoising_strength": 0.6, "hr_scale": 1.5});
        merge(body.as_object_mut().unwrap(), changes.as_object().unwrap());
        redraws(&server, "txt2img", body, json!({}), says);
    }
    let upscalers = server.get("/sdapi/v1/latent-upscale-modes").ok();
    let upscalers = upscalers.as_array().unwrap();
    assert_eq!(upscalers.len(), 6);
    for upscaler in upscalers {
        let says = format!("Hires upscaler: {}", upscaler["name"].as_str().unwrap());
        let body = json!({"enable_hr": true, "denoising_strength": 0.6, "hr_upscaler": upscaler["name"]});
        redraws(&server, "txt2img", body, json!({}), &[&says]);
    }
}

/// The option of A1111's for each kind of sampler, and not the first pass's, is what a second pass of another kind has.
#[test]
fn a_second_pass_has_the_eta_of_its_own_kind_of_sampler() {
    let bench = Bench::new();
    let server = bench.start();
    let of = |options: Value| {
        let body = json!({"enable_hr": true, "denoising_strength": 0.6, "hr_scale": 1.5, "sampler_name": "LMS",
                          "hr_sampler_name": "DDIM", "hr_second_pass_steps": 5, "override_settings": options});
        draw(&server, "txt2img", body).0.data
    };
    let plain = of(json!({}));
    assert_eq!(of(json!({"eta_ancestral": 0.7})), plain);
    assert!(of(json!({"eta_ddim": 0.7})) != plain);
}

#[test]
fn a_picture_drawn_over_another_draws_itself_again() {
    let bench = Bench::new();
    let server = bench.start();
    let source = striped(96, 64);
    let mask = png(96, 64, |x, _| if x < 40 { [255; 3] } else { [0; 3] });
    let plain = json!({"init_images": [source]});
    for (changes, says) in [
        (json!({"denoising_strength": 0.4}), &["Denoising strength: 0.4"][..]),
        (
            json!({"resize_mode": 1, "negative_prompt": "noon", "cfg_scale": 3}),
            &["Resize mode: Crop and resize"],
        ),
        (
            json!({"resize_mode": 2, "sampler_name": "Euler a", "eta": 0.5, "s_min_uncond": 1, "tiling": true}),
            &["Resize mode: Resize and fill", "Eta: 0.5", "NGMS: 1", "Tiling: True"],
        ),
        (
            json!({"resize_mode": 3, "seed_resize_from_w": 96, "seed_resize_from_h": 64}),
            &["Resize mode: Just resize (latent upscale)", "Seed resize from: 96x64"],
        ),
        (
            json!({"override_settings": {"img2img_fix_steps": true, "img2img_color_correction": true,
                   "img2img_extra_noise": 0.2, "initial_noise_multiplier": 1.1}}),
            &["Img2img fix steps", "Img2img color correction", "Extra noise: 0.2", "Noise multiplier: 1.1"],
        ),
    ] {
        redraws(&server, "img2img", changes, plain.clone(), says);
    }
    let masked = json!({"init_images": [source], "mask": mask});
    for (changes, says) in [
        (
            json!({"mask_blur": 0, "inpainting_fill": 0, "inpaint_full_res": false}),
            &["Mask blur: 0", "Masked content: fill", "Inpaint area: Whole picture"][..],
        ),
        (
            json!({"mask_blur_x": 3, "mask_blur_y": 6, "inpainting_fill": 1, "inpainting_mask_invert": 1,
                   "inpaint_full_res_padding": 12}),
            &[
                "Mask blur: 3x6",
                "Mask mode: Inpaint not masked",
                "Masked area padding: 12",
                "Masked content: original",
            ],
        ),
        (
            json!({"inpainting_fill": 2, "mask_round": false, "inpaint_full_res": false}),
            &["Masked content: latent noise", "Mask round: False"],
        ),
        (
            json!({"inpainting_fill": 3, "sampler_name": "DDIM", "steps": 5}),
            &["Masked content: latent nothing", "Inpaint area: Only masked"],
        ),
        (
            json!({"inpainting_fill": 1, "mask_blur": 8, "inpaint_full_res": false,
                   "alwayson_scripts": {"soft inpainting": {"args": [true, 2, 0.25, 8, 0.1, 0.75, 3]}}}),
            &[
                "Masked content: original, Soft inpainting enabled: True",
                "Soft inpainting difference contrast: 3",
            ],
        ),
    ] {
        redraws(&server, "img2img", changes, masked.clone(), says);
    }
}

#[test]
fn a_picture_drawn_with_other_networks_draws_itself_again() {
    let models = models();
    let lora = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k";
    write_tensors(
        &models.path().join("Lora/style.safetensors"),
        &[
            (&format!("{lora}.lora_down.weight"), &[4, 64], 0.7),
            (&format!("{lora}.lora_up.weight"), &[64, 4], 0.7),
        ],
    );
    write_tensors(&models.path().join("embeddings/easyfix.safetensors"), &[("emb_params", &[3, 64], 0.5)]);
    let mut vae = Safetensors::demo().under("first_stage_model.");
    vae.write(&models.path().join("Stable-diffusion/demo-v3.vae.safetensors"));
    vae.zero("decoder.conv_out.bias");
    vae.write(&models.path().join("VAE/dim.safetensors"));
    write_adapter(&models.path().join("ControlNet/lines.safetensors"));
    let bench = Bench::new().models_at(models.path());
    let server = bench.start();
    for (changes, says) in [
        (
            json!({"prompt": "sea <lora:style:0.8>, (easyfix:1.2)"}),
            &["Lora hashes: \"style: ", "TI hashes: \"easyfix: "][..],
        ),
        // What one file does twice adds up, the other way round too.
        (
            json!({"prompt": "sea <lora:style:-0.6> <lora:style:0:0.9>", "negative_prompt": "EASYFIX"}),
            &["<lora:style:-0.6> <lora:style:0:0.9>", "TI hashes: \"easyfix: "],
        ),
        (
            json!({"prompt": "sea <lora:style:te=0.3:unet=1.2:dyn=2>", "steps": 4}),
            &["<lora:style:te=0.3:unet=1.2:dyn=2>", "Lora hashes: \"style: "],
        ),
        (
            json!({"prompt": "sea <lora:style:1:lbw=MIDD:start=2:stop=4>", "steps": 4}),
            &["<lora:style:1:lbw=MIDD:start=2:stop=4>", "Lora hashes: \"style: "],
        ),
        (
            json!({"prompt": "sea <lora:style:0.8>", "disable_extra_networks": true}),
            &["Disable extra networks: True"],
        ),
        // One beside its checkpoint goes with it by itself.
        (json!({}), &["VAE hash: ", "VAE: demo-v3.vae"]),
        (
            json!({"override_settings": {"sd_vae": "demo-v3.vae.safetensors"}}),
            &["VAE hash: ", "VAE: demo-v3.vae"],
        ),
        (json!({"override_settings": {"sd_vae": "dim"}}), &["VAE hash: ", "VAE: dim"]),
        (json!({"override_settings": {"sd_vae": "None"}}), &["VAE: None"]),
    ] {
        redraws(&server, "txt2img", changes, json!({}), says);
    }
    let units = |units: Value| json!({"alwayson_scripts": {"controlnet": {"args": units}}});
    let given = units(json!([{"image": striped(64, 96)}, {"image": striped(96, 64)}]));
    let changes = units(json!([
        {"model": "lines", "weight": 0.7, "guidance_end": 0.8, "resize_mode": 2, "control_mode": 1},
        {"model": "lines", "advanced_weighting": [1, 0.5, 0.25, 0], "hr_option": "High res only"},
    ]));
    let mut two = json!({"enable_hr": true, "denoising_strength": 0.6, "hr_scale": 1.5});
    merge(two.as_object_mut().unwrap(), changes.as_object().unwrap());
    let says =
        ["ControlNet 0: \"Module: none, Model: lines, Weight: 0.7", "Hr Option: High res only\", Version"];
    let says = [says[0], "Resize Mode: Resize and Fill", "Advanced Weighting: 1 0.5 0.25 0", &says[1][..24]];
    redraws(&server, "txt2img", two, given, &says);
}

#[test]
fn inpainting_and_editing_checkpoints_are_told_apart_and_their_pictures_draw_themselves_again() {
    let models = models();
    let demo = Safetensors::demo();
    for (name, further) in [("edit", 4), ("inpaint", 5)] {
        let mut checkpoint = demo.clone();
        checkpoint.widen("model.diffusion_model.input_blocks.0.0.weight", further);
        checkpoint.write(&models.path().join(format!("Stable-diffusion/{name}.safetensors")));
    }
    let bench = Bench::new().models_at(models.path());
    let server = bench.start();
    let given = |model: &str| json!({"init_images": [striped(64, 64)], "override_settings": {"sd_model_checkpoint": model}});
    let mask = png(64, 64, |x, _| if x < 40 { [255; 3] } else { [0; 3] });
    for (model, changes, says, inpaints) in [
        ("demo-v3", json!({}), &["Model: demo-v3"][..], false),
        ("edit", json!({"image_cfg_scale": 1.25}), &["Image CFG scale: 1.25"], false),
        (
            "inpaint",
            json!({"override_settings": {"inpainting_mask_weight": 0.5}}),
            &["Conditional mask weight: 0.5"],
            true,
        ),
    ] {
        let mut given = given(model);
        if inpaints {
            given["mask"] = mask.clone().into();
        }
        let reply = redraws(&server, "img2img", changes, given, says);
        let info: Value = serde_json::from_str(reply["info"].as_str().unwrap()).unwrap();
        assert_eq!(info["is_using_inpainting_conditioning"], inpaints, "{model}");
    }
}

/// A light T2I-Adapter for the demo checkpoint.
pub(super) fn write_adapter(path: &Path) {
    let mut tensors: Vec<(String, Vec<usize>)> = Vec::new();
    // Eight by eight pixels of three colours become channels.
    let mut inputs = 192;
    for (level, outputs) in [32, 64, 128, 128].into_iter().enumerate() {
        for (name, shape) in [
            ("in_conv", [8, inputs, 1, 1]),
            ("body.0.block1", [8, 8, 3, 3]),
            ("body.0.block2", [8, 8, 3, 3]),
            ("out_conv", [outputs, 8, 1, 1]),
        ] {
            tensors.push((format!("body.{level}.{name}.weight"), shape.to_vec()));
            tensors.push((format!("body.{level}.{name}.bias"), vec![shape[0]]));
        }
        inputs = outputs;
    }
    let tensors: Vec<_> = tensors.iter().map(|(name, shape)| (name.as_str(), &shape[..], 0.2)).collect();
    write_tensors(path, &tensors);
}

/// A file of half-precision tensors, taken apart.
#[derive(Clone)]
pub(super) struct Safetensors {
    metadata: Value,
    tensors: Vec<(String, Vec<usize>, Vec<u8>)>,
}

impl Safetensors {
    pub(super) fn demo() -> Self {
        let bytes = std::fs::read(checkout().join("examples/demo-model/demo-v3.safetensors")).unwrap();
        let (length, rest) = bytes.split_at(8);
        let (header, data) = rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
        let mut header: Map<String, Value> = serde_json::from_slice(header).unwrap();
        let metadata = header.remove("__metadata__").unwrap();
        let number = |value: &Value| value.as_u64().unwrap() as usize;
        let tensors = header.iter().map(|(name, entry)| {
            assert_eq!(entry["dtype"], "F16");
            let shape = entry["shape"].as_array().unwrap().iter().map(number).collect();
            let (begin, end) = (number(&entry["data_offsets"][0]), number(&entry["data_offsets"][1]));
            (name.clone(), shape, data[begin..end].to_vec())
        });
        Self { metadata, tensors: tensors.collect() }
    }

    /// The tensors below a prefix, without it.
    fn under(&self, prefix: &str) -> Self {
        let below = self.tensors.iter().filter_map(|(name, shape, data)| {
            Some((name.strip_prefix(prefix)?.to_owned(), shape.clone(), data.clone()))
        });
        Self { metadata: json!({}), tensors: below.collect() }
    }

    fn tensor(&mut self, name: &str) -> &mut (String, Vec<usize>, Vec<u8>) {
        self.tensors.iter_mut().find(|(known, _, _)| known == name).unwrap()
    }

    pub(super) fn zero(&mut self, name: &str) {
        self.tensor(name).2.fill(0);
    }

    /// Lets a convolution read further channels, with the weights of its first.
    fn widen(&mut self, name: &str, further: usize) {
        let (_, shape, data) = self.tensor(name);
        let channel = 2 * shape[2] * shape[3];
        let rows = data
            .chunks(shape[1] * channel)
            .flat_map(|row| [row, &row.repeat(2)[..further * channel]].concat());
        *data = rows.collect();
        shape[1] += further;
    }

    pub(super) fn write(&self, path: &Path) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let (mut header, mut begin) = (Map::new(), 0);
        header.insert("__metadata__".into(), self.metadata.clone());
        for (name, shape, data) in &self.tensors {
            let end = begin + data.len();
            let entry = json!({"dtype": "F16", "shape": shape, "data_offsets": [begin, end]});
            header.insert(name.clone(), entry);
            begin = end;
        }
        let header = Value::Object(header).to_string();
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.into_bytes());
        self.tensors.iter().for_each(|(_, _, data)| bytes.extend(data));
        std::fs::write(path, bytes).unwrap();
    }
}
