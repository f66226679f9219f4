//! Networks in f16: how far from f32 they are, and what is done when the VAE leaves the range of f16.

use gesso_core::request::GenerateRequest;
use gesso_engine::backend::Backend;
use gesso_torch::{Compute, DeviceChoice, DtypeChoice, Networks, TorchBackend, TorchSettings};
use safetensors::tensor::Dtype;
use tch::{Device, Kind, Tensor};

use crate::support::{Archive, backend, draw, model_file, relative_error, request};

const HALF: Compute = Compute { device: Device::Cpu, unet: Kind::Half, vae: Kind::Half };

fn half_backend() -> TorchBackend {
    let settings =
        TorchSettings { device: DeviceChoice::Cpu, dtype: DtypeChoice::F16, ..TorchSettings::default() };
    TorchBackend::open(settings).unwrap()
}

fn latent() -> Tensor {
    tch::manual_seed(3);
    Tensor::randn([1, 4, 8, 8], (Kind::Float, Device::Cpu)) * 5.0
}

#[test]
fn unet_and_vae_in_f16_stay_nearer_to_f32_than_in_bf16() {
    let (_folder, path) = Archive::tiny().write();
    let exact = Networks::load(&path, Kind::Float).unwrap();
    let half = Networks::load(&path, HALF).unwrap();
    let brain = Networks::load(&path, Kind::BFloat16).unwrap();
    tch::manual_seed(5);
    let random = |shape: &[i64]| Tensor::randn(shape, (Kind::Float, Device::Cpu));
    let (x, context) = (random(&[2, 4, 8, 8]), random(&[2, 77, exact.text_width()]));
    let t = Tensor::from_slice(&[801.0f32, 33.0]);
    let noise = |networks: &Networks| {
        let kind = networks.unet_kind();
        let predicted = networks.predict_noise(&x.to_kind(kind), &t, &context.to_kind(kind)).unwrap();
        assert_eq!(predicted.kind(), kind);
        predicted.to_kind(Kind::Float)
    };
    let want = noise(&exact);
    let [f16, bf16] = [&half, &brain].map(|networks| relative_error(&noise(networks), &want));
    println!("unet f16: {f16:.1e}, bf16: {bf16:.1e}");
    // f16 keeps three bits more than bf16.
    assert!(f16 < 1e-2 && f16 < bf16 / 2.0, "{f16:e} against {bf16:e}");

    let pictures = [&half, &exact].map(|networks| networks.decode_latent(&latent()).unwrap());
    assert_eq!(pictures[0].kind(), Kind::Float, "what is decoded comes back in f32");
    let decoded = relative_error(&pictures[0], &pictures[1]);
    let means = [&half, &exact].map(|networks| networks.encode_picture(&pictures[1]).unwrap());
    let encoded = relative_error(&means[0], &means[1]);
    println!("vae f16: decoded {decoded:.1e}, encoded {encoded:.1e}");
    assert!((1e-6..1e-2).contains(&decoded) && (1e-6..1e-2).contains(&encoded), "{decoded:e} {encoded:e}");
}

/// A VAE whose inner values are beyond what f16 can say, as those of some fine-tuned ones are. The next normalisation
/// brings them back, so in f32 nothing is wrong with it.
fn loud() -> Archive {
    let mut archive = Archive::tiny();
    for name in ["first_stage_model.decoder.conv_in.weight", "first_stage_model.encoder.conv_in.weight"] {
        let weight = archive.tensor(name) * 1e5;
        archive.insert(name, Dtype::F32, &weight.clamp(-6e4, 6e4));
    }
    archive
}

#[test]
fn a_vae_that_overflows_f16_runs_again_in_f32() {
    let (_folder, path) = loud().write();
    let (half, exact) = (Networks::load(&path, HALF).unwrap(), Networks::load(&path, Kind::Float).unwrap());
    let got = half.decode_latent(&latent()).unwrap();
    let want = exact.decode_latent(&latent()).unwrap();
    let decoded = relative_error(&got, &want);
    let encoded = relative_error(&half.encode_picture(&want).unwrap(), &exact.encode_picture(&want).unwrap());
    println!("decoded {decoded:.1e}, encoded {encoded:.1e}");
    assert!(decoded < 1e-6 && encoded < 1e-6, "{decoded:e} {encoded:e}");
    let again = half.decode_latent(&latent()).unwrap();
    assert!(got == again, "the second picture takes the same way");
}

#[test]
fn a_latent_that_is_no_number_is_not_tried_again() {
    let (_folder, path) = Archive::tiny().write();
    let networks = Networks::load(&path, HALF).unwrap();
    let decoded = networks.decode_latent(&(latent() * f64::NAN)).unwrap();
    assert_eq!(f64::try_from(decoded.isnan().any().to_kind(Kind::Double)).unwrap(), 1.0);
}

#[test]
fn a_backend_in_f16_draws_nearly_the_picture_of_f32() {
    for archive in [Archive::tiny(), loud()] {
        let (_folder, path) = archive.write();
        let mut half = half_backend();
        assert!(half.describe().ends_with("UNet in f16"), "{}", half.describe());
        let request = GenerateRequest { steps: 5, ..request("a cat", 3, 64, 64) };
        let got = draw(&mut half, &model_file(&path), &request);
        let want = draw(&mut backend(), &model_file(&path), &request);
        let apart = got.data.iter().zip(&want.data).map(|(got, want)| got.abs_diff(*want));
        let mean = apart.map(f64::from).sum::<f64>() / got.data.len() as f64;
        println!("{mean} grey levels in the mean");
        assert!(mean < 2.0, "grey levels differ by {mean} in the mean");
    }
}
