//! Saved styles of a request: laid into its prompts when it is taken in, so that a stored task draws the same picture
//! whatever becomes of the styles, and taken out of the echo again, which shows what the client sent.

use gesso_core::prompt::{Style, StyleSheet, apply_styles};
use serde_json::{Map, Value, json};

use super::fields::FieldProblem;
use super::problems::{flag, non_empty};

const FIELD: &str = "styles";
/// Beside the fields of a stored body; no client's field ever has this name, for a body holds those of the table only.
const STYLING: &str = "styling";
const ASKED: &str = "asked";
const WARNINGS: &str = "warnings";
/// Styles of one request. Each may copy the whole prompt.
const STYLES_MAX: usize = 100;
/// Characters of a name in a sentence.
const SHOWN_CHARS: usize = 100;

/// Whether the body names any style.
pub(crate) fn are_named(body: &Map<String, Value>) -> bool {
    body.get(FIELD).and_then(Value::as_array).is_some_and(|names| !names.is_empty())
}

/// Lays the styles that the body names into its prompts. A name that is not saved is a warning, as it is ignored by web
/// UIs.
///
/// # Errors
/// Too many styles, or a prompt that grows over `bytes_max`.
pub(crate) fn apply(
    body: &mut Map<String, Value>,
    sheet: &StyleSheet,
    bytes_max: usize,
) -> Result<(), FieldProblem> {
    let problem = |message: String| FieldProblem { field: FIELD.into(), message };
    let names = body.get(FIELD).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let names: Vec<String> = names.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    if names.is_empty() {
        return Ok(());
    }
    if names.len() > STYLES_MAX {
        return Err(problem(format!("styles names {}; send at most {STYLES_MAX}", names.len())));
    }
    let named: Vec<&Style> = names.iter().filter_map(|name| sheet.named(name)).collect();
    let mut asked = Map::new();
    for (field, of) in FIELDS {
        let Some(text) = body.get(field).and_then(Value::as_str).map(str::to_owned) else { continue };
        // An empty one is the first pass's, which has its styles already.
        if field.starts_with("hr_") && !(flag(body, "enable_hr") && non_empty(body, field).is_some()) {
            continue;
        }
        let texts: Vec<&str> = named.iter().map(|style| of(style).as_deref().unwrap_or_default()).collect();
        let styled = apply_styles(&text, &texts, bytes_max).map_err(|error| problem(error.to_string()))?;
        body.insert(field.to_owned(), styled.into());
        asked.insert(field.to_owned(), text.into());
    }
    let styling = [(ASKED, Value::Object(asked)), (WARNINGS, warnings(&names, sheet).into())];
    let styling: Map<_, _> = styling.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    body.insert(STYLING.to_owned(), styling.into());
    Ok(())
}

/// Puts another text into a prompt; the echo shows the one that the client sent.
pub(super) fn write(body: &mut Map<String, Value>, field: &str, text: String) {
    let before = body.insert(field.to_owned(), text.into()).unwrap_or_default();
    let styling = body.entry(STYLING).or_insert_with(|| json!({}));
    let Some(styling) = styling.as_object_mut() else { return };
    let asked = styling.entry(ASKED).or_insert_with(|| json!({}));
    if let Some(asked) = asked.as_object_mut() {
        asked.entry(field).or_insert(before);
    }
}

type Text = fn(&Style) -> &Option<String>;

const FIELDS: [(&str, Text); 4] = [
    ("prompt", |style| &style.prompt),
    ("negative_prompt", |style| &style.negative_prompt),
    ("hr_prompt", |style| &style.prompt),
    ("hr_negative_prompt", |style| &style.negative_prompt),
];

fn warnings(names: &[String], sheet: &StyleSheet) -> Vec<String> {
    let mut warnings: Vec<String> = Vec::new();
    for name in names.iter().filter(|name| sheet.named(name).is_none()) {
        let name: String = name.chars().take(SHOWN_CHARS).collect();
        let warning = format!("Style not found: {name:?}; GET /sdapi/v1/prompt-styles lists what is there");
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
    warnings.extend(sheet.problems.iter().map(|problem| format!("styles.csv: {problem}")));
    warnings
}

/// What [`apply`] left in a stored body.
#[derive(Debug, Default)]
pub(crate) struct Styling {
    /// The prompts as the client sent them.
    asked: Map<String, Value>,
    /// Remarks for the client.
    pub(crate) warnings: Vec<String>,
}

impl Styling {
    /// Takes it out of the body.
    pub(crate) fn take(body: &mut Map<String, Value>) -> Self {
        let Some(Value::Object(mut styling)) = body.remove(STYLING) else { return Self::default() };
        let asked = match styling.remove(ASKED) {
            Some(Value::Object(asked)) => asked,
            _ => Map::new(),
        };
        let warnings = styling.remove(WARNINGS);
        let warnings = warnings.as_ref().and_then(Value::as_array).into_iter().flatten();
        Self { asked, warnings: warnings.filter_map(Value::as_str).map(str::to_owned).collect() }
    }

    /// A prompt as the client sent it, where another was made of it.
    pub(crate) fn asked(&self, field: &str) -> Option<&str> {
        self.asked.get(field).and_then(Value::as_str)
    }

    /// Puts the client's prompts back, for the echo.
    pub(crate) fn undo(&self, body: &mut Map<String, Value>) {
        body.extend(self.asked.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::super::generate::Drawing;
    use super::*;

    fn sheet() -> StyleSheet {
        StyleSheet::parse(
            "name,prompt,negative_prompt\nInk,ink lines,colour\nPhoto,\"photo of {prompt}, sharp\",\nBare\n\
             Double,{prompt}{prompt},\nBad,\"open",
        )
    }

    fn applied(drawing: Drawing, body: Value, bytes_max: usize) -> Result<Map<String, Value>, String> {
        let mut body = drawing.read(body.as_object().unwrap(), || 1).unwrap();
        apply(&mut body, &sheet(), bytes_max).map(|()| body).map_err(|problem| problem.message)
    }

    #[test]
    fn styles_reach_every_prompt_of_the_body_in_their_order() {
        let body = json!({
            "prompt": "a cat", "negative_prompt": "dog", "styles": ["Ink", "Photo", "Bare"],
            "enable_hr": true, "hr_prompt": "a tiger",
        });
        let body = applied(Drawing::Txt2Img, body, 1000).unwrap();
        assert_eq!(body["prompt"], "photo of a cat, ink lines, sharp");
        assert_eq!(body["negative_prompt"], "dog, colour");
        assert_eq!(
            (&body["hr_prompt"], &body["hr_negative_prompt"]),
            (&json!("photo of a tiger, ink lines, sharp"), &json!(""))
        );
        let body = json!({"init_images": ["x"], "prompt": "", "styles": ["Ink"]});
        let body = applied(Drawing::Img2Img, body, 1000).unwrap();
        assert_eq!((&body["prompt"], &body["negative_prompt"]), (&json!("ink lines"), &json!("colour")));
    }

    #[test]
    fn the_echo_shows_what_the_client_sent() {
        let asked = json!({"prompt": "a cat", "styles": ["Ink"], "hr_prompt": "x"});
        let mut body = applied(Drawing::Txt2Img, asked.clone(), 1000).unwrap();
        let plain = Drawing::Txt2Img.read(asked.as_object().unwrap(), || 1).unwrap();
        let styling = Styling::take(&mut body);
        assert!(body["prompt"] != plain["prompt"]);
        styling.undo(&mut body);
        assert_eq!(body, plain);
    }

    #[test]
    fn a_name_that_is_not_saved_and_a_damaged_file_are_told() {
        let body = json!({"prompt": "a cat", "styles": ["Inc", "ink", "Inc"]});
        let mut body = applied(Drawing::Txt2Img, body, 1000).unwrap();
        assert_eq!(body["prompt"], "a cat");
        let warnings = Styling::take(&mut body).warnings;
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        assert!(warnings[0].starts_with("Style not found: \"Inc\""), "{warnings:?}");
        assert!(warnings[2].starts_with("styles.csv: line 6 opens a quote"), "{warnings:?}");
        for none in [json!({}), json!({"styles": []}), json!({"styles": null})] {
            let mut body = applied(Drawing::Txt2Img, none, 1000).unwrap();
            assert!(Styling::take(&mut body).warnings.is_empty());
        }
    }

    #[test]
    fn styles_that_fill_the_memory_are_refused() {
        let long = json!({"prompt": "0123456789", "styles": vec!["Double"; 20]});
        assert!(applied(Drawing::Txt2Img, long, 1000).unwrap_err().contains("ask for fewer styles"));
        let many = json!({"styles": vec!["Bare"; 101]});
        assert!(applied(Drawing::Txt2Img, many, 1000).unwrap_err().contains("at most 100"));
    }
}
