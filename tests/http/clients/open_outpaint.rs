//! openOutpaint: a page of another origin on whose canvas pictures grow, each drawn over an edge of those before it.

use serde_json::{Value, json};

use super::{info, names, picture};
use crate::http::drawing::{png, striped};
use crate::support::{Bench, Picture, Reply, Server, eventually, request};

/// Where the page itself comes from.
const PAGE: (&str, &str) = ("origin", "http://localhost:3456");

fn bench() -> Bench {
    Bench::new().config(&format!("cors_origins = [{:?}]\n", PAGE.1))
}

fn get(server: &Server, route: &str) -> Value {
    let reply = request("GET", &format!("{}/sdapi/v1/{route}", server.url), &[PAGE], Vec::new());
    assert_eq!(reply.header("access-control-allow-origin"), PAGE.1, "{route}");
    reply.ok()
}

fn post(server: &Server, route: &str, body: &Value) -> Reply {
    let headers = [PAGE, ("accept", "application/json")];
    let reply = server.post_with(&format!("/sdapi/v1/{route}"), &headers, body);
    // As browsers do.
    match (reply.status, reply.header("location")) {
        (307, path) => server.post_with(path, &headers, body),
        _ => reply,
    }
}

/// Its whole state goes along with every request; `changes` are what the tool in hand says.
fn dream(changes: Value) -> Value {
    let mut body = json!({
        "prompt": "a reef under water, divers", "negative_prompt": "text, frame", "seed": -1, "cfg_scale": 7,
        "sampler_index": "DDIM", "steps": 4, "denoising_strength": 1, "mask_blur": 0, "batch_size": 1, "n_iter": 1,
        "width": 64, "height": 64, "mask": "", "init_images": [], "inpaint_full_res": false, "inpainting_fill": 1,
        "outpainting_fill": 2, "enable_hr": false, "restore_faces": false, "hr_scale": 2.0, "hr_upscaler": "None",
        "hr_second_pass_steps": 0, "hr_resize_x": 0, "hr_resize_y": 0, "hr_square_aspect": false, "styles": [],
        "firstphase_width": 32, "firstphase_height": 32,
    });
    body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    body
}

fn at(picture: &Picture, x: u32, y: u32) -> [u8; 3] {
    let place = ((y * picture.width + x) * 3) as usize;
    picture.data[place..place + 3].try_into().unwrap()
}

#[test]
fn openoutpaint_fills_its_menus_and_writes_two_addresses_with_a_slash_behind() {
    let bench = bench();
    let server = bench.start();
    let options = get(&server, "options");
    assert!(
        options.get("use_scale_latent_for_hires_fix").is_none(),
        "it would take the server for an old one"
    );
    // It offers to set these two right.
    assert_eq!(
        (&options["img2img_color_correction"], &options["inpainting_mask_weight"]),
        (&json!(false), &json!(1.0))
    );
    assert_eq!(names(&get(&server, "prompt-styles"), "name"), Vec::<String>::new());
    assert!(names(&get(&server, "samplers"), "name").contains(&"DDIM".to_owned()));
    let titles = names(&get(&server, "sd-models"), "title");
    let chosen = post(&server, "options/", &json!({"sd_model_checkpoint": titles[0]}));
    assert_eq!((chosen.status, chosen.json()), (200, Value::Null));
    // The menu of upscalers is read from the sentence of an error; where there is none it stays empty.
    let wrong = json!({"resize-mode": 0, "upscaling_resize": 2, "upscaler_1": "fake_upscaler", "image": ""});
    let wrong = post(&server, "extra-single-image/", &wrong);
    assert!(wrong.status >= 400 && wrong.json()["detail"] != "Not Found", "{}", wrong.json());
    let body =
        json!({"resize-mode": 0, "upscaling_resize": "2", "upscaler_1": "Lanczos", "image": striped(64, 64)});
    assert_eq!(picture(&post(&server, "extra-single-image/", &body).ok()["image"]).width, 128);
}

#[test]
fn openoutpaint_grows_a_picture_to_the_right_and_keeps_what_was_there() {
    let bench = bench();
    let server = bench.start();
    // Nothing is on the canvas yet.
    let reply = post(&server, "txt2img", &dream(json!({}))).ok();
    let mut last = picture(&reply["images"][0]);
    let mask = png(64, 64, |x, _| if x < 32 { [0; 3] } else { [255; 3] });
    for _ in 0..2 {
        // The canvas is black where nothing was drawn.
        let canvas = png(64, 64, |x, y| if x < 32 { at(&last, x + 32, y) } else { [0; 3] });
        let request = dream(json!({"init_images": [canvas], "mask": mask, "n_iter": 2, "seed": "4711"}));
        let reply = post(&server, "img2img", &request).ok();
        assert_eq!(info(&reply)["all_seeds"], json!([4711, 4712]));
        let images = reply["images"].as_array().unwrap();
        assert_eq!(images.len(), 2, "it shows every picture as one to choose, so no grid may be among them");
        let chosen = picture(&images[1]);
        for (x, y) in [(0, 0), (15, 33), (31, 63)] {
            assert_eq!(at(&chosen, x, y), at(&last, x + 32, y), "{x}, {y}");
        }
        assert!((0..64).any(|y| at(&chosen, 48, y) != [0; 3]), "nothing was drawn where nothing was");
        last = chosen;
    }
}

#[test]
fn openoutpaint_shows_how_far_a_picture_is_and_takes_what_there_is_when_it_is_interrupted() {
    let bench = bench();
    let server = bench.start();
    let body = dream(json!({"steps": 150, "width": 256, "height": 256}));
    std::thread::scope(|scope| {
        let drawing = scope.spawn(|| post(&server, "txt2img", &body).ok());
        // A fifth of the way it asks for the picture too.
        let mut preview = Value::Null;
        eventually("there is a preview", || {
            let progress = get(&server, "progress?skip_current_image=true");
            assert_eq!(progress["current_image"], Value::Null);
            assert!(progress["eta_relative"].is_number());
            if progress["progress"] != 0.0 {
                preview = get(&server, "progress?skip_current_image=false")["current_image"].clone();
            }
            preview.is_string()
        });
        assert!(picture(&preview).width > 0);
        // The button sends nothing but the method.
        let interrupt = format!("{}/sdapi/v1/interrupt", server.url);
        assert_eq!(request("POST", &interrupt, &[PAGE], Vec::new()).ok(), json!({}));
        let reply = drawing.join().unwrap();
        assert_eq!(picture(&reply["images"][0]).width, 256);
        assert_eq!(info(&reply)["all_seeds"].as_array().unwrap().len(), 1);
        assert!(reply["warnings"][0].as_str().unwrap().starts_with("interrupted"), "{}", reply["warnings"]);
    });
}

#[test]
fn openoutpaint_gives_the_first_pass_a_size_of_its_own() {
    let bench = bench();
    let server = bench.start();
    // Half of the frame, so that twice as large is the frame again.
    let body = dream(json!({
        "width": 128, "height": 128, "firstphase_width": 64, "firstphase_height": 64, "enable_hr": true,
        "hr_upscaler": "Latent", "denoising_strength": 0.7,
    }));
    let drawn = picture(&post(&server, "txt2img", &body).ok()["images"][0]);
    assert_eq!((drawn.width, drawn.height), (128, 128));
    for part in ["Size: 64x64", "Hires upscale: 2"] {
        assert!(drawn.infotext.contains(part), "{}", drawn.infotext);
    }
}
