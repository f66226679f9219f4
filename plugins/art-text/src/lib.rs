//! Text in a font as a guide for pictures. `before` gives a request a ControlNet unit with the guide; the HTTP API draws
//! guides and has the page that letters a word by a prompt.

pub mod lettering;
mod site;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use gesso_plugin::serde_json::{Value, json};
use gesso_plugin::{Fault, Params, RequestHook, Verdict};
use lettering::{FONTS, Guide, Lettering};
use serde::Deserialize;

/// The name under `alwayson_scripts`.
const NAME: &str = "art-text";
const CONTROL: &str = "controlnet";

/// What a request may say under `alwayson_scripts.art-text.args`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
struct Arguments {
    text: String,
    model: String,
    font: String,
    margin: f32,
    invert: bool,
    weight: f64,
    guidance_end: f64,
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            text: String::new(),
            model: String::new(),
            font: FONTS[0].0.into(),
            margin: 0.08,
            invert: false,
            weight: 1.0,
            guidance_end: 1.0,
        }
    }
}

struct ArtText;

impl RequestHook for ArtText {
    fn before(params: &mut Params) -> Result<Verdict, Fault> {
        let arguments: Arguments = params.arguments(NAME)?.unwrap_or_default();
        if !arguments.text.trim().is_empty() {
            guide_by(&arguments, params)?;
        }
        Ok(Verdict::Continue)
    }
}

gesso_plugin::request_hook!(ArtText, manifest = "manifest.json");

gesso_plugin::http_extension!(site::Site);

/// Adds the unit that reads the guide to those that the request has.
fn guide_by(arguments: &Arguments, params: &mut Params) -> Result<(), Fault> {
    if arguments.model.trim().is_empty() {
        let sentence =
            "art-text needs the name of a ControlNet in \"model\"; /controlnet/model_list has them.";
        return Err(Fault::InvalidInput(sentence.into()));
    }
    let side = |field: &str| params.get(field).and_then(Value::as_u64).unwrap_or(512) as u32;
    let guide = Lettering {
        text: &arguments.text,
        font: &arguments.font,
        width: side("width"),
        height: side("height"),
        margin: arguments.margin,
        invert: arguments.invert,
    };
    let png = png(&guide.draw().map_err(Fault::InvalidInput)?)?;
    let unit = json!({
        "enabled": true,
        "module": "none",
        "model": arguments.model,
        "image": BASE64_STANDARD.encode(png),
        "weight": arguments.weight,
        "guidance_end": arguments.guidance_end,
    });
    let mut scripts = params.remove("alwayson_scripts").unwrap_or_else(|| json!({}));
    if let Some(scripts) = scripts.as_object_mut() {
        let known = scripts.keys().find(|key| key.eq_ignore_ascii_case(CONTROL)).cloned();
        let script = scripts.entry(known.unwrap_or_else(|| CONTROL.into())).or_insert_with(|| json!({}));
        match script.get_mut("args").and_then(Value::as_array_mut) {
            Some(units) => units.push(unit),
            None => *script = json!({ "args": [unit] }),
        }
    }
    params.set("alwayson_scripts", scripts);
    Ok(())
}

/// The guide as a file.
fn png(guide: &Guide) -> Result<Vec<u8>, Fault> {
    let failed = |error: png::EncodingError| Fault::Other(format!("The guide cannot be encoded: {error}."));
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, guide.width, guide.height);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header().and_then(|mut writer| writer.write_image_data(&guide.levels)).map_err(failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(args: Value) -> Result<Params, Fault> {
        let body = json!({"width": 256, "height": 128, "alwayson_scripts": args});
        let mut params = Params::from_json(&body.to_string())?;
        assert_eq!(ArtText::before(&mut params)?, Verdict::Continue);
        Ok(params)
    }

    #[test]
    fn a_request_without_a_text_is_left_as_it_is() {
        for args in
            [json!({}), json!({"art-text": {"args": {"text": " "}}}), json!({"art-text": {"args": []}})]
        {
            let body = json!({"width": 256, "height": 128, "alwayson_scripts": args});
            assert_eq!(drawn(args).unwrap(), Params::from_json(&body.to_string()).unwrap());
        }
    }

    #[test]
    fn a_request_gets_a_unit_behind_its_own() {
        let own = json!({"art-text": {"args": {"text": "Gesso", "model": "scribble"}}, "ControlNet": {"args": [{"model": "own"}]}});
        let params = drawn(own).unwrap();
        let units = params.get("alwayson_scripts").unwrap()["ControlNet"]["args"].as_array().unwrap().clone();
        assert_eq!(
            (units.len(), &units[0]["model"], &units[1]["model"]),
            (2, &json!("own"), &json!("scribble"))
        );
        let file = BASE64_STANDARD.decode(units[1]["image"].as_str().unwrap()).unwrap();
        let reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
        assert_eq!((reader.info().width, reader.info().height), (256, 128));
        let params = drawn(json!({"art-text": {"args": [{"text": "a", "model": "m"}]}})).unwrap();
        assert_eq!(params.get("alwayson_scripts").unwrap()[CONTROL]["args"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn without_a_model_the_client_is_told() {
        let error = drawn(json!({"art-text": {"args": {"text": "Gesso"}}})).unwrap_err();
        assert!(matches!(error, Fault::InvalidInput(text) if text.contains("/controlnet/model_list")));
    }
}
