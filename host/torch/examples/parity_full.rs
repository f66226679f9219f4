//! Compares the networks at the full size of Stable Diffusion 1.5 with what `tests/fixtures/full_parity.py` left in
//! a folder: `cargo run -p gesso-torch --example parity_full -- FOLDER`. Prints a Markdown table; fails above 1e-4.

#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use gesso_torch::Networks;
use safetensors::tensor::{Dtype, SafeTensors};
use tch::{Kind, TchError, Tensor};

const BOUND: f64 = 1e-4;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let folder: PathBuf = std::env::args_os().nth(1).ok_or("name the folder with the goldens")?.into();
    let bytes = std::fs::read(folder.join("goldens.safetensors"))?;
    let goldens = SafeTensors::deserialize(&bytes)?;
    let golden = |name: &str| tensor(&goldens, name);
    let _guard = tch::no_grad_guard();
    let networks = load(&folder.join("model.safetensors"))?;

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
        good &= check(&what, &want, || networks.predict_noise(&x, &timesteps, &context))?;
    }
    let (picture, latent) = (golden("vae.picture")?, golden("vae.latent")?);
    good &= check("VAE encode, 256x200", &golden("vae.mean")?, || networks.encode_picture(&picture))?;
    good &= check("VAE decode, 256x200", &golden("vae.decoded")?, || networks.decode_latent(&latent))?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn load(path: &Path) -> Result<Networks, Box<dyn Error>> {
    let begin = Instant::now();
    let networks = Networks::load(path, Kind::Float)?;
    println!("Loaded in {:.1} s, computing in f32.\n", begin.elapsed().as_secs_f64());
    Ok(networks)
}

fn check(
    what: &str,
    want: &Tensor,
    compute: impl FnOnce() -> Result<Tensor, TchError>,
) -> Result<bool, Box<dyn Error>> {
    let begin = Instant::now();
    let got = compute()?;
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
