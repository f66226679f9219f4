//! The first demo checkpoint draws the twelve pictures that an independent implementation drew from it, within one grey
//! level on 99.9 % of the values, in f32.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use crate::support::{Wanted, agreement, backend, draw, model_file};

const AGREEMENT: f64 = 0.999;

fn read_png(path: &Path) -> (u32, u32, Vec<u8>) {
    let mut reader = png::Decoder::new(BufReader::new(File::open(path).unwrap())).read_info().unwrap();
    let mut data = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut data).unwrap();
    assert_eq!(info.color_type, png::ColorType::Rgb);
    data.truncate(info.buffer_size());
    (info.width, info.height, data)
}

#[test]
fn a_trained_checkpoint_draws_its_twelve_pictures() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/demo-v0");
    let model = model_file(&folder.join("demo-v0.safetensors"));
    let list = std::fs::read_to_string(folder.join("pictures.json")).unwrap();
    let list: Vec<Wanted> = serde_json::from_str(&list).unwrap();
    assert_eq!(list.len(), 12);
    let mut backend = backend();
    let mut failed = Vec::new();
    for wanted in list {
        let got = draw(&mut backend, &model, &wanted.request());
        let (width, height, want) = read_png(&folder.join(&wanted.picture));
        assert_eq!((got.width, got.height), (width, height));
        let agreement = agreement(&got.data, &want);
        println!("{} {}: {:.3} %", wanted.picture, wanted.sampler, agreement * 100.0);
        if agreement < AGREEMENT {
            failed.push((wanted.picture, agreement));
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}
