//! `cargo xtask bench api`: what the server costs around a drawing, in one run: submits, status reads with many who wait
//! and listen, memory, and the time of a picture that is not the engine's. Beside it a small service of the kind one would
//! write in Python, `bench_api/fastapi_service.py`, which acknowledges no task before it is on the disk either.

mod load;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};

use crate::bench_plugins;
use crate::paths::Paths;
use crate::process::{capture, cargo, run};
use crate::python;
use crate::server::Server;
use crate::setup;
use crate::stages::Stages;

use load::{Client, Done, Listeners, together};

/// Clients at once, and how many tasks they submit.
const SUBMITS: [(usize, usize); 3] = [(1, 500), (16, 1_500), (64, 3_000)];
const CLIENTS: usize = 64;
const WAITING: usize = 10_000;
/// As many as the server lets one caller have.
const LISTENERS: usize = 1_000;
const READERS: usize = 8;
const READS: usize = 2_000;
const PICTURES: usize = 5;
const STEPS: u32 = 20;
const SIDE: u32 = 256;
/// Every listener is one here and one in the server.
const OPEN_FILES: u64 = 4_096;
const START: Duration = Duration::from_secs(180);
/// Longer than the server's own drain.
const DRAIN: Duration = Duration::from_secs(75);

/// A line of the table: ours, and what it is measured beside.
struct Row {
    work: String,
    ours: f64,
    beside: f64,
    unit: Unit,
}

#[derive(Clone, Copy)]
enum Unit {
    /// More is better.
    PerSecond,
    /// Less is better.
    Milliseconds,
}

/// Bytes in memory.
struct Memory {
    state: String,
    gesso: u64,
    /// `None` where it has no such state.
    fastapi: Option<u64>,
}

/// Seconds of the picture that came soonest.
struct Picture {
    whole: f64,
    engine: f64,
}

pub(crate) fn command(paths: &Paths) -> Result<()> {
    let mut stages = Stages::new(setup::STAGES + 5);
    setup::stages(paths, &mut stages)?;
    let requirements = paths.root.join("xtask/requirements/bench_api.txt");
    let packages = stages.run("FastAPI and uvicorn", "10 MB to fetch the first time", || {
        python::packages(&paths.cache, "bench-api", &requirements)
    })?;
    stages.run("build", "about 12 min on 2 cores the first time", || {
        let wanted = ["--bin", "gesso", "--example", "time_submits"];
        run(cargo(&paths.root).args(["build", "-p", "gesso", "-p", "gesso-store"]).args(wanted))
    })?;
    let folder = paths.local.join("bench-api");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let expected = "about 3 min; leave the machine alone";
    let (mut rows, memory) =
        stages.run("tasks, reads and listeners", expected, || services(paths, &folder, &packages))?;
    rows.push(stages.run("the store alone", "seconds", || store(paths, &folder))?);
    let expected = format!("{STEPS} steps of {SIDE}x{SIDE} by the demo checkpoint, {PICTURES} times");
    let picture = stages.run("a picture", &expected, || picture(paths, &folder))?;
    stages.finish()?;
    print(&rows, &memory, &picture);
    Ok(())
}

/// Both services side by side, asked in turns.
fn services(paths: &Paths, folder: &Path, packages: &Path) -> Result<(Vec<Row>, Vec<Memory>)> {
    allow_open_files()?;
    let gesso = start(paths, &folder.join("gesso"))?;
    let fastapi = start_fastapi(paths, &folder.join("fastapi"), packages)?;
    let found = measure(&gesso, &fastapi)
        .with_context(|| format!("Gesso: {}\nFastAPI: {}", gesso.last_words(), fastapi.last_words()))?;
    gesso.stop(DRAIN)?;
    fastapi.stop(DRAIN)?;
    Ok(found)
}

fn start(paths: &Paths, folder: &Path) -> Result<Server> {
    fs::create_dir_all(folder)?;
    let settings = folder.join("settings.toml");
    fs::write(&settings, format!("waiting_tasks_max = {}\n", 2 * WAITING))?;
    let binary = paths.target.join("debug/gesso");
    let mut command = Server::command(&binary, &paths.root, "127.0.0.1:0", folder);
    command.env("GESSO_CONFIG", settings);
    Server::launch(command, folder, START)
}

fn start_fastapi(paths: &Paths, folder: &Path, packages: &Path) -> Result<Server> {
    let mut command = Command::new("python3");
    command.arg(paths.root.join("xtask/src/bench_api/fastapi_service.py")).arg(folder.join("tasks.sqlite"));
    command.env("PYTHONPATH", packages).env("PYTHONDONTWRITEBYTECODE", "1");
    Server::launch(command, folder, START)
}

fn measure(gesso: &Server, fastapi: &Server) -> Result<(Vec<Row>, Vec<Memory>)> {
    let (ours, theirs) = (gesso.url.as_str(), fastapi.url.as_str());
    // Nothing is drawn meanwhile, and every task waits.
    Client::new(ours).post("/queue/pause")?;
    let memory = |state: String| {
        Ok::<_, anyhow::Error>(Memory { state, gesso: gesso.resident()?, fastapi: Some(fastapi.resident()?) })
    };
    let mut memories = vec![memory("at the start".to_owned())?];

    // A task that waits alone, so that the same is read as of one among many. Both services are warmed up by it.
    let read_alone = |url: &str| -> Result<Done<()>> {
        let task = submit(url, 1, 1)?.answers;
        read(url, &task)?;
        let done = read(url, &task)?;
        cancel(url, &task)?;
        Ok(done)
    };
    let alone = read_alone(ours)?;
    read_alone(theirs)?;

    let mut rows = Vec::new();
    for (clients, count) in SUBMITS {
        let (a, b) = (submit(ours, clients, count)?, submit(theirs, clients, count)?);
        // The next begin with an empty queue again.
        cancel(ours, &a.answers)?;
        cancel(theirs, &b.answers)?;
        rows.push(Row::rates(format!("Submits, clients at once: {clients}; FastAPI and SQLite"), &a, &b));
    }
    let (a, b) = (submit(ours, CLIENTS, WAITING)?, submit(theirs, CLIENTS, WAITING)?);
    let work = format!("Submits, clients at once: {CLIENTS}, until {WAITING} tasks wait; FastAPI and SQLite");
    rows.push(Row::rates(work, &a, &b));
    memories.push(memory(format!("with {WAITING} tasks waiting"))?);

    let (many, beside) = (read(ours, &a.answers)?, read(theirs, &b.answers)?);
    let listeners = Listeners::open(ours, &a.answers[..LISTENERS])?;
    let listened = read(ours, &a.answers)?;
    listeners.check()?;
    let state = format!("with {LISTENERS} listeners beside");
    memories.push(Memory { state, gesso: gesso.resident()?, fastapi: None });
    drop(listeners);

    let (wait, listen) = (format!("{WAITING} tasks wait"), format!("{LISTENERS} listen in silence"));
    rows.extend(Row::times(&format!("{wait}; FastAPI with as many rows"), &many, &beside));
    let work = format!("{wait} and {listen}; FastAPI with as many rows, nobody listens");
    rows.extend(Row::times(&work, &listened, &beside));
    let work = format!("{wait} and {listen}; Gesso where one task waits, nobody listens");
    rows.extend(Row::times(&work, &listened, &alone));
    Ok((rows, memories))
}

fn submit(url: &str, clients: usize, count: usize) -> Result<Done<String>> {
    let drawing = drawing();
    together(url, clients, count, |client, _| client.submit(&drawing))
}

/// Reads the status of these tasks, here and there among them.
fn read(url: &str, ids: &[String]) -> Result<Done<()>> {
    /// Prime, so that it comes to all of them.
    const STRIDE: usize = 7_919;
    together(url, READERS, READS, |client, number| client.read_waiting(&ids[number * STRIDE % ids.len()]))
}

fn cancel(url: &str, ids: &[String]) -> Result<()> {
    together(url, CLIENTS, ids.len(), |client, number| client.cancel(&ids[number])).map(drop)
}

fn drawing() -> Value {
    json!({"stable_diffusion_model": "demo-v1", "prompt": "sea at night", "steps": STEPS, "width": SIDE, "height": SIDE, "seed": 1})
}

/// The durable store beside the one in memory, without a server around them.
fn store(paths: &Paths, folder: &Path) -> Result<Row> {
    let folder = folder.join("store");
    fs::create_dir_all(&folder)?;
    let program = paths.target.join("debug/examples/time_submits");
    let rates = bench_plugins::read(&capture(Command::new(program).arg(folder))?);
    let of =
        |name: &str| rates.get(name).copied().with_context(|| format!("nothing was measured for {name:?}"));
    let work = "Submits to the store, 64 at once: sled; in memory".to_owned();
    Ok(Row { work, ours: of("sled")?, beside: of("memory")?, unit: Unit::PerSecond })
}

/// The best of some, with the first-party plugins, one after the other.
fn picture(paths: &Paths, folder: &Path) -> Result<Picture> {
    let server = start(paths, &folder.join("pictures"))?;
    let client = Client::new(&server.url);
    let drawing = drawing();
    let mut best = Picture { whole: f64::INFINITY, engine: 0.0 };
    for _ in 0..PICTURES {
        let before = engine_seconds(&client.get("/metrics")?);
        let began = Instant::now();
        client.draw(&drawing).with_context(|| server.last_words())?;
        let whole = began.elapsed().as_secs_f64();
        let engine = engine_seconds(&client.get("/metrics")?) - before;
        ensure!(engine > 0.0, "GET /metrics does not tell how long the engine took");
        if whole < best.whole {
            best = Picture { whole, engine };
        }
    }
    server.stop(DRAIN)?;
    Ok(best)
}

/// How long drawings were in the engine since the server began; 0 before the first.
fn engine_seconds(metrics: &str) -> f64 {
    let sum = |line: &str| -> Option<f64> {
        line.strip_prefix(r#"gesso_stage_seconds_sum{stage="engine"}"#)?.trim().parse().ok()
    };
    metrics.lines().find_map(sum).unwrap_or_default()
}

/// Programs started from here on inherit it.
fn allow_open_files() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let is_enough = |bound: Option<u64>| bound.is_none_or(|bound| bound >= OPEN_FILES);
    if is_enough(limit.current) {
        return Ok(());
    }
    ensure!(
        is_enough(limit.maximum),
        "{LISTENERS} listeners need {OPEN_FILES} open files, and `ulimit -Hn` allows {}: have it raised",
        limit.maximum.unwrap_or_default()
    );
    let raised = Rlimit { current: Some(OPEN_FILES), maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).context("the limit of open files could not be raised")
}

impl Row {
    fn rates<T>(work: String, ours: &Done<T>, beside: &Done<T>) -> Self {
        Self { work, ours: ours.per_second(), beside: beside.per_second(), unit: Unit::PerSecond }
    }

    /// The median, and what one read in a hundred takes longer than.
    fn times(work: &str, ours: &Done<()>, beside: &Done<()>) -> [Self; 2] {
        [("p50", 0.5), ("p99", 0.99)].map(|(name, share)| Self {
            work: format!("Status read, {name}: {work}"),
            ours: ours.percentile(share),
            beside: beside.percentile(share),
            unit: Unit::Milliseconds,
        })
    }
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::PerSecond => format!("{value:.0} /s"),
            Self::Milliseconds => format!("{value:.2} ms"),
        }
    }
}

fn print(rows: &[Row], memory: &[Memory], picture: &Picture) {
    println!("\n| Work | Gesso | Beside it | Ratio |\n|---|---|---|---|");
    for Row { work, ours, beside, unit } in rows {
        println!("| {work} | {} | {} | {:.2} |", unit.show(*ours), unit.show(*beside), ours / beside);
    }
    println!("\n| Memory | Gesso | FastAPI |\n|---|---|---|");
    let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    for Memory { state, gesso, fastapi } in memory {
        let fastapi = fastapi.map_or_else(|| "-".to_owned(), megabytes);
        println!("| {state} | {} | {fastapi} |", megabytes(*gesso));
    }
    let Picture { whole, engine } = picture;
    println!(
        "\nA picture of {STEPS} steps at {SIDE}x{SIDE} took {whole:.3} s, {engine:.3} s of them in the engine: the service adds \
         {:.2} %.",
        (whole - engine) / engine * 100.0
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engines_seconds_are_found_among_other_stages() {
        let metrics = "# TYPE gesso_stage_seconds histogram\n\
                       gesso_stage_seconds_bucket{stage=\"engine\",le=\"0.001\"} 0\n\
                       gesso_stage_seconds_sum{stage=\"store\"} 0.02\n\
                       gesso_stage_seconds_sum{stage=\"engine\"} 4.25\n";
        assert!((engine_seconds(metrics) - 4.25).abs() < 1e-9);
        assert!(engine_seconds("").abs() < 1e-9);
    }
}
