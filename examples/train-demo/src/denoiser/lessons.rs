//! What the denoiser learns from: pictures drawn and encoded once and kept in a file, whose name tells what they came
//! of.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result};
use gesso_torch::{Networks, Tensors, Tokenizer};
use indicatif::ProgressBar;
use tch::{Kind, Tensor};

use super::{LATENT_SCALE, Options};
use crate::pictures::{self, Mix};
use crate::{captions, emphasis, trained};

/// What latents depend on. A decoder trained by itself leaves them as they are.
const ENCODER: [&str; 2] = ["first_stage_model.encoder.", "first_stage_model.quant_conv."];
/// What the file holds, in the order [`encode_part`] gives it.
const NAMES: [&str; 3] = ["latents", "figures", "tokens"];

/// Latents `[pictures, 4, 16, 16]` of unit variance, where in them figures are `[pictures, 1, 16, 16]`, and their
/// captions' ids.
pub(super) struct Lessons {
    pub(super) latents: Tensor,
    pub(super) figures: Tensor,
    pub(super) tokens: Tensor,
    pub(super) silence: Tensor,
}

/// Draws the pictures and encodes them with the VAE of `start`, or reads what an earlier run left.
pub(super) fn lessons(options: &Options, start: &Tensors) -> Result<Lessons> {
    let path = options.state.join(file_name(options.seed, options.pictures, options.mix, start)?);
    if !path.exists() {
        encode(options, &path)?;
    }
    let mut known: HashMap<String, Tensor> = Tensor::read_safetensors(&path)?.into_iter().collect();
    let mut take =
        |name: &str| known.remove(name).with_context(|| format!("{} has no {name}", path.display()));
    let [latents, figures, tokens] = NAMES;
    let (latents, figures, tokens) = (take(latents)?, take(figures)?, take(tokens)?);
    let silence = captions::tokens(&Tokenizer::new(), [""].into_iter())?;
    Ok(Lessons { latents, figures, tokens, silence })
}

/// Other pictures or another encoder give another name, so nothing is learned from latents of another VAE.
fn file_name(seed: u64, pictures: usize, mix: Mix, start: &Tensors) -> Result<String> {
    // Another version of Rust may give other numbers; the pictures are encoded once more then.
    let mut hasher = DefaultHasher::new();
    hasher.write_u32(mix.landscapes.to_bits());
    hasher.write_u32(mix.small.to_bits());
    for (name, tensor) in &start.named {
        if ENCODER.iter().any(|prefix| name.starts_with(prefix)) {
            let tensor = tensor.detach().f_to_kind(Kind::Float)?.f_contiguous()?;
            let mut bytes = vec![0u8; tensor.numel() * 4];
            tensor.f_copy_data_u8(&mut bytes, tensor.numel())?;
            hasher.write(name.as_bytes());
            hasher.write(&bytes);
        }
    }
    Ok(format!("latents-{seed}-{pictures}-{:016x}.safetensors", hasher.finish()))
}

fn encode(options: &Options, path: &Path) -> Result<()> {
    println!("draws and encodes {} pictures, once", options.pictures);
    let bar = ProgressBar::new(options.pictures as u64);
    let each = options.pictures.div_ceil(options.workers.max(1));
    let parts: Vec<[Tensor; 3]> = std::thread::scope(|scope| {
        let part = |from: usize| from..options.pictures.min(from + each);
        let ranges = (0..options.pictures).step_by(each.max(1)).map(part);
        let bar = &bar;
        let threads: Vec<_> =
            ranges.map(|range| scope.spawn(move || encode_part(options, range, bar))).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<_>>| {
            thread.join().map_err(|_| anyhow::anyhow!("a thread panicked while it encoded pictures"))?
        };
        threads.into_iter().map(join).collect::<Result<_>>()
    })?;
    bar.finish();
    let mut contents = Vec::new();
    for (at, name) in NAMES.into_iter().enumerate() {
        let rows: Vec<&Tensor> = parts.iter().map(|part| &part[at]).collect();
        // The VAE leaves its channels innermost, which the file cannot say.
        contents.push((name, Tensor::f_cat(&rows, 0)?.f_contiguous()?));
    }
    println!("their latents have a deviation of {:.3}", f64::try_from(contents[0].1.f_std(true)?)?);
    let unfinished = path.with_extension("unfinished");
    Tensor::write_safetensors(&contents, &unfinished)?;
    Ok(std::fs::rename(unfinished, path)?)
}

/// In the order of [`NAMES`].
fn encode_part(options: &Options, range: Range<usize>, bar: &ProgressBar) -> Result<[Tensor; 3]> {
    const AT_ONCE: usize = 16;
    let _guard = tch::no_grad_guard();
    let networks = Networks::load(&options.from, Kind::Float)?;
    let tokenizer = Tokenizer::new();
    let (mut latents, mut figures, mut tokens) = (Vec::new(), Vec::new(), Vec::new());
    for from in range.clone().step_by(AT_ONCE) {
        let to = range.end.min(from + AT_ONCE);
        let draw = |at: usize| pictures::sample(options.mix, options.seed << 32 | at as u64);
        let drawn: Vec<_> = (from..to).map(draw).collect();
        let rgb: Vec<_> = drawn.iter().map(|picture| picture.rgb.clone()).collect();
        let encoded = networks.encode_picture(&trained::pictures(&rgb, pictures::SIDE)?)?;
        latents.push(encoded.f_mul_scalar(LATENT_SCALE)?);
        figures.push(emphasis::in_cells(&emphasis::masks(&drawn)?)?);
        tokens.push(captions::tokens(&tokenizer, drawn.iter().map(|picture| picture.caption.as_str()))?);
        bar.inc((to - from) as u64);
    }
    Ok([Tensor::f_cat(&latents, 0)?, Tensor::f_cat(&figures, 0)?, Tensor::f_cat(&tokens, 0)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vae(encoder: f32, decoder: f32) -> Tensors {
        let mut tensors = Tensors::default();
        for (name, value) in [
            ("first_stage_model.encoder.conv_in.weight", encoder),
            ("first_stage_model.decoder.conv_in.weight", decoder),
        ] {
            tensors.named.insert(name.into(), Tensor::from_slice(&[1.0f32, value]));
        }
        tensors
    }

    #[test]
    fn latents_of_another_vae_or_of_other_pictures_have_another_name() {
        let mix = Mix::default();
        let name = file_name(1, 100, mix, &vae(2.0, 3.0)).unwrap();
        assert_eq!(name, file_name(1, 100, mix, &vae(2.0, 3.0)).unwrap());
        let others = [
            file_name(2, 100, mix, &vae(2.0, 3.0)).unwrap(),
            file_name(1, 200, mix, &vae(2.0, 3.0)).unwrap(),
            file_name(1, 100, Mix { landscapes: 0.25, ..mix }, &vae(2.0, 3.0)).unwrap(),
            file_name(1, 100, Mix { small: 0.5, ..mix }, &vae(2.0, 3.0)).unwrap(),
            file_name(1, 100, mix, &vae(2.5, 3.0)).unwrap(),
        ];
        for other in others {
            assert_ne!(name, other);
        }
        assert_eq!(name, file_name(1, 100, mix, &vae(2.0, 3.5)).unwrap(), "a decoder leaves latents");
    }
}
