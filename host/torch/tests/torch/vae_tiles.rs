//! Encoding and decoding in tiles against the whole, on the tiny VAE.

use std::cell::{Cell, RefCell};

use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_core::request::GenerateRequest;
use gesso_engine::backend::{Backend, BackendError};
use gesso_torch::{Networks, Tiling, VAE_TILING, decode_tiled, encode_tiled};
use tch::{Kind, Tensor};

use crate::support::{Archive, Drawing, backend, model_file, relative_error, request};

/// Part of the values that may be further off than [`LEVELS`].
const FAR_MAX: f64 = 0.001;
/// Grey levels that a tile's own normalisation may shift a value by.
const LEVELS: u8 = 12;

/// How far a latent of tiles may be off, as a part of the largest value. A tile of even noise has means and deviations
/// that differ by a hundredth from the whole's, which the layers make 0.02 to 0.07 of. What reads zeros at a tile's edge in
/// place of the picture is off by 0.4 and more.
const ENCODED_MAX: f64 = 0.12;

fn networks() -> Networks {
    let (_folder, path) = Archive::tiny().write();
    Networks::load(&path, Kind::Float).unwrap()
}

fn latent(rows: i64, columns: i64) -> Tensor {
    tch::manual_seed(11);
    Tensor::randn([1, 4, rows, columns], (Kind::Float, tch::Device::Cpu))
}

fn decode(networks: &Networks, latent: &Tensor) -> Result<Pixels, BackendError> {
    let picture = networks.decode_latent(latent).unwrap().squeeze_dim(0).permute([1, 2, 0]);
    let (height, width, _) = picture.size3().unwrap();
    let bytes = ((picture + 1) / 2).clamp(0.0, 1.0) * 255.0;
    let data = Vec::<u8>::try_from(bytes.to_kind(Kind::Uint8).flatten(0, -1)).unwrap();
    Ok(Pixels::new(width as u32, height as u32, PixelFormat::Rgb8, data).unwrap())
}

/// Mean difference in grey levels, and the part of values that differ by more than [`LEVELS`].
fn difference(got: &Pixels, want: &Pixels) -> (f64, f64) {
    assert_eq!((got.width, got.height), (want.width, want.height));
    let apart: Vec<_> = got.data.iter().zip(&want.data).map(|(got, want)| got.abs_diff(*want)).collect();
    let count = apart.len() as f64;
    let far = apart.iter().filter(|apart| **apart > LEVELS).count() as f64;
    (apart.iter().map(|apart| f64::from(*apart)).sum::<f64>() / count, far / count)
}

#[test]
fn a_latent_of_one_tile_is_decoded_as_a_whole() {
    for networks in [networks(), networks().seamless().unwrap()] {
        let latent = latent(24, 64);
        let wraps = networks.is_seamless();
        let tiled = decode_tiled(&latent, VAE_TILING, wraps, |part| decode(&networks, part)).unwrap();
        assert_eq!(tiled, decode(&networks, &latent).unwrap(), "seamless: {wraps}");
    }
}

#[test]
fn tiles_join_to_nearly_what_a_whole_decode_gives() {
    let networks = networks();
    let latent = latent(80, 120);
    let whole = decode(&networks, &latent).unwrap();
    let tiled = |tiling| decode_tiled(&latent, tiling, false, |part| decode(&networks, part)).unwrap();
    let (mean, far) = difference(&tiled(VAE_TILING), &whole);
    let (bare_mean, bare_far) = difference(&tiled(Tiling { overlap: 0, ..VAE_TILING }), &whole);
    println!("mean {mean:.2}, far {far:.5}; without overlap mean {bare_mean:.2}, far {bare_far:.5}");
    assert!(far <= FAR_MAX, "{far} of the values differ by more than {LEVELS}");
    assert!(far < bare_far, "the overlap makes nothing better");
}

#[test]
fn a_seamless_latent_goes_on_at_its_opposite_edges() {
    let networks = networks().seamless().unwrap();
    let latent = latent(16, 80);
    let whole = decode(&networks, &latent).unwrap();
    let tiled = |wraps| decode_tiled(&latent, VAE_TILING, wraps, |part| decode(&networks, part)).unwrap();
    let ((mean, far), (cut_mean, cut_far)) =
        (difference(&tiled(true), &whole), difference(&tiled(false), &whole));
    println!("mean {mean:.2}, far {far:.5}; not wrapped mean {cut_mean:.2}, far {cut_far:.5}");
    assert!(far < cut_far && far <= FAR_MAX, "{far} of the values differ by more than {LEVELS}");
    // 80 columns and 16 on each side in two tiles; the rows go on within the network.
    let parts = RefCell::new(Vec::new());
    let _ = decode_tiled(&latent, VAE_TILING, true, |part| {
        parts.borrow_mut().push(part.size());
        decode(&networks, part)
    });
    assert_eq!(parts.into_inner(), [[1, 4, 16, 64], [1, 4, 16, 64]]);
}

#[test]
fn a_picture_that_is_cancelled_while_it_is_decoded_ends_there() {
    let (_folder, path) = Archive::tiny().write();
    let (mut backend, model) = (backend(), model_file(&path));
    let request = GenerateRequest { steps: 1, ..request("a cat", 3, 64, 64) };
    let mut decode = |questions: u32| {
        let sample = Drawing::begin(&mut backend, &model, &request).sample;
        let asked = Cell::new(0);
        let is_cancelled = || {
            asked.set(asked.get() + 1);
            asked.get() > questions
        };
        let decoded = backend.finish(sample, &is_cancelled);
        (decoded, asked.get())
    };
    let (whole, questions) = decode(u32::MAX);
    assert!(whole.is_ok() && questions > 10, "it is asked {questions} times");
    for before in [0, questions / 2, questions - 1] {
        assert_eq!(decode(before).0, Err(BackendError::Cancelled), "after {before} of {questions}");
    }
}

#[test]
fn a_tile_that_cannot_be_decoded_ends_the_picture() {
    let fail = |_: &Tensor| Err(BackendError::NotANumber { step: 3 });
    assert_eq!(
        decode_tiled(&latent(8, 100), VAE_TILING, false, fail),
        Err(BackendError::NotANumber { step: 3 })
    );
}

/// Pixels in -1..1, each on its own.
fn picture(height: i64, width: i64) -> Tensor {
    tch::manual_seed(12);
    Tensor::rand([1, 3, height, width], (Kind::Float, tch::Device::Cpu)) * 2 - 1
}

#[test]
fn a_picture_of_one_tile_is_encoded_as_a_whole() {
    for networks in [networks(), networks().seamless().unwrap()] {
        let picture = picture(196, 517);
        let encode = |part: &Tensor| networks.encode_picture(part);
        let tiled = encode_tiled(&picture, VAE_TILING, networks.is_seamless(), encode).unwrap();
        assert_eq!(tiled.size(), [1, 4, 24, 64]);
        assert_eq!(tiled, networks.encode_picture(&picture).unwrap());
    }
}

#[test]
fn tiles_join_to_nearly_what_encoding_the_whole_gives() {
    let networks = networks();
    // The second has pixels at its edges that belong to no place of the latent.
    for (height, width) in [(640, 960), (645, 643)] {
        let picture = picture(height, width);
        let whole = networks.encode_picture(&picture).unwrap();
        let error = |overlap| {
            let tiling = Tiling { overlap, ..VAE_TILING };
            let tiled = encode_tiled(&picture, tiling, false, |part| networks.encode_picture(part)).unwrap();
            relative_error(&tiled, &whole)
        };
        let (error, bare) = (error(VAE_TILING.overlap), error(0));
        println!("{height}x{width}: {error:.3}; without overlap {bare:.3}");
        assert!(error < ENCODED_MAX, "{height}x{width} differs by {error}");
        assert!(bare > 2.0 * ENCODED_MAX, "{height}x{width}: the overlap makes nothing better");
    }
}

#[test]
fn moving_a_seamless_picture_around_moves_what_its_tiles_give_along() {
    let networks = networks().seamless().unwrap();
    let picture = picture(128, 640);
    // Encoding the whole is no measure here: it reads zeros behind the right edge in its halvings.
    let error = |wraps| {
        let encode = |picture: &Tensor| {
            encode_tiled(picture, VAE_TILING, wraps, |part| networks.encode_picture(part)).unwrap()
        };
        relative_error(&encode(&picture.roll([320], [3])), &encode(&picture).roll([40], [3]))
    };
    let (error, cut) = (error(true), error(false));
    println!("{error:.3}; not wrapped {cut:.3}");
    assert!(error < ENCODED_MAX, "moving it changes it by {error}");
    assert!(cut > 2.0 * ENCODED_MAX, "it proves nothing: not wrapped differs by {cut} only");
}
