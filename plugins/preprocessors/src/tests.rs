//! Every map beside what OpenCV makes; `tests/fixtures/make_fixtures.py` is the other side.

use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_picture::convert::to_rgb;
use gesso_plugin::fake::Host;
use gesso_plugin::models::Tensor;
use gesso_plugin::serde_json::Value;
use gesso_plugin::{Annotation, Annotator, Fault, Random, fake};
use safetensors::SafeTensors;

use super::{Preprocessors, Settings, map, neural};

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
        let got = to_rgb(&made(module, &fixture(name), None, settings).unwrap()).unwrap();
        let want = fixture(&format!("{name}.{module}"));
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
fn strips_whose_maps_fill_all_memory_are_refused() {
    let strip = Pixels::new(16, 1024, PixelFormat::Rgb8, vec![90; 16 * 1024 * 3]).unwrap();
    for (module, resolution) in
        [("scribble_xdog", 364), ("lineart_standard", 364), ("canny", 513), ("color", 2048)]
    {
        let refused = made(module, &strip, None, settings(resolution, 5.0, 9.0));
        assert!(
            matches!(&refused, Err(Fault::InvalidInput(text)) if text.contains("a smaller processor_res")),
            "{module}: {refused:?}"
        );
    }
    let thin = Pixels::new(8, 1024, PixelFormat::Rgb8, vec![90; 8 * 1024 * 3]).unwrap();
    assert!(
        made("shuffle", &thin, None, settings(64, 0.0, 0.0)).is_err(),
        "whatever resolution is asked for"
    );
}

/// A host that grants no network.
struct Blind;

impl neural::Look for Blind {
    fn networks(&self) -> Result<Vec<String>, Fault> {
        Err(Fault::NotPermitted("none is granted".into()))
    }

    fn about(&self, network: &str) -> Result<Option<Value>, Fault> {
        panic!("{network} is asked about")
    }

    fn run(&self, network: &str, _: Vec<Tensor>) -> Result<Vec<Tensor>, Fault> {
        panic!("{network} is run")
    }
}

#[test]
fn every_module_of_the_manifest_is_there_and_no_other() {
    let manifest: Value = gesso_plugin::serde_json::from_str(include_str!("../manifest.json")).unwrap();
    let source = fixture("shapes");
    let mask = Pixels::new(70, 90, PixelFormat::Gray8, vec![0; 70 * 90]).unwrap();
    for annotator in manifest["annotators"].as_array().unwrap() {
        let name = annotator["name"].as_str().unwrap();
        let slider = |index: usize| annotator["sliders"][index]["value"].as_f64();
        let settings = Settings { resolution: 64, threshold_a: slider(0), threshold_b: slider(1) };
        let is_made = made(name, &source, Some(&mask), settings).is_ok();
        // Some ask the host for colours beside.
        match Host::new().run(|| neural::made(name, &source, Some(&mask), settings, &Blind)) {
            None => assert!(is_made, "{name}"),
            Some(Err(Fault::InvalidInput(text))) => {
                assert!(!is_made && text.contains("an admin grants them"), "{name}: {text}");
            }
            Some(other) => panic!("{name}: {other:?}"),
        }
    }
    assert!(neural::made("clip_vision", &source, None, settings(64, 0.0, 0.0), &Blind).is_none());
    assert!(matches!(
        made("clip_vision", &source, None, settings(64, 0.0, 0.0)),
        Err(Fault::InvalidInput(_))
    ));
}

/// What a whole call makes of a picture of the fixtures.
fn annotated(
    host: &Host,
    module: &str,
    mask: Option<&[u8]>,
    thresholds: [Option<f64>; 2],
) -> Result<gesso_plugin::Image, Fault> {
    let source = fixture("demo");
    let (width, height) = (source.width, source.height);
    let picture = |format, rows: &[u8]| fake::picture(width, height, format, rows);
    let annotation = Annotation {
        source: picture(gesso_plugin::PixelFormat::Rgb8, &source.data),
        mask: mask.map(|mask| picture(gesso_plugin::PixelFormat::Gray8, mask)),
        resolution: Some(96),
        threshold_a: thresholds[0],
        threshold_b: thresholds[1],
    };
    host.run(|| Preprocessors::annotate(module, annotation)).map(|found| found.picture)
}

#[test]
fn a_whole_call_reads_a_picture_and_gives_its_map() {
    let map = annotated(&Host::new(), "canny", None, [Some(60.0), Some(140.0)]).unwrap();
    let wanted = fixture("demo.canny");
    assert_eq!((map.desc().width, map.desc().height), (wanted.width, wanted.height));
    let map = map.convert(gesso_plugin::PixelFormat::Rgb8).unwrap();
    assert_eq!(map.read_rows(0, wanted.height).unwrap(), wanted.data);
    // Colours move by the request's seed.
    let shuffled = |seed| annotated(&Host::new().seed(seed), "shuffle", None, [None, None]).unwrap();
    let rows = |seed| shuffled(seed).read_rows(0, 512).unwrap();
    assert_eq!(rows(1), rows(1));
    assert_ne!(rows(1), rows(2));
    let source = fixture("demo");
    let mask = vec![255; (source.width * source.height) as usize];
    let hidden = annotated(&Host::new(), "inpaint_only", Some(mask.as_slice()), [None, None]).unwrap();
    assert!(hidden.read_rows(0, 1).unwrap().chunks(4).all(|pixel| pixel[3] == 0));
}

#[test]
fn a_whole_call_looks_with_a_network_where_one_is_granted() {
    let nearest = |inputs: &[Tensor]| {
        let (rows, columns) = (inputs[0].shape[2], inputs[0].shape[3]);
        let values = (0..rows * columns).map(|place| (place % columns) as f32).collect();
        Ok(vec![Tensor { shape: vec![1, 1, rows, columns], values }])
    };
    let host = Host::new().network("depth", nearest);
    let map = annotated(&host, "depth", None, [None, None]).unwrap();
    assert_eq!(map.desc().width.min(map.desc().height), 96);
    let row = map.convert(gesso_plugin::PixelFormat::Gray8).unwrap().read_rows(0, 1).unwrap();
    assert!(row[0] < *row.last().unwrap(), "{row:?}");
    for (host, says) in [(host, "ControlNetHED.torchscript"), (Host::new(), "an admin grants them")] {
        let refused = annotated(&host, "hed", None, [None, None]);
        assert!(matches!(&refused, Err(Fault::InvalidInput(text)) if text.contains(says)), "{refused:?}");
    }
    let refused = annotated(&Host::new().network("depth", nearest), "mediapipe_face", None, [None, None]);
    let says = "face_detection_short_range.torchscript";
    assert!(matches!(&refused, Err(Fault::InvalidInput(text)) if text.contains(says)), "{refused:?}");
}

#[test]
fn a_whole_call_colours_the_things_of_a_picture_by_the_requests_seed() {
    let encoder = |inputs: &[Tensor]| {
        assert_eq!(inputs[0].shape, [1, 3, 1024, 1024]);
        Ok(vec![Tensor { shape: vec![1, 256, 64, 64], values: vec![0.0; 1 << 20] }])
    };
    // Everything is one thing, whichever point is asked about.
    let decoder = |_: &[Tensor]| {
        let mut masks = vec![0.0; 64 * 3 * 256 * 256];
        masks[..256 * 256].fill(8.0);
        let mut sure = vec![0.0; 64 * 3];
        sure[0] = 0.9;
        Ok(vec![
            Tensor { shape: vec![64, 3, 256, 256], values: masks },
            Tensor { shape: vec![64, 3], values: sure },
        ])
    };
    let rows = |seed: u64| {
        let host = Host::new().seed(seed).network("mobile_sam_encoder", encoder);
        let map = annotated(&host.network("mobile_sam_decoder", decoder), "mobile_sam", None, [None, None]);
        let map = map.unwrap();
        assert_eq!(map.desc().width.min(map.desc().height), 96);
        map.read_rows(0, map.desc().height).unwrap()
    };
    let first = rows(1);
    assert!(first.as_chunks::<3>().0.iter().all(|pixel| pixel[..] == first[..3]));
    assert_eq!(first, rows(1));
    assert_ne!(first, rows(2));
}

#[test]
fn names_labels_and_sliders_are_those_of_web_uis() {
    let manifest: Value = gesso_plugin::serde_json::from_str(include_str!("../manifest.json")).unwrap();
    /// The label, where it is another than the name, whether there is a resolution, and sliders: value, least and most.
    type Module<'a> = (&'a str, Option<&'a str>, bool, &'a [(f64, f64, f64)]);
    let percents: &[(f64, f64, f64)] = &[(0.0, 0.0, 100.0), (0.0, 0.0, 100.0)];
    // All others have no other label, a resolution and no slider.
    let modules: [Module<'_>; 38] = [
        ("invert", Some("invert (from white bg & black line)"), false, &[]),
        ("canny", None, true, &[(100.0, 1.0, 255.0), (200.0, 1.0, 255.0)]),
        ("blur_gaussian", None, true, &[(9.0, 0.01, 64.0)]),
        ("scribble_xdog", None, true, &[(32.0, 1.0, 64.0)]),
        ("shuffle", None, false, &[]),
        ("threshold", None, true, &[(127.0, 0.0, 255.0)]),
        ("tile_resample", None, true, &[(1.0, 1.0, 8.0)]),
        ("tile_colorfix", None, true, &[(8.0, 3.0, 32.0)]),
        ("tile_colorfix+sharp", None, true, &[(8.0, 3.0, 32.0), (1.0, 0.0, 2.0)]),
        ("color", Some("t2ia_color_grid"), true, &[]),
        ("recolor_luminance", None, true, &[(1.0, 0.1, 2.0)]),
        ("recolor_intensity", None, true, &[(1.0, 0.1, 2.0)]),
        ("lineart_standard", Some("lineart_standard (from white bg & black line)"), true, &[]),
        ("inpaint", Some("inpaint_global_harmonious"), false, &[]),
        ("inpaint_only", None, false, &[]),
        ("inpaint_only+lama", None, false, &[]),
        ("depth", Some("depth_midas"), true, &[]),
        ("depth_leres", None, true, percents),
        ("depth_leres++", None, true, percents),
        ("normal_map", Some("normal_midas"), true, &[(0.4, 0.0, 1.0)]),
        ("normal_dsine", None, true, &[(60.0, 0.0, 360.0), (5.0, 1.0, 20.0)]),
        ("hed", Some("softedge_hed"), true, &[]),
        ("hed_safe", Some("softedge_hedsafe"), true, &[]),
        ("softedge_teed", None, true, &[(2.0, 0.0, 10.0)]),
        ("softedge_anyline", None, true, &[(2.0, 0.0, 10.0)]),
        ("pidinet", Some("softedge_pidinet"), true, &[]),
        ("pidinet_safe", Some("softedge_pidisafe"), true, &[]),
        ("pidinet_sketch", Some("t2ia_sketch_pidi"), true, &[]),
        ("pidinet_scribble", Some("scribble_pidinet"), true, &[]),
        ("lineart", Some("lineart_realistic"), true, &[]),
        ("mlsd", None, true, &[(0.1, 0.01, 2.0), (0.1, 0.01, 20.0)]),
        ("segmentation", Some("seg_ufade20k"), true, &[]),
        ("oneformer_ade20k", Some("seg_ofade20k"), true, &[]),
        ("oneformer_coco", Some("seg_ofcoco"), true, &[]),
        ("anime_face_segment", Some("seg_anime_face"), true, &[]),
        ("mediapipe_face", None, true, &[(1.0, 1.0, 10.0), (0.5, 0.01, 1.0)]),
        ("densepose", Some("densepose (pruple bg & purple torso)"), true, &[]),
        ("densepose_parula", Some("densepose_parula (black bg & blue torso)"), true, &[]),
    ];
    let annotators = manifest["annotators"].as_array().unwrap();
    for (name, ..) in modules {
        assert!(annotators.iter().any(|annotator| annotator["name"] == name), "{name}");
    }
    for annotator in annotators {
        let name = annotator["name"].as_str().unwrap();
        let known = modules.iter().find(|module| module.0 == name).copied();
        let (_, label, has_resolution, sliders) = known.unwrap_or((name, None, true, &[]));
        assert_eq!(annotator["label"].as_str(), label, "{name}");
        assert_eq!(annotator["resolution"].as_bool().unwrap_or(true), has_resolution, "{name}");
        let there = annotator["sliders"].as_array().into_iter().flatten();
        let number = |slider: &Value, field: &str| slider[field].as_f64().unwrap();
        let there =
            there.map(|slider| (number(slider, "value"), number(slider, "min"), number(slider, "max")));
        assert_eq!(there.collect::<Vec<_>>(), sliders, "{name}");
    }
}
