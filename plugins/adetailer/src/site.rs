//! What lies under `/ext/adetailer/`: what clients ask before they build a form.

use gesso_plugin::http::{Method, Request, Response, StatusCode, json, problem};
use gesso_plugin::serde_json::json;
use gesso_plugin::{HttpExtension, models};

use crate::arguments;

pub(crate) struct Site;

impl HttpExtension for Site {
    const MAX_BODY_BYTES: usize = 0;

    fn handle(request: Request) -> Response {
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            return problem(StatusCode::METHOD_NOT_ALLOWED, "This takes GET and HEAD.");
        }
        match request.uri().path() {
            "/v1/version" => json(StatusCode::OK, &json!({"version": env!("CARGO_PKG_VERSION")})),
            "/v1/schema" => json(StatusCode::OK, &arguments::schema()),
            "/v1/ad_model" => match models::list() {
                Ok(names) => json(StatusCode::OK, &json!({"ad_model": names})),
                Err(fault) => problem(StatusCode::FORBIDDEN, &fault.to_string()),
            },
            _ => problem(
                StatusCode::NOT_FOUND,
                "There is nothing here; try /v1/version, /v1/schema or /v1/ad_model.",
            ),
        }
    }
}
