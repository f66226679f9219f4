//! Pictures behind signed, expiring URLs, for object stores that cannot sign their own. Answers as such a store does: whole, in
//! part, or not again where the client has it.

use std::ops::Range;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use gesso_store::{Clock, ObjectsError, SystemClock};

use crate::app::App;
use crate::error::AppError;
use crate::http::error::{Failure, problem};
use crate::http::extract::PathText;

/// A picture, to whoever holds its signed URL.
#[utoipa::path(get, path = "/files/{id}", tag = "files",
    params(("id" = String, Path, description = "As in a signed URL"),
           ("exp" = u64, Query, description = "Unix seconds"), ("kid" = String, Query), ("sig" = String, Query)),
    responses((status = 200, description = "The file", content(("image/png"), ("image/jpeg"), ("image/webp"))),
              (status = 206, description = "The bytes that Range asked for", content(("image/png"), ("image/jpeg"), ("image/webp"))),
              (status = 304, description = "If-None-Match has its ETag"),
              (status = 403, description = "Expired or not signed by this server"),
              (status = 410, description = "Deleted since it was signed"),
              (status = 416, description = "Range lies behind the end of the file")))]
pub(crate) async fn file(
    State(app): State<Arc<App>>,
    method: Method,
    PathText(id): PathText,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let signer = app.objects.local_signer().ok_or_else(|| {
        AppError::NotFound(
            "pictures are in an object store of their own; follow the URL of the task's result".into(),
        )
    })?;
    let key = match signer.verify(&id, query.as_deref().unwrap_or_default(), SystemClock.now_ms()) {
        Ok(key) => key,
        Err(error) => {
            return Ok(problem(StatusCode::FORBIDDEN, "forbidden", &error.to_string()));
        }
    };
    let gone = |error: ObjectsError| match error {
        // Only what is there is signed.
        ObjectsError::NotFound(_) => AppError::Gone("the picture was deleted".into()),
        other => other.into(),
    };
    let info = app.objects.head(&key).await.map_err(gone)?;
    let etag = info.etag.as_deref();
    let mut response = if is_known(&headers, etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        match Part::of(&method, &headers, etag, info.size) {
            Part::All => app.objects.get(&key).await.map_err(gone)?.into_response(),
            Part::Bytes(range) => {
                let told = format!("bytes {}-{}/{}", range.start, range.end - 1, info.size);
                let bytes = app.objects.get_range(&key, range).await.map_err(gone)?;
                (StatusCode::PARTIAL_CONTENT, [(header::CONTENT_RANGE, told)], bytes).into_response()
            }
            Part::Beyond => {
                let message = format!("Range: the file has {} bytes; ask for some of them", info.size);
                let refused = problem(StatusCode::RANGE_NOT_SATISFIABLE, "invalid", &message);
                let told = format!("bytes */{}", info.size);
                return Ok(([(header::CONTENT_RANGE, told)], refused).into_response());
            }
        }
    };
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(key.content_type()));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=3600"));
    fields.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let policy = HeaderValue::from_static("default-src 'none'; sandbox");
    fields.insert(header::CONTENT_SECURITY_POLICY, policy);
    fields.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    // What whoever saves it calls it; keys have neither quotes nor what a header cannot hold.
    if let Ok(name) = HeaderValue::from_str(&format!("inline; filename=\"{}\"", key.file_name())) {
        fields.insert(header::CONTENT_DISPOSITION, name);
    }
    if let Some(etag) = etag.and_then(|etag| HeaderValue::from_str(etag).ok()) {
        fields.insert(header::ETAG, etag);
    }
    Ok(response)
}

/// Whether the client has the file already, by `If-None-Match` (RFC 9110, 13.1.2).
fn is_known(headers: &HeaderMap, etag: Option<&str>) -> bool {
    let said = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut known = said.flat_map(|value| value.split(',')).map(str::trim);
    known.any(|known| known == "*" || Some(known.strip_prefix("W/").unwrap_or(known)) == etag)
}

/// What of a file is asked for.
#[derive(Debug, PartialEq)]
enum Part {
    All,
    /// Within the file, and not empty.
    Bytes(Range<u64>),
    /// Nothing that is there.
    Beyond,
}

impl Part {
    /// As `Range` says (RFC 9110, 14.2). Several ranges, and what is none of bytes, are not heeded, which that leaves to servers.
    fn of(method: &Method, headers: &HeaderMap, etag: Option<&str>, size: u64) -> Self {
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        // A part of another file than the client has the rest of is of no use.
        let is_another = headers.contains_key(header::IF_RANGE) && text(header::IF_RANGE) != etag;
        match text(header::RANGE).and_then(|range| range.trim().strip_prefix("bytes=")) {
            Some(range) if *method == Method::GET && !is_another => Self::parse(range, size),
            _ => Self::All,
        }
    }

    /// `range` is what stands behind `bytes=`.
    fn parse(range: &str, size: u64) -> Self {
        let number = |text: &str| text.trim().parse::<u64>().ok();
        let Some((first, last)) = range.split_once('-') else { return Self::All };
        let (start, end) = match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => (first, last.saturating_add(1).min(size)),
            (Some(first), None) if last.trim().is_empty() => (first, size),
            // So many at the end.
            (None, Some(count)) if first.trim().is_empty() => (size.saturating_sub(count), size),
            _ => return Self::All,
        };
        if start < end { Self::Bytes(start..end) } else { Self::Beyond }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_one_of_the_bytes_that_are_there() {
        for (range, part) in [
            ("0-0", Part::Bytes(0..1)),
            ("2-5", Part::Bytes(2..6)),
            ("90-200", Part::Bytes(90..100)),
            ("0-18446744073709551615", Part::Bytes(0..100)),
            ("7-", Part::Bytes(7..100)),
            ("-10", Part::Bytes(90..100)),
            ("-1000", Part::Bytes(0..100)),
            ("100-", Part::Beyond),
            ("100-200", Part::Beyond),
            ("-0", Part::Beyond),
            ("5-2", Part::All),
            ("0-1,3-4", Part::All),
            ("a-b", Part::All),
            ("-", Part::All),
            ("5", Part::All),
            ("99999999999999999999-", Part::All),
        ] {
            assert_eq!(Part::parse(range, 100), part, "{range}");
        }
        assert_eq!(Part::parse("0-", 0), Part::Beyond);
    }

    #[test]
    fn only_who_gets_the_same_file_gets_a_part_of_it() {
        let of = |method: Method, fields: &[(HeaderName, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.insert(name, HeaderValue::from_str(value).unwrap());
            }
            Part::of(&method, &headers, Some("\"a\""), 100)
        };
        let range = (header::RANGE, "bytes=1-2");
        let part = Part::Bytes(1..3);
        assert_eq!(of(Method::GET, std::slice::from_ref(&range)), part);
        assert_eq!(of(Method::GET, &[range.clone(), (header::IF_RANGE, "\"a\"")]), part);
        assert_eq!(of(Method::GET, &[range.clone(), (header::IF_RANGE, "\"b\"")]), Part::All);
        assert_eq!(of(Method::HEAD, &[range]), Part::All);
        assert_eq!(of(Method::GET, &[(header::RANGE, "lines=1-2")]), Part::All);
    }

    #[test]
    fn a_client_has_a_file_by_any_of_the_tags_that_it_names() {
        let has = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, HeaderValue::from_str(text).unwrap());
            is_known(&headers, Some("\"a\""))
        };
        assert!(has("\"a\"") && has("W/\"a\"") && has("\"b\", \"a\"") && has("*"));
        assert!(!has("\"b\"") && !has("a") && !has(""));
        assert!(!is_known(&HeaderMap::new(), Some("\"a\"")));
    }
}
