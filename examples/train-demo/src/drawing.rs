//! Draws captions that training never saw, through the engine as the server does, and has them read back.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;
use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_core::request::GenerateRequest;
use gesso_core::sampler::Sampler;
use gesso_core::schedule::Scheduler;
use gesso_engine::backend::ModelFile;
use gesso_engine::clock::MonotonicClock;
use gesso_engine::{CancelFlag, Drawing, Engine, EngineHandle, EngineSettings, JobSpec, Work};
use gesso_torch::{DtypeChoice, Networks, TorchBackend, TorchSettings};
use indicatif::ProgressBar;
use tch::Kind;

use crate::pictures::{self, Dice, ShapeScene};
use crate::score::{self, Score};
use crate::trained;

#[derive(Args)]
pub(crate) struct Options {
    /// The checkpoint that draws.
    #[arg(long, default_value = "target/train-demo/demo.safetensors")]
    model: PathBuf,
    /// Captions to draw.
    #[arg(long, default_value_t = 100)]
    count: usize,
    #[arg(long, default_value_t = 7)]
    seed: u64,
    #[arg(long, default_value_t = 20)]
    steps: u32,
    #[arg(long, default_value_t = 5.0)]
    cfg_scale: f64,
    /// Side of the pictures in pixels.
    #[arg(long, default_value_t = 128)]
    side: u32,
    /// Writes the pictures side by side into this PNG file.
    #[arg(long)]
    sheet: Option<PathBuf>,
    /// Draw these captions instead; they are not scored.
    #[arg(long)]
    caption: Vec<String>,
    /// Score the captions' own pictures, put through the VAE: no denoiser can be read better than that.
    #[arg(long, conflicts_with_all = ["caption", "steps", "cfg_scale", "side"])]
    vae_only: bool,
}

pub(crate) fn command(options: &Options) -> Result<()> {
    let scenes = match options.caption.is_empty() {
        true => pictures::held_out_scenes(options.count, options.seed),
        false => Vec::new(),
    };
    let drawn = match options.vae_only {
        true => through_vae(options, &scenes)?,
        false => draw_all(options, &scenes)?,
    };
    let mut score = Score::default();
    for (scene, picture) in scenes.iter().zip(&drawn) {
        score.add(scene, &score::read(&picture.data, picture.width, picture.height));
    }
    if !scenes.is_empty() {
        println!("{score}");
    }
    if let Some(path) = &options.sheet {
        write_sheet(&drawn, path)?;
        println!("wrote {}", path.display());
    }
    Ok(())
}

/// The scenes as they are drawn by rule, encoded and decoded.
fn through_vae(options: &Options, scenes: &[ShapeScene]) -> Result<Vec<Pixels>> {
    let _guard = tch::no_grad_guard();
    let networks = Networks::load(&options.model, Kind::Float)?;
    let side = pictures::SIDE as u32;
    let mut dice = Dice::new(options.seed);
    let mut again = |scene: &ShapeScene| {
        let picture = trained::pictures(&[scene.draw(side, &mut dice)], pictures::SIDE)?;
        let decoded = networks.decode_latent(&networks.encode_picture(&picture)?)?;
        let bytes = decoded.f_add_scalar(1.0)?.f_mul_scalar(127.5)?.f_clamp(0.0, 255.0)?.f_round()?;
        let rows = bytes.f_squeeze_dim(0)?.f_permute([1, 2, 0])?.f_contiguous()?.f_view([-1])?;
        let data = Vec::try_from(rows.f_to_kind(Kind::Uint8)?)?;
        Pixels::new(side, side, PixelFormat::Rgb8, data).context("the VAE gives another size back")
    };
    scenes.iter().map(&mut again).collect()
}

fn draw_all(options: &Options, scenes: &[ShapeScene]) -> Result<Vec<Pixels>> {
    let settings = TorchSettings { dtype: DtypeChoice::F32, ..TorchSettings::default() };
    let backend = Box::new(move || TorchBackend::open(settings));
    let clock = Arc::new(MonotonicClock::default());
    let (_engine, handle) = Engine::start(EngineSettings::default(), clock, backend)?;
    let name = options.model.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let model = Arc::new(ModelFile { name, path: options.model.clone(), version: String::new() });
    let captions = scenes.iter().map(|scene| scene.caption.clone()).chain(options.caption.iter().cloned());
    let captions: Vec<_> = captions.collect();
    let bar = ProgressBar::new(captions.len() as u64);
    let mut drawn = Vec::new();
    for (index, caption) in captions.iter().enumerate() {
        drawn.push(draw(&handle, &model, options, caption, options.seed + index as u64)?);
        bar.inc(1);
    }
    bar.finish();
    Ok(drawn)
}

fn draw(
    handle: &EngineHandle,
    model: &Arc<ModelFile>,
    options: &Options,
    caption: &str,
    seed: u64,
) -> Result<Pixels> {
    let request = GenerateRequest {
        prompt: caption.to_owned(),
        sampler: Sampler::Dpmpp2m,
        scheduler: Scheduler::Karras,
        steps: options.steps,
        cfg_scale: options.cfg_scale,
        width: options.side,
        height: options.side,
        seed,
        ..GenerateRequest::default()
    };
    let work = Work::Draw(Box::new(Drawing::new(request, model.clone())));
    let job = handle.submit(JobSpec { work, priority: 0, cancel: CancelFlag::default() })?;
    job.blocking_finish()?.into_iter().next().context("the engine drew nothing")
}

/// Ten pictures in a row.
fn write_sheet(pictures: &[Pixels], path: &Path) -> Result<()> {
    const COLUMNS: usize = 10;
    let first = pictures.first().context("there are no pictures for a sheet")?;
    let (width, height) = (first.width as usize, first.height as usize);
    let columns = COLUMNS.min(pictures.len());
    let rows = pictures.len().div_ceil(columns);
    let stride = columns * width * 3;
    let mut sheet = vec![0u8; stride * rows * height];
    for (index, picture) in pictures.iter().enumerate() {
        let (row, column) = (index / columns, index % columns);
        for (y, line) in picture.data.chunks(width * 3).enumerate() {
            sheet[(row * height + y) * stride + column * width * 3..][..width * 3].copy_from_slice(line);
        }
    }
    let file = std::fs::File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut encoder = png::Encoder::new(file, (columns * width) as u32, (rows * height) as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header()?.write_image_data(&sheet)?;
    Ok(())
}
