//! Our side of what is compared with diffusers at the full size of Stable Diffusion 1.5, on random weights. The other side
//! is in `tests/fixtures`: `full_parity.py` leaves a folder with the weights and what it computes with them,
//! `bench_engine.py` and `gpu_check.py` ask this one for work, alternating with their own.
//!
//! ```text
//! beside_diffusers parity FOLDER [DEVICE [SIDE]]    compares; fails above the bounds of docs/parity.md
//! beside_diffusers bench FOLDER [DEVICE]            times the work that standard input asks for, a line each
//! ```

#![expect(clippy::print_stdout, reason = "tables and times are the result")]

mod bench;
mod drawer;
mod parity;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use gesso_torch::DeviceChoice;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let good = match arguments[..] {
        ["parity", folder] => parity::compare(Path::new(folder), None, 0)?,
        ["parity", folder, device] => parity::compare(Path::new(folder), Some(device.parse()?), 256)?,
        ["parity", folder, device, side] => {
            parity::compare(Path::new(folder), Some(device.parse()?), side.parse()?)?
        }
        ["bench", folder] => bench::answer(Path::new(folder), DeviceChoice::Cpu).map(|()| true)?,
        ["bench", folder, device] => bench::answer(Path::new(folder), device.parse()?).map(|()| true)?,
        _ => return Err("usage: beside_diffusers parity|bench FOLDER [DEVICE [SIDE]]".into()),
    };
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
