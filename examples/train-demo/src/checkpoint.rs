//! Checkpoints as the trainer begins with them and leaves them: single files in the layout every web UI reads.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use gesso_torch::{Networks, Tensors};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;
use safetensors::tensor::{Dtype, TensorView};
use tch::{Kind, Tensor};

/// Every tensor of a checkpoint in f32, with its metadata.
pub(crate) fn read(path: &Path) -> Result<Tensors> {
    Ok(Networks::load(path, Kind::Float)?.tensors().share())
}

/// Writes a checkpoint in fp16. The file is whole or not there at all.
pub(crate) fn write(tensors: &Tensors, title: &str, path: &Path) -> Result<()> {
    let _guard = tch::no_grad_guard();
    let mut contents = Vec::new();
    for (name, tensor) in &tensors.named {
        let tensor = tensor.detach().f_to_kind(Kind::Half)?.f_contiguous()?;
        let mut bytes = vec![0u8; tensor.numel() * 2];
        tensor.f_copy_data_u8(&mut bytes, tensor.numel())?;
        let shape: Vec<usize> = tensor.size().into_iter().map(|size| size as usize).collect();
        contents.push((name, shape, bytes));
    }
    let mut views = Vec::new();
    for (name, shape, bytes) in &contents {
        views.push((name, TensorView::new(Dtype::F16, shape.clone(), bytes)?));
    }
    let mut metadata: HashMap<String, String> = tensors.metadata.clone().into_iter().collect();
    metadata.insert("modelspec.title".into(), title.into());
    let bytes = safetensors::serialize(views, Some(metadata))?;
    let unfinished = path.with_extension("unfinished");
    fs::write(&unfinished, bytes).with_context(|| format!("cannot write {}", unfinished.display()))?;
    fs::rename(&unfinished, path).with_context(|| format!("cannot write {}", path.display()))
}

/// Random numbers of the same shapes: weights by their fan-in (He et al. 2015), norms as nothing, biases zero, and
/// zero for what ends a residual branch, so that every block begins as the identity (Goyal et al. 2017).
pub(crate) fn fresh(like: &Tensors, seed: u64) -> Result<Tensors> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut fresh = like.share();
    for (name, tensor) in &mut fresh.named {
        tch::manual_seed(rng.next_u64() as i64);
        let shape = tensor.size();
        let empty = tensor.f_zeros_like()?;
        *tensor = match shape.as_slice() {
            [_] if name.ends_with("weight") => empty.f_ones_like()?,
            [_] => empty,
            _ if ENDS.iter().any(|end| name.ends_with(end)) => empty,
            _ if name.contains("embedding.weight") => empty.f_randn_like()?.f_mul_scalar(0.02)?,
            [_, inputs @ ..] => {
                let fan_in: i64 = inputs.iter().product();
                empty.f_randn_like()?.f_mul_scalar((1.0 / fan_in as f64).sqrt())?
            }
            [] => empty,
        };
    }
    Ok(fresh)
}

/// Ends of the names of the last layer of each residual branch, and of the UNet's output.
const ENDS: [&str; 5] = [
    "out_layers.3.weight",
    "proj_out.weight",
    "model.diffusion_model.out.2.weight",
    "to_out.0.weight",
    "ff.net.2.weight",
];

/// The tensors whose names begin with one of `prefixes`, as copies of their own that learn.
pub(crate) fn trained(tensors: &Tensors, prefixes: &[&str]) -> Result<Tensors> {
    let mut trained = Tensors::default();
    for (name, tensor) in &tensors.named {
        if prefixes.iter().any(|prefix| name.starts_with(prefix)) {
            let copy = Tensor::f_empty(tensor.size(), (Kind::Float, tch::Device::Cpu))?;
            let mut copy = copy.f_set_requires_grad(false)?;
            copy.f_copy_(&tensor.f_to_kind(Kind::Float)?)?;
            trained.named.insert(name.clone(), copy.f_set_requires_grad(true)?);
        }
    }
    Ok(trained)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demo() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo-model/demo-v3.safetensors")
    }

    #[test]
    fn what_is_written_is_read_again_and_stays_under_32_megabytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("again.safetensors");
        let tensors = read(&demo()).unwrap();
        write(&tensors, "again", &path).unwrap();
        let again = read(&path).unwrap();
        assert_eq!(again.named.len(), tensors.named.len());
        assert!(again.named.iter().all(|(name, tensor)| tensor.equal(&tensors.named[name])));
        assert!(fs::metadata(&path).unwrap().len() < 32_000_000);
    }

    #[test]
    fn a_fresh_checkpoint_predicts_no_noise_and_differs_by_seed() {
        let tensors = read(&demo()).unwrap();
        let (one, two) = (fresh(&tensors, 1).unwrap(), fresh(&tensors, 2).unwrap());
        let name = "first_stage_model.encoder.conv_in.weight";
        assert!(!one.named[name].equal(&two.named[name]));
        assert!(one.named[name].equal(&fresh(&tensors, 1).unwrap().named[name]));
        let networks = Networks::load(&demo(), Kind::Float).unwrap().with(&one).unwrap();
        let zeros = |shape: &[i64], kind| Tensor::zeros(shape, (kind, tch::Device::Cpu));
        let context = networks.encode_text(&zeros(&[1, 77], Kind::Int64), 1).unwrap();
        let noise =
            networks.predict_noise(&zeros(&[1, 4, 8, 8], Kind::Float), &zeros(&[1], Kind::Float), &context);
        assert_eq!(f64::try_from(noise.unwrap().abs().max()).unwrap(), 0.0);
    }
}
