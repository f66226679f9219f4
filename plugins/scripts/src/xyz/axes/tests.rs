//! Names, numbers and values of axes, as web UIs' clients give them.

use serde_json::json;

use super::*;

fn applied(axis: Value, values: &str, is_img2img: bool) -> Vec<Params> {
    let axis = Axis::find(&axis, is_img2img).unwrap();
    let request = r#"{"prompt": "a red cat, a blue dog", "negative_prompt": "red", "styles": ["one"]}"#;
    let apply = |point: Point| {
        let mut params = Params::from_json(request).unwrap();
        point.apply(&mut params).unwrap();
        params
    };
    axis.points(&axis.given(values, Vec::new(), false)).unwrap().into_iter().map(apply).collect()
}

#[test]
fn axes_are_named_and_counted_as_in_web_uis() {
    for (named, is_img2img, label) in [
        (json!("steps"), false, "Steps"),
        (json!(4), false, "Steps"),
        (json!(4.0), false, "Steps"),
        (json!("6"), false, "CFG Scale"),
        (json!(5), true, "CFG Scale"),
        (json!(null), false, "Nothing"),
        (json!(""), false, "Nothing"),
    ] {
        assert_eq!(Axis::find(&named, is_img2img).unwrap().label, label, "{named}");
    }
    for (named, is_img2img) in
        [(json!("Hires steps"), true), (json!("FP8 mode"), false), (json!(99), false), (json!("x"), false)]
    {
        let Err(Fault::InvalidInput(text)) = Axis::find(&named, is_img2img) else { panic!("{named}") };
        assert!(text.contains("Seed, Var. seed"), "{text}");
    }
}

#[test]
fn values_set_fields_options_and_sizes() {
    let params = applied(json!("Steps"), "3-4", false);
    assert_eq!((params.len(), params[1].get("steps")), (2, Some(&json!(4))));
    let params = applied(json!("Clip skip"), "2", false);
    assert_eq!(params[0].get("override_settings"), Some(&json!({"CLIP_stop_at_last_layers": 2})));
    let params = applied(json!("Size"), "64x96", false);
    assert_eq!((params[0].get("width"), params[0].get("height")), (Some(&json!(64)), Some(&json!(96))));
    assert_eq!(applied(json!("Styles"), "two", false)[0].get("styles"), Some(&json!(["one", "two"])));
    let params = applied(json!("VAE"), "auto, none, own.pt", false);
    let names = params.iter().map(|params| params.get("override_settings").unwrap()["sd_vae"].clone());
    assert_eq!(names.collect::<Vec<_>>(), ["Automatic", "None", "own.pt"]);
    let params = applied(json!("Skip Early CFG"), "0.25", false);
    assert_eq!(params[0].get("override_settings"), Some(&json!({"skip_early_cond": 0.25})));
    let params = applied(json!("Token merging ratio high-res"), "0.5", false);
    assert_eq!(params[0].get("override_settings"), Some(&json!({"token_merging_ratio_hr": 0.5})));
    let params = applied(json!("Refiner checkpoint"), "None, other", true);
    let names = params.iter().map(|params| params.get("refiner_checkpoint").unwrap().clone());
    assert_eq!(names.collect::<Vec<_>>(), ["None", "other"]);
    assert_eq!(
        applied(json!("Refiner switch at"), "0.5-1 (+0.25)", false)[1].get("refiner_switch_at"),
        Some(&json!(0.75))
    );
    let params = applied(json!("Face restore"), "yes, n", false);
    assert_eq!(
        (params[0].get("restore_faces"), params[1].get("restore_faces")),
        (Some(&json!(true)), Some(&json!(false)))
    );
    assert!(params.iter().all(|params| params.get("override_settings").is_none()));
    let params = applied(json!("Face restore"), "None, GFPGAN", false);
    assert_eq!(
        (params[0].get("restore_faces"), params[1].get("restore_faces")),
        (Some(&json!(false)), Some(&json!(true)))
    );
    assert_eq!(params[1].get("override_settings"), Some(&json!({"face_restoration_model": "GFPGAN"})));
}

#[test]
fn words_give_way_to_others_in_both_prompts() {
    let params = applied(json!("Prompt S/R"), "red, green", false);
    assert_eq!((params[1].prompt(), params[1].negative_prompt()), ("a green cat, a blue dog", "green"));
    assert_eq!(applied(json!("Prompt S/R"), "red , ", false)[1].prompt(), "a  cat, a blue dog");
    let axis = Axis::find(&json!("Prompt S/R"), false).unwrap();
    let points = |text: &str| axis.points(&axis.given(text, Vec::new(), false));
    assert!(
        matches!(points(", red"), Err(Fault::InvalidInput(text)) if text.contains("begins with nothing"))
    );
    let absent = points("fish, bird").unwrap();
    assert!(matches!(absent[0].apply(&mut Params::from_json("{}").unwrap()), Err(Fault::InvalidInput(_))));
}

#[test]
fn words_are_put_into_every_order() {
    let params = applied(json!("Prompt order"), "cat, dog", false);
    let prompts: Vec<_> = params.iter().map(Params::prompt).collect();
    assert_eq!(prompts, ["a red cat, a blue dog", "a red dog, a blue cat"]);
    assert_eq!(orders(&["a", "b", "c"].map(str::to_owned)).unwrap().len(), 6);
    assert_eq!(orders(&["a", "a"].map(str::to_owned)).unwrap(), [["a", "a"], ["a", "a"]]);
    assert!(orders(&["a", "b", "c", "d", "e", "f"].map(str::to_owned)).is_err());
}

#[test]
fn an_axis_without_values_is_refused() {
    for (label, text, count) in [("Seed", " , ", None), ("Prompt S/R", ",", None), ("Nothing", "", Some(1))] {
        let axis = Axis::find(&json!(label), false).unwrap();
        let points = axis.points(&axis.given(text, Vec::new(), false));
        assert_eq!(points.ok().map(|points| points.len()), count, "{label}");
    }
}

#[test]
fn the_list_counts_where_web_uis_have_one_unless_text_is_asked_for() {
    for (label, is_text, values) in
        [("Sampler", false, "Euler"), ("Sampler", true, "DDIM"), ("Steps", false, "DDIM")]
    {
        let axis = Axis::find(&json!(label), false).unwrap();
        let given = axis.given(" DDIM ", vec!["Euler".into()], is_text);
        assert_eq!(
            (given.values, given.shown.as_str()),
            (vec![values.to_owned()], values),
            "{label} {is_text}"
        );
    }
    assert!(CHOSEN.iter().all(|label| AXES.iter().any(|axis| axis.label == *label)));
}

#[test]
fn web_uis_axes_have_their_places() {
    let labels = |is_img2img: bool| -> Vec<_> {
        let hidden = if is_img2img { Offered::Txt2Img } else { Offered::Img2Img };
        AXES.iter().filter(|axis| axis.offered != hidden).map(|axis| axis.label).collect()
    };
    // As versions 1.9 and 1.10 count them; the newest axis stands behind.
    let (txt2img, img2img) = (labels(false), labels(true));
    assert_eq!((txt2img.len(), img2img.len()), (43, 42));
    for (place, label) in
        [(9, "Sampler"), (10, "Hires sampler"), (24, "Clip skip"), (28, "Hires upscaler"), (41, "Size")]
    {
        assert_eq!(txt2img[place], label);
    }
    for (place, label) in
        [(6, "Image CFG Scale"), (9, "Sampler"), (27, "Cond. Image Mask Weight"), (40, "Size")]
    {
        assert_eq!(img2img[place], label);
    }
}

#[test]
fn legends_say_what_web_uis_say() {
    let shown = |label: &str, text: &str| {
        let axis = Axis::find(&json!(label), false).unwrap();
        axis.points(&axis.given(text, Vec::new(), true))
            .unwrap()
            .into_iter()
            .map(|point| point.shown)
            .collect::<Vec<_>>()
    };
    assert_eq!(shown("Sampler", "Euler, DDIM"), ["Euler", "DDIM"]);
    for label in ["Checkpoint name", "Refiner checkpoint"] {
        assert_eq!(shown(label, "anime/one.safetensors, None"), ["one.safetensors", "None"]);
    }
    assert_eq!(shown("CFG Scale", "0.1-0.3 (+0.1)"), ["CFG Scale: 0.1", "CFG Scale: 0.2", "CFG Scale: 0.3"]);
    assert_eq!(shown("Steps", "7"), ["Steps: 7"]);
}
