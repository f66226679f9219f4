//! `gesso img2img`, `gesso upscale` and `gesso txt2img --url`: what a running server draws, with a progress bar and
//! previews, until it is in a file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use gesso_core::pixels::Pixels;
use gesso_picture::decode::{DecodeLimits, decode};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::client::Server;
use super::preview::Previews;
use super::txt2img;
use crate::settings::cli::Connection;
use crate::settings::cli::drawing::{Img2Img, Preview, Txt2Img, Upscale, Wanted};
use crate::telemetry;

/// How often a task is asked how far it is.
const LOOK: Duration = Duration::from_millis(250);
/// Of a progress bar, which shows thousandths.
const PARTS: u64 = 1000;

/// Has the server at `url` draw what [`txt2img::run`] draws without one.
pub(crate) fn txt2img(arguments: &Txt2Img, url: &str) -> anyhow::Result<()> {
    let connection = Connection { url: url.to_owned(), api_key: arguments.api_key.clone(), data: None };
    let server = Server::as_said(&connection);
    draw_wanted(&server, "/sdapi/v1/txt2img", txt2img::body(arguments), &arguments.wanted)
}

pub(crate) fn img2img(arguments: &Img2Img) -> anyhow::Result<()> {
    let server = Server::as_said(&arguments.connection);
    let mut body = body(&arguments.wanted);
    body["init_images"] = json!([base64_file(&arguments.picture)?]);
    body["denoising_strength"] = arguments.strength.into();
    body["inpainting_fill"] = 1.into();
    if let Some(mask) = &arguments.mask {
        body["mask"] = base64_file(mask)?.into();
    }
    draw_wanted(&server, "/sdapi/v1/img2img", body, &arguments.wanted)
}

/// What is asked for of any drawing, as the web UI's API has it, without a checkpoint.
pub(super) fn body(wanted: &Wanted) -> Value {
    json!({
        "prompt": wanted.prompt, "negative_prompt": wanted.negative_prompt, "steps": wanted.steps,
        "width": wanted.width, "height": wanted.height, "seed": wanted.seed,
    })
}

fn draw_wanted(server: &Server, path: &str, mut body: Value, wanted: &Wanted) -> anyhow::Result<()> {
    if let Some(model) = &wanted.model {
        body["override_settings"] = json!({"sd_model_checkpoint": model});
    }
    draw(server, path, &body, &wanted.out, wanted.seen.preview)
}

pub(crate) fn upscale(arguments: &Upscale) -> anyhow::Result<()> {
    let server = Server::as_said(&arguments.connection);
    let body = json!({
        "image": base64_file(&arguments.picture)?, "upscaler_1": arguments.upscaler,
        "upscaling_resize": arguments.factor,
    });
    draw(&server, "/sdapi/v1/extra-single-image", &body, &arguments.out, arguments.seen.preview)
}

/// Before anything is drawn: whether the picture has somewhere to go.
///
/// # Errors
/// A sentence that names the folder.
pub(super) fn check_folder(out: &Path) -> anyhow::Result<()> {
    if let Some(parent) = out.parent().filter(|parent| !parent.as_os_str().is_empty())
        && !parent.is_dir()
    {
        bail!("the folder {} does not exist; make it first", parent.display());
    }
    Ok(())
}

/// Has a route draw as a task, shows how far it is, and saves what comes out.
fn draw(server: &Server, path: &str, body: &Value, out: &Path, preview: Preview) -> anyhow::Result<()> {
    check_folder(out)?;
    let headers = [("Request-Type", "async")];
    let body = body.to_string().into_bytes();
    let submitted = server.call("POST", path, "application/json", &headers, Some(body))?;
    let id = submitted["taskId"].as_str().context("the server did not say which task it is")?;
    let mut previews = Previews::new(preview);
    let task = wait(server, id, &mut previews)?;
    for path in save(server, &task, out, &mut previews)? {
        telemetry::announce(&path.display().to_string());
    }
    Ok(())
}

/// Waits with a progress bar until the task has ended.
pub(super) fn wait(server: &Server, id: &str, previews: &mut Previews) -> anyhow::Result<Value> {
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
        if status == "running"
            && previews.is_due()
            && let Some(draft) = draft(server, id)
        {
            previews.show_draft(&bar, &draft);
        }
        std::thread::sleep(LOOK);
    }
}

/// What is drawn so far. A preview that cannot be had is no reason to stop waiting.
fn draft(server: &Server, id: &str) -> Option<Pixels> {
    let progress = server.json("GET", &format!("/tasks/{id}/progress"), None).ok()?;
    let png = BASE64_STANDARD.decode(progress["currentImage"].as_str()?).ok()?;
    decode(&png, &DecodeLimits::default()).ok()
}

/// Whether a task that has ended has what was asked for.
///
/// # Errors
/// A sentence: what became of it, and why.
pub(super) fn succeeded(task: &Value) -> anyhow::Result<()> {
    if task["status"] == "succeeded" {
        return Ok(());
    }
    let why = task["message"].as_str().unwrap_or("no reason was given");
    bail!("the task is {}: {}", task["status"].as_str().unwrap_or("not done"), telemetry::one_line(why));
}

/// Says what was done without, on standard error: standard output has the files.
pub(super) fn remark(warning: &str) {
    telemetry::complain(&format!("note: {}", telemetry::one_line(warning)));
}

/// The pictures of a task that succeeded: the first under the name that was given, others with a number behind it.
pub(super) fn save(
    server: &Server,
    task: &Value,
    out: &Path,
    previews: &mut Previews,
) -> anyhow::Result<Vec<PathBuf>> {
    succeeded(task)?;
    task["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str).for_each(remark);
    let mut saved = Vec::new();
    for (number, url) in task["ossUrl"].as_array().into_iter().flatten().enumerate() {
        let path = numbered(out, number);
        let file = server.file(url.as_str().unwrap_or_default())?;
        std::fs::write(&path, &file).with_context(|| format!("{} cannot be written", path.display()))?;
        if previews.are_shown()
            && let Ok(picture) = decode(&file, &DecodeLimits::default())
        {
            previews.show_picture(&picture);
        }
        saved.push(path);
    }
    Ok(saved)
}

fn numbered(out: &Path, number: usize) -> PathBuf {
    if number == 0 {
        return out.to_owned();
    }
    let mut name = out.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{}", number + 1));
    if let Some(extension) = out.extension() {
        name.push(".");
        name.push(extension);
    }
    out.with_file_name(name)
}

fn base64_file(path: &Path) -> anyhow::Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    Ok(BASE64_STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_behind_the_first_have_a_number_behind_their_name() {
        for (out, second) in [("a/b.png", "a/b-2.png"), ("a/b", "a/b-2"), ("b.c.png", "b.c-2.png")] {
            assert_eq!(numbered(Path::new(out), 0), Path::new(out));
            assert_eq!(numbered(Path::new(out), 1), Path::new(second));
        }
    }
}
