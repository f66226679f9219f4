//! The owner thread against a fake device with time standing still: order, overload, cancel, failures, estimates.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_core::request::GenerateRequest;

use super::*;
use crate::backend::{BatchKey, ModelFile};
use crate::job::CancelFlag;

/// What the fake did, in order, and what it shall do.
#[derive(Default)]
struct Script {
    /// Seeds of the rows of each UNet call.
    batches: Vec<Vec<u64>>,
    /// Outcomes for the calls to come; an empty list means success.
    failures: VecDeque<Failure>,
    /// Called before each UNet call with its number.
    on_step: Option<Box<dyn FnMut(usize) + Send>>,
}

enum Failure {
    Ok,
    Panic,
    OutOfMemory,
    NanInRow(usize),
}

/// A device that draws nothing: its samples remember only whose they are. Time passes by 10 ms for each call.
struct Fake {
    script: Arc<Mutex<Script>>,
    clock: Arc<PausedClock>,
}

#[derive(Default)]
struct PausedClock(Mutex<Duration>);

impl Clock for PausedClock {
    fn now(&self) -> Duration {
        *self.0.lock().unwrap()
    }
}

impl Backend for Fake {
    type Sample = u64;

    fn begin(
        &mut self,
        model: &Arc<ModelFile>,
        request: &GenerateRequest,
        noise: Vec<f32>,
        _initial_scale: f64,
    ) -> Result<(u64, BatchKey), BackendError> {
        assert_eq!(noise.len() as u32, 4 * (request.width / 8) * (request.height / 8));
        if model.name == "broken" {
            return Err(BackendError::Model("it is broken".into()));
        }
        let key = BatchKey {
            model: model.clone(),
            latent_height: request.height / 8,
            latent_width: request.width / 8,
            context_lengths: (77, 77),
        };
        Ok((request.seed, key))
    }

    fn step(
        &mut self,
        rows: &mut [Row<'_, u64>],
    ) -> Result<Vec<Result<Option<f64>, BackendError>>, BackendError> {
        *self.clock.0.lock().unwrap() += Duration::from_millis(10);
        let mut script = self.script.lock().unwrap();
        let number = script.batches.len();
        script.batches.push(rows.iter().map(|row| *row.sample).collect());
        if let Some(on_step) = &mut script.on_step {
            on_step(number);
        }
        match script.failures.pop_front().unwrap_or(Failure::Ok) {
            Failure::Ok => Ok(vec![Ok(None); rows.len()]),
            Failure::Panic => {
                drop(script);
                panic!("the fake was told to panic")
            }
            Failure::OutOfMemory => Err(BackendError::OutOfMemory("the fake was told to".into())),
            Failure::NanInRow(bad) => Ok((0..rows.len())
                .map(|row| if row == bad { Err(BackendError::NotANumber { step: 0 }) } else { Ok(None) })
                .collect()),
        }
    }

    fn preview(&mut self, _sample: &u64) -> Result<Pixels, BackendError> {
        Ok(Pixels::new(1, 1, PixelFormat::Gray8, vec![0]).unwrap())
    }

    fn finish(&mut self, sample: u64) -> Result<Pixels, BackendError> {
        Ok(Pixels::new(1, 1, PixelFormat::Gray8, vec![sample as u8]).unwrap())
    }

    fn describe(&self) -> String {
        "fake".into()
    }
}

struct Bench {
    handle: EngineHandle,
    script: Arc<Mutex<Script>>,
    /// Holds the owner thread in its first call until all jobs are in.
    gate: Option<std::sync::mpsc::Sender<()>>,
    entered: std::sync::mpsc::Receiver<()>,
}

fn bench(settings: EngineSettings, failures: Vec<Failure>) -> Bench {
    let script = Arc::new(Mutex::new(Script { failures: failures.into(), ..Script::default() }));
    let clock = Arc::new(PausedClock::default());
    let (gate, closed) = std::sync::mpsc::channel::<()>();
    let (enter, entered) = std::sync::mpsc::channel();
    let fake = Fake { script: script.clone(), clock: clock.clone() };
    script.lock().unwrap().on_step = Some(Box::new(move |number| {
        if number == 0 {
            enter.send(()).ok();
            closed.recv().ok();
        }
    }));
    let (_engine, handle) = Engine::start(settings, clock, Box::new(move || Ok(fake))).unwrap();
    Bench { handle, script, gate: Some(gate), entered }
}

impl Bench {
    fn submit(&self, seed: u64, change: impl FnOnce(&mut JobSpec)) -> JobHandle {
        let mut spec = spec(seed);
        change(&mut spec);
        self.handle.submit(spec).unwrap()
    }

    /// Submits and waits until the job is in its first call, where the gate holds it.
    fn submit_first(&self, seed: u64, change: impl FnOnce(&mut JobSpec)) -> JobHandle {
        let job = self.submit(seed, change);
        self.entered.recv().unwrap();
        job
    }

    /// Lets the owner thread go on from its first call.
    fn open(&mut self) {
        self.gate = None;
    }

    fn batches(&self) -> Vec<Vec<u64>> {
        self.script.lock().unwrap().batches.clone()
    }
}

fn spec(seed: u64) -> JobSpec {
    JobSpec {
        model: Arc::new(ModelFile {
            name: "demo".into(),
            path: PathBuf::from("demo"),
            version: String::new(),
        }),
        request: GenerateRequest { width: 64, height: 64, steps: 4, seed, ..GenerateRequest::default() },
        priority: 0,
        cancel: CancelFlag::default(),
    }
}

#[test]
fn rows_of_different_jobs_share_calls_whatever_their_step_counts() {
    let mut bench = bench(EngineSettings::default(), vec![]);
    let first = bench.submit_first(1, |_| {});
    let second = bench.submit(2, |spec| spec.request.steps = 2);
    let other_size = bench.submit(3, |spec| spec.request.width = 128);
    bench.open();
    for (job, seed) in [(first, 1), (second, 2), (other_size, 3)] {
        assert_eq!(job.blocking_finish().unwrap()[0].data, [seed]);
    }
    let batches = bench.batches();
    assert_eq!(batches[0], [1], "the first call begins before the others are in");
    assert!(batches.contains(&vec![1, 2]) || batches.contains(&vec![2, 1]), "{batches:?}");
    assert!(batches.iter().all(|batch| !batch.contains(&3) || batch.len() == 1), "{batches:?}");
    let rows: usize = batches.iter().map(Vec::len).sum();
    assert_eq!(rows, 4 + 2 + 4);
    assert!(batches.len() < rows);
}

#[test]
fn a_higher_priority_overtakes_jobs_that_wait_in_smaller_batches() {
    let settings = EngineSettings {
        rules: Rules { max_rows: 1, ageing: Duration::from_secs(3600) },
        ..EngineSettings::default()
    };
    let mut bench = bench(settings, vec![]);
    let first = bench.submit_first(1, |_| {});
    let urgent = bench.submit(2, |spec| spec.priority = 5);
    bench.open();
    first.blocking_finish().unwrap();
    urgent.blocking_finish().unwrap();
    let order: Vec<u64> = bench.batches().concat();
    assert_eq!(order, [1, 2, 2, 2, 2, 1, 1, 1]);
}

#[test]
fn one_job_too_many_is_refused_at_once_and_a_place_comes_free_again() {
    let settings = EngineSettings { max_jobs: 2, ..EngineSettings::default() };
    let mut bench = bench(settings, vec![]);
    let (first, second) = (bench.submit_first(1, |_| {}), bench.submit(2, |_| {}));
    assert_eq!(bench.handle.submit(spec(3)).unwrap_err(), SubmitError::Overloaded { waiting: 2 });
    bench.open();
    first.blocking_finish().unwrap();
    second.blocking_finish().unwrap();
    // The place is free when the owner thread has dropped the job, just after its answer.
    while bench.handle.jobs() > 0 {
        std::thread::yield_now();
    }
    bench.submit(4, |_| {}).blocking_finish().unwrap();
}

#[test]
fn a_cancelled_job_ends_within_one_step_and_the_others_go_on() {
    let mut bench = bench(EngineSettings::default(), vec![]);
    let doomed = bench.submit_first(1, |spec| spec.request.steps = 100);
    let kept = bench.submit(2, |_| {});
    doomed.cancel_flag().cancel();
    bench.open();
    assert_eq!(doomed.blocking_finish().unwrap_err(), JobError::Cancelled);
    kept.blocking_finish().unwrap();
    let calls_of_doomed = bench.batches().iter().filter(|batch| batch.contains(&1)).count();
    assert_eq!(calls_of_doomed, 1, "the call under way when it was cancelled");
}

#[test]
fn a_job_nobody_waits_for_is_dropped() {
    let mut bench = bench(EngineSettings::default(), vec![]);
    let kept = bench.submit_first(1, |_| {});
    drop(bench.submit(2, |_| {}));
    bench.open();
    kept.blocking_finish().unwrap();
    assert!(bench.batches().iter().all(|batch| !batch.contains(&2)));
}

#[test]
fn a_panic_fails_the_jobs_of_that_call_and_leaves_the_thread_alive() {
    let mut bench = bench(EngineSettings::default(), vec![Failure::Panic]);
    let failed = bench.submit_first(1, |_| {});
    let kept = bench.submit(2, |_| {});
    bench.open();
    let error = failed.blocking_finish().unwrap_err();
    assert_eq!(error, JobError::Panicked("the fake was told to panic".into()));
    kept.blocking_finish().unwrap();
    assert_eq!(bench.handle.stats().failed_jobs, 1);
}

#[test]
fn running_out_of_memory_fails_with_its_reason_and_the_next_job_works() {
    let mut bench = bench(EngineSettings::default(), vec![Failure::OutOfMemory]);
    let failed = bench.submit_first(1, |_| {});
    bench.open();
    let error = failed.blocking_finish().unwrap_err();
    assert!(matches!(error, JobError::Backend(BackendError::OutOfMemory(_))), "{error:?}");
    bench.submit(2, |_| {}).blocking_finish().unwrap();
}

#[test]
fn a_nan_fails_only_the_job_whose_row_it_is() {
    let mut bench = bench(EngineSettings::default(), vec![Failure::Ok, Failure::NanInRow(0)]);
    let first = bench.submit_first(1, |_| {});
    let second = bench.submit(2, |_| {});
    bench.open();
    let results = [first.blocking_finish(), second.blocking_finish()];
    let nan = Err(JobError::Backend(BackendError::NotANumber { step: 0 }));
    assert_eq!(results.iter().filter(|result| **result == nan).count(), 1, "{results:?}");
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
}

#[test]
fn a_model_that_cannot_be_used_fails_its_own_job() {
    let mut bench = bench(EngineSettings::default(), vec![]);
    let broken =
        Arc::new(ModelFile { name: "broken".into(), path: PathBuf::from("broken"), version: String::new() });
    let failed = bench.submit(1, |spec| spec.model = broken);
    bench.open();
    let error = failed.blocking_finish().unwrap_err().to_string();
    assert!(error.contains("it is broken"), "{error}");
    bench.submit(2, |_| {}).blocking_finish().unwrap();
}

#[test]
fn pictures_come_back_in_order_and_progress_ends_at_one() {
    let mut bench = bench(EngineSettings::default(), vec![]);
    let job = bench.submit(1, |spec| spec.request.batch_size = 3);
    let progress = job.progress();
    bench.open();
    assert_eq!(job.blocking_finish().unwrap().len(), 3);
    let end = progress.borrow();
    assert_eq!((end.phase, end.images_done, end.calls_done, end.calls_total), (Phase::Finished, 3, 12, 12));
    assert_eq!(end.fraction(), 1.0);
    assert!(end.preview.is_some());
}

#[test]
fn the_estimate_follows_the_pace_of_the_calls() {
    let mut bench = bench(EngineSettings { preview_every: 0, ..EngineSettings::default() }, vec![]);
    let estimates = Arc::new(Mutex::new(Vec::new()));
    let job = bench.submit(1, |_| {});
    let (progress, seen) = (job.progress(), estimates.clone());
    // Each call sees what was published after the one before it.
    let closed = bench.script.lock().unwrap().on_step.take();
    let mut closed = closed.unwrap();
    bench.script.lock().unwrap().on_step = Some(Box::new(move |number| {
        closed(number);
        seen.lock().unwrap().push(progress.borrow().eta);
    }));
    bench.open();
    job.blocking_finish().unwrap();
    let ms = |ms| Some(Duration::from_millis(ms));
    // Four calls of 10 ms each.
    assert_eq!(*estimates.lock().unwrap(), [None, ms(30), ms(20), ms(10)]);
}

#[test]
fn a_device_that_cannot_be_opened_is_an_error_and_not_a_hang() {
    let factory: BackendFactory<Fake> = Box::new(|| Err(BackendError::Device("no device".into())));
    let error =
        Engine::start(EngineSettings::default(), Arc::new(PausedClock::default()), factory).unwrap_err();
    assert!(error.to_string().contains("no device"), "{error}");
}
