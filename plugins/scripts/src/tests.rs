//! Whole scripts in a made-up host, by the argument layouts that web UIs' clients send; Ultimate SD upscale and X/Y/Z plot have
//! theirs beside their code.

use gesso_plugin::fake::{self, Drawing, Host};
use gesso_plugin::{Image, Params, PixelFormat};
use serde_json::{Value, json};

use super::*;

fn grey(width: u32, height: u32, level: u8) -> Image {
    fake::picture(width, height, PixelFormat::Rgb8, &vec![level; (width * height * 3) as usize])
}

/// What is drawn is as large as it was asked for, and white; its text says the seed, the steps and the size.
fn host() -> Host {
    Host::new().drawing(|drawing: &Drawing| {
        let side = |field: &str| number(&drawing.params, field) as u32;
        let (width, height) = (side("width"), side("height"));
        let mut drawn = drawing.drawn(vec![grey(width, height, 255)]);
        let seed = number(&drawing.params, "seed");
        drawn.infotexts = vec![format!(
            "{}\nSeed: {seed}, Steps: 4, Size: {width}x{height}, Version: v",
            drawing.params.prompt()
        )];
        Ok(drawn)
    })
}

fn number(params: &Params, field: &str) -> u64 {
    params.get(field).and_then(Value::as_u64).unwrap()
}

/// A call with the fields that every request has by the time that a script sees it.
fn call(title: &str, arguments: Value, fields: Value, init_images: Vec<Image>) -> ScriptCall {
    let mut params = json!({"prompt": "sea", "negative_prompt": "", "seed": 10, "width": 64, "height": 64, "steps": 4,
        "batch_size": 1, "n_iter": 1, "denoising_strength": 0.8});
    params.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    ScriptCall {
        title: title.into(),
        params: Params::from_json(&params.to_string()).unwrap(),
        arguments: arguments.as_array().unwrap().clone(),
        init_images,
        mask: None,
    }
}

fn run(host: &Host, call: ScriptCall) -> Result<ScriptOutput, Fault> {
    host.run(|| Scripts::run(call))
}

fn of(host: &Host, field: &str) -> Vec<Value> {
    host.drawings().iter().map(|drawing| drawing.params.get(field).cloned().unwrap_or_default()).collect()
}

fn sizes(made: &ScriptOutput) -> Vec<(u32, u32)> {
    made.pictures.iter().map(|(picture, _)| (picture.desc().width, picture.desc().height)).collect()
}

#[test]
fn a_prompt_matrix_is_drawn_by_the_arguments_of_web_uis() {
    let host = host();
    let fields = json!({"prompt": "sea|night|boats", "batch_size": 4, "n_iter": 2});
    let arguments = json!([true, true, "positive", "space", 2]);
    let made = run(&host, call("Prompt matrix", arguments, fields, Vec::new())).unwrap();
    assert_eq!(of(&host, "prompt"), ["sea", "night sea", "boats sea", "night boats sea"].map(Value::from));
    assert_eq!(of(&host, "seed"), [10, 11, 12, 13].map(Value::from));
    assert!(of(&host, "batch_size").iter().chain(&of(&host, "n_iter")).all(|count| *count == json!(1)));
    assert_eq!((made.index_of_first_image, made.pictures.len()), (1, 5));
    assert_eq!(made.pictures[0].1, made.pictures[1].1);
    // The negative prompt, and a seed that all share.
    let host = self::host();
    let fields = json!({"negative_prompt": "fog|rain"});
    let arguments = json!([false, false, "negative", "comma", 0]);
    run(&host, call("Prompt matrix", arguments, fields, Vec::new())).unwrap();
    assert_eq!(of(&host, "negative_prompt"), ["fog", "fog, rain"].map(Value::from));
    assert_eq!((of(&host, "prompt"), of(&host, "seed")), (vec![json!("sea"); 2], vec![json!(10); 2]));
}

#[test]
fn prompts_of_a_list_have_the_seed_of_their_line() {
    let host = host();
    let lines = "cat\n--prompt \"two dogs\" --steps 9 --n_iter 3\n\nfish";
    let made = run(
        &host,
        call("Prompts from file or textbox", json!([true, false, "end", lines]), json!({}), Vec::new()),
    );
    assert_eq!(made.unwrap().index_of_first_image, 0);
    assert_eq!(of(&host, "prompt"), ["sea cat", "sea two dogs", "sea fish"].map(Value::from));
    assert_eq!(of(&host, "seed"), [10, 11, 14].map(Value::from));
    let nothing =
        call("Prompts from file or textbox", json!([false, false, "start", " \n"]), json!({}), Vec::new());
    let refused = run(&host, nothing);
    assert!(
        matches!(&refused, Err(Fault::InvalidInput(text)) if text.contains("List of prompt inputs")),
        "{refused:?}"
    );
}

#[test]
fn a_loop_draws_over_what_it_drew_with_the_words_for_it() {
    let host = host();
    let arguments = json!([3, 0.2, "Linear", "CLIP"]);
    let made = run(&host, call("Loopback", arguments, json!({"inpainting_fill": 0}), vec![grey(64, 64, 7)]))
        .unwrap();
    let drawings = host.drawings();
    let levels: Vec<_> =
        drawings.iter().map(|drawing| drawing.init_images[0].read_rows(0, 1).unwrap()[0]).collect();
    assert_eq!(levels, [7, 255, 255]);
    assert_eq!(of(&host, "seed"), [10, 11, 12].map(Value::from));
    let strengths: Vec<_> =
        of(&host, "denoising_strength").iter().map(|strength| strength.as_f64().unwrap()).collect();
    assert!(
        strengths.iter().zip([0.8, 0.5, 0.2]).all(|(got, want)| (got - want).abs() < 1e-9),
        "{strengths:?}"
    );
    assert_eq!(of(&host, "inpainting_fill"), [0, 1, 1].map(Value::from));
    assert_eq!(of(&host, "prompt"), vec![json!("sea, a picture of 64 by 64 pixels"); 3]);
    assert_eq!((made.index_of_first_image, sizes(&made)), (1, vec![(192, 64), (64, 64), (64, 64), (64, 64)]));
}

#[test]
fn a_loop_of_more_pictures_than_a_row_holds_goes_on_in_the_next() {
    let host = host();
    let arguments = json!([32, 0.5, "Linear", "None"]);
    let wide = json!({"width": 1024, "height": 8});
    let made = run(&host, call("Loopback", arguments.clone(), wide, vec![grey(1024, 8, 7)])).unwrap();
    assert_eq!((sizes(&made)[0], made.pictures.len()), ((16_384, 16), 33));
    // What no picture can hold is said before anything is drawn.
    let host = self::host();
    let large = json!({"width": 8192, "height": 2048});
    let refused = run(&host, call("Loopback", arguments, large, vec![grey(8, 8, 7)]));
    assert!(
        matches!(&refused, Err(Fault::InvalidInput(text)) if text.contains("16384 is the most")),
        "{refused:?}"
    );
    assert!(host.drawings().is_empty());
}

#[test]
fn an_enlarged_picture_is_drawn_in_tiles_that_overlap() {
    let host = host();
    let arguments = json!(["", 16, "Lanczos", 2.0]);
    let made =
        run(&host, call("SD upscale", arguments, json!({"n_iter": 2}), vec![grey(60, 40, 7)])).unwrap();
    // Of 120 by 80, in three by two tiles, twice.
    assert_eq!(sizes(&made), [(120, 80); 2]);
    let seeds: Vec<u64> = (10..16).chain(11..17).collect();
    assert_eq!(of(&host, "seed"), seeds.into_iter().map(Value::from).collect::<Vec<_>>());
    assert!(
        host.drawings()
            .iter()
            .all(|drawing| drawing.mask.is_none() && drawing.init_images[0].desc().width == 64)
    );
    assert_eq!(
        made.pictures[0].1,
        "sea\nSeed: 10, Steps: 4, Size: 64x64, SD upscale overlap: 16, SD upscale upscaler: Lanczos, Version: v"
    );
    assert!(made.pictures[0].0.read_rows(0, 80).unwrap().iter().all(|level| *level == 255));
    let refused = run(&host, call("SD upscale", json!(["", 16, "None", 2]), json!({}), Vec::new()));
    assert!(
        matches!(&refused, Err(Fault::InvalidInput(text)) if text.contains("init_images")),
        "{refused:?}"
    );
}

#[test]
fn a_margin_is_drawn_and_the_picture_is_kept() {
    let (white, kept) = ([255; 3], [7; 3]);
    for (title, arguments) in [
        ("Poor man's outpainting", json!([32, 0, "fill", ["right"]])),
        ("Outpainting mk2", json!(["", 32, 0, ["right"], 1.0, 0.05])),
    ] {
        // Only what the mask shows is drawn. A margin of 32 becomes one of 64, for sides are multiples of that.
        let host = Host::new().drawing(|drawing: &Drawing| {
            let source = &drawing.init_images[0];
            let desc = source.desc();
            let mask = drawing.mask.as_ref().unwrap().read_rows(0, desc.height)?;
            let mut rows = source.read_rows(0, desc.height)?;
            rows.iter_mut().zip(mask).for_each(|(level, drawn)| *level = (*level).max(drawn));
            Ok(drawing.drawn(vec![fake::picture(desc.width, desc.height, PixelFormat::Rgb8, &rows)]))
        });
        let fields = json!({"width": 128, "batch_size": 2});
        let made = run(&host, call(title, arguments, fields, vec![grey(64, 64, 7)])).unwrap();
        assert_eq!((made.index_of_first_image, sizes(&made)), (0, vec![(128, 64)]), "{title}");
        let row = made.pictures[0].0.read_rows(32, 1).unwrap();
        let (pixels, _) = row.as_chunks::<3>();
        assert_eq!((pixels[0], pixels[63], pixels[64], pixels[127]), (kept, kept, white, white), "{title}");
        let drawings = host.drawings();
        assert!(drawings.iter().all(|drawing| number(&drawing.params, "batch_size") == 1), "{title}");
    }
}

#[test]
fn every_script_of_the_manifest_runs_and_no_other() {
    let manifest: Value = serde_json::from_str(include_str!("../manifest.json")).unwrap();
    for script in manifest["scripts"].as_array().unwrap() {
        let title = script["title"].as_str().unwrap();
        let defaults = script["args"].as_array().unwrap().iter().map(|argument| argument["value"].clone());
        let made = run(&host(), call(title, defaults.collect::<Vec<_>>().into(), json!({}), Vec::new()));
        // Without a picture, a list or values each says what it wants, or draws.
        match made {
            Ok(made) => assert!(!made.pictures.is_empty(), "{title}"),
            Err(Fault::InvalidInput(text)) => {
                assert!(!text.starts_with("There is no script"), "{title}: {text}")
            }
            Err(fault) => panic!("{title}: {fault}"),
        }
    }
    let unknown = run(&host(), call("Nonesuch", json!([]), json!({}), Vec::new()));
    assert!(matches!(unknown, Err(Fault::InvalidInput(_))), "{unknown:?}");
}

#[test]
fn arguments_and_their_defaults_are_those_of_web_uis() {
    let manifest: Value = serde_json::from_str(include_str!("../manifest.json")).unwrap();
    let sides = json!(["left", "right", "up", "down"]);
    let plot = json!([
        "Seed",
        "",
        [],
        "Nothing",
        "",
        [],
        "Nothing",
        "",
        [],
        true,
        false,
        false,
        false,
        false,
        false,
        false,
        0,
        false
    ]);
    let ultimate = json!([
        "",
        512,
        0,
        8,
        32,
        64,
        0.35,
        16,
        "None",
        true,
        "Linear",
        false,
        4,
        "None",
        "From img2img settings",
        2048,
        2048,
        2.0
    ]);
    let wanted = [
        ("Prompt matrix", true, json!([false, false, "positive", "comma", 0])),
        ("Prompts from file or textbox", true, json!([false, false, "start", ""])),
        ("Loopback", false, json!([4, 0.5, "Linear", "None"])),
        ("Poor man's outpainting", false, json!([128, 4, "fill", sides])),
        ("Outpainting mk2", false, json!(["", 128, 8, sides, 1.0, 0.05])),
        ("SD upscale", false, json!(["", 64, "None", 2.0])),
        ("Ultimate SD upscale", false, ultimate),
        ("X/Y/Z plot", true, plot),
    ];
    let scripts = manifest["scripts"].as_array().unwrap();
    assert_eq!(scripts.len(), wanted.len());
    for (script, (title, is_txt2img, defaults)) in scripts.iter().zip(wanted) {
        let there: Value =
            script["args"].as_array().unwrap().iter().map(|argument| argument["value"].clone()).collect();
        assert_eq!((script["title"].as_str(), &there), (Some(title), &defaults));
        assert_eq!(script["txt2img"].as_bool().unwrap_or(true), is_txt2img, "{title}");
    }
}
