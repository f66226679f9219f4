//! Scripts that a plugin draws in place of the pipeline: what comes back for each, and what they may not do.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::drawing::striped;
use crate::support::{Bench, Picture, Server, checkout, decode, eventually, quick_with};

pub(super) fn bench() -> Bench {
    Bench::new().plugin("plugins", "scripts")
}

/// Draws by the web UI's route; the pictures and the `info`.
#[track_caller]
pub(super) fn run(server: &Server, route: &str, changes: Value) -> (Vec<Picture>, Value) {
    let reply = server.post(&format!("/sdapi/v1/{route}"), &quick_with(changes));
    assert_eq!(reply.status, 200, "{}", reply.json());
    let reply = reply.ok();
    let pictures = reply["images"].as_array().unwrap().iter();
    let pictures = pictures.map(|text| decode(&BASE64_STANDARD.decode(text.as_str().unwrap()).unwrap()));
    (pictures.collect(), serde_json::from_str(reply["info"].as_str().unwrap()).unwrap())
}

/// The part of a picture at a place.
pub(super) fn part(picture: &Picture, (x, y): (u32, u32), (width, height): (u32, u32)) -> Vec<u8> {
    let row = |row: u32| {
        let start = ((row * picture.width + x) * 3) as usize;
        picture.data[start..start + width as usize * 3].to_vec()
    };
    (y..y + height).flat_map(row).collect()
}

#[test]
fn a_prompt_matrix_is_every_combination_in_a_grid() {
    let bench = bench();
    let server = bench.start();
    let (pictures, info) = run(
        &server,
        "txt2img",
        json!({"script_name": "prompt matrix", "prompt": "sea|night|red", "seed": 7}),
    );
    assert_eq!((pictures.len(), info["index_of_first_image"].as_u64()), (5, Some(1)));
    assert_eq!(info["all_prompts"], json!(["sea", "sea, night", "sea, red", "sea, night, red"]));
    assert_eq!(info["all_seeds"], json!([7, 7, 7, 7]));
    assert_eq!(info["infotexts"].as_array().unwrap().len(), 5);
    // The pictures stand in the grid, beside and below their words, as they are by themselves.
    let (grid, cell) = (&pictures[0], (pictures[1].width, pictures[1].height));
    let (left, top) = (grid.width - 2 * cell.0, grid.height - 2 * cell.1);
    assert!(left > 0 && top > 0);
    for (index, picture) in pictures[1..].iter().enumerate() {
        let (column, row) = (index as u32 % 2, index as u32 / 2);
        assert!(part(grid, (left + column * cell.0, top + row * cell.1), cell) == picture.data, "{index}");
        assert!(
            picture.infotext.starts_with(info["all_prompts"][index].as_str().unwrap()),
            "{}",
            picture.infotext
        );
    }
    // And as they are drawn without the script.
    let (alone, _) = run(&server, "txt2img", json!({"prompt": "sea, night", "seed": 7}));
    let apart = alone[0].data.iter().zip(&pictures[2].data).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    assert!(apart <= 1, "{apart}");
}

#[test]
fn an_xyz_plot_draws_its_axes() {
    let bench = bench();
    let server = bench.start();
    let plot = |args: Value, more: Value| {
        let mut changes = json!({"script_name": "X/Y/Z plot", "script_args": args, "prompt": "sea at night"});
        changes.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        run(&server, "txt2img", changes)
    };
    let args = json!([
        "Steps",
        "1-2",
        [],
        "Prompt S/R",
        "night, noon",
        [],
        "Nothing",
        "",
        [],
        true,
        true,
        false,
        false,
        false,
        false,
        false,
        4,
        true
    ]);
    let (pictures, info) = plot(args, json!({}));
    assert_eq!((pictures.len(), info["index_of_first_image"].as_u64()), (5, Some(1)));
    assert_eq!(info["all_prompts"], json!(["sea at night", "sea at night", "sea at noon", "sea at noon"]));
    assert!(pictures[1].infotext.contains("Steps: 1,") && pictures[2].infotext.contains("Steps: 2,"));
    let cell = (pictures[1].width, pictures[1].height);
    let grid = &pictures[0];
    let (left, top) = (grid.width - 2 * cell.0 - 4, grid.height - 2 * cell.1 - 4);
    assert!(part(grid, (left + cell.0 + 4, top), cell) == pictures[2].data);
    // By label, with the grid alone.
    let (pictures, _) = plot(json!({"x type": "Seed", "x values": "1,2,3", "draw legend": false}), json!({}));
    assert_eq!((pictures.len(), pictures[0].width), (1, 3 * cell.0));
    // Three axes: the grids of Z beside each other.
    let args = json!(["Seed", "1,2", [], "Steps", "1", [], "CFG Scale", "2,7", [], false, false, true]);
    let (pictures, _) = plot(args, json!({}));
    assert_eq!(
        pictures.iter().map(|picture| picture.width).collect::<Vec<_>>(),
        [4 * cell.0, 2 * cell.0, 2 * cell.0]
    );
}

#[test]
fn prompts_of_a_list_are_drawn_in_order() {
    let bench = bench();
    let server = bench.start();
    // A side is cut as that of a request is.
    let list = "sea\n\n--prompt \"red circle\" --steps 1 --width 100\nnight";
    let (pictures, info) = run(
        &server,
        "txt2img",
        json!({"script_name": "Prompts from file or textbox", "script_args": [true, false, "start", list], "prompt": "", "seed": 4}),
    );
    assert_eq!(info["all_prompts"], json!(["sea", "red circle", "night"]));
    assert_eq!(info["all_seeds"], json!([4, 5, 6]));
    assert_eq!(pictures.iter().map(|picture| picture.width).collect::<Vec<_>>(), [64, 96, 64]);
}

#[test]
fn loopback_draws_over_what_it_drew() {
    let bench = bench();
    let server = bench.start();
    let body = json!({"script_name": "Loopback", "script_args": [3, 0.2, "Linear"], "init_images": [striped(64, 64)],
        "denoising_strength": 0.6, "seed": 11});
    let (pictures, info) = run(&server, "img2img", body);
    assert_eq!((pictures.len(), &info["all_seeds"]), (4, &json!([11, 12, 13])));
    assert_eq!(pictures[0].width, 3 * 64);
    for (picture, strength) in pictures[1..].iter().zip(["0.6", "0.4", "0.2"]) {
        assert!(
            picture.infotext.contains(&format!("Denoising strength: {strength}")),
            "{}",
            picture.infotext
        );
    }
    let again = json!({"init_images": [BASE64_STANDARD.encode(png(&pictures[1]))], "denoising_strength": 0.4, "seed": 12});
    let (second, _) = run(&server, "img2img", again);
    let apart = second[0].data.iter().zip(&pictures[2].data).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    assert!(apart <= 1, "the second turn is drawn over the first: {apart}");
}

#[test]
fn loopback_shows_the_last_picture_of_each_of_several_batches() {
    let bench = bench();
    let server = bench.start();
    let body = json!({"script_name": "Loopback", "script_args": [2, 0.2, "Linear"], "init_images": [striped(64, 64)],
        "denoising_strength": 0.6, "seed": 11, "n_iter": 2});
    let (pictures, info) = run(&server, "img2img", body);
    assert_eq!((pictures.len(), &info["all_seeds"]), (3, &json!([11, 12, 13, 14])));
    assert_eq!((pictures[0].width, pictures[0].height), (2 * 64, 64));
    for (picture, seed) in pictures[1..].iter().zip(["Seed: 12", "Seed: 14"]) {
        assert!(picture.infotext.contains(seed), "{}", picture.infotext);
    }
}

#[test]
fn a_script_may_name_saved_styles_beside_the_requests_own() {
    let bench = bench();
    let server = bench.start();
    let styles = "name,prompt,negative_prompt\nInk,ink lines,\nOil,oil on canvas,\n";
    std::fs::write(bench.data.path().join("styles.csv"), styles).unwrap();
    let args = json!(["Styles", "Oil,Nonesuch", [], "Nothing", "", [], "Nothing", "", [], false, true]);
    let changes =
        json!({"script_name": "X/Y/Z plot", "script_args": args, "prompt": "a sea", "styles": ["Ink"]});
    let reply = server.post("/sdapi/v1/txt2img", &quick_with(changes)).ok();
    let info: Value = serde_json::from_str(reply["info"].as_str().unwrap()).unwrap();
    assert_eq!(info["all_prompts"], json!(["a sea, ink lines, oil on canvas", "a sea, ink lines"]));
    assert_eq!(info["styles"], json!(["Ink"]));
}

fn png(picture: &Picture) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, picture.width, picture.height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header().unwrap().write_image_data(&picture.data).unwrap();
    file
}

#[test]
fn scripts_are_listed_with_their_arguments() {
    let bench = bench();
    let server = bench.start();
    let lists = server.get("/sdapi/v1/scripts").ok();
    let has = |kind: &str, title: &str| lists[kind].as_array().unwrap().contains(&json!(title));
    assert!(
        has("txt2img", "prompt matrix") && has("img2img", "loopback") && !has("txt2img", "loopback"),
        "{lists}"
    );
    for title in ["outpainting mk2", "ultimate sd upscale"] {
        assert!(has("img2img", title) && !has("txt2img", title), "{lists}");
    }
    let info = server.get("/sdapi/v1/script-info").ok();
    let of = |name: &str, is_img2img: bool| {
        let found = info.as_array().unwrap().iter();
        found.filter(|script| script["name"] == name && script["is_img2img"] == is_img2img).count()
    };
    assert_eq!(
        (of("x/y/z plot", false), of("x/y/z plot", true), of("loopback", false), of("loopback", true)),
        (1, 1, 0, 1)
    );
    let matrix = info.as_array().unwrap().iter().find(|script| script["name"] == "prompt matrix").unwrap();
    assert_eq!(
        (&matrix["is_alwayson"], &matrix["args"][3]["choices"]),
        (&json!(false), &json!(["comma", "space"]))
    );
}

#[test]
fn what_a_script_cannot_do_is_said() {
    let bench = bench().config("[limits]\nscript_jobs_max = 3\n");
    let server = bench.start();
    for (changes, status, says) in [
        (json!({"script_name": "Nonesuch"}), 422, "Script 'Nonesuch' not found"),
        (json!({"script_name": "Loopback"}), 422, "not found for txt2img"),
        (json!({"script_name": "Prompt matrix", "script_args": "x"}), 422, "script_args"),
        (
            json!({"script_name": "Prompt matrix", "script_args": [false, false, "both"]}),
            422,
            "one of positive, negative",
        ),
        (json!({"script_name": "X/Y/Z plot", "script_args": ["Steps", "0"]}), 422, "steps"),
        (json!({"script_name": "Prompt matrix", "prompt": "a|b|c"}), 422, "script_jobs_max"),
    ] {
        let reply = server.post("/sdapi/v1/txt2img", &quick_with(changes.clone()));
        assert_eq!(reply.status, status, "{changes} {}", reply.json());
        assert!(reply.json().to_string().contains(says), "{}", reply.json());
    }
    // A script that failed leaves nothing behind.
    let (pictures, _) = run(&server, "txt2img", json!({"script_name": "None"}));
    assert_eq!(pictures.len(), 1);
}

#[test]
fn a_script_is_cancelled_with_its_drawings() {
    let bench = bench();
    let server = bench.start();
    let body = quick_with(
        json!({"stable_diffusion_model": "demo-v3", "script_name": "X/Y/Z plot", "steps": 60, "width": 128, "height": 128,
        "script_args": ["Seed", "1-100", []]}),
    );
    let reply = server.post_with("/txt2img", &[("Request-Type", "async")], &body);
    let id = reply.ok()["taskId"].as_str().unwrap().to_owned();
    let began = std::time::Instant::now();
    loop {
        let progress = server.get(&format!("/tasks/{id}/progress")).ok();
        if progress["progress"].as_f64().is_some_and(|progress| progress > 0.0) {
            break;
        }
        assert!(began.elapsed().as_secs() < 60, "{progress}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    server.post(&format!("/tasks/{id}/cancellation"), &json!({})).ok();
    let began = std::time::Instant::now();
    loop {
        let reply = server.get(&format!("/tasks/{id}/result"));
        if reply.json()["status"] == "canceled" {
            break;
        }
        assert!(began.elapsed().as_secs() < 30, "{}", reply.json());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    // The device is free again.
    let (pictures, _) = run(&server, "txt2img", json!({}));
    assert_eq!(pictures.len(), 1);
    assert!(server.get("/metrics").body.len() > 100);
}

#[test]
fn a_skip_ends_one_drawing_of_a_script_and_the_others_go_on() {
    // So that pictures are the same to the bit whatever is drawn beside them.
    let bench = bench().config("deterministic = true\n");
    let server = bench.start();
    let args = json!({"x type": "Seed", "x values": "1,2,3", "include sub images": true});
    let body =
        json!({"script_name": "X/Y/Z plot", "script_args": args, "steps": 30, "width": 128, "height": 128});
    let draw = || run(&server, "txt2img", body.clone()).0;
    let whole = draw();
    let skipped = std::thread::scope(|scope| {
        let drawing = scope.spawn(draw);
        eventually("steps are done", || {
            server.get("/sdapi/v1/progress").ok()["state"]["sampling_step"].as_u64() > Some(1)
        });
        server.post("/sdapi/v1/skip", &json!({})).ok();
        drawing.join().unwrap()
    });
    assert_eq!((whole.len(), skipped.len()), (4, 4), "the grid and its three pictures");
    let others = whole.iter().zip(&skipped).skip(1).filter(|(whole, skipped)| whole.data != skipped.data);
    assert_eq!(others.count(), 1);
}

#[test]
fn an_enlarged_picture_is_drawn_over_in_tiles() {
    let bench = bench();
    let server = bench.start();
    let body = |args: Value, strength: f64| {
        json!({"script_name": "SD upscale", "script_args": args, "init_images": [striped(64, 48)],
        "denoising_strength": strength, "seed": 3, "width": 64, "height": 64})
    };
    let (pictures, info) = run(&server, "img2img", body(json!(["", 16, "Lanczos", 2]), 0.3));
    assert_eq!((pictures.len(), pictures[0].width, pictures[0].height), (1, 128, 96));
    // Three tiles along and two down, each with a seed of its own.
    assert_eq!(info["all_seeds"], json!([3, 4, 5, 6, 7, 8]));
    let (by_number, _) = run(&server, "img2img", body(json!(["", 16, 1, 2]), 0.3));
    // Tiles may meet in one step, or not, which changes a level here and there.
    let apart = by_number[0].data.iter().zip(&pictures[0].data).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    assert!(apart <= 2, "{apart}");
    for text in ["SD upscale overlap: 16", "SD upscale upscaler: Lanczos"] {
        assert!(by_number[0].infotext.contains(text), "{}", by_number[0].infotext);
    }
    let reply = server.post("/sdapi/v1/img2img", &quick_with(body(json!(["", 16, "Nonesuch", 2]), 0.3)));
    assert!(reply.status == 422 && reply.json().to_string().contains("Nonesuch"), "{}", reply.json());
}

#[test]
fn upscalers_go_by_their_place_in_the_list_as_in_web_uis() {
    let models = super::extras::networks();
    let checkpoint = "demo-v3.safetensors";
    std::fs::copy(checkout().join("examples/demo-model").join(checkpoint), models.path().join(checkpoint))
        .unwrap();
    let bench = bench().models_at(models.path());
    let server = bench.start();
    let names = server.get("/sdapi/v1/upscalers").ok();
    let place = names.as_array().unwrap().iter().position(|entry| entry["name"] == "one-colour").unwrap();
    let drawn = |upscaler: Value| {
        let body = json!({"script_name": "SD upscale", "script_args": ["", 16, upscaler, 2],
            "init_images": [striped(64, 48)], "denoising_strength": 0.3, "seed": 3, "width": 64, "height": 64});
        run(&server, "img2img", body).0.remove(0)
    };
    let apart = |one: &Picture, other: &Picture| {
        one.data.iter().zip(&other.data).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
    };
    let (by_place, by_name) = (drawn(json!(place)), drawn(json!("one-colour")));
    assert!(apart(&by_place, &by_name) <= 2);
    assert!(apart(&by_place, &drawn(json!("Lanczos"))) > 8);
    // The script is not told what lies at a place, so that its text names nothing.
    assert!(by_name.infotext.contains("SD upscale upscaler: one-colour"), "{}", by_name.infotext);
    assert!(!by_place.infotext.contains("SD upscale upscaler"), "{}", by_place.infotext);
    let refused = json!({"script_name": "SD upscale", "script_args": ["", 16, 99, 2], "init_images": [striped(64, 48)]});
    let reply = server.post("/sdapi/v1/img2img", &quick_with(refused));
    assert!(reply.status == 422 && reply.json().to_string().contains("99"), "{}", reply.json());
}

#[test]
fn outpainting_draws_what_lies_beside_a_picture() {
    let bench = bench();
    let server = bench.start();
    let source = striped(64, 64);
    let body = |directions: Value| {
        json!({"script_name": "Poor man's outpainting", "script_args": [16, 2, "original", directions],
        "init_images": [source], "denoising_strength": 0.8, "seed": 3, "width": 64, "height": 64})
    };
    let (pictures, info) = run(&server, "img2img", body(json!(["right"])));
    assert_eq!((pictures.len(), pictures[0].width, pictures[0].height), (1, 128, 64));
    // Of three tiles the first lies within the picture, so two are drawn.
    assert_eq!(info["all_seeds"], json!([3, 3]));
    let (_, file) = source.split_once(',').unwrap();
    let original = decode(&BASE64_STANDARD.decode(file).unwrap());
    let kept = (32, 64);
    assert!(part(&pictures[0], (0, 0), kept) == part(&original, (0, 0), kept));
    let added = part(&pictures[0], (64, 0), (64, 64));
    let black = added.chunks(3).filter(|pixel| pixel.iter().all(|level| *level < 8)).count();
    assert!(black < 64 * 64 / 2, "{black} pixels of the margin are as they were");
    let reply = server.post("/sdapi/v1/img2img", &quick_with(body(json!(["north"]))));
    assert!(reply.status == 422 && reply.json().to_string().contains("left, right, up, down"));
}
