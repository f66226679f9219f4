//! What lies under `/ext/rembg/`, and at `/rembg` where an admin grants that: the networks, and a picture without its
//! background. Bodies and answers are those of the web UI's extension.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use gesso_picture::convert::to_rgb;
use gesso_picture::decode::{DecodeLimits, decode};
use gesso_picture::text::picture_bytes;
use gesso_plugin::http::{Method, Request, Response, StatusCode, json, problem};
use gesso_plugin::serde_json::{self, json};
use gesso_plugin::{Fault, HttpExtension, Image, ImageDesc, PixelFormat, lax};
use serde::Deserialize;

use crate::{cut_out, mask, network_of, networks};

/// A picture is decoded and written within what one call may spend.
const FILE_BYTES_MAX: usize = 5 << 20;
const PIXELS_MAX: u64 = 2 << 20;
const SIDE_MAX: u32 = 8192;

#[derive(Debug, Deserialize)]
#[serde(default)]
struct Asked {
    /// Base64, or a data URI.
    input_image: String,
    model: String,
    return_mask: bool,
    alpha_matting: bool,
}

impl Default for Asked {
    fn default() -> Self {
        Self { input_image: String::new(), model: "u2net".into(), return_mask: false, alpha_matting: false }
    }
}

pub(crate) struct Site;

impl HttpExtension for Site {
    const MAX_BODY_BYTES: usize = FILE_BYTES_MAX / 3 * 4 + (64 << 10);

    fn handle(request: Request) -> Response {
        if !["/", "/rembg"].contains(&request.uri().path()) {
            return problem(StatusCode::NOT_FOUND, "There is nothing here; try /rembg.");
        }
        let answer = match *request.method() {
            Method::GET | Method::HEAD => networks().map(|names| json!({ "models": names })),
            Method::POST => without_background(request.body()).map(|file| json!({ "image": file })),
            _ => return problem(StatusCode::METHOD_NOT_ALLOWED, "This takes GET, HEAD and POST."),
        };
        match answer {
            Ok(answer) => json(StatusCode::OK, &answer),
            Err(fault) => problem(status(&fault), &fault.to_string()),
        }
    }
}

fn status(fault: &Fault) -> StatusCode {
    match fault {
        Fault::InvalidInput(_) => StatusCode::UNPROCESSABLE_ENTITY,
        Fault::NotPermitted(_) => StatusCode::FORBIDDEN,
        Fault::LimitExceeded(_) => StatusCode::PAYLOAD_TOO_LARGE,
        Fault::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// A PNG in base64.
fn without_background(body: &[u8]) -> Result<String, Fault> {
    let wrong = Fault::InvalidInput;
    let asked: Asked = serde_json::from_slice(body)
        .and_then(|body| lax::from_value(&body))
        .map_err(|error| wrong(format!("The body is no request for this route: {error}.")))?;
    if asked.alpha_matting {
        return Err(wrong(
            "alpha_matting is not to be had here: soft edges are the network's own; send false.".into(),
        ));
    }
    let limits = DecodeLimits { bytes_max: FILE_BYTES_MAX, side_max: SIDE_MAX, pixels_max: PIXELS_MAX };
    let file = picture_bytes(&asked.input_image, limits.bytes_max)
        .map_err(|error| wrong(format!("input_image: {error}")))?
        .ok_or_else(|| wrong("input_image is missing; send a picture as base64.".into()))?;
    let picture = decode(&file, &limits).map_err(|error| wrong(format!("input_image: {error}")))?;
    let picture = to_rgb(&picture).map_err(|error| wrong(format!("input_image: {error}")))?;
    let network = network_of(&asked.model)?;
    let desc = ImageDesc { width: picture.width, height: picture.height, format: PixelFormat::Rgb8 };
    let mut colours = Image::allocate(desc)?;
    colours.write_rows(0, &picture.data)?;
    drop((picture, file));
    let mask = mask(&network, &colours)?;
    let answer = if asked.return_mask { mask } else { cut_out(&colours, &mask)? };
    Ok(BASE64_STANDARD.encode(png(&answer)?))
}

/// The picture as a file.
fn png(picture: &Image) -> Result<Vec<u8>, Fault> {
    let failed = |error: png::EncodingError| Fault::Other(format!("The picture cannot be encoded: {error}."));
    let ImageDesc { width, height, format } = picture.desc();
    let rows = picture.read_rows(0, height)?;
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(match format {
        PixelFormat::Gray8 => png::ColorType::Grayscale,
        PixelFormat::Rgb8 => png::ColorType::Rgb,
        PixelFormat::Rgba8 => png::ColorType::Rgba,
    });
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    encoder.write_header().and_then(|mut writer| writer.write_image_data(&rows)).map_err(failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use gesso_plugin::fake::Host;

    use super::*;

    fn ask(method: Method, path: &str, body: &str) -> (u16, String) {
        let mut request = Request::new(body.into());
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().unwrap();
        let answer = Site::handle(request);
        (answer.status().as_u16(), String::from_utf8_lossy(answer.body()).into_owned())
    }

    #[test]
    fn what_is_wrong_is_said_before_anything_is_looked_at() {
        for (method, path, body, status, says) in [
            (Method::GET, "/elsewhere", "", 404, "try /rembg"),
            (Method::PUT, "/rembg", "", 405, "GET, HEAD and POST"),
            (Method::POST, "/rembg", "[", 422, "no request for this route"),
            (Method::POST, "/rembg", "{}", 422, "input_image is missing"),
            (Method::POST, "/", r#"{"input_image": "aGVsbG8="}"#, 422, "input_image: The bytes are not"),
            (Method::POST, "/rembg", r#"{"alpha_matting": true}"#, 422, "alpha_matting is not to be had"),
        ] {
            let (found, text) = ask(method, path, body);
            assert!(found == status && text.contains(says), "{path} {body}: {found} {text}");
        }
    }

    #[test]
    fn without_the_grant_the_list_and_a_picture_are_refused_alike() {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, 2, 2);
        encoder.set_color(png::ColorType::Rgb);
        encoder.write_header().unwrap().write_image_data(&[9; 12]).unwrap();
        let body = json!({ "input_image": BASE64_STANDARD.encode(file) }).to_string();
        for (method, body) in [(Method::GET, ""), (Method::POST, body.as_str())] {
            let (status, text) = Host::new().run(|| ask(method.clone(), "/rembg", body));
            assert!(status == 403 && text.contains("an admin grants them"), "{method}: {status} {text}");
        }
    }

    #[test]
    fn a_picture_of_a_clients_own_loses_its_background() {
        let (host, picture) = (crate::tests::host(), crate::tests::picture());
        let file = BASE64_STANDARD.encode(png(&picture).unwrap());
        let body = json!({"input_image": file, "model": "u2net", "alpha_matting_foreground_threshold": 240});
        let (status, answer) = host.run(|| ask(Method::POST, "/rembg", &body.to_string()));
        assert_eq!(status, 200, "{answer}");
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        let cut = BASE64_STANDARD.decode(answer["image"].as_str().unwrap()).unwrap();
        let limits = DecodeLimits { bytes_max: FILE_BYTES_MAX, side_max: SIDE_MAX, pixels_max: PIXELS_MAX };
        let cut = decode(&cut, &limits).unwrap();
        assert_eq!((cut.width, cut.height, &cut.data[..4]), (8, 8, &[10, 20, 30, 255][..]));
        let (status, list) = host.run(|| ask(Method::GET, "/", ""));
        assert_eq!((status, list.as_str()), (200, r#"{"models":["u2net"]}"#));
        let (status, refused) = Host::new().run(|| ask(Method::GET, "/rembg", ""));
        assert!(status == 403, "{refused}");
    }
}
