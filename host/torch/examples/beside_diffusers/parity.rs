//! Compares the networks with what the other side computed, as a Markdown table.

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use gesso_torch::{Compute, DeviceChoice, DtypeChoice, Networks};
use safetensors::tensor::{Dtype, SafeTensors};
use tch::{Device, Kind, TchError, Tensor};

use crate::drawer::{Drawer, How};

const BOUND: f64 = 1e-4;
/// Part of a picture's values that must be within one grey level.
const AGREEMENT: f64 = 0.999;
/// Steps of the pictures.
const STEPS: u32 = 10;

/// Whether everything is near enough. `device` is where the networks compute, the processor without one; with one, pictures
/// drawn there, of `side` pixels, are compared with those of the processor too.
pub(crate) fn compare(
    folder: &Path,
    device: Option<DeviceChoice>,
    side: u32,
) -> Result<bool, Box<dyn Error>> {
    let model = folder.join("model.safetensors");
    let bytes = std::fs::read(folder.join("goldens.safetensors"))?;
    let goldens = SafeTensors::deserialize(&bytes)?;
    let golden = |name: &str| tensor(&goldens, name);
    let _guard = tch::no_grad_guard();
    let compute = device.unwrap_or(DeviceChoice::Cpu).compute(DtypeChoice::F32)?;
    let networks = load(&model, compute)?;
    let send = |tensor: &Tensor| tensor.f_to_device(compute.device);

    println!("| Part | max\\|a - b\\| / max\\|b\\| | Time |\n|---|---|---|");
    let mut good = true;
    let tokens = golden("tokens")?;
    for skip in [1, 2] {
        let want = golden(&format!("text.skip{skip}"))?;
        let what = format!("text encoder, clip skip {skip}, 2 prompts");
        good &= check(&what, &want, || networks.encode_text(&tokens, skip))?;
    }
    let context = golden("text.skip1")?;
    for size in ["32x32", "25x19"] {
        let part = |part| golden(&format!("unet.{size}.{part}"));
        let (x, timesteps, want) = (part("x")?, part("t")?, part("out")?);
        let what = format!("UNet, batch 2, latent {size}");
        good &=
            check(&what, &want, || networks.predict_noise(&send(&x)?, &send(&timesteps)?, &send(&context)?))?;
    }
    let (picture, latent) = (golden("vae.picture")?, golden("vae.latent")?);
    good &= check("VAE encode, 256x200", &golden("vae.mean")?, || networks.encode_picture(&picture))?;
    good &= check("VAE decode, 256x200", &golden("vae.decoded")?, || networks.decode_latent(&latent))?;
    drop(networks);
    if let Some(device) = device {
        good &= pictures(device, &model, side)?;
    }
    Ok(good)
}

fn load(path: &Path, compute: Compute) -> Result<Networks, Box<dyn Error>> {
    let begin = Instant::now();
    let networks = Networks::load(path, compute)?;
    let seconds = begin.elapsed().as_secs_f64();
    println!("Loaded in {seconds:.1} s, computing on {:?} in f32.\n", compute.device);
    Ok(networks)
}

/// Two pictures drawn together on the device beside those of the processor in f32. In f32 they must agree within a grey
/// level on 99.9 % of their values; of f16 the difference is told.
fn pictures(device: DeviceChoice, model: &Path, side: u32) -> Result<bool, Box<dyn Error>> {
    let draw = |device, dtype| Drawer::start(device, dtype, model)?.draw(side, STEPS, 2, How::Together);
    let want = draw(DeviceChoice::Cpu, DtypeChoice::F32)?;
    println!(
        "\n| {STEPS} steps, {side}x{side}, on the device | Within one grey level | Mean difference |\n|---|---|---|"
    );
    let mut good = true;
    for (name, dtype) in [("f32", DtypeChoice::F32), ("f16", DtypeChoice::F16)] {
        let got = draw(device, dtype)?;
        let values = || got.iter().zip(&want).flat_map(|(got, want)| got.data.iter().zip(&want.data));
        let apart: Vec<u8> = values().map(|(got, want)| got.abs_diff(*want)).collect();
        let near = apart.iter().filter(|apart| **apart <= 1).count() as f64 / apart.len() as f64;
        let mean = apart.iter().map(|apart| f64::from(*apart)).sum::<f64>() / apart.len() as f64;
        println!("| {name} | {:.3} % | {mean:.3} |", near * 100.0);
        good &= dtype != DtypeChoice::F32 || near >= AGREEMENT;
    }
    Ok(good)
}

fn check(
    what: &str,
    want: &Tensor,
    compute: impl FnOnce() -> Result<Tensor, TchError>,
) -> Result<bool, Box<dyn Error>> {
    let begin = Instant::now();
    let got = compute()?.f_to_device(Device::Cpu)?;
    let seconds = begin.elapsed().as_secs_f64();
    let difference = f64::try_from(got.f_sub(want)?.f_abs()?.f_max()?)?;
    let error = difference / f64::try_from(want.f_abs()?.f_max()?)?;
    println!("| {what} | {error:.1e} | {seconds:.1} s |");
    Ok(error < BOUND)
}

fn tensor(file: &SafeTensors<'_>, name: &str) -> Result<Tensor, Box<dyn Error>> {
    let view = file.tensor(name)?;
    let kind = match view.dtype() {
        Dtype::F32 => Kind::Float,
        Dtype::I64 => Kind::Int64,
        other => return Err(format!("{name} is stored as {other:?}").into()),
    };
    let shape: Vec<i64> = view.shape().iter().map(|size| *size as i64).collect();
    Ok(Tensor::f_from_data_size(view.data(), &shape, kind)?)
}
