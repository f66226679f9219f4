//! The second stage: text encoder and UNet learn to tell noise from latents of captioned pictures (Ho et al. 2020),
//! each level of noise weighted by min-SNR with gamma 5 (Hang et al. 2023), a tenth of the captions left out for
//! guidance (Ho and Salimans 2022).

use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use gesso_core::schedule::NoiseSchedule;
use gesso_torch::{Networks, Tokenizer};
use indicatif::ProgressBar;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;
use tch::{Kind, TchError, Tensor};

use crate::trained::{Trained, parts};
use crate::training::{self, Course};
use crate::workers::Workers;
use crate::{captions, checkpoint, pictures, trained};

/// What latents are multiplied by so that their variance is one.
pub(crate) const LATENT_SCALE: f64 = 0.18215;
const TIMESTEPS: u64 = 1000;
const GAMMA: f64 = 5.0;
/// One caption in this many is left out.
const LEFT_OUT: u64 = 10;
const AVERAGE_KEPT: f64 = 0.9995;

#[derive(Args)]
pub(crate) struct Options {
    /// The checkpoint to begin with; its VAE stays as it is.
    #[arg(long, default_value = "examples/demo-model/demo-v1.safetensors")]
    from: PathBuf,
    /// Begin with random numbers instead of the checkpoint's text encoder and UNet.
    #[arg(long)]
    fresh: bool,
    /// Where the training keeps what it needs to go on.
    #[arg(long, default_value = "target/train-demo")]
    state: PathBuf,
    /// The checkpoint to write at each saving.
    #[arg(long, default_value = "target/train-demo/demo.safetensors")]
    out: PathBuf,
    /// Steps in all, those before a stop included; the rate falls over the last third.
    #[arg(long, default_value_t = 20_000)]
    steps: u32,
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// The highest learning rate.
    #[arg(long, default_value_t = 5e-4)]
    rate: f64,
    /// Different pictures to learn from.
    #[arg(long, default_value_t = 20_000)]
    pictures: usize,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Threads; each takes an equal part of the batch.
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Compute in bf16, which is faster where the processor has instructions for it.
    #[arg(long)]
    bf16: bool,
}

/// The part of a batch that one worker gets.
struct Batch {
    noised: Tensor,
    timesteps: Tensor,
    noise: Tensor,
    weights: Tensor,
    tokens: Tensor,
}

/// What is learned from: latents `[pictures, 4, 16, 16]` of unit variance and their captions' ids.
struct Lessons {
    latents: Tensor,
    tokens: Tensor,
    silence: Tensor,
}

pub(crate) fn command(options: &Options) -> Result<()> {
    std::fs::create_dir_all(&options.state)
        .with_context(|| format!("cannot make the folder {}", options.state.display()))?;
    // Each worker is a thread of its own, so an operator needs no more than one.
    tch::set_num_threads(1);
    let lessons = lessons(options)?;
    let mut start = checkpoint::read(&options.from)?;
    if options.fresh {
        let fresh = checkpoint::fresh(&start, options.seed)?;
        let ours = |name: &String| PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        start.named.extend(fresh.named.into_iter().filter(|(name, _)| ours(name)));
    }
    let mut trained = Trained::open(&start, &PREFIXES, &options.state.join("denoiser.safetensors"))?;
    let kind = if options.bf16 { Kind::BFloat16 } else { Kind::Float };
    let workers = Workers::start(options.workers, &options.from, kind, loss)?;
    let schedule = NoiseSchedule::sd1();
    let course = Course { steps: options.steps, rate: options.rate, kept: AVERAGE_KEPT };
    training::run(
        &mut trained,
        &workers,
        &course,
        |step| batch(&lessons, &schedule, options, step)?.parts(workers.count()),
        |trained| checkpoint::write(&trained.checkpoint(&start), "Gesso demo", &options.out),
    )?;
    println!("wrote {}", options.out.display());
    Ok(())
}

const PREFIXES: [&str; 2] = ["cond_stage_model.", "model.diffusion_model."];

/// Draws the pictures and encodes them, or reads what an earlier run left.
fn lessons(options: &Options) -> Result<Lessons> {
    let name = format!("latents-{}-{}.safetensors", options.seed, options.pictures);
    let path = options.state.join(name);
    if !path.exists() {
        encode(options, &path)?;
    }
    let mut known: std::collections::HashMap<String, Tensor> =
        Tensor::read_safetensors(&path)?.into_iter().collect();
    let mut take =
        |name: &str| known.remove(name).with_context(|| format!("{} has no {name}", path.display()));
    let (latents, tokens) = (take("latents")?, take("tokens")?);
    let silence = captions::tokens(&Tokenizer::new(), [""].into_iter())?;
    Ok(Lessons { latents, tokens, silence })
}

fn encode(options: &Options, path: &Path) -> Result<()> {
    println!("draws and encodes {} pictures, once", options.pictures);
    let bar = ProgressBar::new(options.pictures as u64);
    let each = options.pictures.div_ceil(options.workers.max(1));
    let parts: Vec<(Tensor, Tensor)> = std::thread::scope(|scope| {
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
    let (latents, tokens): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    // The VAE leaves its channels innermost, which the file cannot say.
    let (latents, tokens) = (Tensor::f_cat(&latents, 0)?.f_contiguous()?, Tensor::f_cat(&tokens, 0)?);
    println!("their latents have a deviation of {:.3}", f64::try_from(latents.f_std(true)?)?);
    let unfinished = path.with_extension("unfinished");
    Tensor::write_safetensors(&[("latents", latents), ("tokens", tokens)], &unfinished)?;
    Ok(std::fs::rename(unfinished, path)?)
}

fn encode_part(options: &Options, range: Range<usize>, bar: &ProgressBar) -> Result<(Tensor, Tensor)> {
    const AT_ONCE: usize = 16;
    let _guard = tch::no_grad_guard();
    let networks = Networks::load(&options.from, Kind::Float)?;
    let tokenizer = Tokenizer::new();
    let (mut latents, mut tokens) = (Vec::new(), Vec::new());
    for from in range.clone().step_by(AT_ONCE) {
        let to = range.end.min(from + AT_ONCE);
        let drawn: Vec<_> = (from..to).map(|at| pictures::sample(options.seed << 32 | at as u64)).collect();
        let rgb: Vec<_> = drawn.iter().map(|picture| picture.rgb.clone()).collect();
        let encoded = networks.encode_picture(&trained::pictures(&rgb, pictures::SIDE)?)?;
        latents.push(encoded.f_mul_scalar(LATENT_SCALE)?);
        tokens.push(captions::tokens(&tokenizer, drawn.iter().map(|picture| picture.caption.as_str()))?);
        bar.inc((to - from) as u64);
    }
    Ok((Tensor::f_cat(&latents, 0)?, Tensor::f_cat(&tokens, 0)?))
}

/// The batch of a step is the same whenever it is made.
fn batch(lessons: &Lessons, schedule: &NoiseSchedule, options: &Options, step: u32) -> Result<Batch> {
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed << 32 | u64::from(step));
    tch::manual_seed(rng.next_u64() as i64);
    let count = lessons.latents.size4()?.0 as u64;
    if count == 0 {
        bail!("--pictures is 0: there is nothing to learn from");
    }
    let (mut rows, mut timesteps, mut signals, mut weights) = (vec![], vec![], vec![], vec![]);
    let mut tokens = Vec::new();
    for at in 0..options.batch as u64 {
        let row = (rng.next_u64() % count) as i64;
        // One timestep from each of as many equal ranges: the loss of a batch is steadier so.
        let (low, high) = (at * TIMESTEPS, (at + 1) * TIMESTEPS);
        let timestep = (low + rng.next_u64() % (high - low)) / options.batch as u64;
        let alpha = schedule.alpha_cumprod(timestep as usize);
        let snr = alpha / (1.0 - alpha);
        rows.push(row);
        timesteps.push(timestep as f32);
        signals.push(alpha as f32);
        weights.push((snr.min(GAMMA) / snr) as f32);
        let is_left_out = rng.next_u64() % LEFT_OUT == 0;
        tokens.push(if is_left_out { lessons.silence.get(0) } else { lessons.tokens.get(row) });
    }
    let latents = lessons.latents.f_index_select(0, &Tensor::from_slice(&rows))?;
    let noise = latents.f_randn_like()?;
    let signal = Tensor::f_from_slice(&signals)?.f_view([-1, 1, 1, 1])?;
    let rest = signal.f_neg()?.f_add_scalar(1.0)?;
    Ok(Batch {
        noised: latents.f_mul(&signal.f_sqrt()?)?.f_add(&noise.f_mul(&rest.f_sqrt()?)?)?,
        timesteps: Tensor::f_from_slice(&timesteps)?,
        noise,
        weights: Tensor::f_from_slice(&weights)?,
        tokens: Tensor::f_stack(&tokens, 0)?,
    })
}

impl Batch {
    /// Rows go round the workers, so that each gets every level of noise.
    fn parts(&self, count: usize) -> Result<Vec<Self>> {
        let mut order = Vec::new();
        let rows = self.noised.size4()?.0;
        for worker in 0..count as i64 {
            order.extend((worker..rows).step_by(count));
        }
        let order = Tensor::f_from_slice(&order)?;
        let divided = |tensor: &Tensor| parts(&tensor.f_index_select(0, &order)?, count);
        let (noised, timesteps) = (divided(&self.noised)?, divided(&self.timesteps)?);
        let (noise, weights) = (divided(&self.noise)?, divided(&self.weights)?);
        let rest = timesteps.into_iter().zip(noise).zip(weights).zip(divided(&self.tokens)?);
        let part = |(noised, (((timesteps, noise), weights), tokens))| Self {
            noised,
            timesteps,
            noise,
            weights,
            tokens,
        };
        Ok(noised.into_iter().zip(rest).map(part).collect())
    }
}

/// The weighted squared error of the predicted noise.
fn loss(networks: &Networks, batch: &Batch) -> Result<Tensor, TchError> {
    let kind = networks.unet_kind();
    let context = networks.encode_text(&batch.tokens, 1)?.f_to_kind(kind)?;
    let predicted = networks.predict_noise(&batch.noised.f_to_kind(kind)?, &batch.timesteps, &context)?;
    let error = predicted.f_to_kind(Kind::Float)?.f_sub(&batch.noise)?.f_square()?;
    error.f_mean_dim([1i64, 2, 3].as_slice(), false, Kind::Float)?.f_mul(&batch.weights)?.f_mean(Kind::Float)
}
