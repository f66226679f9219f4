//! Hostile: imports the outgoing HTTP handler, which is granted to nobody.

use gesso_plugin::{Fault, Params, RequestHook, Verdict};

mod bindings {
    wit_bindgen::generate!({
        path: "../../../wit/gesso-plugin-0.1.0",
        inline: "package guest:wants-network; world calls-out { import wasi:http/outgoing-handler@0.2.12; }",
        world: "guest:wants-network/calls-out",
        generate_all,
    });
}

use bindings::wasi::http::outgoing_handler::handle;
use bindings::wasi::http::types::{Fields, OutgoingRequest};

struct WantsNetwork;

impl RequestHook for WantsNetwork {
    fn before(_params: &mut Params) -> Result<Verdict, Fault> {
        let request = OutgoingRequest::new(Fields::new());
        let _ = request.set_authority(Some("169.254.169.254"));
        let _ = request.set_path_with_query(Some("/latest/meta-data/"));
        handle(request, None).map_err(|error| Fault::NotPermitted(error.to_string()))?;
        Ok(Verdict::Continue)
    }
}

gesso_plugin::request_hook!(WantsNetwork, manifest = "manifest.json");
