//! The owner thread against a fake device with time standing still: order, overload, cancel, failures, estimates.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use gesso_core::hires::{Hires, HiresSize, HiresUpscaler, LatentUpscaler};
use gesso_core::img2img::{Img2Img, PictureOptions, ResizeMode};
use gesso_core::numbers::Numbers;
use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_core::request::GenerateRequest;
use gesso_core::sampler::{Sampler, Start};
use gesso_core::schedule::NoiseSchedule;

use super::*;
use crate::backend::{
    BatchKey, FaceRestorer, Measured, ModelFile, OpenPass, Origin, PassSpec, PixelUpscaler, Residency,
    StartNoise, Tier, Upscale, UpscaleBy,
};
use crate::job::{CancelFlag, JobHandle, JobSpec, Progress, Resources, SecondPass, SubmitError};

mod cancelled;
mod given;
mod loading;
mod lost;
mod other_work;
mod panics;
mod refiner;
mod shares;
mod skip;
mod warnings;

/// Added to a picture that ended early.
const SETTLED: u64 = 100;
/// Added to a picture that went over to its pass's refiner.
const REFINED: u64 = 50;
/// What each checkpoint takes.
const MODEL_BYTES: u64 = 7;

/// What the fake did, in order, and what it shall do.
#[derive(Default)]
struct Script {
    /// Seeds of the rows of each UNet call.
    batches: Vec<Vec<u64>>,
    /// What each row was told: the calls before it, and its picture's seed.
    clocks: Vec<u32>,
    seeds: Vec<u64>,
    /// Widths of the passes that were opened.
    passes: Vec<u32>,
    /// Levels of the pictures that stood in for a first pass, once for each that began from one.
    given: Vec<u8>,
    /// Places of the pictures that went over to a refiner.
    handed_over: Vec<u32>,
    /// Outcomes for the calls to come; an empty list means success.
    failures: VecDeque<Failure>,
    /// Called before each UNet call with its number.
    on_step: Option<Box<dyn FnMut(usize) + Send>>,
    /// Called when a checkpoint is brought in.
    on_load: Option<Box<dyn FnMut() + Send>>,
    /// Called when a picture is decoded.
    on_finish: Option<Box<dyn FnMut() + Send>>,
    /// Decodes on although it was cancelled.
    is_deaf: bool,
    /// The function that panics when it is called next.
    panic_in: Option<&'static str>,
}

enum Failure {
    Ok,
    Panic,
    OutOfMemory,
    Lost,
    NanInRow(usize),
}

/// A device that draws nothing: its samples remember only whose they are. Time passes by 10 ms for each call.
struct Fake {
    script: Arc<Mutex<Script>>,
    clock: Arc<PausedClock>,
    loaded: Vec<Arc<ModelFile>>,
}

#[derive(Default)]
struct PausedClock(Mutex<Duration>);

impl Clock for PausedClock {
    fn now(&self) -> Duration {
        *self.0.lock().unwrap()
    }
}

impl Backend for Fake {
    /// Its pictures' seed, and the width in latent columns.
    type Pass = (u64, u32);
    type Sample = u64;

    fn open_pass(&mut self, spec: &PassSpec<'_>) -> Result<OpenPass<(u64, u32)>, BackendError> {
        self.load(spec.model)?;
        let key = BatchKey {
            model: spec.model.clone(),
            patches: String::new(),
            latent_height: spec.height / 8,
            latent_width: spec.width / 8,
            // A byte for each row.
            rows_max: spec.share.bytes_max.map_or(usize::MAX, |bytes| bytes as usize),
        };
        self.script.lock().unwrap().passes.push(spec.width);
        let refiner = spec.refined().map(|spec| self.open_pass(&spec)).transpose()?.map(Box::new);
        let pass = (spec.request.seed, spec.width / 8);
        // No LoRA fits.
        let warnings = spec.resources.loras.iter().map(|lora| lora.file.name.clone()).collect();
        Ok(OpenPass { pass, key, schedule: NoiseSchedule::sd1(), refiner, warnings })
    }

    fn begin(
        &mut self,
        pass: &(u64, u32),
        origin: Origin<'_, u64>,
        start: Start,
        noise: StartNoise,
        _is_cancelled: &dyn Fn() -> bool,
    ) -> Result<u64, BackendError> {
        assert_eq!(noise.noise.len() as u32 % (4 * pass.1), 0);
        match origin {
            Origin::Fresh { .. } => Ok(pass.0),
            Origin::Enlarged { sample, .. } => {
                assert_eq!(start.latent, 1.0, "a second pass begins from the enlarged latent");
                Ok(sample)
            }
            Origin::Given { picture, .. } => {
                assert_eq!(start.latent, 1.0, "and so it does where its picture is given");
                self.script.lock().unwrap().given.push(picture.data[0]);
                Ok(pass.0)
            }
        }
    }

    fn step(
        &mut self,
        rows: &mut [Row<'_, u64>],
    ) -> Result<Vec<Result<Measured, BackendError>>, BackendError> {
        *self.clock.0.lock().unwrap() += Duration::from_millis(10);
        let mut script = self.script.lock().unwrap();
        let number = script.batches.len();
        script.batches.push(rows.iter().map(|row| *row.sample).collect());
        script.clocks.extend(rows.iter().map(|row| row.calls_before));
        script.seeds.extend(rows.iter().map(|row| row.seed));
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
            Failure::Lost => Err(BackendError::Lost("the fake was told to".into())),
            Failure::NanInRow(bad) => Ok((0..rows.len())
                .map(|row| if row == bad { Err(BackendError::NotANumber { step: 0 }) } else { Ok(None) })
                .collect()),
        }
    }

    fn hand_over(&mut self, sample: &mut u64, refiner: &(u64, u32), picture: u32) {
        self.panic_if_told("hand_over");
        assert_eq!(*sample, refiner.0, "it goes over once, to a pass of its own drawing");
        *sample += REFINED;
        self.script.lock().unwrap().handed_over.push(picture);
    }

    fn preview(&mut self, _sample: &u64) -> Result<Pixels, BackendError> {
        Ok(Pixels::new(1, 1, PixelFormat::Gray8, vec![0]).unwrap())
    }

    fn settle(&mut self, sample: &mut u64) {
        self.panic_if_told("settle");
        *sample += SETTLED;
    }

    fn finish(&mut self, sample: u64, is_cancelled: &dyn Fn() -> bool) -> Result<Pixels, BackendError> {
        let mut script = self.script.lock().unwrap();
        if let Some(on_finish) = &mut script.on_finish {
            on_finish();
        }
        if is_cancelled() && !script.is_deaf {
            return Err(BackendError::Cancelled);
        }
        Ok(Pixels::new(1, 1, PixelFormat::Gray8, vec![sample as u8]).unwrap())
    }

    fn enlarge(
        &mut self,
        picture: &Pixels,
        _factor: f64,
        _by: &PixelUpscaler,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Pixels, BackendError> {
        if is_cancelled() { Err(BackendError::Cancelled) } else { Ok(picture.clone()) }
    }

    fn restore_faces(
        &mut self,
        picture: &Pixels,
        by: &FaceRestorer,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Pixels, BackendError> {
        let levels = picture.data.iter().map(|level| level + (by.fidelity * 10.0) as u8);
        if is_cancelled() {
            return Err(BackendError::Cancelled);
        }
        Ok(Pixels { data: levels.collect(), ..picture.clone() })
    }

    fn run_network(
        &mut self,
        network: &Arc<ModelFile>,
        inputs: &[Numbers],
    ) -> Result<Vec<Numbers>, BackendError> {
        if network.name == "broken" {
            return Err(BackendError::Model("it is broken".into()));
        }
        Ok(inputs.iter().rev().cloned().collect())
    }

    fn load(&mut self, model: &Arc<ModelFile>) -> Result<(), BackendError> {
        if let Some(on_load) = &mut self.script.lock().unwrap().on_load {
            on_load();
        }
        if model.name == "broken" {
            return Err(BackendError::Model("it is broken".into()));
        }
        if model.name == "lost" {
            return Err(BackendError::Lost("the fake was told to".into()));
        }
        if !self.loaded.contains(model) {
            self.loaded.push(model.clone());
        }
        Ok(())
    }

    fn unload(&mut self) {
        self.loaded.clear();
    }

    fn loaded(&self) -> Vec<Arc<ModelFile>> {
        self.loaded.clone()
    }

    fn residency(&self) -> Residency {
        let models: Vec<_> = self.loaded.iter().map(|model| (model.clone(), MODEL_BYTES)).collect();
        let bytes = MODEL_BYTES * models.len() as u64;
        Residency { host: Tier { models, bytes, bytes_max: u64::MAX }, device: None }
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
    let fake = Fake { script: script.clone(), clock: clock.clone(), loaded: Vec::new() };
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
    fn submit(&self, seed: u64, change: impl FnOnce(&mut Drawing)) -> JobHandle {
        let mut drawing = drawing(seed);
        change(&mut drawing);
        self.handle.submit(spec(drawing)).unwrap()
    }

    /// Submits and waits until the job is in its first call, where the gate holds it.
    fn submit_first(&self, seed: u64, change: impl FnOnce(&mut Drawing)) -> JobHandle {
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

fn drawing(seed: u64) -> Drawing {
    let request = GenerateRequest { width: 64, height: 64, steps: 4, seed, ..GenerateRequest::default() };
    Drawing::new(request, model("demo"))
}

fn model(name: &str) -> Arc<ModelFile> {
    Arc::new(ModelFile { name: name.into(), path: PathBuf::from(name), version: String::new() })
}

fn spec(drawing: Drawing) -> JobSpec {
    JobSpec { work: Work::Draw(Box::new(drawing)), priority: 0, cancel: CancelFlag::default() }
}

#[test]
fn rows_of_different_jobs_share_calls_whatever_their_step_counts() {
    let mut bench = bench(EngineSettings::default(), vec![]);
    let first = bench.submit_first(1, |_| {});
    let second = bench.submit(2, |drawing| drawing.request.steps = 2);
    let other_size = bench.submit(3, |drawing| drawing.request.width = 128);
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
    let urgent = bench.handle.submit(JobSpec { priority: 5, ..spec(drawing(2)) }).unwrap();
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
    assert_eq!(bench.handle.submit(spec(drawing(3))).unwrap_err(), SubmitError::Overloaded { waiting: 2 });
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
    let doomed = bench.submit_first(1, |drawing| drawing.request.steps = 100);
    let kept = bench.submit(2, |_| {});
    doomed.cancel_flag().cancel();
    bench.open();
    assert_eq!(doomed.blocking_finish().unwrap_err(), JobError::Cancelled);
    kept.blocking_finish().unwrap();
    let calls_of_doomed = bench.batches().iter().filter(|batch| batch.contains(&1)).count();
    assert_eq!(calls_of_doomed, 1, "the call under way when it was cancelled");
}

#[test]
fn an_interrupted_drawing_ends_with_what_it_has_and_the_others_go_on() {
    let settings = EngineSettings {
        rules: Rules { max_rows: 2, ageing: Duration::from_secs(3600) },
        ..EngineSettings::default()
    };
    let mut bench = bench(settings, vec![]);
    // Two of its three pictures share the first call, and the third has not begun by then.
    let interrupted = bench.submit_first(1, |drawing| drawing.request.batch_size = 3);
    let waiting = bench.submit(5, |_| {});
    let kept = bench.submit(2, |_| {});
    interrupted.cancel_flag().interrupt();
    waiting.cancel_flag().interrupt();
    bench.open();
    let pictures = interrupted.blocking_finish().unwrap();
    assert_eq!(pictures.iter().map(|picture| picture.data[0]).collect::<Vec<_>>(), [101, 101]);
    assert_eq!(waiting.blocking_finish().unwrap_err(), JobError::Cancelled);
    assert_eq!(kept.blocking_finish().unwrap()[0].data, [2]);
    assert_eq!(bench.batches().iter().filter(|batch| batch.contains(&1)).count(), 1);
}

#[test]
fn an_interrupt_in_the_first_pass_leaves_out_the_second() {
    let mut bench = bench(EngineSettings::default(), vec![]);
    let job = bench.submit_first(1, with_second_pass);
    job.cancel_flag().interrupt();
    bench.open();
    assert_eq!(job.blocking_finish().unwrap()[0].data, [101]);
    assert_eq!(bench.script.lock().unwrap().passes, [64]);
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
    let failed = bench.submit(1, |drawing| drawing.model = model("broken"));
    bench.open();
    let error = failed.blocking_finish().unwrap_err().to_string();
    assert!(error.contains("it is broken"), "{error}");
    bench.submit(2, |_| {}).blocking_finish().unwrap();
}

#[test]
fn pictures_come_back_in_order_and_progress_ends_at_one() {
    // Each picture takes four calls: previews come in the middle, by every second call of each.
    let mut bench = bench(EngineSettings { preview_every: 2, ..EngineSettings::default() }, vec![]);
    let job = bench.submit(1, |drawing| drawing.request.batch_size = 3);
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
    let progress = Arc::new(OnceLock::<watch::Receiver<Progress>>::new());
    // Set before the job is in: the owner thread may be in its first call as soon as it is.
    let (seen, publisher) = (estimates.clone(), progress.clone());
    let mut closed = bench.script.lock().unwrap().on_step.take().unwrap();
    bench.script.lock().unwrap().on_step = Some(Box::new(move |number| {
        closed(number);
        // Each call sees what was published after the one before it.
        seen.lock().unwrap().push(publisher.get().unwrap().borrow().eta);
    }));
    let job = bench.submit(1, |_| {});
    progress.set(job.progress()).unwrap();
    bench.open();
    job.blocking_finish().unwrap();
    let ms = |ms| Some(Duration::from_millis(ms));
    // Four calls of 10 ms each.
    assert_eq!(*estimates.lock().unwrap(), [None, ms(30), ms(20), ms(10)]);
}

/// A second pass at twice the size.
fn with_second_pass(drawing: &mut Drawing) {
    let size = HiresSize::Scale(2.0);
    let latent = LatentUpscaler::Nearest;
    drawing.request.hires = Some(Hires {
        size,
        upscaler: HiresUpscaler::Latent(latent),
        denoising_strength: 0.5,
        steps: Some(2),
        sampler: None,
        scheduler: None,
        prompt: None,
        negative_prompt: None,
        model: None,
        from_picture: false,
    });
    let target = size.target(drawing.request.width, drawing.request.height);
    drawing.second = Some(SecondPass {
        model: drawing.model.clone(),
        resources: Resources::default(),
        refiner: None,
        upscale: Upscale { target, by: UpscaleBy::Latent(latent) },
        picture: None,
        share: None,
    });
}

#[test]
fn a_second_pass_is_opened_once_and_counts_its_own_calls() {
    let mut bench = bench(EngineSettings::default(), vec![]);
    let job = bench.submit(1, |drawing| {
        with_second_pass(drawing);
        drawing.request.batch_size = 2;
    });
    let progress = job.progress();
    bench.open();
    assert_eq!(job.blocking_finish().unwrap().len(), 2);
    let script = bench.script.lock().unwrap();
    assert_eq!(script.passes, [64, 128]);
    // Four calls for two pictures, then two for each at the larger size.
    assert_eq!(script.clocks, [0, 0, 1, 1, 2, 2, 3, 3, 0, 0, 1, 1]);
    assert_eq!(script.seeds.iter().sum::<u64>(), 6 + 2 * 6, "each picture has its own in both passes");
    let end = progress.borrow();
    assert_eq!((end.calls_done, end.calls_total), (12, 12));
}

/// Asks for no UNet call.
fn at_no_strength(drawing: &mut Drawing) {
    drawing.request.sampler = Sampler::Ddim;
    drawing.request.img2img = Some(Img2Img {
        denoising_strength: 0.0,
        exact_steps: false,
        resize_mode: ResizeMode::Stretch,
        image_cfg_scale: 1.5,
        colour_correction: false,
        mask: None,
        pictures: PictureOptions::default(),
    });
}

#[test]
fn a_pass_that_asks_for_no_call_is_through_as_it_begins() {
    let mut bench = bench(EngineSettings::default(), vec![]);
    bench.open();
    let job = bench.submit(1, at_no_strength);
    assert_eq!(job.blocking_finish().unwrap().len(), 1);
    assert!(bench.batches().is_empty());
    let untouched = bench.submit(2, |drawing| {
        with_second_pass(drawing);
        if let Some(hires) = &mut drawing.request.hires {
            hires.denoising_strength = 0.0;
        }
    });
    assert_eq!(untouched.blocking_finish().unwrap().len(), 1);
    assert_eq!(bench.batches().len(), 4, "the first pass alone");
    assert!(bench.handle.is_alive());
}

#[test]
fn a_second_pass_is_in_the_total_from_the_start() {
    let mut bench = bench(EngineSettings::default(), vec![]);
    let job = bench.submit_first(1, with_second_pass);
    let progress = job.progress();
    let (done, total) = (progress.borrow().calls_done, progress.borrow().calls_total);
    assert_eq!((done, total), (0, 6));
    bench.open();
    job.blocking_finish().unwrap();
}

#[test]
fn a_device_that_cannot_be_opened_is_an_error_and_not_a_hang() {
    let factory: BackendFactory<Fake> = Box::new(|| Err(BackendError::Device("no device".into())));
    let error =
        Engine::start(EngineSettings::default(), Arc::new(PausedClock::default()), factory).unwrap_err();
    let source = std::error::Error::source(&error).unwrap();
    assert!(source.to_string().contains("no device"), "{source}");
}
