//! What went wrong here, as the engine hears of it. Paths stay behind: where models lie is no client's business.

use std::borrow::Cow;
use std::path::Path;

use gesso_engine::backend::BackendError;
use tch::TchError;

use crate::error::{LoadError, Problem};

/// A model file that cannot be used, by its name.
pub(crate) fn load_error(error: LoadError) -> BackendError {
    match error.problem {
        Problem::Device(error) => device_error(error),
        problem => BackendError::Model(format!("{}: {problem}", file_name(&error.path))),
    }
}

pub(crate) fn file_name(path: &Path) -> Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}

pub(crate) fn device_error(error: TchError) -> BackendError {
    let text = error.to_string();
    // The rest of a C++ message is a stack trace.
    let first = text.lines().next().unwrap_or_default().to_owned();
    if is_out_of_memory(&error) { BackendError::OutOfMemory(first) } else { BackendError::Device(first) }
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
}
