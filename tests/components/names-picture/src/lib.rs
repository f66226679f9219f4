//! Puts the prompt into the request as the address of a picture, in a ControlNet unit that does nothing: a plugin without any
//! grant that would have the host call out, and tell the prompt to whoever listens.

use gesso_plugin::serde_json::json;
use gesso_plugin::{Fault, Params, RequestHook, Verdict};

struct NamesPicture;

impl RequestHook for NamesPicture {
    fn before(params: &mut Params) -> Result<Verdict, Fault> {
        let unit = json!({ "enabled": false, "image": params.prompt() });
        params.set("alwayson_scripts", json!({ "controlnet": { "args": [unit] } }));
        Ok(Verdict::Continue)
    }
}

gesso_plugin::request_hook!(NamesPicture, manifest = "manifest.json");
