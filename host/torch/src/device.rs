//! How libtorch is set up on this machine: threads, the device, and which kinds of number networks compute in. Called
//! once when the backend opens.

use std::str::FromStr;
use std::sync::Once;
use std::time::{Duration, Instant};

use gesso_engine::backend::BackendError;
use tch::{Cuda, Device, Kind, TchError, Tensor};

use crate::compute::Compute;
use crate::cuda;
use crate::failure::device_error;

/// bf16 must be at least this much faster to be worth its rounding.
const GAIN_WANTED: f64 = 1.3;
/// Time given to each kind while measuring.
const MEASURE_FOR: Duration = Duration::from_millis(40);

/// Where networks compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The first CUDA device where libtorch finds one, else the processor.
    #[default]
    Auto,
    Cpu,
    /// A CUDA device by its number, from 0.
    Cuda(usize),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.strip_prefix("cuda:").and_then(|number| number.parse().ok());
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            other => number(other).map(Self::Cuda).ok_or_else(|| {
                format!("device is {other:?}; it must be auto, cpu, cuda or cuda: and a number")
            }),
        }
    }
}

/// The kind of number the UNet computes in. Text encoder and VAE compute in f32, but for f16's VAE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DtypeChoice {
    /// f16 on a CUDA device; on a processor bf16 where a measurement finds it clearly faster, else f32.
    #[default]
    Auto,
    F32,
    /// Has the range of f32, so a picture that turns into NaN here turns into NaN there.
    Bf16,
    /// Finer than bf16 and of a smaller range. The VAE computes in it too, and again in f32 where that range is too small.
    F16,
}

/// Sets libtorch's threads; 0 leaves its own choice. Operators run one after another, so one inter-op thread.
pub(crate) fn set_threads(threads: usize) {
    // libtorch raises an error when the inter-op count is set a second time.
    static INTER_OP: Once = Once::new();
    INTER_OP.call_once(|| tch::set_num_interop_threads(1));
    if let Ok(threads @ 1..) = i32::try_from(threads) {
        tch::set_num_threads(threads);
    }
}

/// Threads for the operators that follow on this thread. Where they are as many already nothing is done: libtorch ends its
/// threads when their number changes.
pub(crate) fn use_threads(threads: i32) {
    if tch::get_num_threads() != threads {
        tch::set_num_threads(threads);
    }
}

impl DeviceChoice {
    /// What the choices come to on this machine.
    ///
    /// # Errors
    /// [`BackendError::NoDevice`] for a device that is not there, with what is missing.
    pub fn compute(self, dtype: DtypeChoice) -> Result<Compute, BackendError> {
        let device = find(self)?;
        let unet = match dtype {
            DtypeChoice::F32 => Kind::Float,
            DtypeChoice::Bf16 => Kind::BFloat16,
            DtypeChoice::F16 => Kind::Half,
            DtypeChoice::Auto if device.is_cuda() => Kind::Half,
            DtypeChoice::Auto => faster_on_processor().map_err(device_error)?,
        };
        let vae = if unet == Kind::Half { Kind::Half } else { Kind::Float };
        Ok(Compute { device, unet, vae })
    }
}

fn find(choice: DeviceChoice) -> Result<Device, BackendError> {
    if choice == DeviceChoice::Cpu {
        return Ok(Device::Cpu);
    }
    let loaded = cuda::load();
    let count = usize::try_from(Cuda::device_count()).unwrap_or(0);
    match (choice, loaded) {
        (DeviceChoice::Cuda(number), _) if number < count => Ok(Device::Cuda(number)),
        (DeviceChoice::Cuda(number), Ok(())) => Err(BackendError::NoDevice(format!(
            "device cuda:{number} was asked for, and libtorch finds {count}; look whether nvidia-smi lists it, or \
             choose another with --device"
        ))),
        (DeviceChoice::Cuda(_), Err(why)) => Err(BackendError::NoDevice(format!(
            "a CUDA device was asked for, and libtorch's CUDA kernels cannot be loaded ({why}); put the torch/lib \
             folder of PyTorch 2.11.0 on LD_LIBRARY_PATH, or start with --device cpu"
        ))),
        (_, Ok(())) if count > 0 => Ok(Device::Cuda(0)),
        (_, Ok(())) => {
            tracing::warn!(
                "libtorch's CUDA kernels are here and no CUDA device is; look whether nvidia-smi lists one"
            );
            Ok(Device::Cpu)
        }
        (_, Err(why)) => {
            tracing::debug!(why, "no CUDA kernels");
            Ok(Device::Cpu)
        }
    }
}

/// Bytes that are free on a device with a memory of its own.
pub(crate) fn free_memory(device: Device) -> Option<u64> {
    let Device::Cuda(number) = device else { return None };
    cuda::memory(number).map(|(free, _)| free)
}

/// How the networks compute, for people.
pub(crate) fn describe(compute: Compute) -> String {
    let kind = kind_name(compute.unet);
    match compute.device {
        Device::Cuda(number) => format!("libtorch on CUDA device {number}, UNet in {kind}"),
        _ => format!("libtorch on CPU, {} threads, UNet in {kind}", tch::get_num_threads()),
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::BFloat16 => "bf16",
        Kind::Half => "f16",
        _ => "f32",
    }
}

/// f32 or bf16: measures both on a small convolution and a matrix product, because processors without bf16 instructions
/// emulate them and get slower.
fn faster_on_processor() -> Result<Kind, TchError> {
    let _guard = tch::no_grad_guard();
    let (f32_time, bf16_time) = (measure(Kind::Float)?, measure(Kind::BFloat16)?);
    let gain = f32_time / bf16_time;
    let kind = if gain >= GAIN_WANTED { Kind::BFloat16 } else { Kind::Float };
    let chosen = kind_name(kind);
    let (f32_ms, bf16_ms) = (f32_time * 1e3, bf16_time * 1e3);
    tracing::info!(f32_ms, bf16_ms, gain, chosen, "measured f32 against bf16");
    Ok(kind)
}

/// Seconds that the fastest of some runs took.
fn measure(kind: Kind) -> Result<f64, TchError> {
    let ones = |shape: &[i64]| Tensor::f_ones(shape, (kind, Device::Cpu));
    let (x, weight) = (ones(&[1, 64, 32, 32])?, ones(&[64, 64, 3, 3])?);
    let (rows, matrix) = (ones(&[256, 320])?, ones(&[320, 320])?);
    let run = || -> Result<(), TchError> {
        drop(x.f_conv2d(&weight, None::<Tensor>, [1, 1], [1, 1], [1, 1], 1)?);
        drop(rows.f_linear(&matrix, None::<Tensor>)?);
        Ok(())
    };
    // The first run prepares kernels.
    run()?;
    let (begin, mut best) = (Instant::now(), f64::INFINITY);
    while begin.elapsed() < MEASURE_FOR {
        let one = Instant::now();
        run()?;
        best = best.min(one.elapsed().as_secs_f64());
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vae_follows_half_precision_alone() {
        for (dtype, unet, vae) in [
            (DtypeChoice::F32, Kind::Float, Kind::Float),
            (DtypeChoice::Bf16, Kind::BFloat16, Kind::Float),
            (DtypeChoice::F16, Kind::Half, Kind::Half),
        ] {
            assert_eq!(DeviceChoice::Cpu.compute(dtype), Ok(Compute { device: Device::Cpu, unet, vae }));
        }
    }

    #[test]
    fn devices_are_named_as_pytorch_names_them() {
        for (text, choice) in [
            ("auto", DeviceChoice::Auto),
            ("cpu", DeviceChoice::Cpu),
            ("cuda", DeviceChoice::Cuda(0)),
            ("cuda:3", DeviceChoice::Cuda(3)),
        ] {
            assert_eq!(text.parse(), Ok(choice), "{text}");
        }
        for text in ["gpu", "cuda:", "cuda:-1", "cuda3", ""] {
            assert!(text.parse::<DeviceChoice>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_device_that_is_not_there_is_said_with_a_remedy() {
        let error = DeviceChoice::Cuda(99).compute(DtypeChoice::F32).unwrap_err().to_string();
        assert!(error.contains("--device"), "{error}");
    }
}
