//! `cargo xtask demo`: from a fresh clone to a picture. Set-up, build, the real server, one request through a plugin
//! on each side of the generation, and the picture fetched from its signed URL as any client would.

mod client;
mod picture;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::paths::Paths;
use crate::process::{cargo, run};
use crate::server::Server;
use crate::setup;
use crate::stages::{Stages, duration};

use client::{Client, Drawn};

/// Sets up, builds, serves and draws a picture; stays up until Ctrl-C (15 min the first time, then seconds)
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Exit after the picture
    #[arg(long)]
    once: bool,
}

const PORT: u16 = 7860;
const SIDE: u32 = 128;
const STEPS: u64 = 20;
/// Longer than the server's own drain.
const DRAIN: Duration = Duration::from_secs(75);

pub(crate) fn command(options: &Options) -> Result<()> {
    let paths = Paths::find()?;
    let mut stages = Stages::new(setup::STAGES + 3);
    setup::stages(&paths, &mut stages)?;
    let expected = "about 12 min on 2 cores the first time, then seconds";
    let binary = stages.run("server build", expected, || build(&paths))?;

    let stop = stop_flag()?;
    let mut server =
        stages.run("server start", "seconds: it reads the checkpoint and loads the plugins", || {
            let folder = paths.local.join("demo-data");
            let mut serve = Server::command(&binary, &paths.root, &free_address()?, &folder);
            serve.env("GESSO_CONFIG", settings(&folder)?);
            Server::launch(serve, &folder, Duration::from_secs(180))
        })?;
    println!("      listening on {}", server.url);

    let picture = stages.run("picture", "20 steps of 128×128, seconds", || draw(&mut server, &stop));
    let picture = match picture {
        Ok(picture) => picture,
        Err(error) if stop.load(Ordering::Relaxed) => {
            server.stop(DRAIN)?;
            return Err(error);
        }
        Err(error) => bail!("{error:#}\n{}", server.last_words()),
    };
    stages.finish()?;
    picture.print(&server.url);
    if options.once {
        println!("\nStopping the server.");
        return server.stop(DRAIN);
    }
    println!("\nThe server stays up; Ctrl-C stops it.");
    while !stop.load(Ordering::Relaxed) {
        if let Some(status) = server.ended()? {
            bail!("the server ended by itself ({status}). {}", server.last_words());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("\nStopping the server; running tasks are finished first.");
    server.stop(DRAIN)
}

/// Writes what is set for the demonstration into its folder: what the watermark says, which says nothing of itself.
fn settings(folder: &Path) -> Result<PathBuf> {
    let file = folder.join("gesso.toml");
    fs::create_dir_all(folder)?;
    fs::write(&file, "[grants.watermark.settings]\ntext = \"gesso\"\n")
        .with_context(|| format!("{} cannot be written", file.display()))?;
    Ok(file)
}

/// The binary that `cargo run -p gesso` runs.
fn build(paths: &Paths) -> Result<PathBuf> {
    run(cargo(&paths.root).args(["build", "--package", "gesso"]))?;
    Ok(paths.target.join("debug/gesso"))
}

/// Raised by Ctrl-C, SIGTERM and SIGHUP from the server's start on; before that they end the program as usual.
fn stop_flag() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&stop);
    ctrlc::set_handler(move || raised.store(true, Ordering::Relaxed)).context("signals cannot be caught")?;
    Ok(stop)
}

fn free_address() -> Result<String> {
    match TcpListener::bind(("127.0.0.1", PORT)) {
        Ok(_) => Ok(format!("127.0.0.1:{PORT}")),
        Err(_) => {
            println!("      port {PORT} is taken; the server picks a free one");
            Ok("127.0.0.1:0".to_owned())
        }
    }
}

/// What the demonstration shows of its picture.
struct Shown {
    file: PathBuf,
    signed_url: String,
    prompt: String,
    drawn: Drawn,
}

fn draw(server: &mut Server, stop: &AtomicBool) -> Result<Shown> {
    let client = Client::new(&server.url);
    let request = json!({
        "stable_diffusion_model": "demo-v3",
        // dynamic-prompts replaces the braces before the generation; watermark marks the picture after it.
        "prompt": "snowy mountains at {0::night|sunrise}",
        "steps": STEPS,
        "seed": 6,
        "width": SIDE,
        "height": SIDE,
        "sampler_name": "DPM++ 2M",
        "cfg_scale": 5,
    });
    let drawn = client.draw(&request, STEPS, || {
        ensure!(!stop.load(Ordering::Relaxed), "stopped before the picture was finished");
        match server.ended()? {
            Some(status) => bail!("the server ended while it drew ({status})"),
            None => Ok(()),
        }
    })?;
    let prompt = prompt_drawn(&drawn.result)?;
    ensure!(prompt == "snowy mountains at sunrise", "dynamic-prompts left the prompt {prompt:?}");

    let path = drawn.result["ossUrl"][0].as_str().context("the result has no signed URL")?;
    let signed_url = client.absolute(path);
    let bytes = client.fetch(&signed_url)?;
    let (width, height) = picture::size(&bytes)?;
    ensure!((width, height) == (SIDE, SIDE), "the picture is {width}×{height}, not {SIDE}×{SIDE}");

    let name = drawn.result["images"][0].as_str().context("the result names no picture")?;
    let file = server.data().join("objects").join(name);
    check_stored(&file, &bytes)?;
    Ok(Shown { file, signed_url, prompt, drawn })
}

/// The prompt after the plugins, from the `info` string of the web UI's shape.
fn prompt_drawn(result: &Value) -> Result<String> {
    let info = match &result["info"] {
        Value::String(text) => serde_json::from_str(text).context("the result's info is not JSON")?,
        other => other.clone(),
    };
    info["prompt"].as_str().map(str::to_owned).context("the result's info has no prompt")
}

fn check_stored(file: &Path, served: &[u8]) -> Result<()> {
    let stored = fs::read(file).with_context(|| format!("{} is not on disk", file.display()))?;
    ensure!(stored == served, "{} and the served picture differ", file.display());
    Ok(())
}

impl Shown {
    fn print(&self, url: &str) {
        let Drawn { sampling, whole, .. } = self.drawn;
        println!("\n  prompt      {}", self.prompt);
        println!("  picture     {}", self.file.display());
        println!("  signed URL  {}", self.signed_url);
        match sampling {
            Some(rate) => {
                println!("  speed       {rate:.1} steps/s, {} from request to picture", duration(whole))
            }
            None => println!("  speed       {:.1} steps/s, all included", STEPS as f64 / whole.as_secs_f64()),
        }
        let body = r#"{"stable_diffusion_model":"demo-v3","prompt":"a large {red|blue} circle","width":128,"height":128}"#;
        println!("\nNext, in another terminal:");
        println!("  curl {url}/txt2img -H 'content-type: application/json' -d '{body}'");
        println!("  curl {url}/ext/hello-api/");
        println!("  cargo run -p gesso -- txt2img \"sea at night\" --width 128 --height 128 -o night.png");
    }
}
