//! Networks that draw pictures whose opposite edges join: parity with diffusers under circular padding, and what that
//! padding means, that moving the input around moves the output along.

use gesso_core::request::GenerateRequest;
use gesso_torch::Networks;
use tch::{Kind, Tensor};

use crate::support::{
    Archive, Drawing, agreement, backend, begin, draw, fixture, model_file, relative_error, request, step,
};

const BOUND: f64 = 1e-4;

fn plain_and_seamless() -> (Networks, Networks) {
    let (_folder, path) = Archive::tiny().write();
    let plain = Networks::load(&path, Kind::Float).unwrap();
    let seamless = plain.seamless().unwrap();
    (plain, seamless)
}

/// UNet of a latent, decoder of a latent and encoder of a picture.
fn outputs(networks: &Networks, goldens: &Archive) -> [(&'static str, Tensor); 3] {
    let [x, t, context] = ["unet.x", "unet.t", "unet.context"].map(|name| goldens.tensor(name));
    [
        ("unet.out", networks.predict_noise(&x, &t, &context).unwrap()),
        ("vae.decoded", networks.decode_latent(&goldens.tensor("vae.latent")).unwrap()),
        ("vae.mean", networks.encode_picture(&goldens.tensor("vae.picture")).unwrap()),
    ]
}

#[test]
fn unet_and_vae_equal_diffusers_under_circular_padding() {
    let goldens = Archive::read(&fixture("seamless.safetensors"));
    let (plain, seamless) = plain_and_seamless();
    for ((what, got), (_, unlike)) in outputs(&seamless, &goldens).iter().zip(outputs(&plain, &goldens)) {
        let want = goldens.tensor(what);
        let (error, plain_error) = (relative_error(got, &want), relative_error(&unlike, &want));
        println!("{what}: {error:.1e}, with zeros {plain_error:.1e}");
        assert!(error < BOUND, "{what} differs by {error:e}");
        assert!(plain_error > 100.0 * BOUND, "{what} proves nothing: zeros differ by {plain_error:e} only");
    }
}

#[test]
fn moving_the_input_around_moves_the_output_along() {
    let (plain, seamless) = plain_and_seamless();
    tch::manual_seed(7);
    let latent = Tensor::randn([1, 4, 16, 24], (Kind::Float, tch::Device::Cpu));
    let context = Tensor::randn([1, 77, 64], (Kind::Float, tch::Device::Cpu));
    let timestep = Tensor::from_slice(&[300.0f32]);
    // Three halvings of the latent, so by eights of it; the decoder only doubles, so by any number.
    let unet = |networks: &Networks, x: &Tensor| networks.predict_noise(x, &timestep, &context).unwrap();
    let unet_error = |networks: &Networks| {
        relative_error(
            &unet(networks, &latent.roll([8, 16], [2, 3])),
            &unet(networks, &latent).roll([8, 16], [2, 3]),
        )
    };
    let decode_error = |networks: &Networks| {
        let decode = |latent: &Tensor| networks.decode_latent(latent).unwrap();
        relative_error(&decode(&latent.roll([5, 7], [2, 3])), &decode(&latent).roll([40, 56], [2, 3]))
    };
    for (what, seamless, plain) in [
        ("unet", unet_error(&seamless), unet_error(&plain)),
        ("decoder", decode_error(&seamless), decode_error(&plain)),
    ] {
        println!("{what}: {seamless:.1e}, with zeros {plain:.1e}");
        assert!(seamless < BOUND, "{what} is off by {seamless:e}");
        assert!(plain > 100.0 * BOUND, "{what} with zeros is off by {plain:e} only");
    }
}

#[test]
fn seamless_networks_share_every_tensor_and_stay_seamless_under_an_overlay() {
    let (plain, seamless) = plain_and_seamless();
    for (name, tensor) in &plain.tensors().named {
        assert_eq!(tensor.data_ptr(), seamless.tensors().named[name].data_ptr(), "{name}");
    }
    assert!(seamless.with(&gesso_torch::Tensors::default()).unwrap().is_seamless());
    assert!(!plain.is_seamless());
}

#[test]
fn a_request_for_tiling_draws_another_picture_and_shares_no_batch_with_one_without() {
    let (_folder, path) = Archive::tiny().write();
    let model = model_file(&path);
    let mut backend = backend();
    let plain = GenerateRequest { steps: 3, ..request("a cat", 3, 64, 64) };
    let tiling = GenerateRequest { tiling: true, ..plain.clone() };
    let key = |backend: &mut _, request: &GenerateRequest| {
        begin(backend, &model, request, vec![0.0; 256], 1.0).unwrap().1
    };
    assert_ne!(key(&mut backend, &plain), key(&mut backend, &tiling));
    let alone = draw(&mut backend, &model, &tiling).data;
    assert!(agreement(&alone, &draw(&mut backend, &model, &plain).data) < 0.9);
    // The plain networks are what they were, and those with tiling are found again.
    let mut again = Drawing::begin(&mut backend, &model, &tiling);
    while step(&mut backend, &mut [&mut again]) {}
    assert_eq!(
        alone,
        gesso_engine::backend::Backend::finish(&mut backend, again.sample, &|| false).unwrap().data
    );
}
