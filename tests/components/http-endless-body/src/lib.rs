//! Hostile: answers with a body that does not end. Goes behind the SDK's back, which buffers bodies.

use gesso_plugin::__private::http_extension as bindings;

use bindings::exports::wasi::http::incoming_handler::{Guest, IncomingRequest, ResponseOutparam};
use bindings::wasi::http::types::{Fields, OutgoingResponse};

struct EndlessBody;

impl Guest for EndlessBody {
    fn handle(_request: IncomingRequest, response_out: ResponseOutparam) {
        let response = OutgoingResponse::new(Fields::new());
        let Ok(body) = response.body() else { return };
        ResponseOutparam::set(response_out, Ok(response));
        let Ok(stream) = body.write() else { return };
        while stream.blocking_write_and_flush(&[b'a'; 4096]).is_ok() {}
    }
}

const _: () = {
    gesso_plugin::__embed_manifest!("manifest.json");
    bindings::export_http_extension!(EndlessBody with_types_in bindings);
};
