//! How libtorch is set up on this machine: threads, and which kind of number the UNet computes in. Called once
//! when the backend opens.

use std::sync::Once;
use std::time::{Duration, Instant};

use tch::{Device, Kind, TchError, Tensor};

use crate::DtypeChoice;

/// bf16 must be at least this much faster to be worth its rounding.
const GAIN_WANTED: f64 = 1.3;
/// Time given to each kind while measuring.
const MEASURE_FOR: Duration = Duration::from_millis(40);

/// Sets libtorch's threads; 0 leaves its own choice. Operators run one after another, so one inter-op thread.
pub(crate) fn set_threads(threads: usize) {
    // libtorch raises an error when the inter-op count is set a second time.
    static INTER_OP: Once = Once::new();
    INTER_OP.call_once(|| tch::set_num_interop_threads(1));
    if let Ok(threads @ 1..) = i32::try_from(threads) {
        tch::set_num_threads(threads);
    }
}

/// The kind for the UNet. [`DtypeChoice::Auto`] measures both on a small convolution and a matrix product, because
/// processors without bf16 instructions emulate them and get slower.
pub(crate) fn unet_kind(choice: DtypeChoice) -> Result<Kind, TchError> {
    match choice {
        DtypeChoice::F32 => Ok(Kind::Float),
        DtypeChoice::Bf16 => Ok(Kind::BFloat16),
        DtypeChoice::Auto => {
            let _guard = tch::no_grad_guard();
            let (f32_time, bf16_time) = (measure(Kind::Float)?, measure(Kind::BFloat16)?);
            let gain = f32_time / bf16_time;
            let kind = if gain >= GAIN_WANTED { Kind::BFloat16 } else { Kind::Float };
            let chosen = kind_name(kind);
            let (f32_ms, bf16_ms) = (f32_time * 1e3, bf16_time * 1e3);
            tracing::info!(f32_ms, bf16_ms, gain, chosen, "measured f32 against bf16");
            Ok(kind)
        }
    }
}

pub(crate) fn kind_name(kind: Kind) -> &'static str {
    if kind == Kind::BFloat16 { "bf16" } else { "f32" }
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
