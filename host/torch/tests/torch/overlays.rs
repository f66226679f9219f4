//! Networks rebuilt over the same named tensors with some replaced: everything else is shared, and the networks
//! they came from stay as they are.

use std::rc::Rc;

use gesso_torch::{Networks, Problem, Tensors};
use safetensors::tensor::Dtype;
use tch::{Kind, Tensor};

use crate::support::Archive;

const CHANGED: &str = "model.diffusion_model.middle_block.1.proj_in.weight";

fn networks(unet_kind: Kind) -> Networks {
    let (_folder, path) = Archive::tiny().write();
    Networks::load(&path, unet_kind).unwrap()
}

fn overlay(name: &str, tensor: Tensor) -> Tensors {
    Tensors { named: [(name.to_owned(), tensor)].into(), ..Tensors::default() }
}

fn noise(networks: &Networks) -> Tensor {
    let kind = networks.unet_kind();
    let options = (kind, tch::Device::Cpu);
    let x = Tensor::arange(4 * 8 * 8, options).reshape([1, 4, 8, 8]) / 256;
    let context = Tensor::arange(77 * 64, options).reshape([1, 77, 64]) / 4928;
    networks.predict_noise(&x, &Tensor::from_slice(&[500.0f32]), &context).unwrap()
}

#[test]
fn every_tensor_but_the_replaced_one_is_shared() {
    let base = networks(Kind::Float);
    let patched = base.with(&overlay(CHANGED, base.tensors().named[CHANGED].copy() * 2)).unwrap();
    assert_eq!(patched.tensors().named.len(), base.tensors().named.len());
    for (name, tensor) in &base.tensors().named {
        let shared = tensor.data_ptr() == patched.tensors().named[name].data_ptr();
        assert_eq!(shared, name != CHANGED, "{name}");
    }
}

#[test]
fn checkpoints_that_differ_in_the_unet_share_text_encoder_and_vae() {
    let mut archive = Archive::tiny();
    let (_folder, path) = archive.write();
    let first = Rc::new(Networks::load(&path, Kind::Float).unwrap());
    let changed = archive.tensor(CHANGED) * 2;
    archive.insert(CHANGED, Dtype::F16, &changed);
    let (_folder, path) = archive.write();
    let beside = Networks::load_beside(&path, Kind::Float, std::slice::from_ref(&first)).unwrap();
    for (name, tensor) in &first.tensors().named {
        let shared = tensor.data_ptr() == beside.tensors().named[name].data_ptr();
        assert_eq!(shared, name != CHANGED, "{name}");
    }
    assert!(beside.tensors().named[CHANGED].equal(&changed.to_kind(Kind::Float)));
    // Another kind of number is another tensor.
    let narrow = Networks::load_beside(&path, Kind::BFloat16, std::slice::from_ref(&first)).unwrap();
    for (name, tensor) in &first.tensors().named {
        let shared = tensor.data_ptr() == narrow.tensors().named[name].data_ptr();
        assert_eq!(shared, !name.starts_with("model.diffusion_model."), "{name}");
    }
}

#[test]
fn the_base_is_bitwise_what_it_was_while_an_overlay_lives_and_after() {
    let base = networks(Kind::Float);
    let before = noise(&base);
    let values = base.tensors().named[CHANGED].copy();
    let patched = base.with(&overlay(CHANGED, values.copy() * 2)).unwrap();
    assert!(!noise(&patched).equal(&before), "the patch must change what the network says");
    assert!(noise(&base).equal(&before));
    drop(patched);
    assert!(noise(&base).equal(&before));
    assert!(base.tensors().named[CHANGED].equal(&values));
}

#[test]
fn a_replaced_tensor_is_converted_to_its_networks_kind() {
    let base = networks(Kind::BFloat16);
    let wide = base.tensors().named[CHANGED].to_kind(Kind::Double) * 2;
    let patched = base.with(&overlay(CHANGED, wide)).unwrap();
    assert_eq!(patched.tensors().named[CHANGED].kind(), Kind::BFloat16);
    assert_eq!(noise(&patched).kind(), Kind::BFloat16);
}

#[test]
fn refuses_an_overlay_without_a_place_in_the_networks() {
    let base = networks(Kind::Float);
    let zeros = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, tch::Device::Cpu));
    for name in ["model.diffusion_model.extra.weight", "elsewhere.weight"] {
        let problem = base.with(&overlay(name, zeros(&[2]))).err().unwrap();
        assert!(matches!(&problem, Problem::Unknown(named) if named == name), "{problem}");
    }
    let problem = base.with(&overlay(CHANGED, zeros(&[2, 3]))).err().unwrap();
    assert!(matches!(&problem, Problem::Shape { key, .. } if key == CHANGED), "{problem}");
}
