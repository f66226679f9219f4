//! `kill -9` in a loop: a child process submits, leases, moves, cancels and finishes tasks and reports each acknowledged
//! step; the parent kills it at a random moment, opens what is left and compares it with the reports.
//!
//! `GESSO_KILL_ROUNDS` sets the number of rounds (100), `GESSO_KILL_SEED` repeats the moments of an earlier run.

#![expect(clippy::unwrap_used, reason = "a test may end at its first surprise")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gesso_core::ids::TaskId;
use gesso_store::testing::conformance::{new_task, outcome};
use gesso_store::{
    Clock, MoveTo, ObjectKey, ObjectSettings, Objects, ObjectsError, Outcome, Release, SledSettings,
    SledTasks, SystemClock, TaskFilter, TaskState, TaskStore, TaskStoreError,
};

const CHILD: &str = "GESSO_KILL_CHILD";
const ROUND: &str = "GESSO_KILL_ROUND";
const TTL: Duration = Duration::from_secs(60);

#[test]
fn no_acknowledged_task_and_no_reported_picture_is_lost_by_kill_9() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let rounds = number("GESSO_KILL_ROUNDS").unwrap_or(100);
    let seed = number("GESSO_KILL_SEED").unwrap_or_else(|| SystemClock.now_ms());
    println!("{rounds} rounds, GESSO_KILL_SEED={seed}");
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut random = Random(seed);
    let mut expected = Expected::default();
    let (mut opening, mut slowest_open) = (Duration::ZERO, Duration::ZERO);
    let began = Instant::now();
    for round in 0..rounds {
        // Some rounds end while the database is still being opened.
        let delay =
            Duration::from_millis(if random.below(4) == 0 { random.below(40) } else { random.below(300) });
        expected.hear(&run_child(folder.path(), round, delay));
        let opened = Instant::now();
        let store = runtime.block_on(open(folder.path()));
        slowest_open = slowest_open.max(opened.elapsed());
        opening += opened.elapsed();
        if runtime.block_on(expected.check(&store, &objects(folder.path()))) > 400 {
            runtime.block_on(expected.forget_ended(&store));
        }
    }
    let size = runtime.block_on(async { open(folder.path()).await.stats().await.unwrap().size_on_disk });
    println!(
        "{rounds} kills in {:.1} s: {} acknowledged steps, {} pictures read back, 0 lost; \
         {opening:.1?} of reopening, the slowest {slowest_open:.0?}, {size} bytes on disk",
        began.elapsed().as_secs_f32(),
        expected.steps,
        expected.pictures,
    );
    // A handful of rounds may all end before the database was open.
    assert!(rounds < 20 || expected.steps > rounds, "the writer did too little to prove anything");
    assert!(rounds < 20 || expected.pictures > 0, "no picture was finished");
}

/// Started by the test above it works until it is killed; started by the test runner it works for a moment and is
/// checked without a kill.
#[test]
fn the_writer_reports_only_what_can_be_read_back() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    if let Some(folder) = std::env::var_os(CHILD) {
        let round = std::env::var(ROUND).unwrap();
        return runtime.block_on(write(Path::new(&folder), &round, Duration::MAX, &|line| {
            let mut out = std::io::stdout().lock();
            out.write_all(format!("{line}\n").as_bytes()).unwrap();
            out.flush().unwrap();
        }));
    }
    let folder = tempfile::tempdir().unwrap();
    let lines = std::sync::Mutex::new(Vec::new());
    let half_a_second = Duration::from_millis(500);
    runtime.block_on(write(folder.path(), "0", half_a_second, &|line| lines.lock().unwrap().push(line)));
    let mut expected = Expected::default();
    expected.hear(&lines.into_inner().unwrap());
    runtime.block_on(async {
        expected.check(&open(folder.path()).await, &objects(folder.path())).await;
    });
    assert!(expected.pictures > 0, "no picture was finished");
}

/// Returns the lines that the child wrote before it died.
fn run_child(folder: &Path, round: u64, delay: Duration) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_writer_reports_only_what_can_be_read_back", "--nocapture", "--test-threads=1"])
        .env(CHILD, folder)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    // Read while it runs: a full pipe would stop the child.
    let reader = std::thread::spawn(move || out.lines().map_while(Result::ok).collect::<Vec<_>>());
    std::thread::sleep(delay);
    assert!(child.try_wait().unwrap().is_none(), "the writer of round {round} ended by itself: {:?}", {
        child.wait_with_output().unwrap()
    });
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

async fn open(folder: &Path) -> SledTasks {
    let settings = SledSettings { reserve_bytes: Some(0), ..SledSettings::default() };
    SledTasks::open(&folder.join("tasks"), settings, Arc::new(SystemClock)).await.expect("the store opens")
}

fn objects(folder: &Path) -> Objects {
    let settings = ObjectSettings {
        options: Default::default(),
        url_secrets: folder.join("keys/urls.json"),
        clock: Arc::new(SystemClock),
    };
    Objects::open(folder.join("objects").to_str().unwrap(), settings).expect("the objects open")
}

/// The bytes of a picture, told by its key, so that mixed up pictures are found.
fn picture(key: &ObjectKey) -> Vec<u8> {
    key.as_str().bytes().cycle().take(5_000).collect()
}

/// Works with three workers, two submitters and a canceller until `end`.
async fn write(folder: &Path, round: &str, end: Duration, report: &impl Fn(String)) {
    let store = open(folder).await;
    let objects = objects(folder);
    let began = Instant::now();
    let running = || began.elapsed() < end;
    let work = async |worker: &str| {
        let mut random = Random(worker.len() as u64 + round.len() as u64);
        while running() {
            let Some(lease) = store.lease(worker, TTL).await.unwrap() else {
                tokio::time::sleep(Duration::from_millis(1)).await;
                continue;
            };
            let (id, attempt) = (lease.task.id.clone(), lease.attempt);
            report(format!("leased {id} {attempt}"));
            match random.below(10) {
                0 => {
                    store.release(&lease, Release::Rest).await.unwrap();
                    continue;
                }
                1 => {
                    store.finish(&lease, TaskState::Failed, Outcome::default()).await.unwrap();
                    report(format!("finished {id} {attempt} failed"));
                    continue;
                }
                2 => tokio::time::sleep(Duration::from_millis(random.below(20))).await,
                _ => {}
            }
            let outcome = outcome(&lease);
            for image in &outcome.images {
                objects.put(image, picture(image).into()).await.unwrap();
            }
            store.finish(&lease, TaskState::Succeeded, outcome).await.unwrap();
            report(format!("finished {id} {attempt} succeeded"));
        }
    };
    let submit = async |name: &str| {
        for number in 0.. {
            while store.stats().await.unwrap().waiting > 40 && running() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            if !running() {
                return;
            }
            let task = store.submit(new_task(&format!("{name}{round}_{number}"))).await.unwrap();
            report(format!("submitted {} 0", task.id));
            if number % 5 == 1 {
                match store.reorder(&task.id, &MoveTo::First).await {
                    // It has begun meanwhile.
                    Ok(_) | Err(TaskStoreError::State(_)) => {}
                    Err(error) => panic!("a task was not moved: {error}"),
                }
            }
            if number % 7 == 3 {
                let task = store.cancel(&task.id).await.unwrap();
                report(format!("canceled {} {} {}", task.id, task.attempt, task.state));
            }
        }
    };
    tokio::join!(work("worker1"), work("worker02"), work("worker003"), submit("a"), submit("b"));
}

#[derive(Default)]
struct Expected {
    tasks: HashMap<String, Known>,
    steps: u64,
    pictures: u64,
}

#[derive(Debug, Default)]
struct Known {
    attempt: u32,
    ended: Option<String>,
    asked_to_stop: bool,
}

impl Expected {
    fn hear(&mut self, lines: &[String]) {
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            let (step, id, attempt, state) = match words.as_slice() {
                [step @ ("submitted" | "leased"), id, attempt] => (*step, *id, *attempt, ""),
                [step @ ("finished" | "canceled"), id, attempt, state] => (*step, *id, *attempt, *state),
                // What the test runner says.
                _ => continue,
            };
            self.steps += 1;
            let known = self.tasks.entry(id.to_owned()).or_default();
            known.attempt = known.attempt.max(attempt.parse().unwrap());
            match (step, state) {
                ("canceled", "running") => known.asked_to_stop = true,
                ("finished" | "canceled", _) => known.ended = Some(state.to_owned()),
                _ => {}
            }
        }
    }

    /// Returns the number of tasks in the store.
    async fn check(&mut self, store: &SledTasks, objects: &Objects) -> u64 {
        for (id, known) in &self.tasks {
            let task = store.get(&TaskId::parse(id).unwrap()).await.unwrap();
            let task = task.unwrap_or_else(|| panic!("{id} was acknowledged and is lost: {known:?}"));
            assert!(task.attempt >= known.attempt, "{id} forgot a lease: {known:?}, {task:?}");
            if let Some(state) = &known.ended {
                assert_eq!(task.state.as_str(), state, "{id} was reported and changed: {task:?}");
            }
            if known.asked_to_stop {
                assert!(task.state.is_terminal(), "{id} was asked to stop and waits again: {task:?}");
            }
        }
        let all = store.list(TaskFilter { limit: 1000, ..TaskFilter::default() }).await.unwrap().tasks;
        let stats = store.stats().await.unwrap();
        assert_eq!(stats.total(), all.len() as u64);
        assert_eq!(stats.running, 0, "a dead process still holds a lease");
        for task in &all {
            for key in task.outcome.iter().flat_map(|outcome| &outcome.images) {
                match objects.get(key).await {
                    Ok(bytes) => assert_eq!(bytes, picture(key), "{key} holds other bytes"),
                    Err(error @ ObjectsError::NotFound(_)) => panic!("{task:?} names a picture: {error}"),
                    Err(error) => panic!("{error}"),
                }
                self.pictures += 1;
            }
        }
        stats.total()
    }

    /// Retention, so that the store stays small and old space is used again.
    async fn forget_ended(&mut self, store: &SledTasks) {
        let all = store.list(TaskFilter { limit: 1000, ..TaskFilter::default() }).await.unwrap().tasks;
        let ended: Vec<_> = all.iter().filter(|task| task.state.is_terminal()).collect();
        let found = store.ended_before(u64::MAX, usize::MAX).await.unwrap();
        assert_eq!(found.len(), ended.len());
        for task in found {
            store.remove(&task.id).await.unwrap();
        }
        for task in ended {
            self.tasks.remove(task.id.as_str());
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): only the moments of the kills depend on it.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}
