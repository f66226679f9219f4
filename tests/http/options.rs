//! The web UI's options that act on what is drawn, returned and saved, and those that are taken for its clients' sake alone.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::drawing::{draw, models};
use crate::support::{Bench, Picture, decode, quick_with};

/// A picture of the reply.
fn at(reply: &Value, index: usize) -> Picture {
    decode(&BASE64_STANDARD.decode(reply["images"][index].as_str().unwrap()).unwrap())
}

#[test]
fn a_dictionary_of_another_web_ui_is_taken_and_told_again() {
    let bench = Bench::new();
    let server = bench.start();
    let options = || server.get("/sdapi/v1/options").ok();
    let before = options();
    for name in ["gradio_theme", "img2img_editor_height", "hypertile_enable_unet", "canvas_hotkey_zoom"] {
        assert!(before.get(name).is_some(), "{name}");
    }
    for name in ["forge_preset", "forge_additional_modules", "control_net_unit_count"] {
        assert!(before.get(name).is_none(), "clients know other web UIs by {name}");
    }
    let theirs = json!({
        "gradio_theme": "Dark", "outdir_samples": "/srv/pictures", "ui_tab_order": ["Train"], "s_churn": 0,
        "forge_preset": "xl", "control_net_unit_count": 5, "k_sched_type": "karras", "quicksettings": "sd_vae",
    });
    assert_eq!(server.post("/sdapi/v1/options", &theirs).ok(), Value::Null);
    let after = options();
    for (name, value) in theirs.as_object().unwrap() {
        assert!(after.get(name) == Some(value) || name == "s_churn", "{name}: {}", after[name]);
    }
    // They stand in requests too, and names that no web UI knows do not.
    let of = |overrides: Value| {
        server.post("/sdapi/v1/txt2img", &quick_with(json!({"override_settings": overrides})))
    };
    assert_eq!(of(json!({"forge_preset": "sd", "save_mask": true, "memmon_poll_rate": 1})).status, 200);
    assert_eq!(of(json!({"grado_theme": "Dark"})).status, 422);
    assert_eq!(server.post("/sdapi/v1/options", &json!({"gradio_theme": ["Dark"]})).status, 422);
}

#[test]
fn options_say_what_an_infotext_tells_and_whether_one_chooses_the_checkpoint() {
    let bench = Bench::new();
    let server = bench.start();
    let text =
        |overrides: Value| draw(&server, "txt2img", json!({"override_settings": overrides})).0.infotext;
    let usual = text(json!({}));
    assert!(usual.contains("Model: demo-v3") && usual.contains("Version: ") && !usual.contains("User: "));
    let little = json!({"add_model_name_to_info": false, "add_model_hash_to_info": false, "add_version_to_infotext": false,
                        "add_user_name_to_info": true});
    let text = text(little);
    assert!(!text.contains("Model") && !text.contains("Version"), "{text}");
    assert!(text.ends_with(", User: default"), "{text}");

    let infotext = "sea\nSteps: 3, Sampler: Euler, Seed: 1, Size: 77x64, Model: gone";
    let body = |chooses: bool| json!({"infotext": infotext, "override_settings": {"disable_weights_auto_swap": !chooses}});
    let drawn = server.post("/sdapi/v1/txt2img", &body(false)).ok();
    assert_eq!((at(&drawn, 0).width, at(&drawn, 0).height), (72, 64), "a side as web UIs cut it");
    let chosen = server.post("/sdapi/v1/txt2img", &body(true));
    assert!(chosen.status == 404 && chosen.json().to_string().contains("gone"), "{}", chosen.json());
    // By its name where nothing here has its hash.
    let of = |name: &str| infotext.replace("Model: gone", &format!("Model hash: 0123456789, Model: {name}"));
    let body =
        |name: &str| json!({"infotext": of(name), "override_settings": {"disable_weights_auto_swap": false}});
    server.post("/sdapi/v1/txt2img", &body("demo-v3")).ok();
    let chosen = server.post("/sdapi/v1/txt2img", &body("gone"));
    assert!(chosen.status == 404 && chosen.json().to_string().contains("gone"), "{}", chosen.json());
}

#[test]
fn a_lora_of_the_options_is_in_every_prompt_and_not_in_the_echo() {
    let folder = models();
    let bench = Bench::new().models_at(folder.path());
    let server = bench.start();
    assert_eq!(server.post("/sdapi/v1/options", &json!({"sd_lora": "gone"})).ok(), Value::Null);
    let (picture, reply) = draw(&server, "txt2img", json!({"prompt": "sea"}));
    assert!(picture.infotext.starts_with("sea<lora:gone:1>\n"), "{}", picture.infotext);
    assert!(reply["warnings"][0].as_str().unwrap().starts_with("Lora not found: "), "{reply}");
    assert_eq!(reply["parameters"]["prompt"], "sea");
}

#[test]
fn what_is_not_here_is_said_in_the_web_uis_words() {
    let bench = Bench::new();
    let server = bench.start();
    let of = |changes: Value| {
        let reply = server.post("/sdapi/v1/txt2img", &quick_with(changes));
        (reply.status, reply.json())
    };
    let (status, told) = of(json!({"alwayson_scripts": {"Nobody": {"args": []}}}));
    let detail = "always on script Nobody not found";
    let expected = json!({"error": "HTTPException", "detail": detail, "body": "", "errors": detail});
    assert_eq!((status, told), (422, expected));
    let (status, told) = of(json!({"script_name": "Nobody"}));
    assert!(
        status == 422 && told["detail"].as_str().unwrap().starts_with("Script 'Nobody' not found"),
        "{told}"
    );
    let (status, told) = of(json!({"override_settings": {"sd_vae_decode_method": "TAESD"}}));
    assert!(status == 422 && told.to_string().contains("there is no TAESD here"), "{told}");
    let modules = json!({"override_settings": {"forge_additional_modules": ["/srv/VAE/gone.safetensors"]}});
    let (status, told) = of(modules);
    assert!(status == 422 && told.to_string().contains("gone.safetensors"), "{told}");
    assert_eq!(server.get("/sdapi/v1/sd-modules").ok(), json!([]));
    let forge = Bench::new().config("compat.webui_errors = \"forge\"\n");
    let body = quick_with(json!({"alwayson_scripts": {"Nobody": {"args": []}}}));
    let reply = forge.start().post("/sdapi/v1/txt2img", &body);
    assert_eq!((reply.status, reply.json()), (422, json!({"detail": detail})));
}

#[test]
fn saved_pictures_may_be_named_by_their_pixels() {
    let bench = Bench::new();
    let server = bench.start();
    let options = json!({"samples_filename_pattern": "[image_hash<12>][basename]", "save_images_add_number": false,
                         "save_to_dirs": false});
    let body = quick_with(json!({"save_images": true, "override_settings": options}));
    for _ in 0..2 {
        server.post("/sdapi/v1/txt2img", &body).ok();
    }
    let folder = bench.data.path().join("outputs/default/txt2img-images");
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|item| item.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let hash = names[1].strip_suffix(".png").unwrap();
    assert!(hash.len() == 12 && hash.chars().all(|digit| digit.is_ascii_hexdigit()), "{names:?}");
    assert_eq!(names[0], format!("{hash}-1.png"), "the same picture twice");
}
