//! Runs one piece of work for each line of standard input and answers with the seconds it took: our side of
//! `cargo xtask bench engine`. `tests/fixtures/bench_engine.py` asks, alternating with diffusers in its own process.
//!
//! `cargo run -p gesso-torch --example bench_engine -- FOLDER`, FOLDER as `full_parity.py` leaves it.

#![expect(clippy::print_stdout, reason = "the seconds are the answer")]

use std::error::Error;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use gesso_core::request::GenerateRequest;
use gesso_engine::backend::ModelFile;
use gesso_engine::clock::MonotonicClock;
use gesso_engine::{CancelFlag, Drawing, Engine, EngineHandle, EngineSettings, JobSpec, Work};
use gesso_torch::{Context, DtypeChoice, Extras, Networks, TorchBackend, TorchSettings};
use tch::{Device, Kind, TchError, Tensor};

fn main() -> Result<(), Box<dyn Error>> {
    let folder: PathBuf = std::env::args_os().nth(1).ok_or("name the folder with model.safetensors")?.into();
    let model = folder.join("model.safetensors");
    let _guard = tch::no_grad_guard();
    let mut loaded: Option<(Kind, Networks)> = None;
    let mut drawing: Option<Drawer> = None;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        let seconds = match words[..] {
            ["load"] => {
                drop(loaded.take());
                timed(|| Networks::load(&model, Kind::Float).map(drop))??
            }
            ["unet", kind, size] => unet(networks(&mut loaded, &model, kind)?, size.parse()?)?,
            ["vae", size] => vae(networks(&mut loaded, &model, "f32")?, size.parse()?)?,
            ["text"] => text(networks(&mut loaded, &model, "f32")?)?,
            ["draw", kind, side, steps, count, how] => {
                drop(loaded.take());
                if drawing.as_ref().is_none_or(|drawing| drawing.kind != kind) {
                    drop(drawing.take());
                    drawing = Some(Drawer::start(kind, &model)?);
                }
                let drawer = drawing.as_ref().ok_or("no engine")?;
                drawer.draw(side.parse()?, steps.parse()?, count.parse()?, how == "together")?
            }
            _ => return Err(format!("{line:?} is no work").into()),
        };
        println!("{seconds}");
    }
    Ok(())
}

/// The networks with their UNet in `kind`; loads them when the last work wanted another.
fn networks<'a>(
    loaded: &'a mut Option<(Kind, Networks)>,
    model: &Path,
    kind: &str,
) -> Result<&'a Networks, Box<dyn Error>> {
    let kind = if kind == "bf16" { Kind::BFloat16 } else { Kind::Float };
    if loaded.as_ref().is_none_or(|(now, _)| *now != kind) {
        drop(loaded.take());
        *loaded = Some((kind, Networks::load(model, kind)?));
    }
    loaded.as_ref().map(|(_, networks)| networks).ok_or_else(|| "no networks".into())
}

/// A step of guidance: both prompts in one call, their texts projected beforehand as for every step but the first.
fn unet(networks: &Networks, side: i64) -> Result<f64, Box<dyn Error>> {
    let kind = networks.unet_kind();
    let random = |shape: &[i64]| Tensor::f_randn(shape, (Kind::Float, Device::Cpu))?.f_to_kind(kind);
    let x = random(&[2, 4, side / 8, side / 8])?;
    let context: Context = networks.context(&random(&[2, 77, 768])?, None)?;
    let timesteps = Tensor::f_from_slice(&[500.0f32, 500.0])?;
    timed(|| networks.predict_noise_with(&x, &timesteps, &context, &Extras::default()).map(drop))?
        .map_err(Into::into)
}

fn vae(networks: &Networks, side: i64) -> Result<f64, Box<dyn Error>> {
    let latent = Tensor::f_randn([1, 4, side / 8, side / 8], (Kind::Float, Device::Cpu))?;
    timed(|| networks.decode_latent(&latent).map(drop))?.map_err(Into::into)
}

fn text(networks: &Networks) -> Result<f64, Box<dyn Error>> {
    let tokens = Tensor::f_full([2, 77], 320, (Kind::Int64, Device::Cpu))?;
    timed(|| networks.encode_text(&tokens, 1).map(drop))?.map_err(Into::into)
}

/// The engine with the model, as the server has it.
struct Drawer {
    kind: String,
    model: Arc<ModelFile>,
    handle: EngineHandle,
    _engine: Engine,
}

impl Drawer {
    fn start(kind: &str, model: &Path) -> Result<Self, Box<dyn Error>> {
        let dtype = if kind == "bf16" { DtypeChoice::Bf16 } else { DtypeChoice::F32 };
        let settings = TorchSettings { dtype, ..TorchSettings::default() };
        let clock = Arc::new(MonotonicClock::default());
        let open = Box::new(move || TorchBackend::open(settings));
        let (engine, handle) = Engine::start(EngineSettings::default(), clock, open)?;
        let model = ModelFile { name: "bench".into(), path: model.to_owned(), version: String::new() };
        Ok(Self { kind: kind.into(), model: Arc::new(model), handle, _engine: engine })
    }

    /// Draws `count` pictures, each a job of its own: all at once, or each when the one before it is done.
    fn draw(&self, side: u32, steps: u32, count: u64, together: bool) -> Result<f64, Box<dyn Error>> {
        let submit = |seed| {
            let request = GenerateRequest {
                prompt: "a lighthouse at dusk".into(),
                width: side,
                height: side,
                steps,
                seed,
                ..GenerateRequest::default()
            };
            let work = Work::Draw(Box::new(Drawing::new(request, self.model.clone())));
            self.handle.submit(JobSpec { work, priority: 0, cancel: CancelFlag::default() })
        };
        let begin = Instant::now();
        if together {
            let jobs = (0..count).map(submit).collect::<Result<Vec<_>, _>>()?;
            for job in jobs {
                job.blocking_finish()?;
            }
        } else {
            for seed in 0..count {
                submit(seed)?.blocking_finish()?;
            }
        }
        Ok(begin.elapsed().as_secs_f64())
    }
}

type Timed<E> = Result<Result<f64, E>, TchError>;

fn timed<E>(work: impl FnOnce() -> Result<(), E>) -> Timed<E> {
    let begin = Instant::now();
    Ok(work().map(|()| begin.elapsed().as_secs_f64()))
}
