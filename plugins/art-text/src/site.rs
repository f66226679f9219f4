//! What lies under `/ext/art-text/`: guides as PNG, the fonts, and a page that draws with both. The page speaks to the server
//! like any client; this code draws letters only.

use gesso_plugin::HttpExtension;
use gesso_plugin::http::{Method, Request, Response, StatusCode, json, problem, query, response};
use gesso_plugin::serde_json::json;

use crate::lettering::{FONTS, Lettering};
use crate::png;

/// Self-contained: no style or script from anywhere else, and none within the page.
const PAGE: &str = include_str!("page.html");
const SCRIPT: &str = include_str!("page.js");
const STYLE: &str = include_str!("page.css");

pub(crate) struct Site;

impl HttpExtension for Site {
    const MAX_BODY_BYTES: usize = 0;

    fn handle(request: Request) -> Response {
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            return problem(StatusCode::METHOD_NOT_ALLOWED, "This takes GET and HEAD.");
        }
        match request.uri().path() {
            "/" => response(StatusCode::OK, "text/html; charset=utf-8", PAGE),
            "/page.js" => response(StatusCode::OK, "text/javascript; charset=utf-8", SCRIPT),
            "/page.css" => response(StatusCode::OK, "text/css; charset=utf-8", STYLE),
            "/fonts" => json(StatusCode::OK, &json!(FONTS.map(|(name, _)| name))),
            "/guide.png" => guide(&request),
            _ => problem(
                StatusCode::NOT_FOUND,
                "There is nothing here; try /, /fonts or /guide.png?text=Gesso.",
            ),
        }
    }
}

/// `text`, and `font`, `width`, `height`, `margin`, `invert` where they are not the defaults.
fn guide(request: &Request) -> Response {
    let drawn = (|| {
        let text = query(request, "text").unwrap_or_default();
        let font = query(request, "font").unwrap_or_else(|| FONTS[0].0.into());
        let lettering = Lettering {
            text: &text,
            font: &font,
            width: number(request, "width", 512)?,
            height: number(request, "height", 512)?,
            margin: number(request, "margin", 0.08)?,
            invert: query(request, "invert").is_some_and(|flag| ["1", "true", "on"].contains(&flag.as_str())),
        };
        png(&lettering.draw()?).map_err(|fault| fault.to_string())
    })();
    match drawn {
        Ok(file) => response(StatusCode::OK, "image/png", file),
        Err(sentence) => problem(StatusCode::BAD_REQUEST, &sentence),
    }
}

fn number<T: std::str::FromStr>(request: &Request, name: &str, default: T) -> Result<T, String> {
    match query(request, name) {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| format!("The {name} is {text:?}, which is no such number.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str) -> Response {
        let mut request = Request::new(Vec::new());
        *request.uri_mut() = path.parse().unwrap();
        Site::handle(request)
    }

    #[test]
    fn guides_are_drawn_by_address() {
        let answer = get("/guide.png?text=Gesso%0Aart&width=128&height=64&font=DejaVu+Sans+Bold&invert=1");
        assert_eq!(
            (answer.status(), &answer.headers()["content-type"]),
            (StatusCode::OK, &"image/png".parse().unwrap())
        );
        let reader = png::Decoder::new(std::io::Cursor::new(answer.into_body())).read_info().unwrap();
        assert_eq!((reader.info().width, reader.info().height), (128, 64));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (path, status, says) in [
            ("/guide.png", 400, "no text"),
            ("/guide.png?text=a&width=wide", 400, "The width is \\\"wide\\\""),
            ("/guide.png?text=a&height=9999", 400, "The height is 9999"),
            ("/elsewhere", 404, "nothing here"),
        ] {
            let answer = get(path);
            let body = String::from_utf8_lossy(answer.body()).into_owned();
            assert!(answer.status().as_u16() == status && body.contains(says), "{path}: {body}");
        }
    }

    #[test]
    fn the_page_loads_nothing_from_elsewhere() {
        assert_eq!(get("/").status(), StatusCode::OK);
        assert!(!PAGE.contains("http:") && !PAGE.contains("https:") && !PAGE.contains("onclick"));
    }
}
