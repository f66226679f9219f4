//! Text encoder, UNet, VAE and whole pictures against diffusers, transformers and k-diffusion on random weights.
//! Relative error is max|a - b| / max|b| and must stay below 1e-4; pictures agree within one grey level on
//! 99.9 % of their values. `tests/fixtures/make_fixtures.py` makes what is compared with.

use std::path::PathBuf;

use gesso_core::request::{Emphasis, GenerateRequest};
use gesso_engine::backend::Backend;
use gesso_torch::{DtypeChoice, Networks, TorchBackend, TorchSettings};
use tch::{Kind, Tensor};

use crate::support::{
    Archive, Wanted, agreement, backend, begin, draw, fixture, model_file, relative_error, request,
};

const BOUND: f64 = 1e-4;
const AGREEMENT: f64 = 0.999;

fn tiny() -> (tempfile::TempDir, PathBuf, Archive) {
    let (folder, path) = Archive::tiny().write();
    (folder, path, Archive::read(&fixture("goldens.safetensors")))
}

#[track_caller]
fn check(what: &str, got: &Tensor, want: &Tensor) {
    let error = relative_error(got, want);
    println!("{what}: {error:.1e}");
    assert!(error < BOUND, "{what} differs by {error:e}");
}

#[test]
fn the_text_encoder_equals_transformers_at_every_clip_skip() {
    let (_folder, path, goldens) = tiny();
    let networks = Networks::load(&path, Kind::Float).unwrap();
    for text in ["prompt", "negative", "emphasised"] {
        let tokens = goldens.tensor(&format!("text.{text}.tokens"));
        for skip in 1..=3 {
            let want = goldens.tensor(&format!("text.{text}.skip{skip}"));
            check(&format!("text {text} skip {skip}"), &networks.encode_text(&tokens, skip).unwrap(), &want);
        }
    }
}

#[test]
fn the_unet_equals_diffusers_at_sizes_that_halve_evenly_and_that_do_not() {
    let (_folder, path, goldens) = tiny();
    let networks = Networks::load(&path, Kind::Float).unwrap();
    let context = goldens.tensor("unet.context");
    for size in ["16x8", "13x11"] {
        let [x, t, want] = ["x", "t", "out"].map(|part| goldens.tensor(&format!("unet.{size}.{part}")));
        check(&format!("unet {size}"), &networks.predict_noise(&x, &t, &context).unwrap(), &want);
    }
    let (x, t) =
        (goldens.tensor("unet.16x8.x").narrow(0, 0, 1), goldens.tensor("unet.16x8.t").narrow(0, 0, 1));
    let long = context.reshape([1, 154, -1]);
    let want = goldens.tensor("unet.long.out");
    check("unet 154 tokens", &networks.predict_noise(&x, &t, &long).unwrap(), &want);
}

#[test]
fn the_unet_in_bf16_stays_near_f32() {
    let (_folder, path, goldens) = tiny();
    let networks = Networks::load(&path, Kind::BFloat16).unwrap();
    let [x, t, want] = ["x", "t", "out"].map(|part| goldens.tensor(&format!("unet.16x8.{part}")));
    let half = |tensor: &Tensor| tensor.to_kind(Kind::BFloat16);
    let got = networks.predict_noise(&half(&x), &t, &half(&goldens.tensor("unet.context"))).unwrap();
    assert_eq!(got.kind(), Kind::BFloat16);
    let error = relative_error(&got.to_kind(Kind::Float), &want);
    println!("unet bf16: {error:.1e}");
    // bf16 keeps 8 bits; some sixty layers add up.
    assert!((1e-4..0.1).contains(&error), "{error:e}");
}

#[test]
fn a_backend_that_measures_draws_a_picture_near_the_f32_one() {
    let (_folder, path, _) = tiny();
    let settings = TorchSettings { dtype: DtypeChoice::Auto, ..TorchSettings::default() };
    let mut measuring = TorchBackend::open(settings).unwrap();
    println!("{}", measuring.describe());
    let request = GenerateRequest { steps: 3, ..request("a cat", 3, 64, 64) };
    let got = draw(&mut measuring, &model_file(&path), &request);
    let want = draw(&mut backend(), &model_file(&path), &request);
    let difference = |(got, want): (&u8, &u8)| f64::from(got.abs_diff(*want));
    let mean = got.data.iter().zip(&want.data).map(difference).sum::<f64>() / got.data.len() as f64;
    assert!(mean < 12.0, "grey levels differ by {mean} in the mean");
}

#[test]
fn the_vae_equals_diffusers_both_ways() {
    let (_folder, path, goldens) = tiny();
    let networks = Networks::load(&path, Kind::Float).unwrap();
    let mean = networks.encode_picture(&goldens.tensor("vae.picture")).unwrap();
    check("vae encode", &mean, &goldens.tensor("vae.mean"));
    let decoded = networks.decode_latent(&goldens.tensor("vae.latent")).unwrap();
    check("vae decode", &decoded, &goldens.tensor("vae.decoded"));
}

#[test]
fn twenty_steps_of_every_sampler_draw_the_reference_pictures() {
    let (_folder, path, goldens) = tiny();
    let model = model_file(&path);
    let mut backend = backend();
    let wanted: Vec<Wanted> = serde_json::from_str(&goldens.metadata["pictures"]).unwrap();
    assert_eq!(wanted.len(), 5);
    let mut failed = Vec::new();
    for wanted in wanted {
        let got = draw(&mut backend, &model, &wanted.request());
        let (_, shape, want) = &goldens.tensors[&format!("picture.{}", wanted.sampler)];
        assert_eq!(shape[..2], [got.height as usize, got.width as usize]);
        let agreement = agreement(&got.data, want);
        println!("{}: {:.3} %", wanted.sampler, agreement * 100.0);
        if agreement < AGREEMENT {
            failed.push((wanted.sampler, agreement));
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

/// The picture says which context was made: with equal noise and calls, only that differs.
#[test]
fn emphasis_reaches_the_picture_and_each_mode_differently() {
    let (_folder, path, goldens) = tiny();
    let model = model_file(&path);
    let mut backend = backend();
    let modes = [Emphasis::Original, Emphasis::NoNorm, Emphasis::Ignore, Emphasis::None];
    let text = &goldens.metadata["emphasised"];
    let pictures = modes.map(|emphasis| {
        let request = GenerateRequest { emphasis, steps: 4, ..request(text, 3, 64, 64) };
        draw(&mut backend, &model, &request).data
    });
    for (index, picture) in pictures.iter().enumerate() {
        for other in &pictures[..index] {
            assert!(agreement(picture, other) < AGREEMENT, "mode {index} draws what another does");
        }
    }
}

#[test]
fn previews_are_an_eighth_of_the_picture() {
    let (_folder, path, _) = tiny();
    let mut backend = backend();
    let request = request("a cat", 1, 128, 64);
    let noise = vec![0.5; 4 * 8 * 16];
    let (sample, key) = begin(&mut backend, &model_file(&path), &request, noise, 1.0).unwrap();
    let preview = backend.preview(&sample).unwrap();
    assert_eq!((preview.width, preview.height), (16, 8));
    assert_eq!((key.latent_height, key.latent_width), (8, 16));
    // Red is (0.5 * (0.298 + 0.187 - 0.158 - 0.184) + 1) / 2 * 255 = 136.6; green 153.7, blue 138.5 likewise.
    assert_eq!(preview.data[..3], [136, 153, 138]);
}
