//! Hostile: asks for drawings without end and waits for none.

use gesso_plugin::{Fault, Script, ScriptCall, ScriptOutput, inference};

struct FanOut;

impl Script for FanOut {
    fn run(call: ScriptCall) -> Result<ScriptOutput, Fault> {
        let mut jobs = Vec::new();
        loop {
            jobs.push(inference::generate(&call.params, &call.init_images, None)?);
        }
    }
}

gesso_plugin::script!(FanOut, manifest = "manifest.json");
