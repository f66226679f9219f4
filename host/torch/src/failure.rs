//! What went wrong here, as the engine hears of it. Paths stay behind: where models lie is no client's business.

use std::borrow::Cow;
use std::path::Path;

use gesso_engine::backend::BackendError;
use tch::TchError;

use crate::error::{LoadError, Problem};

/// What `cudaGetErrorString` says of errors that, by the documentation of CUDA's runtime, every later call gives too
/// until the process is started again, and of a device that fails as hardware.
const LOSSES: [&str; 14] = [
    "an illegal memory access was encountered",
    "an illegal instruction was encountered",
    "misaligned address",
    "operation not supported on global/shared address space",
    "invalid program counter",
    "hardware stack error",
    "device-side assert triggered",
    "unspecified launch failure",
    "the launch timed out and was terminated",
    "uncorrectable ECC error",
    "uncorrectable NVLink error",
    "Invalid access of peer GPU memory over nvlink or a hardware error",
    "context is destroyed",
    "unknown error",
];

/// A model file that cannot be used, by its name.
pub(crate) fn load_error(error: LoadError) -> BackendError {
    match error.problem {
        Problem::Device(error) => device_error(error),
        problem => BackendError::Model(format!("{}: {problem}", file_name(&error.path))),
    }
}

/// The same of a VAE, which other fields name than checkpoints.
pub(crate) fn vae_error(error: LoadError) -> BackendError {
    of_vae(load_error(error))
}

/// What went wrong with a VAE's file, told as that of a model.
pub(crate) fn of_vae(error: BackendError) -> BackendError {
    match error {
        BackendError::Model(why) => BackendError::Vae(why),
        other => other,
    }
}

pub(crate) fn file_name(path: &Path) -> Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}

pub(crate) fn device_error(error: TchError) -> BackendError {
    let text = error.to_string();
    if let Some(why) = loss(&text) {
        return BackendError::Lost(why.to_owned());
    }
    // The rest of a C++ message is a stack trace.
    let first = text.lines().next().unwrap_or_default().to_owned();
    if is_out_of_memory(&error) { BackendError::OutOfMemory(first) } else { BackendError::Device(first) }
}

/// The line that says that CUDA computes nothing any more in this process. Other errors of CUDA are of one call alone,
/// such as a size that a kernel does not take, and come again with every such request.
fn loss(text: &str) -> Option<&str> {
    let line = text.lines().find(|line| line.contains("CUDA error"))?;
    LOSSES.iter().any(|loss| line.contains(loss)).then_some(line)
}

/// libtorch tells running out of memory by its message alone.
pub(crate) fn is_out_of_memory(error: &TchError) -> bool {
    let text = error.to_string();
    // The last is what cuBLAS and cuDNN say.
    let signs =
        ["out of memory", "can't allocate memory", "DefaultCPUAllocator", "bad_alloc", "ALLOC_FAILED"];
    signs.iter().any(|sign| text.contains(sign))
}

#[cfg(test)]
mod tests {
    use tch::{Kind, Tensor};

    use super::*;

    #[test]
    fn running_out_of_memory_is_told_from_other_failures() {
        // Half an exabyte: refused by the allocator on any machine.
        let error = Tensor::f_empty([1 << 57], (Kind::Float, tch::Device::Cpu)).unwrap_err();
        assert!(matches!(device_error(error), BackendError::OutOfMemory(_)));
        let error = Tensor::from_slice(&[1.0f32, 2.0]).f_reshape([3]).unwrap_err();
        assert!(matches!(device_error(error), BackendError::Device(_)));
    }

    #[test]
    fn a_device_that_is_lost_is_told_from_a_call_that_failed() {
        let told = |text: &str| device_error(TchError::Torch(text.into()));
        for text in [
            "CUDA error: an illegal memory access was encountered\nCompile with TORCH_USE_CUDA_DSA to debug",
            "CUDA error: device-side assert triggered",
            "CUDA error: uncorrectable ECC error encountered",
            "CUDA error: unspecified launch failure",
            "The following operation failed in the interpreter.\nRuntimeError: CUDA error: unknown error\n",
        ] {
            let BackendError::Lost(why) = told(text) else { panic!("{text}") };
            assert!(why.contains("CUDA error") && !why.contains('\n'), "{why}");
        }
        for text in ["CUDA error: invalid configuration argument", "unknown error", "shape [3] is invalid"] {
            assert!(matches!(told(text), BackendError::Device(_)), "{text}");
        }
        for text in [
            "CUDA error: out of memory",
            "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        ] {
            assert!(matches!(told(text), BackendError::OutOfMemory(_)), "{text}");
        }
    }
}
