//! `cargo xtask bench api`: what the server costs around a drawing, in one run: submits, status reads with many who wait
//! and listen and while the queue drains, results, memory, and the time of a picture that is not the engine's. The server's
//! pictures are made up (`--made-up-pictures`), but for that one. Beside it a small service of the kind one would write in
//! Python, `bench_api/fastapi_service.py`, which acknowledges no task before it is on the disk either.

mod load;
mod report;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};

use crate::bench_plugins;
use crate::paths::Paths;
use crate::process::{BUILD_TIME, build, capture};
use crate::python;
use crate::server::Server;
use crate::setup;
use crate::stages::Stages;

use load::{Client, Done, Listeners, together};
use report::{Memory, Row, Split, Unit};

/// Clients at once, and how many tasks they submit.
const SUBMITS: [(usize, usize); 3] = [(1, 500), (16, 1_500), (64, 3_000)];
const CLIENTS: usize = 64;
const WAITING: usize = 10_000;
/// As many as the server lets one caller have.
const LISTENERS: usize = 1_000;
const READERS: usize = 8;
const READS: usize = 2_000;
/// Clients at once, and how many tasks they have drawn.
const DRAWN: [(usize, usize); 2] = [(16, 1_000), (64, 2_000)];
/// Requests of one client, each sent when the one before is answered.
const ALONE: usize = 300;
const PICTURES: usize = 5;
const STEPS: u32 = 20;
const SIDE: u32 = 256;
/// As small as pictures may be that are not drawn: what is made of them behind the engine is the service's.
const MADE_UP_SIDE: u32 = 64;
/// Every listener is one in its server, and those of both services are here.
const OPEN_FILES: u64 = 4_096;
const START: Duration = Duration::from_secs(180);
/// Longer than the server's own drain.
const DRAIN: Duration = Duration::from_secs(75);

/// A way to have a picture and wait for it.
type Way = fn(&Client, &Value) -> Result<()>;

/// What both services gave.
struct Found {
    rows: Vec<Row>,
    memory: Vec<Memory>,
    /// A sync request, on average.
    request: Split,
}

pub(crate) fn command(paths: &Paths) -> Result<()> {
    let mut stages = Stages::new(setup::STAGES + 5);
    setup::stages(paths, &mut stages)?;
    let requirements = paths.root.join("xtask/requirements/bench_api.txt");
    let packages = stages.run("FastAPI and uvicorn", "10 MB to fetch the first time", || {
        python::packages(&paths.cache, "bench-api", &requirements)
    })?;
    stages.run("build", BUILD_TIME, || build(&paths.root))?;
    let folder = paths.local.join("bench-api");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let expected = "about 4 min; leave the machine alone";
    let Found { mut rows, memory, request } =
        stages.run("tasks, reads and listeners", expected, || services(paths, &folder, &packages))?;
    rows.push(stages.run("the store alone", "seconds", || store(paths, &folder))?);
    let expected = format!("{STEPS} steps of {SIDE}x{SIDE} by the demo checkpoint, {PICTURES} times");
    let picture = stages.run("a picture", &expected, || picture(paths, &folder))?;
    stages.finish()?;
    report::print(&rows, &memory);
    report::print_around(request, picture, &format!("A picture of {STEPS} steps at {SIDE}x{SIDE}"));
    Ok(())
}

/// Both services side by side, asked in turns.
fn services(paths: &Paths, folder: &Path, packages: &Path) -> Result<Found> {
    allow_open_files()?;
    let gesso = start(paths, &folder.join("gesso"), &["--made-up-pictures"])?;
    let fastapi = start_fastapi(paths, &folder.join("fastapi"), packages)?;
    let found = measure(&gesso, &fastapi)
        .with_context(|| format!("Gesso: {}\nFastAPI: {}", gesso.last_words(), fastapi.last_words()))?;
    gesso.stop(DRAIN)?;
    fastapi.stop(DRAIN)?;
    Ok(found)
}

fn start(paths: &Paths, folder: &Path, arguments: &[&str]) -> Result<Server> {
    fs::create_dir_all(folder)?;
    let settings = folder.join("settings.toml");
    fs::write(&settings, format!("waiting_tasks_max = {}\n", 2 * WAITING))?;
    let binary = paths.target.join("debug/gesso");
    let mut command = Server::command(&binary, &paths.root, "127.0.0.1:0", folder);
    command.args(arguments).env("GESSO_CONFIG", settings);
    Server::launch(command, folder, START)
}

fn start_fastapi(paths: &Paths, folder: &Path, packages: &Path) -> Result<Server> {
    let mut command = Command::new("python3");
    command.arg(paths.root.join("xtask/src/bench_api/fastapi_service.py")).arg(folder.join("tasks.sqlite"));
    command.env("PYTHONPATH", packages).env("PYTHONDONTWRITEBYTECODE", "1");
    Server::launch(command, folder, START)
}

fn measure(gesso: &Server, fastapi: &Server) -> Result<Found> {
    let (ours, theirs) = (gesso.url.as_str(), fastapi.url.as_str());
    // Nothing is drawn at first, and every task waits.
    for url in [ours, theirs] {
        Client::new(url).post("/queue/pause")?;
    }
    let memory = |state: String| {
        Ok::<_, anyhow::Error>(Memory { state, gesso: gesso.resident()?, fastapi: fastapi.resident()? })
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
    let open = |url: &str, ids: &[String]| Listeners::open(url, &ids[..LISTENERS]);
    let listeners = [open(ours, &a.answers)?, open(theirs, &b.answers)?];
    let (listened, beside_listened) = (read(ours, &a.answers)?, read(theirs, &b.answers)?);
    for of_one in &listeners {
        of_one.check()?;
    }
    memories.push(memory(format!("with {LISTENERS} listeners beside"))?);
    drop(listeners);

    let (wait, listen) = (format!("{WAITING} tasks wait"), format!("{LISTENERS} listen in silence"));
    let what = "Status read";
    rows.extend(Row::times(what, &format!("{wait}; FastAPI with as many rows"), &many, &beside));
    let work = format!("{wait} and {listen}; FastAPI with as many rows and listeners");
    rows.extend(Row::times(what, &work, &listened, &beside_listened));
    let work = format!("{wait} and {listen}; Gesso where one task waits, nobody listens");
    rows.extend(Row::times(what, &work, &listened, &alone));

    let (draining, beside) = (read_draining(ours, &a.answers)?, read_draining(theirs, &b.answers)?);
    let work = format!("{wait} and the queue drains; FastAPI that marks as many rows done");
    rows.extend(Row::times(what, &work, &draining, &beside));
    drawn(ours, theirs, &mut rows)?;
    let request = request(ours, theirs, &mut rows)?;
    Ok(Found { rows, memory: memories, request })
}

/// Reads while waiting tasks are drawn, one after the other; then withdraws those that are left.
fn read_draining(url: &str, ids: &[String]) -> Result<Done<()>> {
    let client = Client::new(url);
    client.post("/queue/resume")?;
    client.wait_for_begin(&ids[0])?;
    let done = read_by(url, ids, Client::read)?;
    // One of the last that came.
    let last = ids.last().context("no task waits")?;
    client.read_waiting(last).context("the queue was empty before the reads were through")?;
    client.post("/queue/pause")?;
    together(url, CLIENTS, ids.len(), |client, number| client.withdraw(&ids[number]))?;
    client.post("/queue/resume")?;
    Ok(done)
}

/// From requests to their results.
fn drawn(ours: &str, theirs: &str, rows: &mut Vec<Row>) -> Result<()> {
    let ways: [(&str, Way); 2] = [("async and its events", Client::follow), ("sync", Client::draw)];
    let drawing = drawing(1, MADE_UP_SIDE);
    for (clients, count) in DRAWN {
        for (name, way) in ways {
            let of = |url: &str| together(url, clients, count, |client, _| way(client, &drawing));
            let work = format!("Results, clients at once: {clients}, {name}; FastAPI and SQLite");
            rows.push(Row::rates(work, &of(ours)?, &of(theirs)?));
        }
    }
    Ok(())
}

/// One sync request after the other.
fn request(ours: &str, theirs: &str, rows: &mut Vec<Row>) -> Result<Split> {
    let drawing = drawing(1, MADE_UP_SIDE);
    let of = |url: &str| together(url, 1, ALONE, |client, _| client.draw(&drawing));
    let client = Client::new(ours);
    let before = engine_seconds(&client.get("/metrics")?);
    let done = of(ours)?;
    let engine = engine_seconds(&client.get("/metrics")?) - before;
    rows.extend(Row::times("Sync request", "one client; FastAPI and SQLite", &done, &of(theirs)?));
    Ok(Split { whole: done.mean(), engine: engine / ALONE as f64 })
}

fn submit(url: &str, clients: usize, count: usize) -> Result<Done<String>> {
    let drawing = drawing(1, MADE_UP_SIDE);
    together(url, clients, count, |client, _| client.submit(&drawing))
}

/// Reads the status of these tasks, here and there among them.
fn read(url: &str, ids: &[String]) -> Result<Done<()>> {
    read_by(url, ids, Client::read_waiting)
}

fn read_by(url: &str, ids: &[String], read: fn(&Client, &str) -> Result<()>) -> Result<Done<()>> {
    /// Prime, so that it comes to all of them.
    const STRIDE: usize = 7_919;
    together(url, READERS, READS, |client, number| read(client, &ids[number * STRIDE % ids.len()]))
}

fn cancel(url: &str, ids: &[String]) -> Result<()> {
    together(url, CLIENTS, ids.len(), |client, number| client.cancel(&ids[number])).map(drop)
}

fn drawing(steps: u32, side: u32) -> Value {
    json!({"stable_diffusion_model": "demo-v3", "prompt": "sea at night", "steps": steps, "width": side, "height": side, "seed": 1})
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

/// The best of some that are really drawn, with the first-party plugins, one after the other.
fn picture(paths: &Paths, folder: &Path) -> Result<Split> {
    let server = start(paths, &folder.join("pictures"), &[])?;
    let client = Client::new(&server.url);
    let drawing = drawing(STEPS, SIDE);
    let mut best = Split { whole: f64::INFINITY, engine: 0.0 };
    for _ in 0..PICTURES {
        let before = engine_seconds(&client.get("/metrics")?);
        let began = Instant::now();
        client.draw(&drawing).with_context(|| server.last_words())?;
        let whole = began.elapsed().as_secs_f64();
        let engine = engine_seconds(&client.get("/metrics")?) - before;
        ensure!(engine > 0.0, "GET /metrics does not tell how long the engine took");
        if whole < best.whole {
            best = Split { whole, engine };
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
