//! The owner thread: the only place that touches the backend. Each turn it takes in new jobs, drops cancelled ones,
//! forms one batch by [`policy::pick`], calls the backend once and publishes progress. A panic, a NaN or a failed
//! allocation ends the jobs it happened to, never the thread; a device that is lost ends it, with all jobs.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use gesso_core::pixels::Pixels;
use tokio::sync::{broadcast, watch};

use crate::backend::{Backend, BackendError, BackendFactory, ModelFile, Row};
use crate::clock::Clock;
use crate::job::{CancelFlag, Drawing, JobError, Made, NetworkRun, Phase, Work};
use crate::policy::{self, Candidate, Rules};

mod guarded;
mod handle;
mod incoming;
mod passes;
mod running;
mod stats;

use guarded::{bringing, guarded};
pub use handle::EngineHandle;
use incoming::{Command, Incoming};
use passes::Passes;
use running::{Caller, Lane, RunningJob, missing_row};
pub use stats::EngineStats;

/// Checkpoints that came into memory and that who listens has not heard of yet; the oldest are forgotten beyond it.
const LOADS_KEPT: usize = 64;

/// How much the engine takes on, and how it shares.
#[derive(Debug, Clone, Copy)]
pub struct EngineSettings {
    pub rules: Rules,
    /// Jobs taken in at most, running ones included; one more is refused at once.
    pub max_jobs: usize,
    /// Pictures in flight at most, which bounds the latents and contexts in memory. A single larger job still runs.
    pub max_images_in_flight: usize,
    /// UNet calls between two previews of a job; 0 makes none.
    pub preview_every: u32,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self { rules: Rules::default(), max_jobs: 64, max_images_in_flight: 32, preview_every: 4 }
    }
}

/// Why no engine came up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the device thread could not be started")]
    Thread(#[from] std::io::Error),
    #[error("the device could not be opened")]
    Backend(#[from] BackendError),
    #[error("the device thread ended while opening the device")]
    Died,
}

/// The thread behind the handles. Dropping every handle lets it finish its jobs and end.
#[derive(Debug)]
pub struct Engine {
    thread: JoinHandle<()>,
}

impl Engine {
    /// Starts the owner thread and opens the device on it.
    pub fn start<B: Backend + 'static>(
        settings: EngineSettings,
        clock: Arc<dyn Clock>,
        factory: BackendFactory<B>,
    ) -> Result<(Self, EngineHandle), StartError> {
        let (commands, inbox) = mpsc::channel();
        let (opened_tx, opened_rx) = mpsc::channel();
        let stats = Arc::new(Mutex::new(EngineStats::default()));
        let jobs = Arc::new(AtomicUsize::new(0));
        let (loads, _) = broadcast::channel(LOADS_KEPT);
        let (shared, told) = (stats.clone(), loads.clone());
        let (life, alive) = watch::channel(());
        // The owner thread: libtorch work happens here and nowhere else.
        let thread = std::thread::Builder::new().name("gesso-device".into()).spawn(move || {
            let _life = life;
            match factory() {
                Ok(backend) => {
                    lock(&shared).device = backend.describe();
                    lock(&shared).take_in(&backend);
                    if opened_tx.send(Ok(())).is_ok() {
                        Owner::new(backend, settings, clock, (shared, told)).run(inbox);
                    }
                }
                // Nobody listens only when the starter is gone, and then nobody cares.
                Err(error) => drop(opened_tx.send(Err(error))),
            }
        })?;
        opened_rx.recv().map_err(|_| StartError::Died)??;
        let handle = EngineHandle { commands, alive, jobs, max_jobs: settings.max_jobs, stats, loads };
        Ok((Self { thread }, handle))
    }

    /// Waits for the thread to end; drop every [`EngineHandle`] first.
    pub fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("the device thread panicked outside of any job");
        }
    }
}

/// Counters are plain numbers: a panic while they were held leaves them usable.
fn lock(stats: &Mutex<EngineStats>) -> std::sync::MutexGuard<'_, EngineStats> {
    stats.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

struct Owner<B: Backend> {
    backend: B,
    settings: EngineSettings,
    clock: Arc<dyn Clock>,
    stats: Arc<Mutex<EngineStats>>,
    loads: broadcast::Sender<Arc<ModelFile>>,
    /// Not begun yet, in order of arrival.
    waiting: Vec<(u64, Duration, Incoming)>,
    running: Vec<RunningJob<B>>,
    arrivals: u64,
    /// Path of the model the last batch used.
    resident: Option<std::path::PathBuf>,
    /// What the thread ends with.
    loss: Option<JobError>,
}

impl<B: Backend> Owner<B> {
    fn new(
        backend: B,
        settings: EngineSettings,
        clock: Arc<dyn Clock>,
        (stats, loads): (Arc<Mutex<EngineStats>>, broadcast::Sender<Arc<ModelFile>>),
    ) -> Self {
        Self {
            backend,
            settings,
            clock,
            stats,
            loads,
            waiting: Vec::new(),
            running: Vec::new(),
            arrivals: 0,
            resident: None,
            loss: None,
        }
    }

    /// Takes the inbox along, so that nothing is sent any more to a thread that counts as ended.
    fn run(mut self, inbox: mpsc::Receiver<Command>) {
        let mut open = true;
        loop {
            if self.waiting.is_empty() && self.running.is_empty() {
                match inbox.recv() {
                    Ok(command) if open => self.obey(command),
                    _ => return,
                }
            }
            loop {
                match inbox.try_recv() {
                    Ok(command) => self.obey(command),
                    Err(mpsc::TryRecvError::Empty) => break,
                    Err(mpsc::TryRecvError::Disconnected) => {
                        open = false;
                        break;
                    }
                }
            }
            if self.loss.is_none() {
                self.turn();
            }
            self.tell_loaded();
            if let Some(error) = self.loss.take() {
                return self.give_up(&error);
            }
        }
    }

    /// Has the thread end once the turn is over, where that is what happened.
    fn heed_loss(&mut self, error: &JobError) {
        if matches!(error, JobError::Backend(BackendError::Lost(_))) {
            self.loss.get_or_insert_with(|| error.clone());
        }
    }

    /// Fails every job. What is yet to be taken in is dropped, which its callers hear of as a shutdown.
    fn give_up(&mut self, error: &JobError) {
        tracing::error!(%error, "the device thread ends");
        for mut job in self.running.drain(..) {
            job.fail(error.clone());
            job.answer();
        }
        for (_, _, incoming) in self.waiting.drain(..) {
            incoming.caller.answer(Err(error.clone()));
        }
    }

    fn obey(&mut self, command: Command) {
        // What is loaded is told before the answer is: whoever hears the one may ask for the other.
        match command {
            Command::Job(incoming) => self.enqueue(incoming),
            Command::Load(model, reply) => {
                let models = std::slice::from_ref(&model);
                let loaded = bringing(&mut self.backend, &self.stats, &self.loads, models, |backend| {
                    backend.load(&model).map_err(JobError::from)
                });
                if let Err(error) = &loaded {
                    self.heed_loss(error);
                }
                // Nobody listens only when the caller has gone away, and then nobody cares.
                drop(reply.send(loaded));
            }
            Command::Unload(reply) => {
                let backend = &mut self.backend;
                let unloaded = guarded(|| {
                    backend.unload();
                    Ok(())
                });
                self.tell_loaded();
                if unloaded.is_ok() {
                    let _ = reply.send(());
                }
            }
        }
    }

    fn tell_loaded(&self) {
        lock(&self.stats).take_in(&self.backend);
    }

    fn enqueue(&mut self, incoming: Incoming) {
        self.waiting.push((self.arrivals, self.clock.now(), incoming));
        self.arrivals += 1;
    }

    fn turn(&mut self) {
        self.drop_cancelled();
        self.begin_next();
        // A pass may be through as it begins: a strength that asks for no call.
        self.retire();
        self.hand_over();
        self.step();
        self.retire();
    }

    fn drop_cancelled(&mut self) {
        let is_over = |job: &Incoming| {
            let draws = matches!(job.work, Work::Draw(_));
            job.caller.is_gone() || draws && job.caller.cancel.is_interrupted()
        };
        for (_, _, incoming) in self.waiting.extract_if(.., |(_, _, job)| is_over(job)) {
            incoming.caller.answer(Err(JobError::Cancelled));
        }
        for mut job in self.running.extract_if(.., |job| job.is_cancelled()) {
            job.fail(JobError::Cancelled);
            job.answer();
        }
        self.each_job(|job, backend| {
            job.heed_interrupt(backend);
            job.heed_skip(backend);
        });
    }

    /// Does something to every job; one that it panics in fails, and the others go on.
    fn each_job(&mut self, act: impl Fn(&mut RunningJob<B>, &mut B)) {
        let backend = &mut self.backend;
        for job in &mut self.running {
            let acted = guarded(|| {
                act(job, backend);
                Ok(())
            });
            if let Err(error) = acted {
                job.fail(error);
            }
        }
    }

    /// Begins the waiting job that has most right to it, while its pictures fit.
    fn begin_next(&mut self) {
        let now = self.clock.now();
        let candidates: Vec<_> = self
            .waiting
            .iter()
            .map(|(arrival, since, incoming)| Candidate {
                key: *arrival,
                priority: incoming.priority,
                waited: now.saturating_sub(*since),
                arrival: *arrival,
                resident: self.resident.is_some() && incoming.model() == self.resident.as_ref(),
            })
            .collect();
        let Some(&next) = policy::pick(&candidates, Rules { max_rows: 1, ..self.settings.rules }).first()
        else {
            return;
        };
        let in_flight: usize = self.running.iter().map(|job| job.lanes.len()).sum();
        let images = self.waiting[next].2.images();
        if in_flight > 0 && in_flight + images > self.settings.max_images_in_flight {
            return;
        }
        let (arrival, since, Incoming { work, priority, caller }) = self.waiting.remove(next);
        caller.progress.send_modify(|progress| progress.phase = Phase::Preparing);
        match work {
            Work::Draw(drawing) => self.begin_drawing(*drawing, caller, priority, (arrival, since)),
            Work::Enlarge(work) => self.at_once(caller, |backend, is_cancelled| {
                backend.enlarge(&work.picture, work.factor, &work.by, is_cancelled)
            }),
            Work::RestoreFaces(work) => self.at_once(caller, |backend, is_cancelled| {
                backend.restore_faces(&work.picture, &work.by, is_cancelled)
            }),
            Work::RunNetwork(work) => self.run_network(caller, &work),
        }
    }

    fn begin_drawing(&mut self, drawing: Drawing, caller: Caller, priority: i32, arrived: (u64, Duration)) {
        forget_skip(&caller.cancel, &self.running);
        let passes = match guarded(|| Ok(Passes::new(drawing))) {
            Ok(passes) => passes,
            Err(error) => return self.refuse(caller, error),
        };
        let models = passes.models(passes.opening());
        let begun = bringing(&mut self.backend, &self.stats, &self.loads, &models, |backend| {
            RunningJob::begin(backend, passes, &caller)
        });
        match begun {
            Ok(begun) => {
                let now = self.clock.now();
                self.running.push(RunningJob::new(begun, caller, priority, arrived, now));
            }
            Err(error) => self.refuse(caller, error),
        }
    }

    /// Runs work on one picture to its end: a network sees one tile or face at a time, and a cancel is seen between
    /// two.
    fn at_once(
        &mut self,
        caller: Caller,
        work: impl FnOnce(&mut B, &dyn Fn() -> bool) -> Result<Pixels, BackendError>,
    ) {
        let backend = &mut self.backend;
        let is_cancelled = || caller.is_gone();
        match guarded(|| Ok(work(backend, &is_cancelled)?)) {
            Ok(pixels) => {
                lock(&self.stats).images += 1;
                caller.answer(Ok(Made::Pictures(vec![pixels])));
            }
            Err(error) => self.refuse(caller, error),
        }
    }

    fn run_network(&mut self, caller: Caller, work: &NetworkRun) {
        let backend = &mut self.backend;
        let run = || {
            if caller.is_gone() {
                return Err(JobError::Cancelled);
            }
            Ok(backend.run_network(&work.network, &work.inputs)?)
        };
        match guarded(run) {
            Ok(numbers) => caller.answer(Ok(Made::Numbers(numbers))),
            Err(error) => self.refuse(caller, error),
        }
    }

    fn refuse(&mut self, caller: Caller, error: JobError) {
        self.heed_loss(&error);
        if error != JobError::Cancelled {
            lock(&self.stats).failed_jobs += 1;
        }
        caller.answer(Err(error));
    }

    /// Pictures whose refiner draws from now on change to its pass, before rows are picked by their keys.
    fn hand_over(&mut self) {
        self.each_job(RunningJob::hand_over);
    }

    /// One UNet call for the best batch.
    fn step(&mut self) {
        let now = self.clock.now();
        let mut candidates = Vec::new();
        for job in &self.running {
            for lane in job.lanes.iter().filter(|lane| !lane.is_done()) {
                candidates.push(Candidate {
                    key: &lane.key,
                    priority: job.priority,
                    waited: now.saturating_sub(lane.served),
                    arrival: job.arrival,
                    resident: Some(&lane.key.model.path) == self.resident.as_ref(),
                });
            }
        }
        let mut picked = policy::pick(&candidates, self.settings.rules);
        let Some(&leader) = picked.first() else { return };
        picked.truncate(candidates[leader].key.rows_max.max(1));
        let mut chosen = vec![false; candidates.len()];
        for &index in &picked {
            chosen[index] = true;
        }
        let mut lanes: Vec<(usize, &mut Lane<B::Sample>)> = self
            .running
            .iter_mut()
            .enumerate()
            .flat_map(|(job_index, job)| job.lanes.iter_mut().map(move |lane| (job_index, lane)))
            .filter(|(_, lane)| !lane.is_done())
            .zip(&chosen)
            .filter_map(|(lane, &chosen)| chosen.then_some(lane))
            .collect();
        self.resident = lanes.first().map(|(_, lane)| lane.key.model.path.clone());
        let backend = &mut self.backend;
        let outcome = guarded(|| {
            let mut rows: Vec<Row<'_, B::Sample>> = lanes.iter_mut().map(|(_, lane)| lane.row()).collect();
            backend.step(&mut rows).map_err(JobError::from)
        });

        let after = self.clock.now();
        let mut failures: Vec<(usize, JobError)> = Vec::new();
        for (position, (job_index, lane)) in lanes.iter_mut().enumerate() {
            let result = match &outcome {
                Ok(results) => results.get(position).cloned().unwrap_or_else(missing_row),
                Err(error) => {
                    failures.push((*job_index, error.clone()));
                    continue;
                }
            };
            let advanced = result.map_err(JobError::from).and_then(|measured| {
                guarded(|| {
                    lane.advance(now, measured);
                    Ok(())
                })
            });
            if let Err(error) = advanced {
                failures.push((*job_index, error));
            }
        }
        let mut touched: Vec<usize> = lanes.iter().map(|(job_index, _)| *job_index).collect();
        touched.dedup();
        drop(lanes);
        {
            let mut stats = lock(&self.stats);
            stats.unet_calls += 1;
            stats.rows += picked.len() as u64;
            let place = picked.len().min(stats.batches.len());
            stats.batches[place - 1] += 1;
            stats.unet_time += after.saturating_sub(now);
        }
        for (job_index, error) in failures {
            self.heed_loss(&error);
            self.running[job_index].fail(error);
        }
        for job_index in touched {
            self.publish(job_index, after);
        }
    }

    fn publish(&mut self, job_index: usize, now: Duration) {
        let job = &mut self.running[job_index];
        if job.failed() {
            return;
        }
        let due = self.settings.preview_every > 0 && job.preview_due(self.settings.preview_every);
        let preview = due
            .then(|| job.lanes.iter().find(|lane| !lane.is_done()))
            .flatten()
            // A failing preview is not worth a failed job.
            .and_then(|lane| guarded(|| self.backend.preview(&lane.sample).map_err(JobError::from)).ok());
        job.publish(now, preview);
    }

    /// Decodes finished pictures and answers jobs that are through or failed.
    fn retire(&mut self) {
        let mut index = 0;
        while index < self.running.len() {
            while !self.running[index].is_over() {
                let job = &mut self.running[index];
                if job.is_cancelled() {
                    // Decoding the rest of it would keep the others waiting.
                    job.fail(JobError::Cancelled);
                    break;
                }
                let Some(lane) = job.take_done_lane() else { break };
                let models = job.next_models(&lane);
                let ended = bringing(&mut self.backend, &self.stats, &self.loads, &models, |backend| {
                    let Some(lane) = job.promote(backend, lane)? else { return Ok(None) };
                    let (image, calls) = (lane.image, lane.calls_done());
                    Ok(Some((image, calls, backend.finish(lane.sample, &|| job.is_cancelled())?)))
                });
                match ended {
                    // It goes on in the next pass.
                    Ok(None) => {}
                    Ok(Some((image, calls, pixels))) => {
                        if job.store(image, calls, pixels) {
                            let (earlier, rest) = self.running.split_at(index);
                            forget_skip(rest[0].cancel_flag(), earlier);
                        }
                        lock(&self.stats).images += 1;
                    }
                    Err(error) => {
                        self.heed_loss(&error);
                        self.running[index].fail(error);
                    }
                }
            }
            let job = &self.running[index];
            if job.went_wrong() {
                lock(&self.stats).failed_jobs += 1;
            }
            if job.is_over() {
                self.running.remove(index).answer();
            } else {
                index += 1;
            }
        }
    }
}

/// Takes back a skip that no batch has heeded, where another drawing begins or a batch has ended: it was meant for what was
/// under way, unless `earlier` drawings of the same task are yet to heed it.
fn forget_skip<B: Backend>(flag: &CancelFlag, earlier: &[RunningJob<B>]) {
    if !earlier.iter().any(|job| job.cancel_flag().shares_skip(flag)) {
        flag.forget_skip();
    }
}

#[cfg(test)]
mod tests;
