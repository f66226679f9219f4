//! HTTP extension to start from: a page, a JSON answer and an echo. Routing is a match on method and path; every
//! function takes a request and returns an answer, and so is tested without a host.

use gesso_plugin::HttpExtension;
use gesso_plugin::http::{
    HeaderValue, Method, Request, Response, StatusCode, header, json, problem, query, response,
};
use gesso_plugin::serde_json::{self, Value};

/// Self-contained, and without a script or an inline style: it works under the strictest content policy.
const PAGE: &str = include_str!("page.html");
const MAX_NAME_CHARS: usize = 100;

struct Hello;

impl HttpExtension for Hello {
    const MAX_BODY_BYTES: usize = 64 << 10;

    fn handle(request: Request) -> Response {
        match request.uri().path() {
            "/" => allow(&request, &[Method::GET, Method::HEAD], page),
            "/api/hello" => allow(&request, &[Method::GET, Method::HEAD], hello),
            "/api/echo" => allow(&request, &[Method::POST], echo),
            _ => problem(StatusCode::NOT_FOUND, "There is nothing here; try /, /api/hello or /api/echo."),
        }
    }
}

/// Calls the route for the methods it knows, and names them for any other.
fn allow(request: &Request, methods: &[Method], route: fn(&Request) -> Response) -> Response {
    if methods.contains(request.method()) {
        return route(request);
    }
    let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
    let names = names.join(", ");
    let mut refused = problem(StatusCode::METHOD_NOT_ALLOWED, &format!("This takes {names}."));
    if let Ok(value) = HeaderValue::from_str(&names) {
        refused.headers_mut().insert(header::ALLOW, value);
    }
    refused
}

fn page(_request: &Request) -> Response {
    response(StatusCode::OK, "text/html; charset=utf-8", PAGE)
}

fn hello(request: &Request) -> Response {
    let name = query(request, "name").filter(|name| !name.trim().is_empty());
    let name = name.as_deref().map_or("world", str::trim);
    if name.chars().count() > MAX_NAME_CHARS {
        let sentence = format!("The name is longer than {MAX_NAME_CHARS} characters; send a shorter one.");
        return problem(StatusCode::BAD_REQUEST, &sentence);
    }
    json(StatusCode::OK, &serde_json::json!({ "greeting": format!("Hello, {name}!"), "name": name }))
}

fn echo(request: &Request) -> Response {
    match serde_json::from_slice::<Value>(request.body()) {
        Ok(value) => json(StatusCode::OK, &serde_json::json!({ "echo": value })),
        Err(error) => problem(StatusCode::BAD_REQUEST, &format!("The body is not JSON: {error}.")),
    }
}

gesso_plugin::http_extension!(Hello, manifest = "manifest.json");

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: Method, path: &str, body: &str) -> Response {
        let mut request = Request::new(body.into());
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().unwrap();
        Hello::handle(request)
    }

    fn value(response: &Response) -> Value {
        assert_eq!(response.headers()["content-type"], "application/json");
        serde_json::from_slice(response.body()).unwrap()
    }

    #[test]
    fn shows_a_page_that_needs_nothing_from_anywhere() {
        let response = ask(Method::GET, "/", "");
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
        let page = String::from_utf8(response.into_body()).unwrap();
        for foreign in ["<script", "<style", "style=", "onclick", "http:", "https:", "src="] {
            assert!(!page.contains(foreign), "the page holds {foreign}");
        }
    }

    #[test]
    fn greets_by_name() {
        assert_eq!(value(&ask(Method::GET, "/api/hello", ""))["greeting"], "Hello, world!");
        assert_eq!(
            value(&ask(Method::GET, "/api/hello?name=Ann+%22%C3%A9", ""))["greeting"],
            "Hello, Ann \"é!"
        );
        assert_eq!(value(&ask(Method::GET, "/api/hello?name=%20", ""))["name"], "world");
    }

    #[test]
    fn refuses_a_name_that_is_too_long() {
        let response = ask(Method::GET, &format!("/api/hello?name={}", "a".repeat(101)), "");
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    }

    #[test]
    fn echoes_json_and_refuses_anything_else() {
        assert_eq!(value(&ask(Method::POST, "/api/echo", "[1, null]"))["echo"], serde_json::json!([1, null]));
        let response = ask(Method::POST, "/api/echo", "{");
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert!(value(&response)["error"].as_str().unwrap().starts_with("The body is not JSON"));
    }

    #[test]
    fn answers_head_as_get() {
        for path in ["/", "/api/hello"] {
            let (get, head) = (ask(Method::GET, path, ""), ask(Method::HEAD, path, ""));
            assert_eq!((get.status(), get.headers()), (head.status(), head.headers()));
        }
    }

    #[test]
    fn says_which_methods_a_path_takes() {
        for (method, path, allowed) in [
            (Method::POST, "/", "GET, HEAD"),
            (Method::DELETE, "/api/hello", "GET, HEAD"),
            (Method::GET, "/api/echo", "POST"),
        ] {
            let response = ask(method, path, "");
            assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
            assert_eq!(response.headers()["allow"], allowed);
        }
    }

    #[test]
    fn answers_an_unknown_path_in_json() {
        let response = ask(Method::GET, "/api", "");
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert!(value(&response)["error"].is_string());
    }
}
