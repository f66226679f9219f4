//! Careless: begins three drawings and ends without any of them. Nobody may draw for it any more.

use gesso_plugin::{Fault, Script, ScriptCall, ScriptOutput, inference};

struct LeavesJobs;

impl Script for LeavesJobs {
    fn run(call: ScriptCall) -> Result<ScriptOutput, Fault> {
        for _ in 0..3 {
            // Forgotten and not dropped: the host must clean up behind it.
            std::mem::forget(inference::generate(&call.params, &[], None)?);
        }
        Ok(ScriptOutput::default())
    }
}

gesso_plugin::script!(LeavesJobs, manifest = "manifest.json");
