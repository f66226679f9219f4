//! The engine with a model on a device, as the server has it.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use gesso_core::pixels::Pixels;
use gesso_core::request::GenerateRequest;
use gesso_engine::backend::ModelFile;
use gesso_engine::clock::MonotonicClock;
use gesso_engine::{CancelFlag, Drawing, Engine, EngineHandle, EngineSettings, JobSpec, Work};
use gesso_torch::{DeviceChoice, DtypeChoice, TorchBackend, TorchSettings};

pub(crate) struct Drawer {
    model: Arc<ModelFile>,
    /// Both are there until it is dropped.
    handle: Option<EngineHandle>,
    engine: Option<Engine>,
}

/// What the device's thread holds is gone before another engine takes as much, and before the process ends under it.
impl Drop for Drawer {
    fn drop(&mut self) {
        // It ends where nobody can ask for more.
        drop(self.handle.take());
        if let Some(engine) = self.engine.take() {
            engine.join();
        }
    }
}

/// How several pictures are asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// Jobs that come at once.
    Together,
    /// Jobs, each when the one before it is done.
    Apart,
    /// One job.
    Batch,
}

impl Drawer {
    pub(crate) fn start(
        device: DeviceChoice,
        dtype: DtypeChoice,
        model: &Path,
    ) -> Result<Self, Box<dyn Error>> {
        let settings = TorchSettings { device, dtype, ..TorchSettings::default() };
        let clock = Arc::new(MonotonicClock::default());
        let open = Box::new(move || TorchBackend::open(settings));
        // diffusers draws no previews.
        let settings = EngineSettings { preview_every: 0, ..EngineSettings::default() };
        let (engine, handle) = Engine::start(settings, clock, open)?;
        let model = ModelFile { name: "random".into(), path: model.to_owned(), version: String::new() };
        Ok(Self { model: Arc::new(model), handle: Some(handle), engine: Some(engine) })
    }

    /// Draws `count` pictures of `side` pixels.
    pub(crate) fn draw(
        &self,
        side: u32,
        steps: u32,
        count: u32,
        how: How,
    ) -> Result<Vec<Pixels>, Box<dyn Error>> {
        let handle = self.handle.as_ref().ok_or("the engine has ended")?;
        let submit = |seed, batch_size| {
            let request = GenerateRequest {
                prompt: "a lighthouse at dusk".into(),
                width: side,
                height: side,
                steps,
                seed,
                batch_size,
                ..GenerateRequest::default()
            };
            let work = Work::Draw(Box::new(Drawing::new(request, self.model.clone())));
            handle.submit(JobSpec { work, priority: 0, cancel: CancelFlag::default() })
        };
        let seeds = 0..u64::from(count);
        let mut done = Vec::new();
        match how {
            How::Batch => done.push(submit(0, count)?.blocking_finish()?),
            How::Apart => {
                for seed in seeds {
                    done.push(submit(seed, 1)?.blocking_finish()?);
                }
            }
            How::Together => {
                let jobs = seeds.map(|seed| submit(seed, 1)).collect::<Result<Vec<_>, _>>()?;
                for job in jobs {
                    done.push(job.blocking_finish()?);
                }
            }
        }
        Ok(done.into_iter().flatten().collect())
    }
}
