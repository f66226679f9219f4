//! The web UI's dialect: pictures that are there already, enlarged, their faces restored, or asked how they were
//! drawn.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use gesso_core::infotext::Infotext;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::accounts::Caller;
use crate::app::App;
use crate::blocking::blocking;
use crate::error::AppError;
use crate::extras;
use crate::http::error::WebUiFailure;
use crate::http::extract::WebUiObject;
use crate::http::wire::extras::Extras;
use crate::http::wire::infotext_options;
use crate::http::wire::schema::{ExtraBatchImagesBody, ExtraSingleImageBody, PngInfoBody};
use crate::{infotexts, inputs, picture_texts, sources};

/// One picture that was worked on.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExtraSingleImage {
    /// What was done to it, as a paragraph of HTML.
    html_info: String,
    /// The file in base64, of the kind that the option `samples_format` says; null where there is none.
    #[schema(required)]
    image: Option<String>,
}

/// Pictures that were worked on.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExtraBatchImages {
    /// What was done to the last one, as a paragraph of HTML.
    html_info: String,
    /// Their files in base64, of the kind that the option `samples_format` says, in the order of the request.
    images: Vec<String>,
}

/// Enlarges one picture, restores its faces, as far as it is asked to, and answers with it; nothing is stored.
#[utoipa::path(post, path = "/sdapi/v1/extra-single-image", tag = "web UI", request_body = ExtraSingleImageBody,
    responses((status = 200, description = "The picture", body = ExtraSingleImage),
              (status = 422, description = "Every problem of the body"),
              (status = 429, description = "The engine has enough to do")))]
pub(crate) async fn extra_single_image(
    State(app): State<Arc<App>>,
    caller: Caller,
    WebUiObject(body): WebUiObject,
) -> Result<Json<ExtraSingleImage>, WebUiFailure> {
    let (html_info, mut images) = process(&app, &caller, Extras::Single, body).await?;
    Ok(Json(ExtraSingleImage { html_info, image: images.pop() }))
}

/// Enlarges pictures and restores their faces, one after the other, and answers with all of them; nothing is stored.
#[utoipa::path(post, path = "/sdapi/v1/extra-batch-images", tag = "web UI", request_body = ExtraBatchImagesBody,
    responses((status = 200, description = "The pictures", body = ExtraBatchImages),
              (status = 422, description = "Every problem of the body"),
              (status = 429, description = "The engine has enough to do")))]
pub(crate) async fn extra_batch_images(
    State(app): State<Arc<App>>,
    caller: Caller,
    WebUiObject(body): WebUiObject,
) -> Result<Json<ExtraBatchImages>, WebUiFailure> {
    let (html_info, images) = process(&app, &caller, Extras::Batch, body).await?;
    Ok(Json(ExtraBatchImages { html_info, images }))
}

async fn process(
    app: &App,
    caller: &Caller,
    extras: Extras,
    mut body: Map<String, Value>,
) -> Result<(String, Vec<String>), AppError> {
    inputs::bring_own(app, caller, &mut body).await?;
    let request = extras.read(&body, &app.limits).map_err(AppError::Invalid)?;
    let extras::Processed { files, infotext } = extras::process(app, caller, request).await?;
    // The blocking pool: base64.
    let images = blocking(move || files.iter().map(|file| BASE64_STANDARD.encode(file)).collect::<Vec<_>>());
    Ok((html(&infotext), images.await?))
}

/// A paragraph of text, as the web UI shows it.
fn html(text: &str) -> String {
    let mut html = String::from("<p>");
    for letter in text.chars() {
        match letter {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#x27;"),
            '\n' => html.push_str("<br>\n"),
            other => html.push(other),
        }
    }
    html.push_str("</p>");
    html
}

/// What a picture says in words.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PngInfo {
    /// The infotext: how it was drawn. Empty where there is none.
    info: String,
    /// The other texts in its file: keyword to text.
    #[schema(value_type = BTreeMap<String, String>)]
    items: Map<String, Value>,
    /// The infotext in parts, as plugins that read along leave them: field to text. Empty where there is none.
    #[schema(value_type = BTreeMap<String, String>)]
    parameters: Map<String, Value>,
}

/// What a picture says about how it was drawn: a PNG's texts, an EXIF user comment, or a GIF's comment.
#[utoipa::path(post, path = "/sdapi/v1/png-info", tag = "web UI", request_body = PngInfoBody,
    responses((status = 200, description = "What it says", body = PngInfo),
              (status = 422, description = "image is no picture")))]
pub(crate) async fn png_info(
    State(app): State<Arc<App>>,
    caller: Caller,
    WebUiObject(mut body): WebUiObject,
) -> Result<Json<PngInfo>, WebUiFailure> {
    inputs::bring_own(&app, &caller, &mut body).await?;
    let limits = app.source_limits().decode;
    // The blocking pool: decoding and unpacking.
    let texts = blocking(move || {
        let text = body.get("image").and_then(Value::as_str).unwrap_or_default();
        let file = sources::file("image", text, limits)?;
        let file =
            file.ok_or_else(|| AppError::invalid("image", "image must hold a picture as base64 text"))?;
        // Only what is a picture as a whole is asked for its words.
        sources::pixels("image", &file, limits)?;
        Ok::<_, AppError>(picture_texts::read(&file))
    });
    let texts = texts.await??;
    let info = texts.infotext.unwrap_or_default();
    let parameters: Map<String, Value> = match info.as_str() {
        "" => Map::new(),
        info => {
            let read = infotexts::of_picture(&app, &caller, info).await?;
            let saved = app.options.of(&caller.name).await?;
            let by_version = infotext_options::saved_by_version(&saved.options);
            let parameters = read.web_ui_parameters(&Infotext::parse(info), by_version);
            parameters.into_iter().map(|(key, value)| (key, value.into())).collect()
        }
    };
    let items: Map<String, Value> =
        texts.items.into_iter().map(|(keyword, text)| (keyword, text.into())).collect();
    Ok(Json(PngInfo { info, items, parameters }))
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_of_files_cannot_write_html() {
        assert_eq!(
            super::html("a: <b> & 'c'\n\"d\""),
            "<p>a: &lt;b&gt; &amp; &#x27;c&#x27;<br>\n&quot;d&quot;</p>"
        );
    }
}
