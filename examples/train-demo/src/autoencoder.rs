//! The first stage: the VAE learns to give back pictures or 64x64 parts around figures, by mean error and by mean
//! error of the differences between neighbours, which keeps edges sharp; figures count for more. The mean of its
//! posterior is used alone; a small weight holds it near zero. Noise is added to it, so that the decoder bears what a
//! denoiser leaves, and the encoder keeps far apart what looks different. At the end a factor goes into the
//! convolutions around the latent so that web UIs' 0.18215 holds.

use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use gesso_torch::{Networks, Tensors};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;
use tch::{Device, Kind, TchError, Tensor};

use crate::denoiser::LATENT_SCALE;
use crate::pictures::{Mix, Picture};
use crate::trained::{Trained, parts, refuse_fresh};
use crate::training::{self, Course};
use crate::workers::Workers;
use crate::{checkpoint, emphasis, pictures, trained};

/// Side of the parts of pictures.
const CROP: u64 = 64;
/// Weight of the differences between neighbours.
const EDGES: f64 = 0.4;
const SMALL: f64 = 1e-4;
const AVERAGE_KEPT: f64 = 0.999;
/// Pictures that the result is measured on; training sees none of them.
const MEASURED: u64 = 64;

#[derive(Args)]
pub(crate) struct Options {
    /// The checkpoint to begin with; its text encoder and UNet stay as they are.
    #[arg(long, default_value = "examples/demo-model/demo-v3.safetensors")]
    from: PathBuf,
    /// Begin with random numbers instead of the checkpoint's VAE.
    #[arg(long, conflicts_with = "decoder_only")]
    fresh: bool,
    /// Train the decoder alone: latents, and so a UNet trained on them, stay good.
    #[arg(long)]
    decoder_only: bool,
    /// Learn from whole pictures, as they are drawn, and not from 64x64 parts around their figures, in which norms and
    /// attention see other statistics. Each takes four times as long.
    #[arg(long)]
    whole: bool,
    #[command(flatten)]
    mix: Mix,
    /// How much more errors count where figures are: by 1 + this. 0 counts them as the rest.
    #[arg(long, default_value_t = 3.0)]
    figure_weight: f64,
    /// The most noise that is added to latents, as a part of their own deviation; each picture gets some from 0 to this.
    #[arg(long, default_value_t = 0.3)]
    noise: f64,
    /// Where the training keeps what it needs to go on.
    #[arg(long, default_value = "target/train-demo")]
    state: PathBuf,
    /// The checkpoint to write at the end.
    #[arg(long, default_value = "target/train-demo/vae.safetensors")]
    out: PathBuf,
    /// Steps in all, those before a stop included; the rate falls over the last third.
    #[arg(long, default_value_t = 6_000)]
    steps: u32,
    #[arg(long, default_value_t = 16)]
    batch: usize,
    /// The highest learning rate. At 1e-3 and above training stalls.
    #[arg(long, default_value_t = 5e-4)]
    rate: f64,
    #[arg(long, default_value_t = 2)]
    seed: u64,
    /// Threads; each takes an equal part of the batch.
    #[arg(long, default_value_t = 2)]
    workers: usize,
}

pub(crate) fn command(options: &Options) -> Result<()> {
    std::fs::create_dir_all(&options.state)
        .with_context(|| format!("cannot make the folder {}", options.state.display()))?;
    tch::set_num_threads(1);
    let (prefixes, name): (&[&str], _) = match options.decoder_only {
        true => (&DECODER, "decoder.safetensors"),
        false => (&[VAE], "autoencoder.safetensors"),
    };
    let state = options.state.join(name);
    refuse_fresh(options.fresh, &state)?;
    let mut start = checkpoint::read(&options.from)?;
    if options.fresh {
        let fresh = checkpoint::fresh(&start, options.seed)?;
        let ours = |name: &String| name.starts_with(VAE);
        start.named.extend(fresh.named.into_iter().filter(|(name, _)| ours(name)));
    }
    let mut trained = Trained::open(&start, prefixes, &state)?;
    let workers = Workers::start(options.workers, &options.from, Kind::Float, loss)?;
    let networks = Networks::load(&options.from, Kind::Float)?;
    let say = |trained: &Trained| -> Result<()> {
        let whole = networks.with(&trained.checkpoint(&start))?;
        println!("step {}: {:.2} dB on pictures it never saw", trained.step, quality(&whole)?);
        Ok(())
    };
    say(&trained)?;
    let course = Course { steps: options.steps, rate: options.rate, kept: AVERAGE_KEPT };
    training::run(&mut trained, &workers, &course, |step| batch(options, step)?.parts(workers.count()), say)?;
    let mut whole = trained.checkpoint(&start);
    if !options.decoder_only {
        scale(&networks, &mut whole)?;
    }
    checkpoint::write(&whole, "Gesso demo", &options.out)?;
    println!("wrote {}", options.out.display());
    Ok(())
}

const VAE: &str = "first_stage_model.";
const DECODER: [&str; 2] = ["first_stage_model.decoder.", "first_stage_model.post_quant_conv."];

/// What one worker gets of a step.
struct Batch {
    pictures: Tensor,
    weights: Tensor,
    /// What is added to latents, for a deviation of one. Made here, as workers share torch's generator.
    noise: Tensor,
}

impl Batch {
    fn parts(&self, count: usize) -> Result<Vec<Self>> {
        let (pictures, weights) = (parts(&self.pictures, count)?, parts(&self.weights, count)?);
        let rows = pictures.into_iter().zip(weights).zip(parts(&self.noise, count)?);
        Ok(rows.map(|((pictures, weights), noise)| Self { pictures, weights, noise }).collect())
    }
}

/// New pictures or parts of them, the same for a step whenever it is run.
fn batch(options: &Options, step: u32) -> Result<Batch> {
    let part = if options.whole { pictures::SIDE as u64 } else { CROP };
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed << 32 | u64::from(step));
    let (mut crops, mut masks) = (Vec::new(), Vec::new());
    for _ in 0..options.batch {
        let drawn = pictures::sample(options.mix, rng.next_u64());
        let (rows, columns) = part_of(&drawn, part);
        let mut one_of = |range: RangeInclusive<u64>| {
            (range.start() + rng.next_u64() % (range.end() - range.start() + 1)) as i64
        };
        let (row, column) = (one_of(rows), one_of(columns));
        let crop = |whole: &Tensor| -> Result<Tensor, TchError> {
            whole.f_narrow(2, row, part as i64)?.f_narrow(3, column, part as i64)
        };
        masks.push(crop(&emphasis::masks(std::slice::from_ref(&drawn))?)?);
        crops.push(crop(&trained::pictures(&[drawn.rgb], pictures::SIDE)?)?);
    }
    let weights = emphasis::weights(&Tensor::f_cat(&masks, 0)?, options.figure_weight)?;
    tch::manual_seed(rng.next_u64() as i64);
    let noise = noise(options.batch as i64, part as i64 / emphasis::CELL, options.noise)?;
    Ok(Batch { pictures: Tensor::f_cat(&crops, 0)?, weights, noise })
}

/// `[count, 4, side, side]` from torch's generator; the deviation of each row is drawn evenly from 0 to `most`.
fn noise(count: i64, side: i64, most: f64) -> Result<Tensor> {
    if most < 0.0 || !most.is_finite() {
        bail!("--noise is {most}; it has to be 0, which adds none, or more");
    }
    let on = (Kind::Float, Device::Cpu);
    let deviations = Tensor::f_rand([count, 1, 1, 1], on)?.f_mul_scalar(most)?;
    Ok(Tensor::f_randn([count, 4, side, side], on)?.f_mul(&deviations)?)
}

/// Latents with the noise in proportion to their deviation, so that larger ones are not a way out.
fn noised(latents: &Tensor, noise: &Tensor) -> Result<Tensor, TchError> {
    latents.f_add(&noise.f_mul(&latents.f_std(true)?)?)
}

/// Where a part of a picture may begin, by row and by column, so that it holds the figures whole. Anywhere, where it is
/// too small for them or there are none.
fn part_of(drawn: &Picture, part: u64) -> (RangeInclusive<u64>, RangeInclusive<u64>) {
    let last = pictures::SIDE as u64 - part;
    let around = |figure: Option<Range<u64>>| match figure {
        Some(figure) if figure.end - figure.start <= part => {
            figure.end.saturating_sub(part)..=figure.start.min(last)
        }
        _ => 0..=last,
    };
    let (rows, columns) = drawn.bounds().unzip();
    (around(rows), around(columns))
}

fn loss(networks: &Networks, batch: &Batch) -> Result<Tensor, TchError> {
    let latents = networks.encode_picture(&batch.pictures)?;
    let error = networks.decode_latent(&noised(&latents, &batch.noise)?)?.f_sub(&batch.pictures)?;
    let edges = between_neighbours(&error, &batch.weights, 2)?;
    let edges = edges.f_add(&between_neighbours(&error, &batch.weights, 3)?)?;
    let small = latents.f_mul_scalar(LATENT_SCALE)?.f_square()?.f_mean(Kind::Float)?;
    let mean = error.f_abs()?.f_mul(&batch.weights)?.f_mean(Kind::Float)?;
    mean.f_add(&edges.f_mul_scalar(EDGES)?)?.f_add(&small.f_mul_scalar(SMALL)?)
}

/// The mean error of the differences between neighbours along a dimension, by the mean of their weights.
fn between_neighbours(error: &Tensor, weights: &Tensor, dim: i64) -> Result<Tensor, TchError> {
    let (_, _, height, width) = error.size4()?;
    let length = if dim == 2 { height - 1 } else { width - 1 };
    let first = |of: &Tensor| of.f_narrow(dim, 0, length);
    let second = |of: &Tensor| of.f_narrow(dim, 1, length);
    let weights = second(weights)?.f_add(&first(weights)?)?.f_mul_scalar(0.5)?;
    second(error)?.f_sub(&first(error)?)?.f_abs()?.f_mul(&weights)?.f_mean(Kind::Float)
}

/// The seeds of pictures that no training step draws: steps draw theirs from the whole range of numbers, so one of
/// the lowest comes up with no chance worth naming.
fn measured() -> Result<Tensor> {
    let rgb: Vec<_> = (0..MEASURED).map(|seed| pictures::sample(Mix::default(), seed).rgb).collect();
    trained::pictures(&rgb, pictures::SIDE)
}

/// Mean peak signal-to-noise ratio in dB.
fn quality(networks: &Networks) -> Result<f64> {
    let _guard = tch::no_grad_guard();
    let mut sum = 0.0;
    let pictures = measured()?;
    for index in 0..MEASURED as i64 {
        let picture = pictures.f_narrow(0, index, 1)?;
        let again = networks.decode_latent(&networks.encode_picture(&picture)?)?.f_clamp(-1.0, 1.0)?;
        let square = f64::try_from(again.f_sub(&picture)?.f_square()?.f_mean(Kind::Float)?)?;
        sum += 10.0 * (4.0 / square).log10();
    }
    Ok(sum / MEASURED as f64)
}

/// Puts the factor that makes the latents' deviation 1 / 0.18215 into the convolutions around the latent.
fn scale(networks: &Networks, whole: &mut Tensors) -> Result<()> {
    let _guard = tch::no_grad_guard();
    let latents = networks.with(whole)?.encode_picture(&measured()?)?;
    let factor = 1.0 / (LATENT_SCALE * f64::try_from(latents.f_std(true)?)?);
    for (name, factor) in [
        ("first_stage_model.quant_conv.weight", factor),
        ("first_stage_model.quant_conv.bias", factor),
        ("first_stage_model.post_quant_conv.weight", 1.0 / factor),
    ] {
        let tensor = whole.named.get_mut(name).with_context(|| format!("the checkpoint has no {name}"))?;
        *tensor = tensor.f_mul_scalar(factor)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_hold_figures_whole_where_they_have_room() {
        let small = Mix { landscapes: 0.0, small: 1.0 };
        let (mut whole, mut cut) = (0, 0);
        for seed in 0..200 {
            let drawn = pictures::sample(small, seed);
            let (rows, columns) = drawn.bounds().unwrap();
            let (from_row, from_column) = part_of(&drawn, CROP);
            for (figure, from) in [(rows, from_row), (columns, from_column)] {
                assert!(*from.end() + CROP <= pictures::SIDE as u64);
                if figure.end - figure.start <= CROP {
                    assert!(*from.end() <= figure.start && *from.start() + CROP >= figure.end, "{seed}");
                    whole += 1;
                } else {
                    // Two figures side by side.
                    assert_eq!(from, 0..=pictures::SIDE as u64 - CROP);
                    cut += 1;
                }
            }
        }
        assert!(whole > cut && cut > 0, "{whole} fit, {cut} do not");
    }

    #[test]
    fn noise_is_in_proportion_to_the_latents() {
        tch::manual_seed(3);
        let (latents, noise) =
            (Tensor::randn([8, 4, 8, 8], (Kind::Float, Device::Cpu)), noise(8, 8, 0.3).unwrap());
        let far = |one: &Tensor, other: &Tensor| f64::try_from((one - other).abs().max()).unwrap();
        let once = noised(&latents, &noise).unwrap();
        assert!(far(&once, &latents) > 0.3);
        assert!(far(&noised(&(&latents * 5.0), &noise).unwrap(), &(&once * 5.0)) < 1e-5);
    }

    #[test]
    fn rows_get_noise_up_to_the_most_that_is_told() {
        tch::manual_seed(3);
        let deviations = noise(64, 8, 0.3).unwrap().view([64, 256]).std_dim(1, true, false);
        let (least, most) =
            (f64::try_from(deviations.min()).unwrap(), f64::try_from(deviations.max()).unwrap());
        assert!(least < 0.03 && (0.25..0.33).contains(&most), "{least} to {most}");
        assert_eq!(f64::try_from(noise(4, 8, 0.0).unwrap().abs().max()).unwrap(), 0.0);
        for wrong in [-0.1, f64::NAN, f64::INFINITY] {
            let error = noise(4, 8, wrong).err().unwrap().to_string();
            assert!(error.contains("--noise"), "{error}");
        }
    }

    #[test]
    fn whole_pictures_begin_at_their_corner_and_parts_of_landscapes_anywhere() {
        let side = pictures::SIDE as u64;
        let (figure, landscape) = (Mix { landscapes: 0.0, small: 1.0 }, Mix { landscapes: 1.0, small: 0.0 });
        assert_eq!(part_of(&pictures::sample(figure, 1), side), (0..=0, 0..=0));
        assert_eq!(part_of(&pictures::sample(landscape, 1), CROP), (0..=side - CROP, 0..=side - CROP));
    }
}
