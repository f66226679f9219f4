//! Hostile in its answer, in the way that the path names. Goes behind the SDK's back, which answers once and completely.

use std::time::Duration;

use gesso_plugin::__private::http_extension as bindings;

use bindings::exports::wasi::http::incoming_handler::{Guest, IncomingRequest, ResponseOutparam};
use bindings::wasi::http::types::{Fields, Method, OutgoingBody, OutgoingRequest, OutgoingResponse};

struct Misbehaves;

impl Guest for Misbehaves {
    fn handle(request: IncomingRequest, response_out: ResponseOutparam) {
        match request.path_with_query().unwrap_or_default().as_str() {
            "/twice" => {
                let handle = response_out.handle();
                ResponseOutparam::set(response_out, Ok(OutgoingResponse::new(Fields::new())));
                // SAFETY: none, on purpose. The handle is the host's by now, which has to notice.
                #[expect(unsafe_code, reason = "the point of this guest")]
                let again = unsafe { ResponseOutparam::from_handle(handle) };
                ResponseOutparam::set(again, Ok(OutgoingResponse::new(Fields::new())));
            }
            "/goes-on" => {
                ResponseOutparam::set(response_out, Ok(OutgoingResponse::new(Fields::new())));
                loop {
                    std::hint::black_box(());
                }
            }
            "/sleeps-on" => {
                ResponseOutparam::set(response_out, Ok(OutgoingResponse::new(Fields::new())));
                std::thread::sleep(Duration::from_secs(3600));
            }
            // Says more bytes than come; what notices that is told, or kept from it.
            "/breaks-off" => drop(begin(response_out, &promise(), b"abc")),
            "/lies" => std::mem::forget(begin(response_out, &promise(), b"abc")),
            // As if the connection were the plugin's from now on.
            "/switches" => {
                let response = OutgoingResponse::new(Fields::new());
                let _ = response.set_status_code(101);
                ResponseOutparam::set(response_out, Ok(response));
            }
            // Well-behaved: tells what fields it was sent.
            "/headers" => {
                let fields = request.headers().entries();
                let told: String = fields
                    .iter()
                    .map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value)))
                    .collect();
                finish(begin(response_out, &[], told.as_bytes()));
            }
            "/flood" => {
                let flood: Vec<_> =
                    (0..1000).map(|number| (format!("x-{number}"), vec![b'x'; 100])).collect();
                finish(begin(response_out, &flood, b"flood"));
            }
            "/hoards-bodies" => hoard_bodies(),
            "/hoards-methods" => hoard_methods(),
            "/hoards-fields" => hoard_fields(),
            path => match path.strip_prefix("/picture?") {
                // A text that is said to be a picture: whatever the query says.
                Some(text) => {
                    let fields = [("content-type".to_owned(), b"image/png".to_vec())];
                    finish(begin(response_out, &fields, text.as_bytes()));
                }
                None => finish(begin(response_out, &[], b"well")),
            },
        }
    }
}

fn promise() -> [(String, Vec<u8>); 1] {
    [("content-length".to_owned(), b"30".to_vec())]
}

/// Answers with as many of the fields as the host takes, and writes that much of the body.
fn begin(response_out: ResponseOutparam, fields: &[(String, Vec<u8>)], bytes: &[u8]) -> Option<OutgoingBody> {
    let headers = Fields::new();
    for (name, value) in fields {
        if headers.append(name, value).is_err() {
            break;
        }
    }
    let response = OutgoingResponse::new(headers);
    let body = response.body().ok()?;
    ResponseOutparam::set(response_out, Ok(response));
    body.write().ok()?.blocking_write_and_flush(bytes).ok()?;
    Some(body)
}

fn finish(body: Option<OutgoingBody>) {
    if let Some(body) = body {
        let _ = OutgoingBody::finish(body, None);
    }
}

/// Requests that are never sent, each with as much of a body as the host takes.
fn hoard_bodies() {
    let bytes = vec![b'x'; 1 << 20];
    loop {
        let request = OutgoingRequest::new(Fields::new());
        if let Ok(body) = request.body()
            && let Ok(stream) = body.write()
        {
            while let Ok(room @ 1..) = stream.check_write() {
                let room = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
                if stream.write(&bytes[..room]).is_err() {
                    break;
                }
            }
        }
        std::mem::forget(request);
    }
}

/// A method may have any length.
fn hoard_methods() {
    let method = Method::Other("X".repeat(16 << 20));
    loop {
        let request = OutgoingRequest::new(Fields::new());
        let _ = request.set_method(&method);
        std::mem::forget(request);
    }
}

fn hoard_fields() {
    let (name, value) = ("x-hoard".to_owned(), vec![b'x'; 30 << 10]);
    loop {
        let fields = Fields::new();
        let _ = fields.append(&name, &value);
        std::mem::forget(fields);
    }
}

const _: () = {
    gesso_plugin::__embed_manifest!("manifest.json");
    bindings::export_http_extension!(Misbehaves with_types_in bindings);
};
