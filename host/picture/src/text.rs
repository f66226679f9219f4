//! Base64 text, bare or in a `data:` URI, into the bytes of an encoded picture.
//!
//! Addresses (`http://…`) are not for here: whoever may open sockets fetches them first.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Why a text is not an encoded picture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    #[error("The picture is a `data:` URI of {found:?}; send `data:image/...;base64,` or bare base64.")]
    NotAnImage { found: String },
    #[error(
        "The picture is neither base64 text nor a `data:` URI ({reason}); send the bytes of a PNG, JPEG, WebP, GIF or BMP file as base64."
    )]
    NotBase64 { reason: String },
    #[error("The picture is about {found} bytes; the limit is {limit}. Send a smaller one.")]
    TooLong { found: usize, limit: usize },
}

/// Clients leave the padding away or send too much of it, and set bits behind the last byte.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// How much of a text a message quotes.
const QUOTED: usize = 40;

/// The bytes that `text` stands for, at most `bytes_max`. `None` for an empty or blank text: clients send it for
/// "no picture". White space is skipped anywhere.
pub fn picture_bytes(text: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, TextError> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let payload = match text.get(..5) {
        Some(scheme) if scheme.eq_ignore_ascii_case("data:") => data_uri_payload(text)?,
        _ => text,
    };
    // Before any copy is made; white space makes this an estimate from above.
    let estimate = payload.len() / 4 * 3;
    let mut compact = Vec::new();
    let payload = if payload.bytes().any(|byte| byte.is_ascii_whitespace()) {
        compact.extend(payload.bytes().filter(|byte| !byte.is_ascii_whitespace()));
        &compact[..]
    } else {
        payload.as_bytes()
    };
    if payload.len() / 4 * 3 > bytes_max.saturating_add(3) {
        return Err(TextError::TooLong { found: estimate, limit: bytes_max });
    }
    let bytes =
        LENIENT.decode(payload).map_err(|error| TextError::NotBase64 { reason: error.to_string() })?;
    match bytes.len() {
        0 => Ok(None),
        length if length > bytes_max => Err(TextError::TooLong { found: length, limit: bytes_max }),
        _ => Ok(Some(bytes)),
    }
}

/// What follows the comma of a base64 `data:` URI of an image type; the type may be left out.
fn data_uri_payload(text: &str) -> Result<&str, TextError> {
    let quoted = || TextError::NotAnImage { found: text.chars().take(QUOTED).collect() };
    let (head, payload) = text.split_once(',').ok_or_else(quoted)?;
    let head = head[5..].to_ascii_lowercase();
    let kind = head.split(';').next().unwrap_or_default().trim();
    let base64 = head.split(';').skip(1).any(|parameter| parameter.trim() == "base64");
    if base64 && (kind.is_empty() || kind.starts_with("image/")) { Ok(payload) } else { Err(quoted()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Vec<u8>>, TextError> {
        picture_bytes(text, 16)
    }

    #[test]
    fn reads_bare_base64_and_data_uris_of_any_image_type() {
        for text in [
            "cGl4ZWxz",
            "  cGl4\r\n ZWxz \t",
            "data:image/png;base64,cGl4ZWxz",
            "DATA:image/x-thing;charset=utf-8;base64, cGl4ZWxz",
            "data:;base64,cGl4ZWxz",
        ] {
            assert_eq!(read(text).unwrap().as_deref(), Some(&b"pixels"[..]), "{text}");
        }
        assert_eq!(read("YQ").unwrap().as_deref(), Some(&b"a"[..]), "padding may be missing");
        assert_eq!(read("YQ==").unwrap().as_deref(), Some(&b"a"[..]));
    }

    #[test]
    fn an_empty_text_is_no_picture() {
        for text in ["", " \n ", "data:image/png;base64,"] {
            assert_eq!(read(text).unwrap(), None, "{text:?}");
        }
    }

    #[test]
    fn refuses_other_types_other_texts_and_too_much() {
        assert!(matches!(read("data:text/html;base64,cGl4ZWxz"), Err(TextError::NotAnImage { .. })));
        assert!(matches!(read("data:image/png,raw"), Err(TextError::NotAnImage { .. })));
        assert!(matches!(read("data:image/png"), Err(TextError::NotAnImage { .. })));
        assert!(matches!(read("http://example.com/a.png"), Err(TextError::NotBase64 { .. })));
        assert!(matches!(read("é"), Err(TextError::NotBase64 { .. })));
        assert!(matches!(read(&"A".repeat(1000)), Err(TextError::TooLong { .. })));
        assert!(matches!(read(&"A".repeat(23)), Err(TextError::TooLong { found: 17, limit: 16 })));
    }
}
