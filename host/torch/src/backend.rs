//! The engine's [`Backend`] on libtorch. Loads models, runs the UNet for rows of several requests at once, and
//! turns latents into pictures. The numbers of each call come with it; none is decided here.

use std::cell::Cell;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use gesso_core::hires::HiresTarget;
use gesso_core::numbers::Numbers;
use gesso_core::pixels::Pixels;
use gesso_core::sampler::Start;
use gesso_core::schedule::NoiseSchedule;
use gesso_engine::backend::{
    Backend, BackendError, BatchKey, FaceRestorer, Measured, ModelFile, OpenPass, Origin, PassSpec,
    PixelUpscaler, Residency, Row, StartNoise, Upscale, UpscaleBy,
};
use tch::{Device, Tensor};

use crate::compute::send;
use crate::conditioning::Conditioner;
use crate::convert;
use crate::device::{self, DeviceChoice, DtypeChoice};
use crate::encoder::Encoder;
use crate::enlarge;
use crate::failure::device_error;
use crate::guidance::{self, Asked};
use crate::joins::Leader;
use crate::latent::Latents;
use crate::machine_memory;
use crate::memory;
use crate::open_pass::{self, Pictures};

use crate::pass::{PIXELS_PER_LATENT, network_bytes};
pub use crate::pass::{Pass, Sample};
use crate::reference;
use crate::resident::{Bounds, Resident};
use crate::share::{Limits, room, rows_in};
use crate::shown;
use crate::source::LATENT_SCALE;
use crate::step_hooks::{self, Estimates};
use crate::vae_tiles::{VAE_TILING, decode_tiled};
use crate::working_memory::{self, Size};

/// One row of RGB for each latent channel: a linear fit of small pictures to Stable Diffusion 1.x latents.
const PREVIEW: [f32; 12] =
    [0.298, 0.207, 0.208, 0.187, 0.286, 0.173, -0.158, 0.189, 0.264, -0.184, -0.271, -0.473];

/// How the backend computes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TorchSettings {
    /// Threads for one operator on the processor; 0 lets libtorch choose (the physical cores).
    pub threads: usize,
    pub device: DeviceChoice,
    pub dtype: DtypeChoice,
    /// Models kept in memory; 0 is taken as 1.
    pub resident_models: usize,
    /// Bytes that models in memory may take together, with what is laid over them and the networks and files beside them;
    /// tensors that several share count once. One model is kept whatever it takes. 0 is half of the machine's memory.
    pub resident_bytes_max: u64,
    /// The same of a device that has a memory of its own, with what is computed there; 0 is all that is free at the start.
    /// `resident_models` does not count there.
    pub device_bytes_max: u64,
}

impl Default for TorchSettings {
    fn default() -> Self {
        Self {
            threads: 0,
            device: DeviceChoice::Auto,
            dtype: DtypeChoice::Auto,
            resident_models: 1,
            resident_bytes_max: 0,
            device_bytes_max: 0,
        }
    }
}

/// libtorch on one device. Belongs to the thread that opened it.
pub struct TorchBackend {
    pub(crate) resident: Resident,
    conditioner: Conditioner,
    /// Passes that may still be drawn.
    in_flight: Vec<(Weak<Pass>, Size)>,
    /// Has one step keep for the next what its calls read together.
    leader: Leader,
    /// Threads of what has no share of its own.
    threads: i32,
    /// On a processor, where a process that asks for more than there is finds out by being ended. A device of its own memory
    /// refuses, and what is done then is tried when it does.
    machine: Option<Machine>,
}

/// The memory that models and what is computed share.
#[derive(Debug, Clone, Copy)]
struct Machine {
    bytes: u64,
    /// What models may take of it.
    models_max: u64,
}

/// At least this part of the machine's memory is for computing, whatever models take.
const COMPUTING_PART: u64 = 4;

impl Machine {
    /// For the calls of passes, whose rows are shared by others only where all of them have the same bound: beside all models
    /// that may come.
    fn for_steps(self) -> u64 {
        self.beside(self.models_max)
    }

    /// Beside so many bytes of models.
    fn beside(self, models: u64) -> u64 {
        self.bytes.saturating_sub(models).max(self.bytes / COMPUTING_PART)
    }
}

/// A pass, its noise levels, and a text that is equal for passes whose rows may share calls.
type Opened = (Pass, NoiseSchedule, String);

impl TorchBackend {
    /// Sets up libtorch; loads no model yet.
    ///
    /// # Errors
    /// [`BackendError::Device`] when libtorch cannot compute at all.
    pub fn open(settings: TorchSettings) -> Result<Self, BackendError> {
        device::set_threads(settings.threads);
        let compute = settings.device.compute(settings.dtype)?;
        // Asking makes the device this thread's present one too, which pinning and the allocator go by.
        let free = device::free_memory(compute.device);
        let total = machine_memory::here().map(|memory| memory.total);
        let bounds = Bounds {
            models: settings.resident_models,
            host_bytes: match settings.resident_bytes_max {
                0 => total.map_or(u64::MAX, |total| total / 2),
                bytes => bytes,
            },
            device_bytes: match (settings.device_bytes_max, free) {
                (0, free) => free.unwrap_or(u64::MAX),
                (bytes, _) => bytes,
            },
        };
        let resident = Resident::new(bounds, compute);
        let threads = tch::get_num_threads();
        let machine = total.map(|bytes| Machine { bytes, models_max: bounds.host_bytes });
        let machine = machine.filter(|_| compute.device == Device::Cpu);
        let (conditioner, in_flight, leader) = (Conditioner::new(), Vec::new(), Leader::default());
        Ok(Self { resident, conditioner, in_flight, leader, threads, machine })
    }

    fn opened(
        &mut self,
        spec: &PassSpec<'_>,
        pictures: Pictures,
        beside: Option<&Pass>,
    ) -> Result<Opened, BackendError> {
        let (limits, conditioner) = (self.limits(spec), &mut self.conditioner);
        self.resident
            .with_room(|resident| open_pass::open(resident, conditioner, spec, pictures, limits, beside))
    }

    /// What bounds the memory of a pass.
    fn limits(&self, spec: &PassSpec<'_>) -> Limits {
        // One picture is encoded or decoded at a time, and soon: beside the models that are there.
        let beside = |machine: Machine| machine.beside(self.resident.bytes());
        Limits { share: spec.share.bytes_max, machine: self.machine.map(beside) }
    }

    /// The pass that refines `own`.
    fn open_refiner<'a>(
        &mut self,
        spec: &PassSpec<'a>,
        own: &Opened,
    ) -> Result<(PassSpec<'a>, Opened), BackendError> {
        let refiner = self.opened(spec, Pictures::Another, Some(&own.0))?;
        // The coefficients of a plan are those of the checkpoint that the picture was begun with.
        if refiner.1 != own.1 {
            return Err(BackendError::Request(format!(
                "the refiner {} was trained on other noise than the checkpoint, so that it cannot go on with its pictures; \
                 name another as refiner_checkpoint",
                spec.model.name
            )));
        }
        Ok((*spec, refiner))
    }

    /// A picture at the size that it is enlarged to between two passes.
    fn enlarged(
        &mut self,
        picture: &Pixels,
        target: HiresTarget,
        by: &PixelUpscaler,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Pixels, BackendError> {
        self.resident
            .with_room(|resident| enlarge::to_size(resident, picture, target.enlarged, by, is_cancelled))
    }

    /// A picture's latent by a pass's VAE.
    fn encoded(&mut self, pass: &Pass, picture: &Pixels) -> Result<Tensor, BackendError> {
        let picture = convert::to_tensor(picture).map_err(device_error)?;
        let networks = pass.networks().map_err(device_error)?;
        self.resident.with_room(|resident| {
            Encoder::new(resident, networks, pass.computing_bytes).latent(&picture).map_err(device_error)
        })
    }

    /// The latent that every picture of a pass begins from, where one stands in for the pass before. Made once.
    fn given(
        &mut self,
        pass: &Pass,
        picture: &Pixels,
        upscale: &Upscale,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Tensor, BackendError> {
        if let Some(latent) = pass.given.get() {
            return Ok(latent.shallow_clone());
        }
        let latent = match &upscale.by {
            UpscaleBy::Latent(_) => self.encoded(pass, picture)?,
            UpscaleBy::Pixels(by) => {
                let large = self.enlarged(picture, upscale.target, by, is_cancelled)?;
                self.encoded(pass, &large)?
            }
        };
        let latent = enlarge::for_pass(&latent, upscale, pass.size).map_err(device_error)?;
        Ok(pass.given.get_or_init(|| latent).shallow_clone())
    }

    /// A pass of pictures of a size, and the one that refines it.
    fn open_with_refiner(
        &mut self,
        spec: &PassSpec<'_>,
        size: Size,
    ) -> Result<OpenPass<Rc<Pass>>, BackendError> {
        let (compute, bytes_max) = (self.resident.compute(), spec.share.bytes_max);
        let refined = spec.refined();
        let room_beside = |networks: u64| {
            // One that has no room is refused before the first is drawn.
            if let Some(second) = size_of_second(spec) {
                room(bytes_max, networks, second, compute)?;
            }
            room(bytes_max, networks, size, compute)
        };
        // Before they push others out of memory. How much the two share is known once both are read.
        let models = [Some(spec), refined.as_ref()].into_iter().flatten().map(|spec| spec.model);
        for model in models.filter(|_| bytes_max.is_some()) {
            if !self.resident.loaded().contains(model) {
                room_beside(self.resident.bytes_to_come(model)?)?;
            }
        }
        self.keep_free(Some(size));
        let own = self.opened(spec, Pictures::Own, None)?;
        let refiner = refined.map(|spec| self.open_refiner(&spec, &own)).transpose()?;
        let passes = [Some(&own), refiner.as_ref().map(|(_, refiner)| refiner)].into_iter().flatten();
        let networks = network_bytes(passes.map(|(pass, ..)| pass));
        let rows = self.machine.map_or(usize::MAX, |machine| rows_in(machine.for_steps(), size, compute));
        let rows_max = rows.min(room_beside(networks)?);
        let computing_bytes = self.limits(spec).beside(networks);
        let decodes_whole = working_memory::of_decoding(size, compute) <= computing_bytes;
        let opened =
            |spec: &PassSpec<'_>, (pass, schedule, patches): Opened, refiner: Option<Box<OpenPass<_>>>| {
                let warnings = pass.warnings.clone();
                let pass = Rc::new(Pass { decodes_whole, computing_bytes, rows_max, ..pass });
                let key = BatchKey {
                    model: spec.model.clone(),
                    patches,
                    latent_height: spec.height / PIXELS_PER_LATENT,
                    latent_width: spec.width / PIXELS_PER_LATENT,
                    rows_max,
                };
                OpenPass { pass, key, schedule, refiner, warnings }
            };
        let refiner = refiner.map(|(spec, refiner)| Box::new(opened(&spec, refiner, None)));
        Ok(opened(spec, own, refiner))
    }

    /// Keeps memory free for what is drawn by now, and for a pass to come. What has ended needs none any more.
    fn keep_free(&mut self, coming: Option<Size>) {
        self.leader.forget();
        self.in_flight.retain(|(pass, _)| pass.strong_count() > 0);
        let all = self.in_flight.iter().map(|(_, size)| *size).chain(coming);
        let bytes = working_memory::bytes(all, self.resident.compute());
        self.resident.reserve(bytes);
    }

    /// Has the operators that follow run on so many threads, or on as many as any. libtorch takes no 0.
    fn compute_on(&self, threads: Option<u32>) {
        let threads = threads.and_then(|threads| i32::try_from(threads).ok()).filter(|threads| *threads > 0);
        device::use_threads(threads.unwrap_or(self.threads));
    }
}

impl Backend for TorchBackend {
    type Pass = Rc<Pass>;
    type Sample = Sample;

    fn open_pass(&mut self, spec: &PassSpec<'_>) -> Result<OpenPass<Rc<Pass>>, BackendError> {
        let _guard = tch::no_grad_guard();
        self.compute_on(spec.share.threads);
        let size = Size { width: spec.width, height: spec.height, pictures: spec.request.batch_size };
        let opened = self.open_with_refiner(spec, size);
        match &opened {
            // A refiner draws the same pictures, and so takes no more to compute in.
            Ok(open) => self.in_flight.push((Rc::downgrade(&open.pass), size)),
            Err(_) => self.keep_free(None),
        }
        opened
    }

    fn begin(
        &mut self,
        pass: &Rc<Pass>,
        origin: Origin<'_, Sample>,
        start: Start,
        noise: StartNoise,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Sample, BackendError> {
        let _guard = tch::no_grad_guard();
        self.compute_on(pass.threads);
        self.leader.forget();
        let tensor = |values: &[f32]| pass.draw(values).map_err(device_error);
        let fill = noise.fill.as_deref().map(tensor).transpose()?;
        let underlay = pass.underlay.as_ref().filter(|_| matches!(origin, Origin::Fresh { .. }));
        let (latent, kept, channels) = match origin {
            Origin::Fresh { picture } => match &pass.source {
                None => (None, None, pass.channels.as_ref()),
                Some(source) => {
                    let (latent, kept) = source.picture(picture, fill.as_ref()).map_err(device_error)?;
                    (Some(latent), kept, source.channels(picture))
                }
            },
            Origin::Enlarged { sample, upscale } => {
                let latent = match &upscale.by {
                    UpscaleBy::Latent(_) => sample.result().map_err(device_error)?,
                    UpscaleBy::Pixels(by) => {
                        let picture = decode(&mut self.resident, &sample, is_cancelled)?;
                        let large = self.enlarged(&picture, upscale.target, by, is_cancelled)?;
                        self.encoded(pass, &large)?
                    }
                };
                let latent = enlarge::for_pass(&latent, upscale, pass.size).map_err(device_error)?;
                (Some(latent), None, pass.channels.as_ref())
            }
            Origin::Given { picture, upscale } => {
                let latent = self.given(pass, picture, upscale, is_cancelled)?;
                (Some(latent), None, pass.channels.as_ref())
            }
        };
        let channels = channels.map(Tensor::shallow_clone);
        let noise = tensor(&noise.noise)?;
        let reference_noise = match pass.references.as_slice() {
            [] => None,
            _ => Some(reference::noise_of(&noise).map_err(device_error)?),
        };
        let noise = match underlay {
            None => noise,
            Some(underlay) => underlay.under(&noise).map_err(device_error)?,
        };
        let latents = Latents::new(latent.as_ref(), &noise, start).map_err(device_error)?;
        let (pass, home) = (pass.clone(), pass.clone());
        let (joins, portion) = (Rc::default(), Cell::default());
        let (step, step_began) = (0, 0);
        Ok(Sample { pass, home, latents, channels, kept, reference_noise, joins, portion, step, step_began })
    }

    fn step(
        &mut self,
        rows: &mut [Row<'_, Sample>],
    ) -> Result<Vec<Result<Measured, BackendError>>, BackendError> {
        let _guard = tch::no_grad_guard();
        // Rows of one checkpoint have one share, but for those that were begun before it was another.
        self.compute_on(rows.first().and_then(|row| row.sample.pass.threads));
        // A row whose own call is wrong fails alone; the others go on without it.
        let mut results: Vec<Result<Option<Tensor>, BackendError>> = rows.iter_mut().map(prepare).collect();
        let mut good: Vec<_> =
            rows.iter_mut().zip(&mut results).filter(|(_, prepared)| prepared.is_ok()).collect();
        let mut measured = Vec::with_capacity(good.len());
        if !good.is_empty() {
            let asked: Vec<_> = good.iter().map(|(row, _)| asked(row)).collect();
            let joins = asked.first().map(|first| first.sample.joins.clone()).unwrap_or_default();
            self.leader.lead(&joins);
            let predict =
                |rows: &[Asked<'_>], portion| guidance::predict(rows, portion, &joins).map_err(device_error);
            let resident = &mut self.resident;
            let free = || {
                let stopped = joins.stop();
                resident.make_do() || stopped
            };
            let outputs = memory::all_or_each(&asked, |row| &row.sample.portion, free, predict);
            joins.end_step();
            let outputs = outputs?;
            for ((row, result), output) in good.iter_mut().zip(outputs) {
                let noise = result.as_mut().ok().and_then(Option::take);
                match output.and_then(|output| advance(row, &output, noise.as_ref())) {
                    Ok(number) => measured.push(number),
                    Err(error) => **result = Err(error),
                }
            }
        }
        let mut measured = measured.into_iter();
        Ok(results.into_iter().map(|result| result.map(|_| measured.next().flatten())).collect())
    }

    fn hand_over(&mut self, sample: &mut Sample, refiner: &Rc<Pass>, picture: u32) {
        let channels = match &refiner.source {
            None => refiner.channels.as_ref(),
            Some(source) => source.channels(picture),
        };
        sample.channels = channels.map(Tensor::shallow_clone);
        sample.pass = refiner.clone();
    }

    fn preview(&mut self, sample: &Sample) -> Result<Pixels, BackendError> {
        let _guard = tch::no_grad_guard();
        let latent = sample.latents.denoised.as_ref().unwrap_or(&sample.latents.x);
        let project = || {
            let matrix = send(&Tensor::f_from_slice(&PREVIEW)?.f_reshape([4, 3])?, latent.device())?;
            let rgb = latent.f_nan_to_num(0.0, 0.0, 0.0)?.f_permute([0, 2, 3, 1])?.f_matmul(&matrix)?;
            convert::to_pixels(&rgb.f_squeeze_dim(0)?)
        };
        project().map_err(device_error)
    }

    fn settle(&mut self, sample: &mut Sample) {
        if let Some(estimate) = sample.latents.denoised.take() {
            sample.latents.x = estimate;
        }
    }

    fn finish(&mut self, sample: Sample, is_cancelled: &dyn Fn() -> bool) -> Result<Pixels, BackendError> {
        let _guard = tch::no_grad_guard();
        self.compute_on(sample.pass.threads);
        self.leader.forget();
        let picture = decode(&mut self.resident, &sample, is_cancelled)?;
        shown::with_alpha(&sample, picture)
    }

    fn enlarge(
        &mut self,
        picture: &Pixels,
        factor: f64,
        by: &PixelUpscaler,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Pixels, BackendError> {
        let _guard = tch::no_grad_guard();
        self.compute_on(None);
        self.keep_free(None);
        self.resident.with_room(|resident| enlarge::by_factor(resident, picture, factor, by, is_cancelled))
    }

    fn restore_faces(
        &mut self,
        picture: &Pixels,
        by: &FaceRestorer,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Pixels, BackendError> {
        let _guard = tch::no_grad_guard();
        self.compute_on(None);
        self.keep_free(None);
        self.resident.with_room(|resident| enlarge::faces(resident, picture, by, is_cancelled))
    }

    fn run_network(
        &mut self,
        network: &Arc<ModelFile>,
        inputs: &[Numbers],
    ) -> Result<Vec<Numbers>, BackendError> {
        let _guard = tch::no_grad_guard();
        self.compute_on(None);
        self.keep_free(None);
        self.resident.with_room(|resident| {
            let scripted = resident.scripted(network)?;
            scripted.run(inputs).map_err(|error| match device_error(error) {
                // What a network does not take is not the device's fault.
                BackendError::Device(why) => BackendError::Request(format!("{}: {why}", network.name)),
                other => other,
            })
        })
    }

    fn load(&mut self, model: &Arc<ModelFile>) -> Result<(), BackendError> {
        let _guard = tch::no_grad_guard();
        self.keep_free(None);
        self.resident.with_room(|resident| resident.checkpoint(model)).map(drop)
    }

    fn unload(&mut self) {
        self.resident.drop_unused();
    }

    fn loaded(&self) -> Vec<Arc<ModelFile>> {
        self.resident.loaded()
    }

    fn residency(&self) -> Residency {
        self.resident.residency()
    }

    fn describe(&self) -> String {
        device::describe(self.resident.compute())
    }
}

/// What comes behind a first pass, where it is drawn with the same checkpoint.
fn size_of_second(spec: &PassSpec<'_>) -> Option<Size> {
    let hires = spec.request.hires.as_ref().filter(|hires| !spec.is_second && hires.model.is_none())?;
    let (width, height) = hires.size.target(spec.width, spec.height).size;
    Some(Size { width, height, pictures: spec.request.batch_size })
}

fn asked<'a>(row: &'a Row<'_, Sample>) -> Asked<'a> {
    Asked {
        sample: row.sample,
        call: row.call,
        calls_before: row.calls_before,
        blend_before: row.blend_before,
        wants_positive: step_hooks::want_predictions(row),
    }
}

/// Does the row's assignments before the UNet; gives back its noise for those after.
fn prepare(row: &mut Row<'_, Sample>) -> Result<Option<Tensor>, BackendError> {
    let noise = row.noise.as_deref().map(|noise| row.sample.pass.draw(noise)).transpose();
    let noise = noise.map_err(device_error)?;
    if row.sample.step != row.call.step {
        (row.sample.step, row.sample.step_began) = (row.call.step, row.calls_before);
    }
    row.sample.latents.assign(&row.call.before, noise.as_ref()).map_err(device_error)?;
    step_hooks::before(row)?;
    Ok(noise)
}

/// Turns the prediction into the estimate and does the row's assignments after the UNet.
fn advance(
    row: &mut Row<'_, Sample>,
    output: &guidance::Predicted,
    noise: Option<&Tensor>,
) -> Result<Measured, BackendError> {
    let mut estimates = Estimates::new(row, output).map_err(device_error)?;
    step_hooks::after(row, &mut estimates)?;
    let (sample, call) = (&mut *row.sample, row.call);
    let Estimates { guided: mut denoised, negative: unconditional, .. } = estimates;
    let work = || {
        if let Some(kept) = sample.kept.as_ref().filter(|_| !row.blend_before) {
            denoised = kept.blend(&denoised, call.sigma)?;
        }
        sample.latents.denoised = Some(denoised);
        sample.latents.unconditional = Some(unconditional);
        sample.latents.assign(&call.after, noise)?;
        let measured = call.measure.as_ref().map(|measure| sample.latents.measure(measure)).transpose()?;
        // Asking a device would make the host wait for it in every step; there the finished picture tells.
        let is_finite = sample.pass.device != Device::Cpu || sample.latents.is_finite()?;
        Ok((measured, is_finite))
    };
    match work().map_err(device_error)? {
        (measured, true) => Ok(measured),
        (_, false) => Err(BackendError::NotANumber { step: call.step }),
    }
}

/// The finished picture of a sample; in tiles where the whole takes more memory than there is.
fn decode(
    resident: &mut Resident,
    sample: &Sample,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<Pixels, BackendError> {
    let latent =
        sample.result().and_then(|latent| latent.f_div_scalar(LATENT_SCALE)).map_err(device_error)?;
    let networks = sample.home.networks().map_err(device_error)?;
    let part = |latent: &Tensor| {
        let decode =
            || networks.decode_latent_unless(latent, is_cancelled)?.f_squeeze_dim(0)?.f_permute([1, 2, 0]);
        let picture = decode().map_err(|error| match device_error(error) {
            lost @ BackendError::Lost(_) => lost,
            _ if is_cancelled() => BackendError::Cancelled,
            other => other,
        })?;
        let finite = picture.f_isfinite().and_then(|finite| finite.f_all()).and_then(bool::try_from);
        if !finite.map_err(device_error)? {
            return Err(BackendError::NotANumber { step: sample.step });
        }
        convert::to_pixels(&picture).map_err(device_error)
    };
    let tiles = || decode_tiled(&latent, VAE_TILING, networks.is_seamless(), part);
    if !sample.home.decodes_whole {
        return resident.with_room(|_| tiles());
    }
    let is_out_of_memory = |error: &BackendError| matches!(error, BackendError::OutOfMemory(_));
    memory::whole_or_tiles(is_out_of_memory, || resident.make_do(), || part(&latent), tiles)
}

#[cfg(test)]
mod tests;
