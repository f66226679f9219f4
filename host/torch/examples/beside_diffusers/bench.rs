//! Runs one piece of work for each line of standard input and answers with the seconds it took.

use std::error::Error;
use std::io::BufRead;
use std::path::Path;
use std::time::Instant;

use gesso_torch::{Context, DeviceChoice, DtypeChoice, Extras, Networks};
use tch::{Device, Kind, TchError, Tensor};

use crate::drawer::{Drawer, How};

/// Pictures are drawn on `device`; networks by themselves are timed on the processor.
pub(crate) fn answer(folder: &Path, device: DeviceChoice) -> Result<(), Box<dyn Error>> {
    let model = folder.join("model.safetensors");
    let _guard = tch::no_grad_guard();
    let mut loaded: Option<(Kind, Networks)> = None;
    let mut drawing: Option<(String, Drawer)> = None;
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
                if drawing.as_ref().is_none_or(|(now, _)| now != kind) {
                    drop(drawing.take());
                    drawing = Some((kind.to_owned(), Drawer::start(device, dtype(kind)?, &model)?));
                }
                let (_, drawer) = drawing.as_ref().ok_or("no engine")?;
                let how = match how {
                    "together" => How::Together,
                    "batch" => How::Batch,
                    _ => How::Apart,
                };
                let begin = Instant::now();
                drawer.draw(side.parse()?, steps.parse()?, count.parse()?, how)?;
                begin.elapsed().as_secs_f64()
            }
            _ => return Err(format!("{line:?} is no work").into()),
        };
        println!("{seconds}");
    }
    Ok(())
}

fn dtype(kind: &str) -> Result<DtypeChoice, String> {
    match kind {
        "f32" => Ok(DtypeChoice::F32),
        "bf16" => Ok(DtypeChoice::Bf16),
        "f16" => Ok(DtypeChoice::F16),
        _ => Err(format!("{kind:?} is no kind")),
    }
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

type Timed<E> = Result<Result<f64, E>, TchError>;

fn timed<E>(work: impl FnOnce() -> Result<(), E>) -> Timed<E> {
    let begin = Instant::now();
    Ok(work().map(|()| begin.elapsed().as_secs_f64()))
}
