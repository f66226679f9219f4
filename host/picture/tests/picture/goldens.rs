//! The fixtures by name, and how far two pictures are apart.

use std::sync::LazyLock;

use gesso_core::pixels::{PixelFormat, Pixels};
use safetensors::SafeTensors;

static GOLDENS: LazyLock<SafeTensors<'static>> =
    LazyLock::new(|| SafeTensors::deserialize(include_bytes!("../fixtures/goldens.safetensors")).unwrap());
static FILES: LazyLock<SafeTensors<'static>> =
    LazyLock::new(|| SafeTensors::deserialize(include_bytes!("../fixtures/files.safetensors")).unwrap());

fn picture_in(table: &SafeTensors<'static>, name: &str) -> Pixels {
    let tensor = table.tensor(name).unwrap_or_else(|_| panic!("no fixture {name}"));
    let [height, width, channels] = tensor.shape() else { panic!("{name} is no picture") };
    let format = match channels {
        1 => PixelFormat::Gray8,
        3 => PixelFormat::Rgb8,
        _ => PixelFormat::Rgba8,
    };
    Pixels::new(*width as u32, *height as u32, format, tensor.data().to_vec()).unwrap()
}

pub(crate) fn picture(name: &str) -> Pixels {
    picture_in(&GOLDENS, name)
}

pub(crate) fn bytes(name: &str) -> Vec<u8> {
    GOLDENS.tensor(name).unwrap().data().to_vec()
}

pub(crate) fn floats(name: &str) -> Vec<f32> {
    bytes(name).as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value)).collect()
}

pub(crate) fn file(name: &str) -> Vec<u8> {
    FILES.tensor(&format!("file.{name}")).unwrap().data().to_vec()
}

pub(crate) fn decoded(name: &str) -> Pixels {
    picture_in(&FILES, &format!("decoded.{name}"))
}

/// The names of all goldens that begin with `prefix`, and what follows it.
pub(crate) fn named(prefix: &str) -> Vec<(String, String)> {
    let mut found: Vec<_> = GOLDENS
        .names()
        .into_iter()
        .filter_map(|name| Some((name.to_string(), name.strip_prefix(prefix)?.to_string())))
        .collect();
    found.sort();
    assert!(!found.is_empty(), "no golden begins with {prefix}");
    found
}

/// `61x47`
pub(crate) fn measures(text: &str) -> (u32, u32) {
    let (width, height) = text.split_once('x').unwrap();
    (width.parse().unwrap(), height.parse().unwrap())
}

/// How far two pictures of one size and format are apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Distance {
    /// The largest difference of a level.
    pub(crate) most: u8,
    /// The share of levels that differ.
    pub(crate) share: f64,
}

pub(crate) fn distance(name: &str, found: &Pixels, wanted: &Pixels) -> Distance {
    let shape = |picture: &Pixels| (picture.width, picture.height, picture.format);
    assert_eq!(shape(found), shape(wanted), "{name}");
    let differences: Vec<u8> = found.data.iter().zip(&wanted.data).map(|(a, b)| a.abs_diff(*b)).collect();
    let differing = differences.iter().filter(|&&difference| difference > 0).count();
    let distance = Distance {
        most: differences.iter().copied().max().unwrap_or_default(),
        share: differing as f64 / differences.len() as f64,
    };
    println!("{name}: at most {} levels apart, {:.3} % differ", distance.most, distance.share * 100.0);
    distance
}

pub(crate) fn assert_equal(name: &str, found: &Pixels, wanted: &Pixels) {
    assert_eq!(distance(name, found, wanted).most, 0, "{name} differs");
}

pub(crate) fn assert_within(name: &str, found: &Pixels, wanted: &Pixels, most: u8, share: f64) {
    let distance = distance(name, found, wanted);
    assert!(distance.most <= most && distance.share <= share, "{name}: {distance:?}");
}
