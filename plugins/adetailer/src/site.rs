//! What lies under `/ext/adetailer/v1`, and at `/adetailer/v1` where an admin grants that: what clients ask before they build
//! a form.

use gesso_plugin::http::{Method, Request, Response, StatusCode, json, problem};
use gesso_plugin::serde_json::json;
use gesso_plugin::{Fault, HttpExtension, models};

use crate::arguments;

pub(crate) struct Site;

impl HttpExtension for Site {
    const MAX_BODY_BYTES: usize = 0;

    fn handle(request: Request) -> Response {
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            return problem(StatusCode::METHOD_NOT_ALLOWED, "This takes GET and HEAD.");
        }
        // An alias is a path behind `/ext/adetailer`.
        let path = request.uri().path();
        match path.strip_prefix("/adetailer").unwrap_or(path) {
            "/v1/version" => json(StatusCode::OK, &json!({"version": env!("CARGO_PKG_VERSION")})),
            "/v1/schema" => json(StatusCode::OK, &arguments::schema()),
            "/v1/ad_model" => match models::list() {
                Ok(names) => json(StatusCode::OK, &json!({"ad_model": names})),
                Err(fault @ Fault::NotPermitted(_)) => problem(StatusCode::FORBIDDEN, &fault.to_string()),
                Err(fault) => problem(StatusCode::SERVICE_UNAVAILABLE, &fault.to_string()),
            },
            _ => problem(
                StatusCode::NOT_FOUND,
                "There is nothing here; try /v1/version, /v1/schema or /v1/ad_model.",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use gesso_plugin::fake;

    use super::*;

    #[test]
    fn an_alias_and_the_plugins_own_path_answer_the_same() {
        let get = |path: &str| {
            let mut request = Request::new(Vec::new());
            *request.uri_mut() = path.parse().unwrap();
            Site::handle(request)
        };
        for path in ["/v1/version", "/v1/schema"] {
            let (own, alias) = (get(path), get(&format!("/adetailer{path}")));
            assert_eq!((own.status(), own.body()), (StatusCode::OK, alias.body()), "{path}");
        }
        assert_eq!(get("/adetailer/v1/elsewhere").status(), StatusCode::NOT_FOUND);
        let refused = fake::Host::new().run(|| get("/v1/ad_model"));
        assert_eq!(refused.status(), StatusCode::FORBIDDEN, "no network is granted");
    }
}
