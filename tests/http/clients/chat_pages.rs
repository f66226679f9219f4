//! Open WebUI and LibreChat: pages to chat in, whose servers ask for a picture when somebody wants one.

use serde_json::{Value, json};

use super::{info, names, picture};
use crate::http::drawing::models;
use crate::support::{Bench, request};

/// What Open WebUI sends where it has no password.
const NOTHING: (&str, &str) = ("authorization", "");

#[test]
fn open_webui_posts_every_option_back_with_another_checkpoint_and_draws_with_it() {
    let models = models();
    let folder = models.path().join("Stable-diffusion");
    std::fs::copy(folder.join("demo-v3.safetensors"), folder.join("other.safetensors")).unwrap();
    let bench = Bench::new().models_at(models.path());
    let server = bench.start();
    let get = |route: &str| -> Value {
        request("GET", &format!("{}/sdapi/v1/{route}", server.url), &[NOTHING], Vec::new()).ok()
    };
    let mut options = get("options");
    // Titles are what its menu sends, names what it shows.
    let listed = get("sd-models");
    assert_eq!(names(&listed, "model_name"), ["demo-v3", "other"]);
    let titles = names(&listed, "title");
    let other = titles.iter().find(|title| options["sd_model_checkpoint"] != title.as_str()).unwrap();
    options["sd_model_checkpoint"] = json!(other);
    let reply = server.post_with("/sdapi/v1/options", &[NOTHING], &options);
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    assert_eq!(get("options")["sd_model_checkpoint"], other.as_str());
    // The last three are whatever an admin wrote into its settings.
    let body = json!({
        "prompt": "a lighthouse in the rain", "batch_size": 2, "width": 64, "height": 64, "steps": 3,
        "negative_prompt": "text, blurry", "sampler_name": "Euler", "scheduler": "Karras", "cfg_scale": "4.5",
    });
    let reply = server.post_with("/sdapi/v1/txt2img", &[NOTHING], &body).ok();
    let images = reply["images"].as_array().unwrap();
    assert_eq!(images.len(), 2);
    for image in images {
        assert_eq!(picture(image).width, 64);
    }
    // It keeps the document as it is, beside the picture.
    assert_eq!(info(&reply)["sd_model_name"], "other");
}

#[test]
fn librechat_reads_the_seed_and_the_last_line_of_the_text_from_the_document() {
    let bench = Bench::new();
    let server = bench.start();
    let body = json!({
        "prompt": "lighthouse, rain, coastline, waves, night, storm, film grain",
        "negative_prompt": "cartoon, drawing, anime, text, low quality, blurry, ugly", "cfg_scale": 4.5, "steps": 4,
        "width": 64, "height": 64,
    });
    let reply = server.post("/sdapi/v1/txt2img", &body).ok();
    let drawn = picture(&reply["images"][0]);
    let info = info(&reply);
    assert_eq!((&info["width"], &info["height"]), (&json!(drawn.width), &json!(drawn.height)));
    let text = info["infotexts"][0].as_str().unwrap();
    assert_eq!(text, drawn.infotext);
    let last = text.lines().last().unwrap();
    assert!(last.contains(&format!("Seed: {},", info["seed"])), "{last}");
}
