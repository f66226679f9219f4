//! `gesso task`, `gesso model`, `gesso img2img` and `gesso upscale`: work on a running server, from a terminal.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::client::{Server, checked, when};
use crate::settings::cli::{Img2Img, Model, ModelCommand, TaskArguments, TaskCommand, Upscale};
use crate::telemetry;

/// How often a task is asked how far it is.
const LOOK: Duration = Duration::from_millis(250);
/// Of a progress bar, which shows thousandths.
const PARTS: u64 = 1000;

pub(crate) fn tasks(arguments: &TaskArguments) -> anyhow::Result<()> {
    let server = Server::as_said(&arguments.connection);
    let path = |id: &str| Ok::<_, anyhow::Error>(format!("/tasks/{}", checked("the id of a task", id)?));
    match &arguments.command {
        TaskCommand::List { state, limit } => {
            let state = state.as_ref().map_or_else(String::new, |state| format!("&state={state}"));
            let page = server.json("GET", &format!("/tasks?limit={limit}{state}"), None)?;
            let tasks = page["tasks"].as_array().cloned().unwrap_or_default();
            if tasks.is_empty() {
                telemetry::announce("no tasks");
            }
            tasks.iter().for_each(|task| telemetry::announce(&line(task)));
        }
        TaskCommand::Show { id } => {
            let task = server.json("GET", &path(id)?, None)?;
            telemetry::announce(&serde_json::to_string_pretty(&task)?);
        }
        TaskCommand::Cancel { id } => {
            server.json("POST", &format!("{}/cancellation", path(id)?), None)?;
            telemetry::announce(&format!("{id} stops"));
        }
        TaskCommand::Retry { id } => {
            telemetry::announce(&line(&server.json("POST", &format!("{}/retry", path(id)?), None)?));
        }
        TaskCommand::Remove { id } => {
            server.json("DELETE", &path(id)?, None)?;
            telemetry::announce(&format!("{id} removed, with its pictures"));
        }
        TaskCommand::Wait { id, out } => {
            let task = wait(&server, checked("the id of a task", id)?)?;
            match out {
                Some(out) => save(&server, &task, out)?,
                None => telemetry::announce(&line(&task)),
            }
        }
    }
    Ok(())
}

pub(crate) fn models(arguments: &Model) -> anyhow::Result<()> {
    let server = Server::as_said(&arguments.connection);
    match &arguments.command {
        ModelCommand::List => {
            for model in server.list("/models")? {
                let text = |name: &str| model[name].as_str().unwrap_or("-").to_owned();
                let hash: String = text("etag").chars().take(10).collect();
                telemetry::announce(&format!("{:10} {hash:10} {}", text("status"), text("name")));
            }
        }
        ModelCommand::Load => {
            server.json("POST", "/sdapi/v1/reload-checkpoint", None)?;
            telemetry::announce("the checkpoint is in memory");
        }
        ModelCommand::Unload => {
            server.json("POST", "/sdapi/v1/unload-checkpoint", None)?;
            telemetry::announce("what no picture needs is out of memory");
        }
    }
    Ok(())
}

pub(crate) fn img2img(arguments: &Img2Img) -> anyhow::Result<()> {
    let server = Server::as_said(&arguments.connection);
    let mut body = json!({
        "init_images": [base64_file(&arguments.picture)?], "prompt": arguments.prompt,
        "negative_prompt": arguments.negative_prompt, "denoising_strength": arguments.strength,
        "steps": arguments.steps, "seed": arguments.seed, "width": arguments.width, "height": arguments.height,
        "inpainting_fill": 1,
    });
    if let Some(mask) = &arguments.mask {
        body["mask"] = base64_file(mask)?.into();
    }
    if let Some(model) = &arguments.model {
        body["override_settings"] = json!({"sd_model_checkpoint": model});
    }
    draw(&server, "/sdapi/v1/img2img", &body, &arguments.out)
}

pub(crate) fn upscale(arguments: &Upscale) -> anyhow::Result<()> {
    let server = Server::as_said(&arguments.connection);
    let body = json!({
        "image": base64_file(&arguments.picture)?, "upscaler_1": arguments.upscaler,
        "upscaling_resize": arguments.factor,
    });
    draw(&server, "/sdapi/v1/extra-single-image", &body, &arguments.out)
}

/// Has a route draw as a task, shows how far it is, and saves what comes out.
fn draw(server: &Server, path: &str, body: &Value, out: &Path) -> anyhow::Result<()> {
    if let Some(parent) = out.parent().filter(|parent| !parent.as_os_str().is_empty())
        && !parent.is_dir()
    {
        bail!("the folder {} does not exist; make it first", parent.display());
    }
    let headers = [("Request-Type", "async")];
    let body = body.to_string().into_bytes();
    let submitted = server.call("POST", path, "application/json", &headers, Some(body))?;
    let id = submitted["taskId"].as_str().context("the server did not say which task it is")?;
    save(server, &wait(server, id)?, out)
}

/// Waits with a progress bar until the task has ended.
fn wait(server: &Server, id: &str) -> anyhow::Result<Value> {
    let bar = ProgressBar::new(PARTS);
    bar.set_style(ProgressStyle::with_template("{msg:12} [{bar:40}] {percent:>3} % {eta}")?);
    loop {
        let task = server.json("GET", &format!("/tasks/{id}"), None)?;
        let status = task["status"].as_str().unwrap_or_default();
        if !["waiting", "running"].contains(&status) {
            bar.finish_and_clear();
            return Ok(task);
        }
        bar.set_message(match task["position"].as_u64() {
            Some(place) if status == "waiting" => format!("{place}. in line"),
            _ => task["phase"].as_str().unwrap_or(status).to_owned(),
        });
        bar.set_position((task["progress"].as_f64().unwrap_or_default() * PARTS as f64) as u64);
        std::thread::sleep(LOOK);
    }
}

/// The pictures of a task that succeeded: the first under the name that was given, others with a number behind it.
fn save(server: &Server, task: &Value, out: &Path) -> anyhow::Result<()> {
    if task["status"] != "succeeded" {
        let why = task["message"].as_str().unwrap_or("no reason was given");
        bail!("the task is {}: {why}", task["status"].as_str().unwrap_or("not done"));
    }
    for (number, url) in task["ossUrl"].as_array().into_iter().flatten().enumerate() {
        let path = numbered(out, number);
        std::fs::write(&path, server.file(url.as_str().unwrap_or_default())?)
            .with_context(|| format!("{} cannot be written", path.display()))?;
        telemetry::announce(&path.display().to_string());
    }
    Ok(())
}

fn numbered(out: &Path, number: usize) -> PathBuf {
    if number == 0 {
        return out.to_owned();
    }
    let text = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    out.with_file_name(format!("{}-{}.{}", text(out.file_stem()), number + 1, text(out.extension())))
}

fn base64_file(path: &Path) -> anyhow::Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    Ok(BASE64_STANDARD.encode(bytes))
}

fn line(task: &Value) -> String {
    let text = |name: &str| task[name].as_str().unwrap_or("-").to_owned();
    let reason = task["message"].as_str().map_or_else(String::new, |message| format!("  {message}"));
    let made = when(&task["createdMs"]);
    format!(
        "{:44} {:9} {:8} {:12} {made}{reason}",
        text("taskId"),
        text("status"),
        text("kind"),
        text("user")
    )
}
