//! Hostile: never returns from `after`.

use gesso_plugin::{Fault, Image, Params, RequestHook};

struct CpuLoopAfter;

impl RequestHook for CpuLoopAfter {
    fn after(_params: &Params, _images: Vec<Image>) -> Result<Vec<Image>, Fault> {
        let mut turns = 0_u64;
        loop {
            turns = std::hint::black_box(turns.wrapping_add(1));
        }
    }
}

gesso_plugin::request_hook!(CpuLoopAfter, manifest = "manifest.json");
