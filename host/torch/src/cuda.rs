//! CUDA at run time. The program is built and linked against libtorch for processors alone; where a CUDA build of the same
//! version lies on the library path, loading it registers its kernels with the libtorch that is there already. Called
//! once, before anything asks libtorch for devices: it remembers the first answer.

#![expect(unsafe_code, reason = "libraries are loaded, and their functions called, by name")]

use std::error::Error;
use std::ffi::c_int;

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

/// The kernels; its own needs (cuDNN, cuBLAS and so on) are found beside it by its run path.
const KERNELS: &str = "libtorch_cuda.so";

/// Loads the kernels where they are found.
///
/// # Errors
/// Why not, in the loader's words: not there, or another version than this program's libtorch.
pub(crate) fn load() -> Result<(), String> {
    // SAFETY: what runs while the library loads are PyTorch's own initialisers, which register kernels and may run on any
    // thread and at any time. All symbols are resolved at once, so a build of another version fails here and not later.
    let library = unsafe { Library::open(Some(KERNELS), RTLD_NOW | RTLD_GLOBAL) };
    let in_its_words =
        |error: libloading::Error| error.source().map_or_else(|| error.to_string(), ToString::to_string);
    let library = library.map_err(in_its_words)?;
    // Its kernels are registered for good, so it must never be unloaded.
    std::mem::forget(library);
    Ok(())
}

/// Bytes of a device, free and in all; `None` where it is not there. The calling thread uses that device from then on,
/// where it names none.
pub(crate) fn memory(number: usize) -> Option<(u64, u64)> {
    type SetDevice = unsafe extern "C" fn(device: c_int) -> c_int;
    type MemGetInfo = unsafe extern "C" fn(free: *mut usize, total: *mut usize) -> c_int;
    // libtorch needs the CUDA runtime even on processors, so its functions are in the program.
    let program = Library::this();
    // SAFETY: the names belong to the CUDA runtime, whose functions have these signatures since CUDA 3.
    let found = unsafe {
        (program.get::<SetDevice>(b"cudaSetDevice\0"), program.get::<MemGetInfo>(b"cudaMemGetInfo\0"))
    };
    let (set, info) = (found.0.ok()?, found.1.ok()?);
    let (mut free, mut total) = (0, 0);
    let number = c_int::try_from(number).ok()?;
    // SAFETY: both pointers are to live numbers that nobody else reads meanwhile; a device that is not there is an error
    // that is given back.
    let is_known = unsafe { set(number) == 0 && info(&raw mut free, &raw mut total) == 0 };
    is_known.then_some((free as u64, total as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a machine with a device both hold, on any other neither does; loading twice is loading once.
    #[test]
    fn there_is_memory_exactly_where_there_is_a_device() {
        if let Err(why) = load() {
            assert!(why.contains(KERNELS), "{why}");
        }
        let devices = tch::Cuda::device_count();
        assert_eq!(memory(0).is_some_and(|(free, total)| 0 < free && free <= total), devices > 0);
    }
}
