//! Networks that compute something plain, so that what goes in and what comes out can be told.

use std::cell::RefCell;

use gesso_core::pixels::PixelFormat;
use gesso_plugin::serde_json::json;

use super::*;
use crate::tests::fixture;

mod anyline;
mod dsine;
mod lama;

/// One network, a function of its first input.
struct Fake<'a> {
    name: &'a str,
    about: Option<Value>,
    network: &'a dyn Fn(&Tensor) -> Vec<Tensor>,
    fed: RefCell<Vec<Tensor>>,
}

impl Look for Fake<'_> {
    fn networks(&self) -> Result<Vec<String>, Fault> {
        Ok(vec!["other".into(), self.name.into()])
    }

    fn about(&self, _: &str) -> Result<Option<Value>, Fault> {
        Ok(self.about.clone())
    }

    fn run(&self, network: &str, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Fault> {
        assert_eq!(network, self.name);
        let made = (self.network)(&inputs[0]);
        self.fed.borrow_mut().extend(inputs);
        Ok(made)
    }
}

fn at(resolution: u32) -> Settings {
    Settings { resolution, threshold_a: None, threshold_b: None }
}

fn made(
    module: &str,
    name: &str,
    source: &Pixels,
    network: &dyn Fn(&Tensor) -> Vec<Tensor>,
) -> (Result<Pixels, Fault>, Vec<Tensor>) {
    let fake = Fake { name, about: None, network, fed: RefCell::default() };
    let map = map(recipe_of(module).unwrap(), source, at(64), &fake);
    (map, fake.fed.into_inner())
}

/// Red from left to right in even steps, 64 by 64.
fn ramp() -> Pixels {
    let data = (0..64).flat_map(|_| (0..64).flat_map(|x| [(x * 4) as u8, 100, 0])).collect();
    Pixels::new(64, 64, PixelFormat::Rgb8, data).unwrap()
}

/// The first channel of what goes in.
fn first(input: &Tensor) -> Vec<Tensor> {
    let (rows, columns) = (input.shape[2], input.shape[3]);
    let values = input.values[..(rows * columns) as usize].to_vec();
    vec![Tensor { shape: vec![1, 1, rows, columns], values }]
}

fn row(map: &Pixels) -> Vec<u8> {
    map.data[..map.width as usize * 3].as_chunks::<3>().0.iter().map(|pixel| pixel[0]).collect()
}

#[test]
fn near_is_white_by_the_range_of_the_picture() {
    let (map, fed) = made("depth", "dpt_hybrid-midas-501f0c75", &ramp(), &first);
    let row = row(&map.unwrap());
    assert_eq!((row[0], row[63]), (0, 255));
    assert!(row.is_sorted());
    assert_eq!(fed[0].shape, [1, 3, 64, 64]);
    assert_eq!((fed[0].values[0], fed[0].values[64 * 64]), (-1.0, 100.0 / 127.5 - 1.0));
    // Distances are the other way round, and what is farther than most is black.
    let (map, _) = made("depth_zoe", "zoed_m12_n", &ramp(), &first);
    let row = self::row(&map.unwrap());
    assert_eq!((row[0], row[63]), (255, 0));
    assert!(row.iter().filter(|level| **level == 0).count() >= 9);
}

#[test]
fn what_is_near_or_far_is_cut_off_by_percents() {
    // Red goes in last.
    let red = |input: &Tensor| {
        let values = input.values[2 * 64 * 64..].to_vec();
        vec![Tensor { shape: vec![1, 1, 64, 64], values }]
    };
    let made = |near: Option<f64>, background: Option<f64>| {
        let fake = Fake { name: "res101", about: None, network: &red, fed: RefCell::default() };
        let settings = Settings { threshold_a: near, threshold_b: background, ..at(64) };
        let row = row(&map(recipe_of("depth_leres").unwrap(), &ramp(), settings, &fake).unwrap());
        assert!((fake.fed.borrow()[0].values[2 * 64 * 64 + 63] - (252.0 - 0.406) / 0.225).abs() < 1e-2);
        [row[0], row[31], row[32], row[63]]
    };
    assert_eq!(made(None, None), [255, 130, 125, 0]);
    assert_eq!(made(Some(50.0), Some(0.0)), [255, 255, 125, 0]);
    assert_eq!(made(Some(0.0), Some(50.0)), [255, 130, 0, 0]);
}

#[test]
fn colours_go_in_as_each_network_was_trained() {
    let (_, fed) = made("pidinet", "table5_pidinet", &ramp(), &first);
    assert_eq!((fed[0].values[0], fed[0].values[64 * 64]), (0.0, 100.0 / 255.0), "blue, then green");
    let (_, fed) = made("hed", "ControlNetHED", &ramp(), &first);
    assert_eq!(fed[0].values[63], 252.0);
    let (_, fed) = made("depth_anything", "depth_anything", &ramp(), &first);
    assert_eq!(fed[0].shape, [1, 3, 70, 70], "in patches of 14");
    assert!((fed[0].values[70 * 70] - (100.0 / 255.0 - 0.456) / 0.224).abs() < 1e-4);
    let (_, fed) = made("lineart_anime", "netG", &ramp(), &first);
    assert_eq!(fed[0].shape, [1, 3, 256, 256]);
}

#[test]
fn a_file_may_ask_for_a_size_and_the_map_comes_back_at_the_pictures() {
    let fake = Fake {
        name: "depth",
        about: Some(json!({"imgsz": [32, 96]})),
        network: &first,
        fed: RefCell::default(),
    };
    let map = map(recipe_of("depth").unwrap(), &ramp(), at(64), &fake).unwrap();
    assert_eq!(fake.fed.borrow()[0].shape, [1, 3, 32, 96]);
    assert_eq!((map.width, map.height), (64, 64));
    assert!(row(&map).is_sorted());
}

#[test]
fn several_edge_maps_of_a_network_are_one_by_their_mean() {
    let scales = |_: &Tensor| {
        let plane = |side: u32, value: f32| Tensor {
            shape: vec![1, 1, side, side],
            values: vec![value; (side * side) as usize],
        };
        vec![plane(64, 2.0), plane(32, 0.0), plane(8, -0.5)]
    };
    let sigmoid = 1.0 / (1.0 + (-0.5_f32).exp());
    let (map, _) = made("hed", "hed", &ramp(), &scales);
    assert!(map.unwrap().data.iter().all(|level| *level == (sigmoid * 255.0) as u8));
    // 0.62 is in the second of three steps.
    let (map, _) = made("hed_safe", "hed", &ramp(), &scales);
    assert!(map.unwrap().data.iter().all(|level| *level == 127));
}

#[test]
fn edges_come_in_as_many_steps_as_are_asked_for() {
    let half = |_: &Tensor| vec![Tensor { shape: vec![1, 1, 64, 64], values: vec![0.5; 64 * 64] }];
    let level = |steps: Option<f64>| {
        let fake = Fake { name: "7_model", about: None, network: &half, fed: RefCell::default() };
        let settings = Settings { threshold_a: steps, ..at(64) };
        let map = map(recipe_of("softedge_teed").unwrap(), &ramp(), settings, &fake).unwrap();
        assert_eq!(fake.fed.borrow()[0].values[63], 252.0);
        map.data[0]
    };
    // Of the sigmoid of a half, 0.62.
    assert_eq!([None, Some(0.0), Some(1.0), Some(4.0)].map(level), [127, 158, 255, 191]);
}

#[test]
fn drawings_on_paper_become_white_lines_on_black() {
    let (map, _) = made("lineart", "sk_model", &ramp(), &first);
    assert_eq!(row(&map.unwrap())[..2], [255, 251]);
    let (map, fed) = made("lineart_anime_denoise", "erika", &ramp(), &first);
    assert_eq!(fed[0].shape, [1, 1, 64, 64]);
    assert_eq!((fed[0].values[0], fed[0].values[63]), (59.0, 134.0));
    assert_eq!(row(&map.unwrap())[63], 121);
    let (map, _) = made("pidinet_sketch", "pidinet", &ramp(), &|input| {
        let mut red = first(input);
        // Blue goes in first, and there is none.
        red[0].values = input.values[2 * 64 * 64..].to_vec();
        red
    });
    assert_eq!(row(&map.unwrap()).iter().filter(|level| **level == 255).count(), 32);
}

#[test]
fn normals_are_colours() {
    let flat = |_: &Tensor| {
        let values = [0.0_f32, 0.0, 1.0].iter().flat_map(|value| vec![*value; 64 * 64]).collect();
        vec![Tensor { shape: vec![1, 3, 64, 64], values }]
    };
    let (map, _) = made("normal_bae", "scannet", &ramp(), &flat);
    assert_eq!(map.unwrap().data[..3], [127, 127, 255]);
}

#[test]
fn slopes_of_nearness_are_directions_with_blue_first() {
    // Ten nearer with every column, three with every row.
    let slope = |_: &Tensor| {
        let values = (0..64 * 64).map(|place| (place % 64 * 10 + place / 64 * 3) as f32).collect();
        vec![Tensor { shape: vec![1, 1, 64, 64], values }]
    };
    let made = |background: Option<f64>| {
        let name = "dpt_hybrid-midas-501f0c75";
        let fake = Fake { name, about: None, network: &slope, fed: RefCell::default() };
        let settings = Settings { threshold_a: background, ..at(64) };
        map(recipe_of("normal_map").unwrap(), &ramp(), settings, &fake).unwrap()
    };
    let (flat, sloped) = ([255, 127, 127], [137, 164, 249]);
    let pixel = |map: &Pixels, x: usize, y: usize| map.data.as_chunks::<3>().0[y * 64 + x];
    let all = made(Some(0.0));
    assert_eq!((pixel(&all, 1, 1), pixel(&all, 62, 62)), (sloped, sloped));
    // Mirrored at the edges, where nothing changes across them.
    assert_eq!((pixel(&all, 0, 0), pixel(&all, 63, 32)), (flat, [159, 250, 127]));
    assert_eq!(pixel(&all, 32, 63), [137, 127, 254]);
    // 327.6 of 819 is the background.
    let usual = made(None);
    assert_eq!((pixel(&usual, 23, 32), pixel(&usual, 24, 32)), (flat, sloped));
    assert!(made(Some(1.0)).data.as_chunks::<3>().0.iter().all(|pixel| *pixel == flat));
}

#[test]
fn scribbles_are_opencvs_but_for_rounding() {
    for name in ["demo", "shapes"] {
        let (soft, want) = (fixture(&format!("{name}.soft")), fixture(&format!("{name}.scribbled")));
        let grey: Vec<u8> = soft.data.as_chunks::<3>().0.iter().map(|pixel| pixel[0]).collect();
        let got = edges::scribbled(&grey, soft.width as usize);
        let want: Vec<u8> = want.data.as_chunks::<3>().0.iter().map(|pixel| pixel[0]).collect();
        let apart = got.iter().zip(&want).filter(|(got, want)| got != want).count();
        // On the level top of a broad edge, rounding decides what is highest.
        assert!(want.contains(&255) && apart * 100 < want.len(), "{name}: {apart} of {}", want.len());
    }
}

/// Planes of 32 by 32 in which nothing is likely, but a line from (4, 8) to (20, 8) and a fainter one below it.
fn two_lines(_: &Tensor) -> Vec<Tensor> {
    let mut values = vec![0.0_f32; 9 * 32 * 32];
    values[..32 * 32].fill(-9.0);
    for (row, likely, half) in [(8, 5.0, 8.0), (16, -1.0, 2.0)] {
        let place = row * 32 + 12;
        values[place] = likely;
        (values[32 * 32 + place], values[3 * 32 * 32 + place]) = (-half, half);
    }
    vec![Tensor { shape: vec![1, 9, 32, 32], values }]
}

#[test]
fn lines_that_are_likely_and_long_are_drawn() {
    let white = |map: &Pixels| -> Vec<(usize, usize)> {
        let (pixels, _) = map.data.as_chunks::<3>();
        let lit = pixels.iter().enumerate().filter(|(_, pixel)| **pixel == [255; 3]);
        lit.map(|(place, _)| (place % 64, place / 64)).collect()
    };
    let drawn = |a: f64, b: f64| {
        let fake = Fake { name: "mlsd", about: None, network: &two_lines, fed: RefCell::default() };
        let settings = Settings { threshold_a: Some(a), threshold_b: Some(b), ..at(64) };
        white(&map(recipe_of("mlsd").unwrap(), &ramp(), settings, &fake).unwrap())
    };
    // Twice as large as the network's places.
    let long: Vec<(usize, usize)> = (8..=40).map(|x| (x, 16)).collect();
    let faint: Vec<(usize, usize)> = (20..=28).map(|x| (x, 32)).collect();
    assert_eq!(drawn(0.5, 0.1), long, "unlikely ones are left out");
    assert_eq!(drawn(0.1, 5.0), long, "short ones are left out");
    assert_eq!(drawn(0.1, 0.1), [long, faint].concat());
    let (map, _) = made("mlsd", "mlsd", &ramp(), &first);
    assert!(matches!(map, Err(Fault::InvalidInput(text)) if text.contains("the nine planes")));
}

#[test]
fn classes_have_the_colours_of_their_data_set_or_of_the_file() {
    // The left half is a tree, the right half the sky: by scores, and by classes.
    let scores = |_: &Tensor| {
        let values = (0..150 * 4 * 4).map(|at| {
            let there = if at % 4 < 2 { 4 } else { 2 };
            if at / 16 == there { 3.0 } else { 0.5 }
        });
        vec![Tensor { shape: vec![1, 150, 4, 4], values: values.collect() }]
    };
    let classes = |_: &Tensor| {
        let values = (0..64 * 64).map(|at| if at % 64 < 32 { 4.0 } else { 2.0 }).collect();
        vec![Tensor { shape: vec![1, 64, 64], values }]
    };
    let networks: [&dyn Fn(&Tensor) -> Vec<Tensor>; 2] = [&scores, &classes];
    for network in networks {
        let (map, _) = made("segmentation", "upernet_global_small", &ramp(), network);
        let map = map.unwrap();
        for (x, pixel) in (0..64).cycle().zip(map.data.as_chunks::<3>().0) {
            assert_eq!(*pixel, if x < 32 { [4, 200, 3] } else { [6, 230, 230] });
        }
    }
    let coco = |about: Option<Value>| {
        let fake = Fake { name: "oneformer_coco", about, network: &classes, fed: RefCell::default() };
        map(recipe_of("oneformer_coco").unwrap(), &ramp(), at(64), &fake)
    };
    let map = coco(Some(json!({"palette": [[1, 1, 1], [2, 2, 2], [9, 8, 7]]}))).unwrap();
    // The file lists three colours, and trees are the fifth class.
    assert_eq!((&map.data[..3], &map.data[63 * 3..64 * 3]), (&[0; 3][..], &[9, 8, 7][..]));
    for about in [None, Some(json!({"palette": [[256, 0, 0]]})), Some(json!({"palette": []}))] {
        assert!(matches!(coco(about), Err(Fault::InvalidInput(text)) if text.contains("palette")));
    }
}

#[test]
fn parts_of_drawn_faces_have_the_colours_of_their_data_set() {
    // A row of every class, by scores: background, hair, eyes, mouth, face, skin, clothes.
    let scores = |input: &Tensor| {
        assert_eq!(input.values[63], 252.0 / 255.0);
        let values = (0..7 * 7).map(|at| if at / 7 == at % 7 { 0.9 } else { 0.1 });
        vec![Tensor { shape: vec![1, 7, 1, 7], values: values.collect() }]
    };
    let source = Pixels::new(448, 64, PixelFormat::Rgb8, ramp().data.repeat(7)).unwrap();
    let (map, fed) = made("anime_face_segment", "UNet", &source, &scores);
    assert_eq!(fed[0].shape, [1, 3, 64, 448]);
    let map = map.unwrap();
    let at = |part: usize| map.data.as_chunks::<3>().0[part * 64 + 32];
    let colours = [0, 1, 2, 3, 4, 5, 6].map(at);
    assert_eq!(
        colours,
        [[255, 255, 0], [0, 0, 255], [255, 0, 0], [255; 3], [0, 255, 0], [0, 255, 255], [255, 0, 255]]
    );
}

#[test]
fn bodies_are_in_the_colours_of_their_parts() {
    // One person, the left half of the picture and the third part alone.
    let person = |_: &Tensor| {
        let whole = |labels: usize, label: usize| {
            let mut values = vec![0.0; labels];
            values[label] = 1.0;
            Tensor { shape: vec![1, labels as u32, 1, 1], values }
        };
        let area = Tensor { shape: vec![1, 4], values: vec![0.0, 0.0, 32.0, 64.0] };
        vec![area, whole(2, 1), whole(25, 3)]
    };
    for (module, body, nobody) in [
        ("densepose", [0x47, 0x2c, 0x7a], [0x44, 0x01, 0x54]),
        ("densepose_parula", [0x04, 0x61, 0xdf], [0; 3]),
    ] {
        let (map, fed) = made(module, "densepose_r50_fpn_dl", &ramp(), &person);
        let map = map.unwrap();
        let (pixels, _) = map.data.as_chunks::<3>();
        assert_eq!((pixels[31], pixels[32], pixels[63 * 64]), (body, nobody, body), "{module}");
        assert_eq!(fed[0].shape, [1, 3, 64, 64]);
        assert_eq!((fed[0].values[63], fed[0].values[64 * 64]), (252.0, 100.0), "red first, in levels");
    }
}

#[test]
fn what_is_missing_or_no_map_is_said_with_a_remedy() {
    let refused = |module: &str, name: &str, network: &dyn Fn(&Tensor) -> Vec<Tensor>| {
        let (map, _) = made(module, name, &ramp(), network);
        let Err(Fault::InvalidInput(text)) = map else { panic!("{module} is made") };
        text
    };
    let text = refused("depth", "face_yolov8n", &first);
    assert!(text.contains("dpt_hybrid-midas-501f0c75.torchscript or depth.torchscript"), "{text}");
    let text = refused("depth", "depth", &|_| vec![]);
    assert!(text.contains("gives nothing"), "{text}");
    assert!(refused("hed", "hed", &|_| vec![]).contains("gives nothing"));
    // Each edge map is as large as the picture, and a sentence has an end.
    let text = refused("hed", "hed", &|input| vec![first(input).remove(0); 20]);
    assert!(text.contains("[1, 1, 64, 64]] and 4 more, more than 16 maps; export it"), "{text}");
    assert_eq!(text.matches("[1, 1, 64, 64]").count(), 16, "{text}");
    let wide = Pixels::new(1200, 600, PixelFormat::Rgb8, vec![0; 1200 * 600 * 3]).unwrap();
    let fake = Fake { name: "depth", about: None, network: &first, fed: RefCell::default() };
    let Err(Fault::InvalidInput(text)) = map(recipe_of("depth").unwrap(), &wide, at(2048), &fake) else {
        panic!("too much is fed")
    };
    assert!(text.contains("is fed") && text.contains("choose a smaller processor_res"), "{text}");
    let text = refused("normal_bae", "scannet", &first);
    assert!(text.contains("[1, 1, 64, 64] for a picture of 64 x 64, which is no map"), "{text}");
}

#[test]
fn every_module_with_a_recipe_is_offered() {
    let manifest: Value = gesso_plugin::serde_json::from_str(include_str!("../../manifest.json")).unwrap();
    for recipe in &RECIPES {
        let mut offered = manifest["annotators"].as_array().unwrap().iter();
        assert!(offered.any(|annotator| annotator["name"] == recipe.module), "{}", recipe.module);
    }
    for (module, _) in MAKERS {
        let mut offered = manifest["annotators"].as_array().unwrap().iter();
        assert!(offered.any(|annotator| annotator["name"] == module), "{module}");
    }
}
