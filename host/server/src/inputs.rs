//! Pictures that a request names instead of carrying: what an earlier task of the same owner made, by its path, and whatever
//! a plugin fetches. Each reference is replaced by the file as base64; decoding is for those who read it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use gesso_plugin_host::{CallContext, FetchError};
use gesso_store::{ObjectKey, ObjectsError};
use rand::RngExt;
use serde_json::{Map, Value};

use crate::accounts::Caller;
use crate::app::App;
use crate::blocking::base64_of;
use crate::error::AppError;
use crate::http::wire::control;
use crate::plugin_use;

/// Of one request.
const REFERENCES_MAX: usize = 64;
/// A longer text is no reference.
pub(crate) const REFERENCE_BYTES_MAX: usize = 4096;
/// All pictures of a request together: a host that answers slowly holds up no more than one drawing, and not for long.
const WHOLE: Duration = Duration::from_secs(60);

/// Whether a text can name a picture at all; base64 has neither `:` nor `.`.
fn is_reference(text: &str) -> bool {
    text.len() <= REFERENCE_BYTES_MAX && (scheme(text).is_some() || ObjectKey::parse(text.trim()).is_ok())
}

/// The scheme, in lower case, of what is an address of a kind; the server reads `data:` itself.
fn scheme(text: &str) -> Option<String> {
    let (scheme, rest) = text.trim().split_once(':')?;
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let is_scheme =
        scheme.len() >= 2 && scheme.as_bytes()[0].is_ascii_alphabetic() && scheme.bytes().all(letters);
    let scheme = scheme.to_ascii_lowercase();
    (is_scheme && !rest.is_empty() && scheme != "data").then_some(scheme)
}

/// The references of a body. To be asked before plugins see it: what they add is not the client's.
pub(crate) fn references(body: &mut Map<String, Value>) -> HashSet<String> {
    pictures(body).into_iter().filter(|(_, text)| is_reference(text)).map(|(_, text)| text.clone()).collect()
}

/// Brings every picture that the body names, one after the other, as long as the client named it itself: a plugin reaches
/// no host through the requests that it sees.
///
/// # Errors
/// A problem of the field for a reference that leads nowhere, or for files that are larger together than a request may
/// be; else what the plugin host or the object store says.
pub(crate) async fn bring(
    app: &App,
    call: &CallContext,
    owner: &str,
    clients: &HashSet<String>,
    body: &mut Map<String, Value>,
) -> Result<(), AppError> {
    let named: Vec<_> = pictures(body).into_iter().filter(|(_, text)| is_reference(text)).collect();
    if named.len() > REFERENCES_MAX {
        let message =
            format!("the request names {} pictures; at most {REFERENCES_MAX} are fetched", named.len());
        return Err(AppError::invalid(named[0].0, message));
    }
    let deadline = tokio::time::Instant::now() + WHOLE;
    let (mut brought, mut bytes) = (HashMap::new(), 0);
    for (field, text) in named {
        if !clients.contains(text) {
            let message = format!("{field}: a plugin named the picture {text:.200}, which only a client may");
            return Err(AppError::invalid(field, message));
        }
        if !brought.contains_key(text) {
            let file = tokio::time::timeout_at(deadline, one(app, call, owner, field, text.trim())).await;
            let late = |_| {
                AppError::invalid(field, format!("{field}: its pictures took longer than {WHOLE:?} to fetch"))
            };
            brought.insert(text.clone(), base64_of(file.map_err(late)??).await?);
        }
        let file = &brought[text];
        bytes += file.len();
        if bytes > app.settings.limits.body_bytes_max {
            let message = format!("{field}: the pictures are larger together than limits.body_bytes_max");
            return Err(AppError::invalid(field, message));
        }
        text.clone_from(file);
    }
    Ok(())
}

/// [`bring`] for a body that no plugin has seen.
pub(crate) async fn bring_own(
    app: &App,
    caller: &Caller,
    body: &mut Map<String, Value>,
) -> Result<(), AppError> {
    let named = references(body);
    if named.is_empty() {
        return Ok(());
    }
    let call = plugin_use::call_of_request(plugin_use::whom(caller), rand::rng().random());
    bring(app, &call, &caller.name, &named, body).await
}

/// The body of a plugin's own API, whose fields only it knows: every text that is the path of one of the owner's pictures has that
/// picture in its place. `None` where there is none. What is another's, or not there any more, stays as it is: it may mean
/// something else.
///
/// # Errors
/// More pictures, or larger ones, than a request may name; else what the object store says.
pub(crate) async fn bring_to_plugin(app: &App, owner: &str, text: &str) -> Result<Option<String>, AppError> {
    let Ok(mut body) = serde_json::from_str::<Value>(text) else { return Ok(None) };
    let (mut texts, mut count, mut bytes) = (Vec::new(), 0, 0);
    every_text(&mut body, &mut texts);
    for text in texts {
        let key = ObjectKey::parse(text).ok().filter(|key| key.image_owner() == Some(owner));
        let Some(key) = key else { continue };
        let file = match app.objects.get(&key).await {
            Ok(file) => base64_of(file).await?,
            Err(ObjectsError::NotFound(_)) => continue,
            Err(error) => return Err(error.into()),
        };
        (count, bytes) = (count + 1, bytes + file.len());
        if count > REFERENCES_MAX || bytes > app.settings.limits.body_bytes_max {
            let message = format!(
                "body: it names more pictures than {REFERENCES_MAX}, or larger ones than limits.body_bytes_max together"
            );
            return Err(AppError::invalid("body", message));
        }
        *text = file;
    }
    Ok((count > 0).then(|| body.to_string()))
}

fn every_text<'a>(value: &'a mut Value, found: &mut Vec<&'a mut String>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(items) => items.iter_mut().for_each(|item| every_text(item, found)),
        Value::Object(map) => map.values_mut().for_each(|item| every_text(item, found)),
        _ => {}
    }
}

/// Every text of the body that stands for a picture, with the field to blame.
pub(crate) fn pictures(body: &mut Map<String, Value>) -> Vec<(&'static str, &mut String)> {
    let mut found = Vec::new();
    for (name, value) in body.iter_mut() {
        match (name.as_str(), value) {
            ("init_images", Value::Array(images)) => {
                found.extend(images.iter_mut().filter_map(text).map(|text| ("init_images", text)));
            }
            // Of the extras, of png-info, and of a module alone.
            ("image", value) => found.extend(text(value).map(|text| ("image", text))),
            ("imageList", Value::Array(list)) => {
                let data = list.iter_mut().filter_map(|item| item.get_mut("data").and_then(text));
                found.extend(data.map(|text| ("imageList", text)));
            }
            ("controlnet_input_images" | "controlnet_images", Value::Array(images)) => {
                let texts = images.iter_mut().filter_map(text);
                found.extend(texts.map(|text| ("controlnet_input_images", text)));
            }
            ("controlnet_masks", Value::Array(masks)) => {
                found.extend(masks.iter_mut().filter_map(text).map(|text| ("controlnet_masks", text)));
            }
            ("mask", value) => found.extend(text(value).map(|text| ("mask", text))),
            ("firstpass_image", value) => found.extend(text(value).map(|text| ("firstpass_image", text))),
            ("alwayson_scripts", scripts) => {
                let texts = control::pictures(scripts);
                found.extend(texts.into_iter().map(|text| (control::FIELD, text)));
            }
            _ => {}
        }
    }
    found
}

fn text(value: &mut Value) -> Option<&mut String> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

async fn one(
    app: &App,
    call: &CallContext,
    owner: &str,
    field: &'static str,
    reference: &str,
) -> Result<Vec<u8>, AppError> {
    let Some(scheme) = scheme(reference) else { return made_earlier(app, owner, field, reference).await };
    app.plugins.fetch(call, &scheme, reference).await.map_err(|error| match error {
        FetchError::Refused(reason) => AppError::invalid(field, format!("{field}: {reason}")),
        FetchError::NoFetcher(_) => {
            let message = format!(
                "{field}: {reference:.200} is an address, and no active plugin fetches {scheme}: addresses; send the \
                 picture as base64, or have an admin grant hosts to the plugin input-fetch"
            );
            AppError::invalid(field, message)
        }
        FetchError::Hook(error) => error.into(),
    })
}

/// A picture by the path that a result named it with.
async fn made_earlier(app: &App, owner: &str, field: &'static str, path: &str) -> Result<Vec<u8>, AppError> {
    let nothing = || AppError::invalid(field, format!("{field}: there is no picture {path:.200}"));
    let key = ObjectKey::parse(path).map_err(|_| nothing())?;
    // Others' pictures are not told from those that are not there.
    if key.image_owner() != Some(owner) {
        return Err(nothing());
    }
    match app.objects.get(&key).await {
        Ok(bytes) => Ok(bytes.to_vec()),
        Err(ObjectsError::NotFound(_)) => Err(nothing()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_are_told_from_base64_and_data() {
        for text in [
            "https://a.example/x.png",
            " HTTP://a",
            "s3:bucket/key",
            "images/default/abcdefghijklmnopqrstuv_1.png",
        ] {
            assert!(is_reference(text), "{text}");
        }
        for text in [
            "",
            "iVBORw0KGgo=",
            "data:image/png;base64,iVBORw0KGgo=",
            "a:b",
            ":x",
            "https:",
            "images/default",
            "c:/x",
        ] {
            assert!(!is_reference(text), "{text}");
        }
        assert_eq!(scheme("HTTPS://a"), Some("https".into()));
    }

    #[test]
    fn pictures_are_found_wherever_a_request_has_them() {
        let mut body = json!({
            "init_images": ["a", 1, "b"], "mask": "c", "prompt": "https://no.example", "firstpass_image": "k",
            "alwayson_scripts": {"ControlNet": {"args": [{"image": "d", "model": "x"}, {"input_image": {"image": "e", "mask": "f"}},
                {"image": ["g", "h"], "mask_image": "i", "effective_region_mask": "j"}]}, "other": {"args": [{"image": "no"}]}},
        });
        let body = body.as_object_mut().unwrap();
        let mut texts: Vec<_> = pictures(body).into_iter().map(|(_, text)| text.clone()).collect();
        texts.sort();
        assert_eq!(texts, ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"]);
    }
}
