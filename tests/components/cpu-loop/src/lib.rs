//! Hostile: never returns from `before`, and never asks the host anything meanwhile.

use gesso_plugin::{Fault, Params, RequestHook, Verdict};

struct CpuLoop;

impl RequestHook for CpuLoop {
    fn before(_params: &mut Params) -> Result<Verdict, Fault> {
        let mut turns = 0_u64;
        loop {
            turns = std::hint::black_box(turns.wrapping_add(1));
        }
    }
}

gesso_plugin::request_hook!(CpuLoop, manifest = "manifest.json");
