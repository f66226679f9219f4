//! Self-attentions that merge tokens, against tomesd on random weights (`tests/fixtures/make_token_merging_fixtures.py`), and
//! what must hold whatever the weights.

use gesso_core::request::TokenMerging;
use gesso_torch::{Context, Extras, Networks};
use tch::{Device, Kind, Tensor};

use crate::passes::{draw, drawing, engine, submit};
use crate::support::{Archive, agreement, fixture, relative_error};

const BOUND: f64 = 1e-4;

fn networks() -> Networks {
    let (_folder, path) = Archive::tiny().write();
    Networks::load(&path, Kind::Float).unwrap()
}

fn predict(networks: &Networks, (x, t): (&Tensor, &Tensor), context: &Context, merging: f64) -> Tensor {
    let extras = Extras { merging, ..Extras::default() };
    networks.predict_noise_with(x, t, context, &extras).unwrap()
}

#[test]
fn predictions_of_merged_tokens_equal_tomesd() {
    let goldens = Archive::read(&fixture("token_merging.safetensors"));
    let networks = networks();
    let context = networks.context(&goldens.tensor("context"), None).unwrap();
    let t = goldens.tensor("t");
    for size in ["16x8", "13x11"] {
        let x = goldens.tensor(&format!("{size}.x"));
        for share in [0.25, 0.5, 0.9] {
            let what = format!("{size}.{share}");
            let error =
                relative_error(&predict(&networks, (&x, &t), &context, share), &goldens.tensor(&what));
            println!("{what}: {error:.1e}");
            assert!(error < BOUND, "{what} differs by {error:e}");
        }
    }
}

#[test]
fn nothing_merged_is_the_plain_prediction_and_more_is_further_from_it() {
    let networks = networks();
    let waves = |factor: f64, shape: &[i64]| {
        let places = Tensor::arange(shape.iter().product::<i64>(), (Kind::Double, Device::Cpu));
        (places * factor).sin().to_kind(Kind::Float).reshape(shape)
    };
    let context = networks.context(&waves(1.7, &[1, 77, 64]), None).unwrap();
    let (x, t) = (waves(12.9, &[1, 4, 16, 16]), Tensor::from_slice(&[500.0f32]));
    let plain = networks.predict_noise_with(&x, &t, &context, &Extras::default()).unwrap();
    let [none, some] = [0.0, 0.5].map(|share| predict(&networks, (&x, &t), &context, share));
    assert!(none.equal(&plain));
    assert_eq!(some.size(), plain.size());
    let change = relative_error(&some, &plain);
    assert!(change > 1e-4, "merging changes nothing: {change:e}");
}

#[test]
fn drawings_of_merged_tokens_draw_beside_others_what_they_draw_alone() {
    let (_folder, path) = Archive::tiny().write();
    let engine = engine();
    let of = |first, seed, count| {
        drawing(&path, |request| {
            request.token_merging = TokenMerging { first, second: 0.0 };
            (request.seed, request.batch_size) = (seed, count);
        })
    };
    let alone = [(0.5, 3), (0.5, 4), (0.0, 3)].map(|(share, seed)| draw(&engine, of(share, seed, 1)));
    assert!(alone[0] != alone[2]);
    let jobs = [of(0.5, 3, 2), of(0.0, 3, 1)].map(|drawing| submit(&engine, drawing));
    let [both, plain] = jobs.map(|job| job.blocking_finish().unwrap());
    for (got, want) in both.iter().chain(&plain).zip(&alone) {
        assert!(agreement(&got.data, &want.data) >= 0.999);
    }
}
