//! Hostile: runs into `unreachable` in `before`.

use gesso_plugin::{Fault, Params, RequestHook, Verdict};

struct Trap;

impl RequestHook for Trap {
    fn before(_params: &mut Params) -> Result<Verdict, Fault> {
        std::process::abort()
    }
}

gesso_plugin::request_hook!(Trap, manifest = "manifest.json");
