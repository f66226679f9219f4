//! `cargo xtask bench plugins`: what plugins cost, beside what else one could take, in one run. The program that is timed is
//! the plugin host's example `time_calls`; OpenCV works on the same picture in turns with it, a server draws the picture that
//! hooks are measured against.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::kits;
use crate::paths::Paths;
use crate::process::{BUILD_TIME, build, capture};
use crate::python;
use crate::server::Server;
use crate::setup;
use crate::stages::Stages;

/// Milliseconds, but for what says otherwise in its name.
type Times = BTreeMap<String, f64>;

const SIDE: u32 = 512;
const STEPS: u32 = 20;
/// What is aimed at: times of OpenCV's, and parts of a picture's.
const OPENCV_MOST: f64 = 1.5;
const HOOKS_MOST: f64 = 0.01;

pub(crate) fn command(paths: &Paths) -> Result<()> {
    let mut stages = Stages::new(setup::STAGES + 5);
    setup::stages(paths, &mut stages)?;
    kits::stage(paths, &mut stages)?;
    let requirements = paths.root.join("xtask/requirements/bench_plugins.txt");
    let packages = stages.run("OpenCV and NumPy", "60 MB to fetch the first time", || {
        python::packages(&paths.cache, "bench-plugins", &requirements)
    })?;
    stages.run("build", BUILD_TIME, || build(&paths.root))?;
    let folder = paths.local.join("bench-plugins");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let mut times =
        stages.run("plugins and OpenCV", "about 7 min, most of it to compile a thousand", || {
            time_calls(paths, &folder, &packages)
        })?;
    stages.run("a picture", "20 steps of 512x512 by the demo checkpoint, thrice", || {
        times.insert("picture".into(), draw(paths, &folder)?);
        Ok(())
    })?;
    stages.finish()?;
    print(&times)
}

fn time_calls(paths: &Paths, folder: &Path, packages: &Path) -> Result<Times> {
    let gesso = paths.target.join("debug/gesso");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::iter::once(paths.kits().join("bin")).chain(std::env::split_paths(&path));
    let path = std::env::join_paths(places)?;
    let mut components = Vec::new();
    for language in ["python", "js"] {
        let project = folder.join(language);
        let mut new = Command::new(&gesso);
        new.args(["plugin", "new", language, "--lang", language, "--world", "request-hook", "--folder"]);
        capture(new.arg(&project))?;
        capture(Command::new(&gesso).args(["plugin", "build"]).arg(&project).env("PATH", &path))?;
        components.push(project.join(format!("{language}.wasm")));
    }
    let mut program = Command::new(paths.target.join("debug/examples/time_calls"));
    program.arg(&paths.local).args(&components);
    program.arg(paths.root.join("host/plugin-host/examples/time_opencv.py")).arg(folder);
    program.env("PYTHONPATH", packages).env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(read(&capture(&mut program)?))
}

/// Lines of a name, a tab and a number.
pub(crate) fn read(text: &str) -> Times {
    let lines = text.lines().filter_map(|line| line.split_once('\t'));
    lines.filter_map(|(name, number)| Some((name.to_owned(), number.trim().parse().ok()?))).collect()
}

/// The best of three, without any plugin.
fn draw(paths: &Paths, folder: &Path) -> Result<f64> {
    let data = folder.join("server");
    let binary = paths.target.join("debug/gesso");
    let server = Server::start(&binary, &paths.root, "127.0.0.1:0", &data, Duration::from_secs(180))?;
    let body = json!({"stable_diffusion_model": "demo-v3", "prompt": "sea at night", "steps": STEPS, "width": SIDE, "height": SIDE, "seed": 1});
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let began = Instant::now();
        let reply = agent.post(format!("{}/txt2img", server.url)).send_json(&body)?;
        ensure!(reply.status().is_success(), "the server answered {}", reply.status());
        best = best.min(began.elapsed().as_secs_f64() * 1000.0);
    }
    server.stop(Duration::from_secs(75))?;
    Ok(best)
}

/// The most that a ratio is meant to be, and whether it is no more.
fn aim(ratio: f64, most: Option<f64>) -> String {
    most.map_or_else(String::new, |most| {
        format!("at most {most}: {}", if ratio <= most { "reached" } else { "missed" })
    })
}

fn print(times: &Times) -> Result<()> {
    let of =
        |name: &str| times.get(name).copied().with_context(|| format!("nothing was measured for {name:?}"));
    let row = |work: &str, ours: &str, beside: &str, most: Option<f64>| -> Result<()> {
        let (a, b) = (of(ours)?, of(beside)?);
        println!("| {work} | {a:.2} ms | {b:.2} ms | {:.2} | {} |", a / b, aim(a / b, most));
        Ok(())
    };
    println!("\n| Work | Gesso | Beside it | Ratio | Aim |\n|---|---|---|---|---|");
    row(
        "Instantiate and call a hook; wasmtime alone",
        "the same in the host",
        "wasmtime alone, instantiate and call",
        None,
    )?;
    row("canny, 512x512; OpenCV on one thread", "canny", "OpenCV canny", Some(OPENCV_MOST))?;
    let blur = "blur_gaussian, sigma 9, 512x512; OpenCV on one thread";
    row(blur, "blur_gaussian", "OpenCV blur", Some(OPENCV_MOST))?;
    let hooks = of("the same in the host")? + of("watermark, after")?;
    let picture = of("picture")?;
    println!(
        "| A hook before and one after on 512x512; a picture of 20 steps by the demo checkpoint | {hooks:.2} ms | \
         {picture:.0} ms | {:.5} | {} |",
        hooks / picture,
        aim(hooks / picture, Some(HOOKS_MOST))
    );
    let empty = of("a start without plugins")?;
    println!(
        "\n| Plugins in other languages | Install | First call | Call | Loaded at a start | First call after it |\n\
         |---|---|---|---|---|---|"
    );
    for language in ["Python", "JavaScript"] {
        let of = |what: &str| of(&format!("{language}, {what}"));
        println!(
            "| {language} | {:.1} s | {:.2} ms | {:.2} ms | {:.1} ms | {:.2} ms |",
            of("install")? / 1000.0,
            of("first call")?,
            of("call")?,
            of("start")? - empty,
            of("first call after it")?
        );
    }
    println!(
        "\nA thousand plugins that all want every request: installed in {:.0} s, {:.1} MB of memory, {:.0} ms a request \
         where one takes {:.2} ms. Where all but one wait to be named, that one takes {:.2} ms.",
        of("999 installs")? / 1000.0,
        of("memory of 999 plugins, MB")?,
        of("a thousand hooks")?,
        of("one hook")?,
        of("one hook beside 999")?
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aim_says_whether_it_is_reached() {
        assert_eq!(aim(1.5, Some(1.5)), "at most 1.5: reached");
        assert_eq!(aim(1.6, Some(1.5)), "at most 1.5: missed");
        assert_eq!(aim(7.0, None), "");
    }

    #[test]
    fn lines_of_times_are_read_and_others_left() {
        let times = read("a call\t1.5\nwarning: x\nanother\t2\nno number\tx\n");
        assert_eq!(times, Times::from([("a call".into(), 1.5), ("another".into(), 2.0)]));
    }
}
