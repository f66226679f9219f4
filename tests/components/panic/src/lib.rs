//! Hostile by accident: panics in `before`. The message must reach whoever reads about the failure.

use gesso_plugin::{Fault, Params, RequestHook, Verdict};

struct Panic;

impl RequestHook for Panic {
    fn before(params: &mut Params) -> Result<Verdict, Fault> {
        panic!("the paint ran out after {} bytes of prompt", params.prompt().len());
    }
}

gesso_plugin::request_hook!(Panic, manifest = "manifest.json");
