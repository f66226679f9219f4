//! `gesso txt2img`: one picture on this machine, with a progress bar, without server, store or plugins.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use gesso_core::infotext;
use gesso_engine::{CancelFlag, JobSpec, Phase};
use indicatif::{ProgressBar, ProgressStyle};
use rand::RngExt;
use serde_json::json;

use crate::app::VERSION;
use crate::catalogue::Catalogue;
use crate::environment;
use crate::error::AppError;
use crate::http::wire::{fields, txt2img};
use crate::png_file;
use crate::settings::cli::Txt2Img;
use crate::startup;
use crate::telemetry;

pub(crate) fn run(arguments: &Txt2Img) -> anyhow::Result<()> {
    let settings = environment::settings(&arguments.settings.as_serve())?;
    telemetry::install_logs(&settings.log_format, "warn");
    if let Some(parent) = arguments.out.parent().filter(|parent| !parent.as_os_str().is_empty())
        && !parent.is_dir()
    {
        bail!("the folder {} does not exist; make it first", parent.display());
    }
    let body = json!({
        "prompt": arguments.prompt, "negative_prompt": arguments.negative_prompt, "steps": arguments.steps,
        "cfg_scale": arguments.cfg_scale, "width": arguments.width, "height": arguments.height,
        "seed": arguments.seed, "sampler_name": arguments.sampler, "scheduler": arguments.scheduler,
    });
    let body = body.as_object().cloned().unwrap_or_default();
    let mut body = fields::read(&body, txt2img::FIELDS).map_err(AppError::Invalid)?;
    txt2img::settle_seeds(&mut body, || rand::rng().random());
    let request = txt2img::to_request(&body, &startup::defaults(&settings), &startup::limits(&settings))
        .map_err(AppError::Invalid)?;
    let catalogue = Catalogue::new(settings.models.clone(), settings.default_model.clone());
    let checkpoint = catalogue.find(arguments.model.as_deref())?;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let started = Instant::now();
    let pixels = runtime.block_on(async {
        let (_engine, handle) = startup::open_engine(&settings).await?;
        let spec = JobSpec {
            model: checkpoint.file.clone(),
            request: request.clone(),
            priority: 0,
            cancel: CancelFlag::default(),
        };
        let job = handle.submit(spec)?;
        let mut progress = job.progress();
        let bar = ProgressBar::new_spinner().with_style(ProgressStyle::with_template(
            "{msg:12} [{bar:30}] {pos}/{len} UNet calls, {elapsed} gone, {eta} to go",
        )?);
        bar.enable_steady_tick(Duration::from_millis(200));
        let shown = async {
            loop {
                {
                    let now = progress.borrow_and_update();
                    bar.set_message(match now.phase {
                        Phase::Queued | Phase::Preparing => "loading",
                        Phase::Sampling => "drawing",
                        Phase::Finished => "done",
                    });
                    bar.set_length(u64::from(now.calls_total));
                    bar.set_position(u64::from(now.calls_done));
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
    let texts = (request.prompt.as_str(), request.negative_prompt.as_str());
    let infotext = infotext::of(&request, 0, &checkpoint.file.name, checkpoint.short_hash(), texts, VERSION);
    let png = png_file::encode(&pixels, &infotext).context("the picture could not be encoded")?;
    std::fs::write(&arguments.out, png)
        .with_context(|| format!("{} cannot be written", arguments.out.display()))?;
    telemetry::announce(&format!(
        "{} ({}x{}, seed {}, {:.1} s)",
        arguments.out.display(),
        pixels.width,
        pixels.height,
        request.seed,
        started.elapsed().as_secs_f64()
    ));
    Ok(())
}
