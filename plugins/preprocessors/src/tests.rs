//! Every map beside what OpenCV makes; `tests/fixtures/make_fixtures.py` is the other side.

use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_plugin::{Fault, Random};
use safetensors::SafeTensors;

use super::{Settings, map, neural};

const MAPS: &[u8] = include_bytes!("../tests/fixtures/maps.safetensors");

pub(crate) fn fixture(name: &str) -> Pixels {
    let file = SafeTensors::deserialize(MAPS).unwrap();
    let tensor = file.tensor(name).unwrap();
    let (height, width) = (tensor.shape()[0] as u32, tensor.shape()[1] as u32);
    let data = match tensor.shape().len() {
        3 => tensor.data().to_vec(),
        _ => tensor.data().iter().flat_map(|level| [*level; 3]).collect(),
    };
    Pixels::new(width, height, PixelFormat::Rgb8, data).unwrap()
}

fn settings(resolution: u32, a: f64, b: f64) -> Settings {
    Settings { resolution, threshold_a: Some(a), threshold_b: Some(b) }
}

fn made(module: &str, source: &Pixels, mask: Option<&Pixels>, settings: Settings) -> Result<Pixels, Fault> {
    map(module, source, mask, settings, &mut Random::new(1, 0))
}

/// Part of the values further than `levels` from OpenCV's.
fn far(module: &str, settings: Settings, levels: u8) -> f64 {
    let mut worst: f64 = 0.0;
    for name in ["demo", "shapes"] {
        let (got, want) =
            (made(module, &fixture(name), None, settings).unwrap(), fixture(&format!("{name}.{module}")));
        assert_eq!((got.width, got.height), (want.width, want.height), "{name}.{module}");
        let apart =
            got.data.iter().zip(&want.data).filter(|(got, want)| got.abs_diff(**want) > levels).count();
        worst = worst.max(apart as f64 / got.data.len() as f64);
    }
    println!("{module}: {:.3} %", worst * 100.0);
    worst
}

#[test]
fn edges_are_opencvs_to_the_pixel() {
    assert_eq!(far("canny", settings(96, 60.0, 140.0), 0), 0.0);
}

#[test]
fn thresholds_are_opencvs_to_the_pixel() {
    assert_eq!(far("threshold", settings(96, 90.0, 0.0), 0), 0.0);
}

#[test]
fn lines_are_opencvs_but_for_rounding() {
    // A bell summed in another order moves a few places over the threshold or by a level.
    assert!(far("scribble_xdog", settings(96, 12.0, 0.0), 0) < 0.001);
    assert!(far("lineart_standard", settings(96, 0.0, 0.0), 1) < 0.001);
}

#[test]
fn blurs_are_opencvs_to_the_pixel() {
    assert_eq!(far("blur_gaussian", settings(96, 3.5, 0.0), 0), 0.0);
}

#[test]
fn colour_maps_are_opencvs() {
    assert_eq!(far("color", settings(160, 0.0, 0.0), 0), 0.0);
    assert_eq!(far("tile_resample", settings(0, 2.5, 0.0), 0), 0.0);
    assert_eq!(far("recolor_luminance", settings(0, 1.3, 0.0), 1), 0.0);
}

#[test]
fn colours_are_turned_around_and_intensity_is_the_strongest() {
    let pixel = Pixels::new(1, 1, PixelFormat::Rgb8, vec![10, 200, 30]).unwrap();
    assert_eq!(made("invert", &pixel, None, settings(64, 0.0, 0.0)).unwrap().data, [245, 55, 225]);
    assert_eq!(made("recolor_intensity", &pixel, None, settings(64, 1.0, 0.0)).unwrap().data, [200; 3]);
    assert_eq!(made("tile_colorfix+sharp", &pixel, None, settings(64, 8.0, 1.0)).unwrap(), pixel);
}

#[test]
fn shuffling_keeps_the_colours_and_moves_them() {
    let source = fixture("demo");
    let shuffled =
        |seed| map("shuffle", &source, None, settings(0, 0.0, 0.0), &mut Random::new(seed, 0)).unwrap();
    let first = shuffled(1);
    assert_eq!(first.width.min(first.height), 512);
    let scaled = crate::resolution::scaled(&source, 512).unwrap();
    assert_ne!(first.data, scaled.data);
    assert_eq!(first.data, shuffled(1).data, "the request's seed draws it");
    assert_ne!(first.data, shuffled(2).data);
    let (least, most) = (scaled.data.iter().min(), scaled.data.iter().max());
    assert!(first.data.iter().min() >= least && first.data.iter().max() <= most);
}

#[test]
fn what_is_repainted_is_hidden() {
    let source = Pixels::new(2, 1, PixelFormat::Rgb8, vec![1, 2, 3, 4, 5, 6]).unwrap();
    let mask = Pixels::new(2, 1, PixelFormat::Gray8, vec![255, 100]).unwrap();
    let hidden = made("inpaint", &source, Some(&mask), settings(0, 0.0, 0.0)).unwrap();
    let pasted = made("inpaint_only", &source, Some(&mask), settings(0, 0.0, 0.0)).unwrap();
    assert_eq!(pasted, hidden);
    assert_eq!((hidden.format, hidden.data), (PixelFormat::Rgba8, vec![1, 2, 3, 0, 4, 5, 6, 255]));
    for mask in [None, Some(Pixels::new(1, 1, PixelFormat::Gray8, vec![0]).unwrap())] {
        let refused = made("inpaint", &source, mask.as_ref(), settings(0, 0.0, 0.0));
        assert!(matches!(refused, Err(Fault::InvalidInput(_))));
    }
}

#[test]
fn pictures_of_one_pixel_and_strips_have_maps() {
    for (width, height) in [(1, 1), (300, 1), (1, 70)] {
        let data = vec![90; width as usize * height as usize * 3];
        let source = Pixels::new(width, height, PixelFormat::Rgb8, data).unwrap();
        for module in [
            "canny",
            "scribble_xdog",
            "lineart_standard",
            "threshold",
            "blur_gaussian",
            "color",
            "tile_resample",
        ] {
            assert!(made(module, &source, None, settings(64, 5.0, 9.0)).is_ok(), "{module} {width}x{height}");
        }
    }
}

#[test]
fn every_module_of_the_manifest_is_there_and_no_other() {
    let manifest: gesso_plugin::serde_json::Value =
        gesso_plugin::serde_json::from_str(include_str!("../manifest.json")).unwrap();
    let source = fixture("shapes");
    let mask = Pixels::new(70, 90, PixelFormat::Gray8, vec![0; 70 * 90]).unwrap();
    for annotator in manifest["annotators"].as_array().unwrap() {
        let name = annotator["name"].as_str().unwrap();
        let slider = |index: usize| annotator["sliders"][index]["value"].as_f64();
        let settings = Settings { resolution: 64, threshold_a: slider(0), threshold_b: slider(1) };
        let is_made = made(name, &source, Some(&mask), settings).is_ok();
        let looks = neural::recipe_of(name).is_some() || neural::pose::figure_of(name).is_some();
        assert!(is_made != looks, "{name}");
    }
    assert!(matches!(
        made("animal_openpose", &source, None, settings(64, 0.0, 0.0)),
        Err(Fault::InvalidInput(_))
    ));
}
