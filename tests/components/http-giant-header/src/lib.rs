//! Hostile: answers with a header of 1 MiB.

use gesso_plugin::HttpExtension;
use gesso_plugin::http::{HeaderValue, Request, Response, StatusCode, response};

struct GiantHeader;

impl HttpExtension for GiantHeader {
    fn handle(_request: Request) -> Response {
        let mut response = response(StatusCode::OK, "text/plain", "small");
        if let Ok(value) = HeaderValue::from_bytes(&vec![b'a'; 1 << 20]) {
            response.headers_mut().insert("x-giant", value);
        }
        response
    }
}

gesso_plugin::http_extension!(GiantHeader, manifest = "manifest.json");
