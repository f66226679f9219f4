//! Whole hooks, in a made-up host with one detector that finds one face.

use gesso_plugin::fake;
use gesso_plugin::models::Tensor;

use super::*;

const SIDE: u32 = 128;

fn plain(level: u8) -> Image {
    fake::picture(SIDE, SIDE, PixelFormat::Rgb8, &vec![level; (SIDE * SIDE * 3) as usize])
}

/// The detector finds a face in the middle, a quarter as wide as the picture; whatever is drawn is white.
fn host() -> fake::Host {
    let find = |inputs: &[Tensor]| {
        assert_eq!(inputs[0].shape, [1, 3, 64, 64]);
        Ok(vec![Tensor { shape: vec![1, 5, 1], values: vec![32.0, 32.0, 16.0, 16.0, 0.9] }])
    };
    fake::Host::new()
        .network("face", find)
        .about("face", json!({"imgsz": 64, "names": ["face"]}))
        .drawing(|drawing| Ok(drawing.drawn(vec![plain(255)])))
}

fn asking(args: &Value, fields: &[(&str, Value)]) -> Params {
    let request = json!({
        "prompt": "a crowd", "steps": 20, "sampler_name": "Euler a",
        "alwayson_scripts": {"ADetailer": {"args": args}},
    });
    let mut params = Params::from_json(&request.to_string()).unwrap();
    for (field, value) in fields {
        params.set(*field, value.clone());
    }
    params
}

fn about() -> DrawnPicture {
    at(PictureStage::Decoded)
}

fn at(stage: PictureStage) -> DrawnPicture {
    DrawnPicture { prompt: "a crowd".into(), seed: 7, stage, ..fake::drawn_picture() }
}

#[test]
fn what_is_painted_is_below_what_a_mask_keeps_and_painted_once() {
    let params = asking(&json!([{"ad_model": "face"}]), &[]);
    let host = host();
    let finish =
        |stage| host.run(|| ADetailer::finish(&params, &at(stage), plain(128), Some(plain(64)))).unwrap();
    let composited = finish(PictureStage::Composited);
    assert_eq!(composited.picture.read_rows(0, 1).unwrap(), [128; 3 * SIDE as usize]);
    assert!(composited.fields.is_empty() && host.drawings().is_empty());
    finish(PictureStage::Decoded);
    assert_eq!(host.drawings().len(), 1);
}

#[test]
fn many_detectors_say_as_much_as_the_host_takes() {
    let params = asking(&json!(vec![json!({"ad_model": "face", "ad_confidence": 0.3}); 16]), &[]);
    let finished = host().run(|| ADetailer::finish(&params, &about(), plain(128), None)).unwrap();
    assert_eq!(finished.fields.len(), FIELDS_MAX);
    assert_eq!(finished.fields.last().unwrap().0, "ADetailer version");
}

#[test]
fn what_the_detector_finds_is_painted_again_under_its_own_mask_and_prompt() {
    let detail = json!({"ad_model": "face.pt", "ad_prompt": "a smile", "ad_dilate_erode": 0});
    let params = asking(&json!([detail]), &[]);
    let host = host();
    let finished = host.run(|| ADetailer::finish(&params, &about(), plain(128), None)).unwrap();
    let drawings = host.drawings();
    let [drawing] = drawings.as_slice() else { panic!("{} drawings", drawings.len()) };
    assert_eq!(drawing.params.prompt(), "a smile");
    assert_eq!(drawing.params.get("seed"), Some(&json!(7)));
    assert_eq!(drawing.init_images[0].read_rows(0, 1).unwrap(), [128; 3 * SIDE as usize]);
    let mask = drawing.mask.as_ref().unwrap();
    let row = mask.read_rows(SIDE / 2, 1).unwrap();
    let white: Vec<_> = (0..row.len()).filter(|x| row[*x] == 255).collect();
    assert_eq!(white, (48_usize..=80).collect::<Vec<_>>());
    assert!(mask.read_rows(0, 48).unwrap().iter().all(|level| *level == 0));
    assert_eq!(finished.picture.read_rows(0, 1).unwrap(), [255; 3 * SIDE as usize]);
    let names: Vec<_> = finished.fields.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.contains(&"ADetailer model") && names.contains(&"ADetailer version"), "{names:?}");
}

#[test]
fn a_request_that_does_not_name_it_asks_the_host_for_nothing() {
    let host = host();
    let mut params = Params::from_json("{}").unwrap();
    assert_eq!(host.run(|| ADetailer::before(&mut params)).unwrap(), Verdict::Continue);
    let finished = host.run(|| ADetailer::finish(&params, &about(), plain(128), None)).unwrap();
    assert_eq!(finished.picture.read_rows(0, 1).unwrap(), [128; 3 * SIDE as usize]);
    assert!(finished.fields.is_empty() && host.drawings().is_empty());
}

#[test]
fn a_detector_that_is_not_there_is_refused_before_anything_is_drawn() {
    let mut params = asking(&json!([{"ad_model": "hand.pt"}]), &[]);
    for (host, says) in
        [(host(), "the detectors here are: face"), (fake::Host::new(), "an admin grants them")]
    {
        let Err(Fault::InvalidInput(text)) = host.run(|| ADetailer::before(&mut params)) else {
            panic!("taken")
        };
        assert!(text.contains(says), "{text}");
    }
}

#[test]
fn a_first_drawing_that_is_left_out_is_cheap_and_the_parts_are_drawn_as_asked() {
    let args = json!([true, true, {"ad_model": "face"}]);
    let mut params = asking(&args, &[("resize_mode", json!(0))]);
    let host = host();
    host.run(|| ADetailer::before(&mut params)).unwrap();
    assert_eq!(params.get("steps"), Some(&json!(1)));
    let about = at(PictureStage::Composited);
    host.run(|| ADetailer::finish(&params, &about, plain(0), Some(plain(64)))).unwrap();
    let drawings = host.drawings();
    assert_eq!(drawings[0].params.get("steps"), Some(&json!(20)));
    assert_eq!(drawings[0].params.get("sampler_name"), Some(&json!("Euler a")));
    assert_eq!(drawings[0].init_images[0].read_rows(0, 1).unwrap(), [64; 3 * SIDE as usize]);
}
