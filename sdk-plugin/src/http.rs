//! An HTTP API of the plugin's own: the trait an author implements, the macro that makes it a component, and the
//! adapter to `wasi:http/incoming-handler`. Bodies are buffered with a bound; what must stream is not for this.

use std::marker::PhantomData;

pub use http::{HeaderValue, Method, StatusCode, header};
use serde::Serialize;

use crate::bindings::http_extension::exports::wasi::http::incoming_handler::Guest;
use crate::bindings::http_extension::wasi::http::types as wasi;
use crate::bindings::http_extension::wasi::io::streams::StreamError;
use crate::call::{self, Level};

/// A request as the extension sees it: the mount prefix is cut off the path, the body is read.
pub type Request = http::Request<Vec<u8>>;

/// An answer. The SDK sets `content-length`.
pub type Response = http::Response<Vec<u8>>;

/// An HTTP API mounted under `/ext/<plugin id>/`. Each call gets a fresh instance.
pub trait HttpExtension {
    /// The longest request body in bytes; a longer one is answered with 413 before the handler sees it.
    const MAX_BODY_BYTES: usize = 1 << 20;

    fn handle(request: Request) -> Response;
}

/// Makes an [`HttpExtension`] the component's export and embeds the manifest, a path from the package's folder.
/// Once per crate, whose `crate-type` must contain `cdylib`. Beside the macro of another world, which embeds the manifest,
/// without one: `http_extension!(Site)`.
#[macro_export]
macro_rules! http_extension {
    ($plugin:ty, manifest = $manifest:literal) => {
        const _: () = {
            $crate::__embed_manifest!($manifest);
        };
        $crate::http_extension!($plugin);
    };
    ($plugin:ty) => {
        const _: () = {
            type Component = $crate::__private::HttpExtensionAdapter<$plugin>;
            // Native builds are for tests; their linkers do not take the names a component exports.
            #[cfg(target_family = "wasm")]
            $crate::__private::http_extension::export_http_extension!(
                Component with_types_in $crate::__private::http_extension
            );
            const _: std::marker::PhantomData<Component> = std::marker::PhantomData;
        };
    };
}

/// An answer of that type.
pub fn response(status: StatusCode, content_type: &'static str, body: impl Into<Vec<u8>>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A JSON answer.
pub fn json<T: Serialize>(status: StatusCode, value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => response(status, "application/json", body),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &format!("The answer is no JSON: {error}.")),
    }
}

/// A JSON answer `{"error": <sentence>}`.
pub fn problem(status: StatusCode, sentence: &str) -> Response {
    let body = serde_json::json!({ "error": sentence }).to_string();
    response(status, "application/json", body)
}

/// The first value of a query parameter, decoded.
pub fn query(request: &Request, name: &str) -> Option<String> {
    form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

const READ_BYTES: u64 = 64 << 10;
/// What `blocking-write-and-flush` takes at most, by its definition in `wasi:io`.
const WRITE_BYTES: usize = 4096;

#[doc(hidden)]
pub struct Adapter<T>(PhantomData<T>);

impl<T: HttpExtension> Guest for Adapter<T> {
    fn handle(request: wasi::IncomingRequest, out: wasi::ResponseOutparam) {
        let without_body = matches!(request.method(), wasi::Method::Head);
        let response = match read_request(&request, T::MAX_BODY_BYTES) {
            Ok(request) => T::handle(request),
            Err(Refusal(status, sentence)) => problem(status, &sentence),
        };
        send(response, without_body, out);
    }
}

/// Why a request does not reach the handler.
struct Refusal(StatusCode, String);

/// The request with its body.
fn read_request(incoming: &wasi::IncomingRequest, max_body_bytes: usize) -> Result<Request, Refusal> {
    let path = incoming.path_with_query().filter(|path| !path.is_empty());
    let mut builder =
        http::Request::builder().method(method_name(&incoming.method())).uri(path.as_deref().unwrap_or("/"));
    for (name, value) in incoming.headers().entries() {
        builder = builder.header(name, value);
    }
    let body = read_body(incoming, max_body_bytes)?;
    builder
        .body(body)
        .map_err(|error| Refusal(StatusCode::BAD_REQUEST, format!("The request cannot be read: {error}.")))
}

fn read_body(incoming: &wasi::IncomingRequest, max_body_bytes: usize) -> Result<Vec<u8>, Refusal> {
    let broke_off = || Refusal(StatusCode::BAD_REQUEST, "The request's body broke off.".to_owned());
    let body = incoming.consume().map_err(|()| broke_off())?;
    let stream = body.stream().map_err(|()| broke_off())?;
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(READ_BYTES) {
            Ok(chunk) if bytes.len() + chunk.len() > max_body_bytes => {
                let sentence = format!("The body is larger than {max_body_bytes} bytes; send less.");
                return Err(Refusal(StatusCode::PAYLOAD_TOO_LARGE, sentence));
            }
            Ok(chunk) => bytes.extend_from_slice(&chunk),
            Err(StreamError::Closed) => return Ok(bytes),
            Err(StreamError::LastOperationFailed(_)) => return Err(broke_off()),
        }
    }
}

fn method_name(method: &wasi::Method) -> &str {
    match method {
        wasi::Method::Get => "GET",
        wasi::Method::Head => "HEAD",
        wasi::Method::Post => "POST",
        wasi::Method::Put => "PUT",
        wasi::Method::Delete => "DELETE",
        wasi::Method::Connect => "CONNECT",
        wasi::Method::Options => "OPTIONS",
        wasi::Method::Trace => "TRACE",
        wasi::Method::Patch => "PATCH",
        wasi::Method::Other(name) => name,
    }
}

fn send(response: Response, without_body: bool, out: wasi::ResponseOutparam) {
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    if !without_body {
        // A length the host would hold the body to; a HEAD answer has no body that could keep the promise.
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    let entries: Vec<_> =
        parts.headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
    let fields = wasi::Fields::from_list(&entries).unwrap_or_else(|error| {
        call::log(Level::Error, &format!("The host does not allow the answer's headers: {error:?}."));
        wasi::Fields::new()
    });
    let outgoing = wasi::OutgoingResponse::new(fields);
    // `StatusCode` holds no number the host would refuse, and a fresh response has its body still.
    let _ = outgoing.set_status_code(parts.status.as_u16());
    let Ok(sink) = outgoing.body() else { return };
    wasi::ResponseOutparam::set(out, Ok(outgoing));
    if !without_body && let Ok(stream) = sink.write() {
        for chunk in body.chunks(WRITE_BYTES) {
            // The client has gone: nobody is left to tell.
            if stream.blocking_write_and_flush(chunk).is_err() {
                return;
            }
        }
    }
    let _ = wasi::OutgoingBody::finish(sink, None);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_the_first_of_a_query_parameter() {
        let request =
            http::Request::builder().uri("/api?name=a+b%26c&name=d&empty=").body(Vec::new()).unwrap();
        assert_eq!(query(&request, "name").as_deref(), Some("a b&c"));
        assert_eq!(query(&request, "empty").as_deref(), Some(""));
        assert_eq!(query(&request, "none"), None);
    }

    #[test]
    fn answers_problems_as_json() {
        let response = problem(StatusCode::NOT_FOUND, "There is no \"x\".");
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(response.headers()["content-type"], "application/json");
        assert_eq!(response.body(), br#"{"error":"There is no \"x\"."}"#);
    }
}
