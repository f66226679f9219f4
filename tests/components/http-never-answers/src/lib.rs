//! Hostile: takes the request and never sets an answer. Goes behind the SDK's back, which always sets one.

use gesso_plugin::__private::http_extension as bindings;

use bindings::exports::wasi::http::incoming_handler::{Guest, IncomingRequest, ResponseOutparam};

struct NeverAnswers;

impl Guest for NeverAnswers {
    fn handle(_request: IncomingRequest, response_out: ResponseOutparam) {
        drop(response_out);
    }
}

const _: () = {
    gesso_plugin::__embed_manifest!("manifest.json");
    bindings::export_http_extension!(NeverAnswers with_types_in bindings);
};
