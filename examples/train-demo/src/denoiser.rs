//! The second stage: text encoder and UNet learn to tell noise from latents of captioned pictures (Ho et al. 2020),
//! each level of noise weighted by min-SNR with gamma 5 (Hang et al. 2023), a tenth of the captions left out for
//! guidance (Ho and Salimans 2022). Errors count for more where figures are.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use gesso_core::schedule::NoiseSchedule;
use gesso_torch::Networks;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;
use tch::{Kind, TchError, Tensor};

use crate::pictures::Mix;
use crate::trained::{Trained, parts, refuse_fresh};
use crate::training::{self, Course};
use crate::workers::Workers;
use crate::{checkpoint, emphasis};

mod lessons;

use lessons::{Lessons, lessons};

/// What latents are multiplied by so that their variance is one.
pub(crate) const LATENT_SCALE: f64 = 0.18215;
const TIMESTEPS: u64 = 1000;
const GAMMA: f64 = 5.0;
/// One caption in this many is left out.
const LEFT_OUT: u64 = 10;
const AVERAGE_KEPT: f64 = 0.998;

#[derive(Args)]
pub(crate) struct Options {
    /// The checkpoint to begin with; its VAE stays as it is.
    #[arg(long, default_value = "examples/demo-model/demo-v3.safetensors")]
    from: PathBuf,
    /// Begin with random numbers instead of the checkpoint's text encoder and UNet.
    #[arg(long)]
    fresh: bool,
    /// Train the UNet alone, which is faster: a text encoder that tells its captions apart has little left to learn.
    #[arg(long, conflicts_with = "fresh")]
    unet_only: bool,
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
    #[command(flatten)]
    mix: Mix,
    /// How much more errors count where figures are: by 1 + this. 0 counts them as the rest.
    #[arg(long, default_value_t = 4.0)]
    figure_weight: f64,
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
    /// By the level of noise, one for each row.
    weights: Tensor,
    /// By what is there, one for each number of a channel.
    emphasis: Tensor,
    tokens: Tensor,
}

pub(crate) fn command(options: &Options) -> Result<()> {
    std::fs::create_dir_all(&options.state)
        .with_context(|| format!("cannot make the folder {}", options.state.display()))?;
    // Each worker is a thread of its own, so an operator needs no more than one.
    tch::set_num_threads(1);
    let state = options.state.join("denoiser.safetensors");
    refuse_fresh(options.fresh, &state)?;
    let mut start = checkpoint::read(&options.from)?;
    let lessons = lessons(options, &start)?;
    if options.fresh {
        let fresh = checkpoint::fresh(&start, options.seed)?;
        let ours = |name: &String| PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        start.named.extend(fresh.named.into_iter().filter(|(name, _)| ours(name)));
    }
    let learning = if options.unet_only { &PREFIXES[1..] } else { &PREFIXES };
    let mut trained = Trained::open(&start, learning, &state)?;
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

/// The text encoder's and the UNet's.
const PREFIXES: [&str; 2] = ["cond_stage_model.", "model.diffusion_model."];

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
    let rows = Tensor::f_from_slice(&rows)?;
    let latents = lessons.latents.f_index_select(0, &rows)?;
    let noise = latents.f_randn_like()?;
    let signal = Tensor::f_from_slice(&signals)?.f_view([-1, 1, 1, 1])?;
    let rest = signal.f_neg()?.f_add_scalar(1.0)?;
    Ok(Batch {
        noised: latents.f_mul(&signal.f_sqrt()?)?.f_add(&noise.f_mul(&rest.f_sqrt()?)?)?,
        timesteps: Tensor::f_from_slice(&timesteps)?,
        noise,
        weights: Tensor::f_from_slice(&weights)?,
        emphasis: emphasis::weights(&lessons.figures.f_index_select(0, &rows)?, options.figure_weight)?,
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
        let (emphasis, tokens) = (divided(&self.emphasis)?, divided(&self.tokens)?);
        let rest = timesteps.into_iter().zip(noise).zip(weights).zip(emphasis).zip(tokens);
        let part = |(noised, ((((timesteps, noise), weights), emphasis), tokens))| Self {
            noised,
            timesteps,
            noise,
            weights,
            emphasis,
            tokens,
        };
        Ok(noised.into_iter().zip(rest).map(part).collect())
    }
}

/// The squared error of the predicted noise, weighted by its level and by what is there.
fn loss(networks: &Networks, batch: &Batch) -> Result<Tensor, TchError> {
    let kind = networks.unet_kind();
    let context = networks.encode_text(&batch.tokens, 1)?.f_to_kind(kind)?;
    let predicted = networks.predict_noise(&batch.noised.f_to_kind(kind)?, &batch.timesteps, &context)?;
    let error = predicted.f_to_kind(Kind::Float)?.f_sub(&batch.noise)?.f_square()?.f_mul(&batch.emphasis)?;
    error.f_mean_dim([1i64, 2, 3].as_slice(), false, Kind::Float)?.f_mul(&batch.weights)?.f_mean(Kind::Float)
}
