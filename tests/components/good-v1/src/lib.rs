//! Well-behaved, for the tests of loading, swapping and rolling back: says its version in the prompt, and returns
//! the pictures it was given.

use gesso_plugin::{Fault, Params, RequestHook, Verdict};

struct Good;

impl RequestHook for Good {
    fn before(params: &mut Params) -> Result<Verdict, Fault> {
        params.set_prompt(format!("{}, good v1", params.prompt()));
        Ok(Verdict::Continue)
    }
}

gesso_plugin::request_hook!(Good, manifest = "manifest.json");
