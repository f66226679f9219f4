//! A request as plugins that draw see it, scripts and picture hooks: its parameters as text, its pictures decoded.

use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_picture::convert::flatten;
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::blocking::blocking;
use crate::error::AppError;
use crate::http::wire::generate::PICTURES;
use crate::http::wire::{control, per_picture};
use crate::{inputs, sources};

/// The field that names a script.
pub(crate) const SCRIPT_NAME: &str = "script_name";

/// What stands for a picture, before its number and behind it. It is neither base64 nor an address nor a path.
const PLACEHOLDER: (&str, &str) = ("<unit picture ", ">");

/// The pictures of a request's ControlNet units while plugins see the request: megabytes of text that none of them reads, and
/// more than a hook may hand back or a drawing be asked for with. In place of each stands `<unit picture 0>`, which a plugin
/// may copy and move like the picture. It stands for a picture of the same request alone, so that nobody reaches another's
/// with it. Texts that may be references stay as they are.
#[derive(Debug, Default)]
pub(crate) struct UnitPictures(Vec<String>);

impl UnitPictures {
    /// Takes them out of a body.
    pub(crate) fn take(body: &mut Map<String, Value>) -> Self {
        let texts = body.get_mut(control::FIELD).map(control::pictures).unwrap_or_default();
        let (before, behind) = PLACEHOLDER;
        let held = texts.into_iter().filter(|text| text.len() > inputs::REFERENCE_BYTES_MAX).enumerate();
        Self(held.map(|(place, text)| std::mem::replace(text, format!("{before}{place}{behind}"))).collect())
    }

    /// Those of a body that stays as it is.
    pub(crate) fn of(body: &Map<String, Value>) -> Self {
        let scripts = body.get(control::FIELD).map(|scripts| (control::FIELD.to_owned(), scripts.clone()));
        let mut scripts: Map<String, Value> = scripts.into_iter().collect();
        Self::take(&mut scripts)
    }

    /// Puts them where what stands for them is a picture of a body.
    ///
    /// # Errors
    /// A sentence, where copies of them would take more than `more_bytes_max` beside them.
    pub(crate) fn put_back(
        &self,
        body: &mut Map<String, Value>,
        more_bytes_max: usize,
    ) -> Result<(), String> {
        if self.0.is_empty() {
            return Ok(());
        }
        let mut left = self.0.iter().map(String::len).sum::<usize>().saturating_add(more_bytes_max);
        for (field, text) in inputs::pictures(body) {
            let Some(picture) = self.named(text) else { continue };
            left = left.checked_sub(picture.len()).ok_or_else(|| {
                format!("{field}: a plugin set the pictures of ControlNet units more often than limits.body_bytes_max allows")
            })?;
            text.clone_from(picture);
        }
        Ok(())
    }

    fn named(&self, text: &str) -> Option<&String> {
        let (before, behind) = PLACEHOLDER;
        let place: usize = text.strip_prefix(before)?.strip_suffix(behind)?.parse().ok()?;
        self.0.get(place)
    }
}

/// A body as a plugin that draws gets it: without its pictures, and with no styles, which lie in the prompts already; its own
/// drawings may name more. What pictures have of their own belongs to the request's own. The client's infotext has filled the
/// body already, by what plugins left of it: drawings that were filled from it again would have the rest too.
pub(crate) fn params(body: &Map<String, Value>) -> String {
    let mut params = body.clone();
    params.retain(|name, _| !PICTURES.contains(&name.as_str()));
    UnitPictures::take(&mut params);
    params.insert("styles".into(), json!([]));
    params.remove(per_picture::FIELD);
    params.remove("infotext");
    Value::Object(params).to_string()
}

/// What `before` made of a request, as `after` gets it: like all that get drawn pictures, without the client's infotext.
pub(crate) fn without_infotext(params: &str) -> String {
    let Ok(mut params) = serde_json::from_str::<Map<String, Value>>(params) else { return params.to_owned() };
    params.shift_remove("infotext");
    Value::Object(params).to_string()
}

/// Pictures that are drawn over, as they are drawn over: `background` is seen through what is transparent.
pub(crate) async fn flattened(pictures: Vec<Pixels>, background: [u8; 3]) -> Result<Vec<Pixels>, AppError> {
    if pictures.iter().all(|picture| picture.format != PixelFormat::Rgba8) {
        return Ok(pictures);
    }
    let flat = move |picture: Pixels| match picture.format {
        PixelFormat::Rgba8 => flatten(&picture, background),
        _ => Ok(picture),
    };
    // The blocking pool: every pixel is copied.
    let flat = blocking(move || pictures.into_iter().map(flat).collect::<Result<Vec<_>, _>>()).await?;
    flat.map_err(|error| AppError::invalid("init_images", error.to_string()))
}

/// The pictures of a request, decoded: those drawn over, and the mask.
pub(crate) async fn pictures(
    app: &App,
    body: &Map<String, Value>,
) -> Result<(Vec<Pixels>, Option<Pixels>), AppError> {
    let limits = app.source_limits().decode;
    let texts = body.get("init_images").and_then(Value::as_array).cloned().unwrap_or_default();
    let mask = body.get("mask").filter(|mask| !mask.is_null()).cloned();
    // The blocking pool: decoding.
    blocking(move || {
        let pictures = texts.iter().map(|text| sources::picture("init_images", text, limits));
        let pictures = pictures.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
        let mask = mask.map(|mask| sources::picture("mask", &mask, limits)).transpose()?.flatten();
        Ok((pictures, mask))
    })
    .await?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(pictures: [&str; 3]) -> Map<String, Value> {
        let [first, second, address] = pictures;
        let units = json!([
            {"model": "a", "image": {"image": first, "mask": "c2hvcnQ="}},
            {"model": "b", "input_image": second, "effective_region_mask": address},
        ]);
        let body =
            json!({"prompt": "a boat", "styles": [], "alwayson_scripts": {"ControlNet": {"args": units}}});
        body.as_object().unwrap().clone()
    }

    #[test]
    fn plugins_see_what_stands_for_the_pictures_of_units_and_may_copy_and_move_it() {
        let (first, second) = ("A".repeat(5000), "B".repeat(9000));
        let original = body([&first, &second, "https://a.example/x.png"]);
        let seen = body(["<unit picture 0>", "<unit picture 1>", "https://a.example/x.png"]);
        assert_eq!(params(&original), Value::Object(seen.clone()).to_string());
        let mut of_text = original.clone();
        of_text.insert("infotext".into(), "a sea\nSteps: 9, Seed: 1, Clip skip: 3".into());
        assert_eq!(params(&of_text), params(&original), "it has filled the request already");
        let mut taken = original.clone();
        let pictures = UnitPictures::take(&mut taken);
        assert_eq!(taken, seen);
        pictures.put_back(&mut taken, 0).unwrap();
        assert_eq!(taken, original);

        let mut moved = body(["<unit picture 1>", "<unit picture 1>", "<unit picture 7>"]);
        moved.insert("firstpass_image".into(), "<unit picture 0>".into());
        moved.insert("prompt".into(), "<unit picture 0>".into());
        UnitPictures::of(&original).put_back(&mut moved, 9000).unwrap();
        let mut expected = body([&second, &second, "<unit picture 7>"]);
        expected.insert("firstpass_image".into(), first.into());
        expected.insert("prompt".into(), "<unit picture 0>".into());
        assert_eq!(moved, expected);
    }

    #[test]
    fn after_is_told_all_but_the_infotext() {
        let told = r#"{"prompt":"a boat","infotext":"a sea\nSteps: 9, Seed: 1","seed":7,"styles":["y"]}"#;
        assert_eq!(without_infotext(told), r#"{"prompt":"a boat","seed":7,"styles":["y"]}"#);
    }

    #[tokio::test]
    async fn a_background_is_seen_through_what_is_transparent() {
        let picture = |format, data: &[u8]| Pixels::new(1, 1, format, data.to_vec()).unwrap();
        let clear = picture(PixelFormat::Rgba8, &[9, 9, 9, 0]);
        let grey = picture(PixelFormat::Gray8, &[7]);
        let flat = flattened(vec![clear, grey.clone()], [1, 2, 3]).await.unwrap();
        assert_eq!(flat, [picture(PixelFormat::Rgb8, &[1, 2, 3]), grey]);
    }

    #[test]
    fn copies_of_a_picture_take_no_more_than_there_is_room_for() {
        let pictures = UnitPictures::of(&body([&"A".repeat(5000), "", ""]));
        let mut copied = body(["<unit picture 0>", "<unit picture 0>", "<unit picture 0>"]);
        assert_eq!(pictures.put_back(&mut copied.clone(), 10_000), Ok(()));
        assert!(pictures.put_back(&mut copied, 9999).unwrap_err().contains("limits.body_bytes_max"));
    }
}
