//! Hostile: `before` returns parameters of 8 MiB.

use gesso_plugin::{Fault, Params, RequestHook, Verdict};

struct GiantReturn;

impl RequestHook for GiantReturn {
    fn before(params: &mut Params) -> Result<Verdict, Fault> {
        params.set_prompt("a".repeat(8 << 20));
        Ok(Verdict::Continue)
    }
}

gesso_plugin::request_hook!(GiantReturn, manifest = "manifest.json");
