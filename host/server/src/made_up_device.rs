//! A device that draws nothing and takes no time: every picture is a colour gradient of the size that was asked for. What a
//! request takes on it is the service's own, which is what `cargo xtask bench api` measures; and tests have it be lost.
//! Reads no model file; knows no tensor.

use std::sync::Arc;

use gesso_core::numbers::Numbers;
use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_core::sampler::Start;
use gesso_core::schedule::NoiseSchedule;
use gesso_engine::backend::{
    Backend, BackendError, BatchKey, FaceRestorer, Measured, ModelFile, OpenPass, Origin, PassSpec,
    PixelUpscaler, Residency, Row, StartNoise,
};

/// Pixels of a latent's side.
const LATENT_PX: u32 = 8;

/// Remembers which checkpoints were asked for, and how often it was called.
#[derive(Debug, Default)]
pub(crate) struct MadeUpDevice {
    loaded: Vec<Arc<ModelFile>>,
    calls: u64,
    calls_max: Option<u64>,
}

impl MadeUpDevice {
    /// One that computes nothing any more after so many UNet calls.
    pub(crate) fn lost_after(calls_max: Option<u64>) -> Self {
        Self { calls_max, ..Self::default() }
    }
}

impl Backend for MadeUpDevice {
    /// Width and height.
    type Pass = (u32, u32);
    type Sample = (u32, u32);

    fn open_pass(&mut self, spec: &PassSpec<'_>) -> Result<OpenPass<(u32, u32)>, BackendError> {
        self.load(spec.model)?;
        let key = BatchKey {
            model: spec.model.clone(),
            patches: String::new(),
            latent_height: spec.height / LATENT_PX,
            latent_width: spec.width / LATENT_PX,
            rows_max: usize::MAX,
        };
        let refiner = spec.refined().map(|spec| self.open_pass(&spec)).transpose()?.map(Box::new);
        let (pass, warnings) = ((spec.width, spec.height), Vec::new());
        Ok(OpenPass { pass, key, schedule: NoiseSchedule::sd1(), refiner, warnings })
    }

    fn begin(
        &mut self,
        pass: &(u32, u32),
        _: Origin<'_, (u32, u32)>,
        _: Start,
        _: StartNoise,
        _: &dyn Fn() -> bool,
    ) -> Result<(u32, u32), BackendError> {
        Ok(*pass)
    }

    fn step(
        &mut self,
        rows: &mut [Row<'_, (u32, u32)>],
    ) -> Result<Vec<Result<Measured, BackendError>>, BackendError> {
        if self.calls_max.is_some_and(|most| self.calls >= most) {
            return Err(BackendError::Lost("it was to be, after so many calls".into()));
        }
        self.calls += 1;
        Ok(vec![Ok(None); rows.len()])
    }

    fn hand_over(&mut self, _: &mut (u32, u32), _: &(u32, u32), _: u32) {}

    fn preview(&mut self, &(width, height): &(u32, u32)) -> Result<Pixels, BackendError> {
        Ok(gradient(width / LATENT_PX, height / LATENT_PX))
    }

    fn settle(&mut self, _: &mut (u32, u32)) {}

    fn finish(&mut self, (width, height): (u32, u32), _: &dyn Fn() -> bool) -> Result<Pixels, BackendError> {
        Ok(gradient(width, height))
    }

    fn enlarge(
        &mut self,
        picture: &Pixels,
        factor: f64,
        _: &PixelUpscaler,
        _: &dyn Fn() -> bool,
    ) -> Result<Pixels, BackendError> {
        let side = |side: u32| (f64::from(side) * factor).round() as u32;
        Ok(gradient(side(picture.width), side(picture.height)))
    }

    fn restore_faces(
        &mut self,
        picture: &Pixels,
        _: &FaceRestorer,
        _: &dyn Fn() -> bool,
    ) -> Result<Pixels, BackendError> {
        Ok(picture.clone())
    }

    fn run_network(&mut self, network: &Arc<ModelFile>, _: &[Numbers]) -> Result<Vec<Numbers>, BackendError> {
        let why = format!("{} is not run: the device of this server is made up", network.name);
        Err(BackendError::Model(why))
    }

    fn load(&mut self, model: &Arc<ModelFile>) -> Result<(), BackendError> {
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
        Residency::default()
    }

    fn describe(&self) -> String {
        "made up: gradients in place of pictures".into()
    }
}

/// Red grows to the right, green downwards.
pub(crate) fn gradient(width: u32, height: u32) -> Pixels {
    let level = |at: u32, of: u32| (at * 255 / of.max(2).saturating_sub(1)) as u8;
    let places = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    let data = places.flat_map(|(x, y)| [level(x, width), level(y, height), 128]).collect();
    Pixels { width, height, format: PixelFormat::Rgb8, data }
}

#[cfg(test)]
mod tests {
    use gesso_core::request::GenerateRequest;
    use gesso_engine::clock::MonotonicClock;
    use gesso_engine::{CancelFlag, Drawing, Engine, EngineSettings, JobSpec, Work};

    use super::*;

    #[test]
    fn a_drawing_is_as_many_gradients_of_its_size_as_were_asked_for() {
        let (settings, clock) = (EngineSettings::default(), Arc::new(MonotonicClock::default()));
        let (engine, handle) =
            Engine::start(settings, clock, Box::new(|| Ok(MadeUpDevice::default()))).unwrap();
        let model = Arc::new(ModelFile { name: "none".into(), path: "/none".into(), version: String::new() });
        let request = GenerateRequest { width: 64, height: 40, batch_size: 2, ..GenerateRequest::default() };
        let work = Work::Draw(Box::new(Drawing::new(request, model)));
        let job = handle.submit(JobSpec { work, priority: 0, cancel: CancelFlag::default() }).unwrap();
        assert_eq!(job.blocking_finish().unwrap(), vec![gradient(64, 40); 2]);
        drop(handle);
        engine.join();
    }
}
