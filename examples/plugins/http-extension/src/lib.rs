//! Counts the words of the text that is posted to it, under `/ext/<id>/`.

use gesso_plugin::HttpExtension;
use gesso_plugin::http::{Method, Request, Response, StatusCode, json, problem};
use gesso_plugin::serde_json::json;

struct Plugin;

impl HttpExtension for Plugin {
    const MAX_BODY_BYTES: usize = 64 << 10;

    fn handle(request: Request) -> Response {
        if request.method() != Method::POST {
            return problem(StatusCode::METHOD_NOT_ALLOWED, "Post a text.");
        }
        match std::str::from_utf8(request.body()) {
            Ok(text) => json(StatusCode::OK, &json!({ "words": words(text) })),
            Err(_) => problem(StatusCode::BAD_REQUEST, "The body is no text in UTF-8."),
        }
    }
}

gesso_plugin::http_extension!(Plugin, manifest = "manifest.json");

fn words(text: &str) -> usize {
    text.split_whitespace().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_between_spaces() {
        assert_eq!(words(" two  words\n"), 2);
    }

    #[test]
    fn a_posted_text_is_counted_and_anything_else_is_a_problem() {
        let answer = |method: Method, body: &[u8]| {
            let mut request = Request::new(body.to_vec());
            *request.method_mut() = method;
            Plugin::handle(request)
        };
        assert_eq!(answer(Method::POST, b"a b c").body(), br#"{"words":3}"#);
        assert_eq!(answer(Method::POST, b"\xff").status(), StatusCode::BAD_REQUEST);
        assert_eq!(answer(Method::GET, b"").status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}
