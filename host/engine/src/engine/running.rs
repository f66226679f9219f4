//! A job in flight: one lane for each picture, each with its own sampler plan, noise and tensors.

use std::sync::Arc;
use std::time::Duration;

use gesso_core::noise::ImageNoise;
use gesso_core::pixels::Pixels;
use gesso_core::sampler::{Call, Draw, Plan};
use gesso_core::schedule::NoiseSchedule;
use tokio::sync::{oneshot, watch};

use super::{Incoming, Slot};
use crate::backend::{Backend, BackendError, BatchKey, Row};
use crate::job::{JobError, JobSpec, Phase, Progress};

/// One picture under way.
#[derive(Debug)]
pub(super) struct Lane<S> {
    /// Place of the picture in the request.
    pub(super) image: u32,
    pub(super) key: BatchKey,
    pub(super) sample: S,
    plan: Plan,
    noise: ImageNoise,
    /// What the sampler wants next; `None` when it is through.
    call: Option<Call>,
    /// When the lane last ran, or its job arrived.
    pub(super) served: Duration,
}

impl<S> Lane<S> {
    /// The row for the call that is due. Only lanes that are not done are ever picked.
    pub(super) fn row(&mut self) -> Row<'_, S> {
        let call = self.call.as_ref().expect("a lane without a call was retired");
        let noise = match call.draw {
            Draw::None => None,
            Draw::Next => Some(self.noise.draw()),
            Draw::Brownian { from, to, lowest, highest } => {
                Some(self.noise.brownian(from, to, (lowest, highest)))
            }
        };
        Row { sample: &mut self.sample, call, noise }
    }

    /// `measured` answers the call that ran.
    pub(super) fn advance(&mut self, now: Duration, measured: Option<f64>) {
        self.call = self.plan.next_call(measured);
        self.served = now;
    }

    pub(super) fn is_done(&self) -> bool {
        self.call.is_none()
    }
}

#[derive(Debug)]
pub(super) struct RunningJob<S> {
    pub(super) spec: JobSpec,
    pub(super) arrival: u64,
    pub(super) lanes: Vec<Lane<S>>,
    finished: Vec<Option<Pixels>>,
    calls_total: u32,
    calls_of_one: u32,
    began: Duration,
    failure: Option<JobError>,
    last_preview_at: u32,
    progress: watch::Sender<Progress>,
    reply: oneshot::Sender<Result<Vec<Pixels>, JobError>>,
    _slot: Slot,
}

impl<S> RunningJob<S> {
    /// Lanes for every picture, and the UNet calls they take together.
    pub(super) fn begin<B: Backend<Sample = S>>(
        backend: &mut B,
        table: &NoiseSchedule,
        spec: &JobSpec,
    ) -> Result<(Vec<Lane<S>>, u32), JobError> {
        let mut lanes = Vec::new();
        let mut calls_total = 0;
        let pass = spec.request.first_pass();
        for image in 0..spec.request.image_count() {
            let mut plan =
                Plan::new(&pass, table).map_err(|error| BackendError::Request(error.to_string()))?;
            let mut noise = ImageNoise::for_image(&spec.request, image);
            let (sample, key) =
                backend.begin(&spec.model, &spec.request, noise.first(), plan.start().noise)?;
            calls_total += plan.total_calls();
            let call = plan.next_call(None);
            lanes.push(Lane { image, key, sample, plan, noise, call, served: Duration::ZERO });
        }
        Ok((lanes, calls_total))
    }

    pub(super) fn new(
        incoming: Incoming,
        mut lanes: Vec<Lane<S>>,
        calls_total: u32,
        arrival: u64,
        arrived: Duration,
        now: Duration,
    ) -> Self {
        let Incoming { spec, progress, reply, slot } = incoming;
        let images = lanes.len();
        for lane in &mut lanes {
            lane.served = arrived;
        }
        let job = Self {
            spec,
            arrival,
            lanes,
            finished: vec![None; images],
            calls_total,
            calls_of_one: calls_total / (images.max(1) as u32),
            began: now,
            failure: None,
            last_preview_at: 0,
            progress,
            reply,
            _slot: slot,
        };
        job.publish(now, None);
        job
    }

    /// Asked to stop, or nobody waits for the pictures any more.
    pub(super) fn is_cancelled(&self) -> bool {
        self.spec.cancel.is_cancelled() || self.reply.is_closed()
    }

    pub(super) fn fail(&mut self, error: JobError) {
        self.failure.get_or_insert(error);
    }

    pub(super) fn failed(&self) -> bool {
        self.failure.is_some()
    }

    pub(super) fn take_done_lane(&mut self) -> Option<Lane<S>> {
        let index = self.lanes.iter().position(Lane::is_done)?;
        Some(self.lanes.remove(index))
    }

    pub(super) fn store(&mut self, image: u32, pixels: Pixels) {
        self.finished[image as usize] = Some(pixels);
        let done = self.finished.iter().flatten().count() as u32;
        self.progress.send_modify(|progress| progress.images_done = done);
    }

    fn calls_done(&self) -> u32 {
        let finished = (self.finished.len() - self.lanes.len()) as u32 * self.calls_of_one;
        finished
            + self.lanes.iter().map(|lane| lane.plan.calls_done() - u32::from(!lane.is_done())).sum::<u32>()
    }

    /// True once in `every` calls.
    pub(super) fn preview_due(&mut self, every: u32) -> bool {
        let done = self.calls_done();
        let due = done >= self.last_preview_at + every;
        if due {
            self.last_preview_at = done;
        }
        due
    }

    pub(super) fn publish(&self, now: Duration, preview: Option<Pixels>) {
        let calls_done = self.calls_done();
        let step = self
            .lanes
            .iter()
            .map(|lane| lane.call.as_ref().map_or(self.spec.request.steps, |call| call.step))
            .min()
            .unwrap_or(self.spec.request.steps);
        let elapsed = now.saturating_sub(self.began);
        let eta = (calls_done > 0).then(|| {
            elapsed.mul_f64(f64::from(self.calls_total.saturating_sub(calls_done)) / f64::from(calls_done))
        });
        self.progress.send_modify(|progress| {
            progress.phase = Phase::Sampling;
            progress.calls_done = calls_done;
            progress.calls_total = self.calls_total;
            progress.step = step;
            progress.eta = eta;
            if let Some(preview) = preview {
                progress.preview = Some(Arc::new(preview));
            }
        });
    }

    /// Tells the caller how it ended.
    pub(super) fn answer(self) {
        self.progress.send_modify(|progress| {
            progress.phase = Phase::Finished;
            progress.eta = None;
        });
        let result = match self.failure {
            Some(error) => Err(error),
            None => Ok(self.finished.into_iter().flatten().collect()),
        };
        // The caller may be gone; that is its own decision.
        drop(self.reply.send(result));
    }
}
