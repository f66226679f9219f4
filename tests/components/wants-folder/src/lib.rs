//! Reads a folder. Without a grant the host must refuse to load it, and name what is missing.

use gesso_plugin::{Fault, Params, RequestHook, Verdict, folders};

struct WantsFolder;

impl RequestHook for WantsFolder {
    fn before(params: &mut Params) -> Result<Verdict, Fault> {
        params.set_prompt(folders::list("wildcards")?.join(", "));
        Ok(Verdict::Continue)
    }
}

gesso_plugin::request_hook!(WantsFolder, manifest = "manifest.json");
