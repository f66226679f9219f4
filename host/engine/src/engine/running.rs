//! A job in flight: one lane for each picture, each with its own sampler plan, noise and tensors. Lanes go through the
//! passes on their own; what a pass needs is opened once and shared.

use std::sync::Arc;
use std::time::Duration;

use gesso_core::noise::ImageNoise;
use gesso_core::pixels::Pixels;
use gesso_core::sampler::{Call, Draw, Plan};
use gesso_core::step_hook::StepHook;
use tokio::sync::{oneshot, watch};

use super::incoming::Slot;
use super::passes::{Passes, Stage};
use crate::backend::{Backend, BackendError, BatchKey, Measured, ModelFile, OpenPass, Origin, Row};
use crate::job::{CancelFlag, JobError, Made, Phase, Progress};
use crate::skip::Skipping;

/// One picture under way.
pub(super) struct Lane<S> {
    /// Place of the picture in the request.
    pub(super) image: u32,
    seed: u64,
    pub(super) stage: Stage,
    pub(super) key: BatchKey,
    pub(super) sample: S,
    plan: Plan,
    noise: ImageNoise,
    hooks: Arc<[Arc<dyn StepHook>]>,
    /// What the sampler wants next; `None` when the pass is through.
    call: Option<Call>,
    /// The pass's refiner draws it.
    is_refined: bool,
    /// UNet calls of earlier passes.
    calls_before: u32,
    /// When the lane last ran, or its job arrived.
    pub(super) served: Duration,
}

impl<S> Lane<S> {
    /// The row for the call that is due. Only lanes that are not done are ever picked.
    pub(super) fn row(&mut self) -> Row<'_, S> {
        let call = self.call.as_ref().expect("a lane without a call is no candidate");
        let noise = match call.draw {
            Draw::None => None,
            Draw::Next => Some(self.noise.draw()),
            Draw::Brownian { from, to, lowest, highest } => {
                Some(self.noise.brownian(from, to, (lowest, highest)))
            }
        };
        Row {
            sample: &mut self.sample,
            call,
            calls_before: self.plan.calls_done() - 1,
            blend_before: self.plan.blends_before_call(),
            noise,
            picture: self.image,
            seed: self.seed,
            is_second: self.stage == Stage::Second,
            hooks: &self.hooks,
        }
    }

    pub(super) fn advance(&mut self, now: Duration, measured: Measured) {
        self.call = self.plan.next_call(measured);
        self.served = now;
    }

    /// Whether its pass is through; it may be so from the start.
    pub(super) fn is_done(&self) -> bool {
        self.call.is_none()
    }

    pub(super) fn calls_done(&self) -> u32 {
        self.calls_before + self.plan.calls_done() - u32::from(!self.is_done())
    }

    /// Whether there is an estimate of the picture.
    fn has_begun(&self) -> bool {
        self.calls_done() > 0 || self.is_done()
    }

    /// Ends the picture as it is. Nothing comes after this.
    fn end_early<B: Backend<Sample = S>>(&mut self, backend: &mut B) {
        if !self.is_done() {
            backend.settle(&mut self.sample);
            self.call = None;
        }
        self.stage = Stage::Second;
    }
}

/// A drawing whose opening pass is open.
pub(super) struct RunningJob<B: Backend> {
    pub(super) priority: i32,
    pub(super) arrival: u64,
    pub(super) lanes: Vec<Lane<B::Sample>>,
    passes: Passes,
    /// The one that its pictures began in; it is `second` too where that is the second.
    opening: OpenPass<B::Pass>,
    second: Option<OpenPass<B::Pass>>,
    finished: Vec<Option<Pixels>>,
    calls_of_finished: u32,
    /// What the second pass of one picture will take behind the first; 0 when there are no two.
    calls_of_second: u32,
    began: Duration,
    failure: Option<JobError>,
    last_preview_at: u32,
    /// It ends with what it had when it was interrupted.
    is_wrapped_up: bool,
    /// Its first batch that is not through ends early.
    skipping: Option<Skipping>,
    caller: Caller,
}

/// A drawing whose pictures are set up, before anybody is told.
pub(super) struct Begun<B: Backend> {
    passes: Passes,
    opening: OpenPass<B::Pass>,
    lanes: Vec<Lane<B::Sample>>,
    calls_of_second: u32,
}

/// The owner thread's end of a job's channels.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) cancel: CancelFlag,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) reply: oneshot::Sender<Result<Made, JobError>>,
    pub(super) slot: Slot,
}

impl Caller {
    /// Asked to stop, or nobody waits for the pictures any more.
    pub(super) fn is_gone(&self) -> bool {
        self.cancel.is_cancelled() || self.reply.is_closed()
    }

    /// Tells the caller what of a pass and its refiner has no effect.
    fn warn<P>(&self, open: &OpenPass<P>) {
        let refiner = open.refiner.iter().flat_map(|refiner| &refiner.warnings);
        self.progress.send_modify(|progress| {
            for warning in open.warnings.iter().chain(refiner) {
                if !progress.warnings.contains(warning) {
                    progress.warnings.push(warning.clone());
                }
            }
        });
    }

    /// Tells the caller how it ended.
    pub(super) fn answer(self, result: Result<Made, JobError>) {
        self.progress.send_modify(|progress| {
            progress.phase = Phase::Finished;
            progress.eta = None;
        });
        // The caller may be gone; that is its own decision.
        drop(self.reply.send(result));
        drop(self.slot);
    }
}

impl<B: Backend> RunningJob<B> {
    /// Opens the opening pass and a lane for every picture.
    pub(super) fn begin(backend: &mut B, passes: Passes, caller: &Caller) -> Result<Begun<B>, JobError> {
        let stage = passes.opening();
        let spec = passes.spec(stage).ok_or(JobError::ShutDown)?;
        let opening = backend.open_pass(&spec)?;
        let mut lanes = Vec::new();
        for image in 0..passes.request().image_count() {
            let origin = match passes.given() {
                Some((picture, upscale)) => Origin::Given { picture, upscale },
                None => Origin::Fresh { picture: image % passes.request().batch_size },
            };
            lanes.push(lane(backend, &passes, &opening, stage, (image, 0), origin, caller)?);
        }
        let second = passes.after(stage).and_then(|(stage, _)| passes.plan(stage, &opening.schedule).ok());
        let calls_of_second = second.map_or(0, |plan| plan.total_calls());
        Ok(Begun { passes, opening, lanes, calls_of_second })
    }

    pub(super) fn new(
        Begun { passes, opening, mut lanes, calls_of_second }: Begun<B>,
        caller: Caller,
        priority: i32,
        (arrival, arrived): (u64, Duration),
        now: Duration,
    ) -> Self {
        let finished = vec![None; lanes.len()];
        for lane in &mut lanes {
            lane.served = arrived;
        }
        let second = (passes.opening() == Stage::Second).then(|| opening.clone());
        let job = Self {
            priority,
            arrival,
            lanes,
            passes,
            opening,
            second,
            finished,
            calls_of_finished: 0,
            calls_of_second,
            began: now,
            failure: None,
            last_preview_at: 0,
            is_wrapped_up: false,
            skipping: None,
            caller,
        };
        job.caller.warn(&job.opening);
        job.publish(now, None);
        job
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.caller.is_gone()
    }

    /// Where it was interrupted, has pictures under way end as they are and leaves out those that have not begun.
    pub(super) fn heed_interrupt(&mut self, backend: &mut B) {
        if self.is_wrapped_up || !self.caller.cancel.is_interrupted() {
            return;
        }
        self.is_wrapped_up = true;
        self.lanes.retain(Lane::has_begun);
        for lane in &mut self.lanes {
            lane.end_early(backend);
        }
    }

    /// Where it was asked to skip, has the pictures of its first batch that is not through end as they are. Those that have not
    /// begun do so after their first call: a picture that is missing would take those behind it along.
    pub(super) fn heed_skip(&mut self, backend: &mut B) {
        if self.skipping.is_none() {
            self.skipping = self.caller.cancel.heed_skip();
        }
        let Some(batch) = self.first_batch().filter(|_| self.skipping.is_some()) else { return };
        let batch_size = self.passes.request().batch_size;
        for lane in &mut self.lanes {
            if lane.image / batch_size == batch && lane.has_begun() {
                lane.end_early(backend);
            }
        }
    }

    /// The first batch of which a picture is under way. Lanes are in the order of their pictures.
    fn first_batch(&self) -> Option<u32> {
        Some(self.lanes.first()?.image / self.passes.request().batch_size)
    }

    /// Its tensors go at once: no call takes it along any more.
    pub(super) fn fail(&mut self, error: JobError) {
        self.failure.get_or_insert(error);
        self.lanes.clear();
    }

    pub(super) fn failed(&self) -> bool {
        self.failure.is_some()
    }

    /// There is nothing left to draw of it.
    pub(super) fn is_over(&self) -> bool {
        self.failed() || self.lanes.is_empty()
    }

    /// Failed by itself, and not because it was asked to stop.
    pub(super) fn went_wrong(&self) -> bool {
        self.failure.as_ref().is_some_and(|failure| *failure != JobError::Cancelled)
    }

    pub(super) fn take_done_lane(&mut self) -> Option<Lane<B::Sample>> {
        let index = self.lanes.iter().position(Lane::is_done)?;
        Some(self.lanes.remove(index))
    }

    /// The checkpoints of the pass that a lane is about to open.
    pub(super) fn next_models(&self, done: &Lane<B::Sample>) -> Vec<Arc<ModelFile>> {
        let next = self.passes.after(done.stage).filter(|_| self.second.is_none());
        next.map(|(stage, _)| self.passes.models(stage)).unwrap_or_default()
    }

    /// Has pictures go over to their pass's refiner whose next call is its first. Plan and noise stay theirs.
    pub(super) fn hand_over(&mut self, backend: &mut B) {
        let request = self.passes.request();
        let Some(rule) = &request.refiner else { return };
        for lane in self.lanes.iter_mut().filter(|lane| !lane.is_refined) {
            let open = match lane.stage {
                Stage::First => Some(&self.opening),
                Stage::Second => self.second.as_ref(),
            };
            let Some((open, refiner)) = open.and_then(|open| Some((open, open.refiner.as_deref()?))) else {
                continue;
            };
            let is_due = |call: &Call| rule.takes_over(&lane.plan, call, &open.schedule);
            if lane.call.as_ref().is_some_and(is_due) {
                backend.hand_over(&mut lane.sample, &refiner.pass, lane.image % request.batch_size);
                lane.key = refiner.key.clone();
                lane.is_refined = true;
            }
        }
    }

    /// Moves a lane whose pass is through on to the next; gives it back when there is none.
    pub(super) fn promote(
        &mut self,
        backend: &mut B,
        done: Lane<B::Sample>,
    ) -> Result<Option<Lane<B::Sample>>, JobError> {
        let Some((stage, upscale)) = self.passes.after(done.stage) else { return Ok(Some(done)) };
        if self.second.is_none() {
            let spec = self.passes.spec(stage).ok_or(JobError::ShutDown)?;
            let second = backend.open_pass(&spec)?;
            self.caller.warn(&second);
            self.second = Some(second);
        }
        let open = self.second.as_ref().unwrap_or(&self.opening);
        let place = (done.image, done.calls_done());
        let enlarged = Origin::Enlarged { sample: done.sample, upscale };
        let lane = lane(backend, &self.passes, open, stage, place, enlarged, &self.caller)?;
        let at = self.lanes.iter().position(|other| other.image > lane.image).unwrap_or(self.lanes.len());
        self.lanes.insert(at, Lane { served: done.served, ..lane });
        Ok(None)
    }

    /// Keeps a finished picture. True where its batch has ended with it, and the batch's skip therefore.
    pub(super) fn store(&mut self, image: u32, calls: u32, pixels: Pixels) -> bool {
        self.finished[image as usize] = Some(pixels);
        self.calls_of_finished += calls;
        let has_ended =
            self.first_batch().is_none_or(|first| first > image / self.passes.request().batch_size);
        if has_ended {
            self.skipping = None;
        }
        let done = self.finished.iter().flatten().count() as u32;
        self.caller.progress.send_modify(|progress| progress.images_done = done);
        has_ended
    }

    pub(super) fn cancel_flag(&self) -> &CancelFlag {
        &self.caller.cancel
    }

    /// UNet calls done and in all. The total is an estimate while a second pass or an adaptive sampler is ahead.
    fn calls(&self) -> (u32, u32) {
        self.lanes.iter().fold((self.calls_of_finished, self.calls_of_finished), |(done, total), lane| {
            let ahead = if lane.stage == Stage::First { self.calls_of_second } else { 0 };
            (done + lane.calls_done(), total + lane.calls_before + lane.plan.total_calls() + ahead)
        })
    }

    /// True once in `every` calls of each picture that is being drawn.
    pub(super) fn preview_due(&mut self, every: u32) -> bool {
        let (done, _) = self.calls();
        let together = u32::try_from(self.lanes.len()).unwrap_or(u32::MAX).max(1);
        let due = done >= self.last_preview_at + every.saturating_mul(together);
        if due {
            self.last_preview_at = done;
        }
        due
    }

    pub(super) fn publish(&self, now: Duration, preview: Option<Pixels>) {
        let (calls_done, calls_total) = self.calls();
        let place = |lane: &Lane<B::Sample>| {
            let steps = self.passes.steps(lane.stage);
            (lane.stage, lane.call.as_ref().map_or(steps, |call| call.step))
        };
        let opening = self.passes.opening();
        let all = (opening, self.passes.steps(opening));
        let (stage, step) = self.lanes.iter().map(place).min().unwrap_or(all);
        let elapsed = now.saturating_sub(self.began);
        let eta = (calls_done > 0).then(|| {
            elapsed.mul_f64(f64::from(calls_total.saturating_sub(calls_done)) / f64::from(calls_done))
        });
        self.caller.progress.send_modify(|progress| {
            progress.phase = Phase::Sampling;
            progress.calls_done = calls_done;
            progress.calls_total = calls_total;
            progress.step = step;
            progress.steps = self.passes.steps(stage);
            progress.eta = eta;
            if let Some(preview) = preview {
                progress.preview = Some(Arc::new(preview));
            }
        });
    }

    pub(super) fn answer(self) {
        // All of them, but for a drawing that was interrupted: then up to the first that is missing.
        let pictures: Vec<_> = self.finished.into_iter().map_while(|picture| picture).collect();
        let result = match self.failure {
            Some(error) => Err(error),
            None if pictures.is_empty() => Err(JobError::Cancelled),
            None => Ok(Made::Pictures(pictures)),
        };
        // Before anybody hears of the end.
        drop(self.skipping);
        self.caller.answer(result);
    }
}

/// A lane at the beginning of a pass. `place` is the picture's in the request, and the calls it has behind it.
fn lane<B: Backend>(
    backend: &mut B,
    passes: &Passes,
    open: &OpenPass<B::Pass>,
    stage: Stage,
    place: (u32, u32),
    origin: Origin<'_, B::Sample>,
    caller: &Caller,
) -> Result<Lane<B::Sample>, JobError> {
    if caller.is_gone() {
        return Err(JobError::Cancelled);
    }
    let (image, calls_before) = place;
    let mut plan = passes.plan(stage, &open.schedule)?;
    let (noise, start_noise) = passes.noise(stage, image);
    let is_cancelled = || caller.is_gone();
    let sample = backend.begin(&open.pass, origin, plan.start(), start_noise, &is_cancelled)?;
    let call = plan.next_call(None);
    let (key, hooks) = (open.key.clone(), passes.drawing.step_hooks.clone());
    let (seed, _) = passes.drawing.request.seeds_of(image);
    Ok(Lane {
        image,
        seed,
        stage,
        key,
        sample,
        plan,
        noise,
        hooks,
        call,
        is_refined: false,
        calls_before,
        served: Duration::ZERO,
    })
}

/// The backend answered for fewer rows than it was given.
pub(super) fn missing_row() -> Result<Measured, BackendError> {
    Err(BackendError::Device("the backend answered for fewer rows than it was given".into()))
}
