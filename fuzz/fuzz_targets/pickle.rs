//! Any bytes are judged as a pickle of a PyTorch file: every instruction, global and view. Must answer, never panic.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|pickle: &[u8]| {
    let _ = gesso_torch::inspect_pickle(pickle);
});
