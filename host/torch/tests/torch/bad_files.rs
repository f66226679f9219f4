//! Files that are no Stable Diffusion 1.x checkpoint: each is refused with a typed error, none with a panic.

use std::path::Path;
use std::sync::LazyLock;

use gesso_engine::backend::{Backend, BackendError};
use gesso_torch::{Problem, inspect};
use proptest::prelude::*;
use safetensors::tensor::Dtype;
use tch::{Kind, Tensor};

use crate::support::{Archive, TOKEN_TABLE, backend, begin, model_file, request};

const UNET: &str = "model.diffusion_model.";

fn refused(change: impl FnOnce(&mut Archive)) -> Problem {
    let mut archive = Archive::tiny();
    change(&mut archive);
    inspect(&archive.bytes()).expect_err("the file must be refused")
}

fn zeros(shape: &[i64]) -> Tensor {
    Tensor::zeros(shape, (Kind::Float, tch::Device::Cpu))
}

#[test]
fn accepts_the_tiny_checkpoint() {
    let layout = inspect(&Archive::tiny().bytes()).unwrap();
    assert_eq!((layout.unet.base_channels, layout.unet.input.len(), layout.unet.output.len()), (24, 11, 12));
    assert_eq!((layout.text.width, layout.text.layers, layout.text.heads), (64, 3, 1));
    assert_eq!((layout.vae.encoder.levels.len(), layout.vae.decoder.levels[0].blocks.len()), (4, 3));
}

#[test]
fn names_a_tensor_that_is_missing() {
    for key in [
        TOKEN_TABLE,
        "model.diffusion_model.time_embed.2.bias",
        "model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_v.weight",
        "model.diffusion_model.output_blocks.11.0.in_layers.2.weight",
        "first_stage_model.post_quant_conv.weight",
        "first_stage_model.decoder.mid.attn_1.q.bias",
    ] {
        let problem = refused(|archive| drop(archive.tensors.remove(key).unwrap()));
        assert!(matches!(&problem, Problem::Missing(name) if *name == key), "{problem}");
    }
}

#[test]
fn names_a_tensor_that_no_network_has() {
    let problem = refused(|archive| archive.insert(&format!("{UNET}extra.weight"), Dtype::F16, &zeros(&[2])));
    assert!(matches!(problem, Problem::Unknown(name) if name.ends_with("extra.weight")));
}

#[test]
fn names_a_tensor_of_the_wrong_shape() {
    for (key, shape) in [
        ("out.2.bias", vec![5]),
        ("input_blocks.1.0.in_layers.2.weight", vec![24, 24, 3]),
        ("time_embed.0.weight", vec![96, 25]),
        ("input_blocks.1.0.in_layers.0.weight", vec![0]),
    ] {
        let key = format!("{UNET}{key}");
        let problem = refused(|archive| archive.insert(&key, Dtype::F32, &zeros(&shape)));
        assert!(matches!(&problem, Problem::Shape { key: named, .. } if *named == key), "{problem}");
    }
}

#[test]
fn names_a_tensor_of_a_kind_it_cannot_compute_with() {
    let key = format!("{UNET}out.2.bias");
    let problem = refused(|archive| archive.insert(&key, Dtype::I64, &zeros(&[4])));
    assert!(matches!(problem, Problem::Dtype { key: named, .. } if named == key));
}

#[test]
fn names_the_family_of_other_checkpoints() {
    for (key, family) in [
        ("conditioner.embedders.1.model.ln_final.weight", "XL"),
        ("model.diffusion_model.label_emb.0.0.weight", "XL"),
        ("cond_stage_model.model.ln_final.weight", "2.x"),
        ("model.diffusion_model.joint_blocks.0.x", "3"),
        ("double_blocks.0.x", "Flux"),
        ("lora_unet_down_blocks_0.alpha", "LoRA"),
        ("down_blocks.0.resnets.0.norm1.weight", "diffusers"),
    ] {
        let problem = refused(|archive| archive.insert(key, Dtype::F16, &zeros(&[1024])));
        assert!(matches!(&problem, Problem::Unsupported(why) if why.contains(family)), "{problem}");
    }
}

#[test]
fn refuses_a_unet_that_reads_an_unknown_number_of_channels() {
    let key = format!("{UNET}input_blocks.0.0.weight");
    for channels in [1, 5, 7] {
        let problem = refused(|archive| archive.insert(&key, Dtype::F16, &zeros(&[24, channels, 3, 3])));
        let named = format!("reads {channels} channels");
        assert!(matches!(&problem, Problem::Unsupported(why) if why.contains(&named)), "{problem}");
    }
}

#[test]
fn refuses_a_prediction_that_no_sampler_knows() {
    let problem = refused(|archive| {
        archive.metadata.insert("modelspec.prediction_type".into(), "sample".into());
    });
    assert!(matches!(&problem, Problem::Unsupported(why) if why.contains("sample")), "{problem}");
}

#[test]
fn refuses_metadata_that_cannot_be_true() {
    for (key, value) in [
        ("gesso.norm_num_groups", "0"),
        ("gesso.norm_num_groups", "5"),
        ("gesso.norm_num_groups", "many"),
        ("gesso.num_attention_heads", "-8"),
        ("gesso.num_attention_heads", "7"),
        ("gesso.num_attention_heads", "99999999999999999999"),
    ] {
        let problem = refused(|archive| drop(archive.metadata.insert(key.into(), value.into())));
        assert!(matches!(&problem, Problem::Metadata { key: named, .. } if *named == key), "{problem}");
    }
}

#[test]
fn the_backend_says_why_and_goes_on_with_the_next_model() {
    let mut backend = backend();
    let (folder, good) = Archive::tiny().write();
    let cut = folder.path().join("cut.safetensors");
    let bytes = std::fs::read(&good).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    let request = request("a cat", 1, 64, 64);
    let mut open =
        |path: &Path| begin(&mut backend, &model_file(path), &request, vec![0.0; 256], 1.0).map(drop);
    open(&good).unwrap();
    for path in [cut, folder.path().join("absent.safetensors"), folder.path().to_owned()] {
        let error = open(&path).unwrap_err();
        let (name, whole) = (path.file_name().unwrap().to_str().unwrap(), path.to_str().unwrap());
        assert!(matches!(&error, BackendError::Model(why) if why.contains(name)), "{error}");
        assert!(!error.to_string().contains(whole), "{error} says where models lie");
    }
    open(&good).unwrap();
}

#[test]
fn a_file_cut_short_after_loading_harms_nothing() {
    let mut backend = backend();
    let (_folder, path) = Archive::tiny().write();
    let request = request("a cat", 1, 64, 64);
    let (sample, _) = begin(&mut backend, &model_file(&path), &request, vec![0.1; 256], 1.0).unwrap();
    std::fs::File::create(&path).unwrap();
    assert!(backend.finish(sample, &|| false).is_ok());
    assert!(begin(&mut backend, &model_file(&path), &request, vec![0.1; 256], 1.0).is_ok());
}

static WHOLE: LazyLock<(Vec<u8>, usize)> = LazyLock::new(|| {
    let bytes = Archive::tiny().bytes();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    (bytes, header + 8)
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_header_with_changed_bytes_is_read_or_refused(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (mut bytes, header) = WHOLE.clone();
        for (place, value) in changes {
            bytes[place.index(header)] = value;
        }
        let _ = inspect(&bytes);
    }

    /// Digits change shapes, offsets and block numbers, and leave the JSON whole.
    #[test]
    fn a_header_with_changed_digits_is_read_or_refused(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), b'0'..=b'9'), 1..8),
    ) {
        let (mut bytes, header) = WHOLE.clone();
        let digits: Vec<usize> = (8..header).filter(|place| bytes[*place].is_ascii_digit()).collect();
        for (place, value) in changes {
            bytes[digits[place.index(digits.len())]] = value;
        }
        let _ = inspect(&bytes);
    }
}
