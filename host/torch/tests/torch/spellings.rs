//! One checkpoint stored in the ways that files in the wild are stored loads to the same networks.

use gesso_torch::Networks;
use safetensors::tensor::Dtype;
use tch::{Kind, Tensor};

use crate::support::{Archive, fixture, relative_error};

/// UNet, text encoder and VAE of a file, each run once.
fn outputs(archive: &Archive) -> Vec<Tensor> {
    let (_folder, path) = archive.write();
    let goldens = Archive::read(&fixture("goldens.safetensors"));
    let networks = Networks::load(&path, Kind::Float).unwrap();
    let [x, t] = ["x", "t"].map(|part| goldens.tensor(&format!("unet.16x8.{part}")));
    vec![
        networks.predict_noise(&x, &t, &goldens.tensor("unet.context")).unwrap(),
        networks.encode_text(&goldens.tensor("text.prompt.tokens"), 1).unwrap(),
        networks.decode_latent(&goldens.tensor("vae.latent")).unwrap(),
    ]
}

#[track_caller]
fn check_equal(change: impl FnOnce(&mut Archive), bound: f64) {
    let mut archive = Archive::tiny();
    let plain = outputs(&archive);
    change(&mut archive);
    for (got, want) in outputs(&archive).iter().zip(&plain) {
        let error = relative_error(got, want);
        assert!(error <= bound, "{error:e}");
    }
}

fn convert(archive: &mut Archive, dtype: Dtype) {
    for name in archive.tensors.keys().cloned().collect::<Vec<_>>() {
        archive.insert(&name, dtype, &archive.tensor(&name));
    }
}

#[test]
fn f32_and_f64_files_equal_their_f16_source() {
    check_equal(|archive| convert(archive, Dtype::F32), 0.0);
    check_equal(|archive| convert(archive, Dtype::F64), 0.0);
}

#[test]
fn a_bf16_file_is_near_its_f16_source() {
    check_equal(|archive| convert(archive, Dtype::BF16), 0.1);
}

#[test]
fn projections_may_be_matrices_or_convolutions() {
    let flatten = |archive: &mut Archive| {
        let convolutions: Vec<String> = archive
            .tensors
            .iter()
            .filter(|(name, (_, shape, _))| {
                shape.len() == 4
                    && shape[2..] == [1, 1]
                    && (name.contains(".proj_") || name.contains(".attn_1."))
            })
            .map(|(name, _)| name.clone())
            .collect();
        // 16 transformers with two projections each in the UNet and four in each half of the VAE.
        assert_eq!(convolutions.len(), 40);
        convolutions.iter().for_each(|name| archive.tensors.get_mut(name).unwrap().1.truncate(2));
    };
    check_equal(flatten, 0.0);
}

/// As diffusers' converter to single files wrote them: its own names, and matrices.
pub(crate) fn rename_vae_attention(archive: &mut Archive) {
    let names =
        [("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("proj_out", "to_out.0"), ("norm", "group_norm")];
    let renamed = |name: &str| {
        let rename = |(ours, theirs): &(&str, &str)| {
            let (at, rest) = name.split_once(&format!(".attn_1.{ours}."))?;
            Some(format!("{at}.attn_1.{theirs}.{rest}"))
        };
        names.iter().find_map(rename)
    };
    let mut count = 0;
    for (name, (dtype, mut shape, bytes)) in std::mem::take(&mut archive.tensors) {
        let Some(renamed) = renamed(&name) else {
            archive.tensors.insert(name, (dtype, shape, bytes));
            continue;
        };
        shape.truncate(2);
        archive.tensors.insert(renamed, (dtype, shape, bytes));
        count += 1;
    }
    // Weight and bias of five modules in each half.
    assert_eq!(count, 20);
}

#[test]
fn the_vaes_attention_may_stand_under_diffusers_names() {
    check_equal(rename_vae_attention, 0.0);
}

#[test]
fn a_vaes_attention_under_diffusers_names_gives_way_to_one_under_todays() {
    let add = |archive: &mut Archive| {
        let name = "first_stage_model.decoder.mid.attn_1.to_q.bias";
        let shape = archive.tensor("first_stage_model.decoder.mid.attn_1.q.bias").size();
        archive.insert(name, Dtype::F16, &Tensor::zeros(shape.as_slice(), (Kind::Float, tch::Device::Cpu)));
    };
    check_equal(add, 0.0);
}

#[test]
fn the_text_encoder_may_stand_under_its_older_name() {
    let rename = |archive: &mut Archive| {
        let tensors = std::mem::take(&mut archive.tensors);
        let rename = |name: String| name.replace("transformer.text_model.", "transformer.");
        archive.tensors = tensors.into_iter().map(|(name, tensor)| (rename(name), tensor)).collect();
    };
    check_equal(rename, 0.0);
}

#[test]
fn a_text_encoder_under_its_older_name_gives_way_to_one_under_todays() {
    let add = |archive: &mut Archive| {
        let old = "cond_stage_model.transformer.final_layer_norm.weight";
        archive.insert(old, Dtype::F16, &Tensor::zeros([64], (Kind::Float, tch::Device::Cpu)));
    };
    check_equal(add, 0.0);
}

#[test]
fn what_training_leaves_behind_is_ignored() {
    check_equal(
        |archive| {
            let junk = Tensor::zeros([1, 77], (Kind::Int64, tch::Device::Cpu));
            for name in [
                "cond_stage_model.transformer.text_model.embeddings.position_ids",
                "model_ema.decay",
                "alphas_cumprod",
                "first_stage_model.loss.logvar",
            ] {
                archive.insert(name, Dtype::I64, &junk);
            }
        },
        0.0,
    );
}
