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
}
