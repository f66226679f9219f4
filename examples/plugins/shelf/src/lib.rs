//! Keeps files under `/ext/<id>/files/<name>` and counts how often each is taken: files are blobs, counts are values, and the
//! page that shows them is an asset. All three outlive the call; the first two outlive this build, too.

use gesso_plugin::http::{Method, Request, Response, StatusCode, json, problem, response};
use gesso_plugin::serde_json::{Value, json};
use gesso_plugin::{Fault, HttpExtension, assets, blobs, kv};

struct Plugin;

/// One answer of the host holds no more.
const FILE_BYTES_MAX: u32 = 8 << 20;

impl HttpExtension for Plugin {
    const MAX_BODY_BYTES: usize = FILE_BYTES_MAX as usize;

    fn handle(request: Request) -> Response {
        let answer = match request.uri().path().strip_prefix("/files") {
            Some("" | "/") => list(&request),
            Some(name) => file(&request, name.trim_start_matches('/')),
            None => page(request.uri().path()),
        };
        answer.unwrap_or_else(|fault| problem(status(&fault), &fault.to_string()))
    }
}

gesso_plugin::http_extension!(Plugin, manifest = "manifest.json");

fn page(path: &str) -> Result<Response, Fault> {
    let (name, kind) = match path {
        "/" => ("index.html", "text/html; charset=utf-8"),
        "/page.js" => ("page.js", "text/javascript; charset=utf-8"),
        _ => return Ok(problem(StatusCode::NOT_FOUND, "There is nothing here; try / or /files.")),
    };
    Ok(response(StatusCode::OK, kind, assets::read(name)?))
}

/// The first files, as many as one page of names has.
fn list(request: &Request) -> Result<Response, Fault> {
    if request.method() != Method::GET {
        return Ok(problem(StatusCode::METHOD_NOT_ALLOWED, "The list is for reading."));
    }
    let mut files: Vec<Value> = Vec::new();
    for name in blobs::list("", None)? {
        let (bytes, taken) = (blobs::size(&name)?, number(kv::get(&name)?.as_deref()));
        files.push(json!({ "name": name, "bytes": bytes, "taken": taken }));
    }
    Ok(json(StatusCode::OK, &files))
}

fn file(request: &Request, name: &str) -> Result<Response, Fault> {
    match *request.method() {
        Method::PUT => {
            blobs::put(name, request.body())?;
            Ok(json(StatusCode::CREATED, &json!({ "name": name })))
        }
        Method::GET => {
            let bytes = blobs::read(name, 0, FILE_BYTES_MAX)?;
            kv::update(name, |taken| Some((number(taken) + 1).to_string().into_bytes()))?;
            Ok(response(StatusCode::OK, "application/octet-stream", bytes))
        }
        Method::DELETE => {
            blobs::remove(name)?;
            kv::remove(name)?;
            Ok(json(StatusCode::OK, &json!({ "name": name })))
        }
        _ => Ok(problem(StatusCode::METHOD_NOT_ALLOWED, "This takes GET, PUT and DELETE.")),
    }
}

/// A count as it is kept: decimal text.
fn number(value: Option<&[u8]>) -> u64 {
    value.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok()).unwrap_or(0)
}

fn status(fault: &Fault) -> StatusCode {
    match fault {
        Fault::InvalidInput(_) => StatusCode::NOT_FOUND,
        Fault::LimitExceeded(_) => StatusCode::INSUFFICIENT_STORAGE,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

#[cfg(test)]
mod tests {
    use gesso_plugin::fake;
    use gesso_plugin::serde_json;

    use super::*;

    fn answer(host: &fake::Host, method: Method, path: &str, body: &[u8]) -> Response {
        let mut request = Request::new(body.to_vec());
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().unwrap();
        host.run(|| Plugin::handle(request))
    }

    #[test]
    fn a_file_is_kept_taken_counted_and_removed() {
        let host = fake::Host::new().asset("index.html", "<title>Shelf</title>");
        assert_eq!(answer(&host, Method::GET, "/", b"").body(), b"<title>Shelf</title>");
        assert_eq!(answer(&host, Method::PUT, "/files/a.txt", b"abc").status(), StatusCode::CREATED);
        for _ in 0..2 {
            assert_eq!(answer(&host, Method::GET, "/files/a.txt", b"").body(), b"abc");
        }
        let listed = answer(&host, Method::GET, "/files", b"");
        let listed: Value = serde_json::from_slice(listed.body()).unwrap();
        assert_eq!(listed, json!([{ "name": "a.txt", "bytes": 3, "taken": 2 }]));
        assert_eq!(answer(&host, Method::DELETE, "/files/a.txt", b"").status(), StatusCode::OK);
        assert_eq!(answer(&host, Method::GET, "/files/a.txt", b"").status(), StatusCode::NOT_FOUND);
        assert!(host.kv().is_empty() && host.blobs().is_empty());
    }

    #[test]
    fn a_file_for_which_no_room_is_granted_is_refused() {
        let host = fake::Host::new().blob_bytes(4);
        let refused = answer(&host, Method::PUT, "/files/a.txt", b"abc");
        assert_eq!(refused.status(), StatusCode::INSUFFICIENT_STORAGE);
    }

    #[test]
    fn what_is_no_count_counts_as_none() {
        assert_eq!(number(Some(b"12")), 12);
        assert_eq!((number(None), number(Some(b"many")), number(Some(b"\xff"))), (0, 0, 0));
    }

    #[test]
    fn a_full_shelf_is_told_apart_from_a_missing_file() {
        assert_eq!(status(&Fault::LimitExceeded(String::new())), StatusCode::INSUFFICIENT_STORAGE);
        assert_eq!(status(&Fault::InvalidInput(String::new())), StatusCode::NOT_FOUND);
    }
}
