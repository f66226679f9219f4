//! Hostile: asks for memory, and writes to it, until there is no more.

use gesso_plugin::{Fault, Params, RequestHook, Verdict};

struct MemoryBomb;

impl RequestHook for MemoryBomb {
    fn before(_params: &mut Params) -> Result<Verdict, Fault> {
        let mut hoard = Vec::new();
        loop {
            hoard.push(std::hint::black_box(vec![1_u8; 1 << 20]));
        }
    }
}

gesso_plugin::request_hook!(MemoryBomb, manifest = "manifest.json");
