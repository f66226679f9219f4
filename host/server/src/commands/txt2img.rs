//! `gesso txt2img`: one picture on this machine, with a progress bar and previews, without server, store or plugins; or by
//! a server, which is [`drawing`]'s.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use gesso_core::infotext::{self, DrawnWith};
use gesso_engine::{CancelFlag, Drawing, JobSpec, Phase, Work};
use indicatif::{ProgressBar, ProgressStyle};
use rand::RngExt;
use serde_json::Value;

use super::drawing;
use super::preview::Previews;
use crate::app::VERSION;
use crate::catalogue::Catalogue;
use crate::environment;
use crate::error::AppError;
use crate::http::wire::generate;
use crate::png_file;
use crate::resources;
use crate::settings::cli::drawing::{Txt2Img, Wanted};
use crate::startup;
use crate::telemetry;

pub(crate) fn run(arguments: &Txt2Img) -> anyhow::Result<()> {
    match &arguments.url {
        Some(url) => drawing::txt2img(arguments, url),
        None => here(arguments),
    }
}

/// What is asked for, as the web UI's API has it, without a checkpoint.
pub(super) fn body(arguments: &Txt2Img) -> Value {
    let mut body = drawing::body(&arguments.wanted);
    body["cfg_scale"] = arguments.cfg_scale.into();
    body["sampler_name"] = arguments.sampler.as_str().into();
    body["scheduler"] = arguments.scheduler.as_str().into();
    body
}

fn here(arguments: &Txt2Img) -> anyhow::Result<()> {
    let Wanted { out, model, seen, .. } = &arguments.wanted;
    let settings = environment::settings(&arguments.settings.as_serve())?;
    telemetry::install_logs(&settings.log_format, "warn", None);
    drawing::check_folder(out)?;
    let kind = generate::Drawing::Txt2Img;
    let body = body(arguments).as_object().cloned().unwrap_or_default();
    let body = kind.read(&body, || rand::rng().random()).map_err(AppError::Invalid)?;
    let (defaults, limits) = (startup::defaults(&settings), startup::limits(&settings));
    let request = generate::to_request(kind, &body, &defaults, &limits).map_err(AppError::Invalid)?;
    let catalogue = Catalogue::new(settings.models.clone(), settings.default_model.clone(), None);
    // What a server says to its clients names no folder, and here there is no log to see.
    let checkpoint = catalogue.drawable(model.as_deref()).map_err(|error| {
        catalogue.shortage(model.as_deref()).map_or_else(|| anyhow::Error::from(error), anyhow::Error::msg)
    })?;
    let found = resources::find(&catalogue, &request, &checkpoint)?;
    for warning in &found.warnings {
        drawing::remark(warning);
    }
    let inversion_hashes = found.inversion_hashes.clone();
    let (vae, vae_hash, lora_hashes) = (found.vae.clone(), found.vae_hash.clone(), found.lora_hashes.clone());

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let started = Instant::now();
    let mut previews = Previews::new(seen.preview);
    let pixels = runtime.block_on(async {
        let (_engine, handle) = startup::open_engine(&settings).await?;
        let drawing = Drawing {
            resources: found.first,
            refiner: found.refiner,
            second: found.second,
            ..Drawing::new(request.clone(), checkpoint.file.clone())
        };
        let work = Work::Draw(Box::new(drawing));
        let spec = JobSpec { work, priority: 0, cancel: CancelFlag::default() };
        let job = handle.submit(spec)?;
        let mut progress = job.progress();
        let bar = ProgressBar::new_spinner().with_style(ProgressStyle::with_template(
            "{msg:12} [{bar:30}] {pos}/{len} UNet calls, {elapsed} gone, {eta} to go",
        )?);
        bar.enable_steady_tick(Duration::from_millis(200));
        let shown = async {
            loop {
                let draft = {
                    let now = progress.borrow_and_update();
                    bar.set_message(match now.phase {
                        Phase::Queued | Phase::Preparing => "loading",
                        Phase::Sampling => "drawing",
                        Phase::Finished => "done",
                    });
                    bar.set_length(u64::from(now.calls_total));
                    bar.set_position(u64::from(now.calls_done));
                    now.preview.clone()
                };
                // Terminals may be slow; nothing else waits for this runtime.
                if let Some(draft) = draft
                    && previews.is_due()
                {
                    previews.show_draft(&bar, &draft);
                }
                if progress.changed().await.is_err() {
                    // The job has ended; its result comes from the other future.
                    std::future::pending::<()>().await;
                }
            }
        };
        let pictures = tokio::select! {
            pictures = job.finish() => pictures?,
            () = shown => Vec::new(),
            _ = tokio::signal::ctrl_c() => bail!("cancelled; nothing was written"),
        };
        bar.finish_and_clear();
        pictures.into_iter().next().context("the engine drew no picture")
    })?;
    let with = DrawnWith {
        model_name: &checkpoint.file.name,
        model_hash: checkpoint.short_hash(),
        vae_name: vae.as_ref().map(|vae| vae.name.as_str()),
        vae_hash: vae_hash.as_deref(),
        lora_hashes: &lora_hashes,
        inversion_hashes: &inversion_hashes,
        version: VERSION,
        ..DrawnWith::default()
    };
    let infotext = infotext::of(&request, 0, &with);
    let png = png_file::encode(&pixels, &infotext).context("the picture could not be encoded")?;
    std::fs::write(out, png).with_context(|| format!("{} cannot be written", out.display()))?;
    previews.show_picture(&pixels);
    telemetry::announce(&format!(
        "{} ({}x{}, seed {}, {:.1} s)",
        out.display(),
        pixels.width,
        pixels.height,
        request.seed,
        started.elapsed().as_secs_f64()
    ));
    Ok(())
}
