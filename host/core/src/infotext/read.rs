//! Reads infotext of any origin, as web UIs do: the last line holds fields when at least three are found in it;
//! a line beginning with "Negative prompt:" starts the negative prompt; the rest is prompt. What texts of earlier web UIs
//! say elsewhere, and what any text means that says nothing, is known here alone.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::{Infotext, VERSION, quote};
use crate::hires::old_first_pass;
use crate::prompt::{Piece, parse_attention};

/// With fewer fields than this the last line is prompt.
const FEWEST_FIELDS: usize = 3;

const NEGATIVE: &str = "Negative prompt:";

/// Prompts longer than this, four times what a server draws unless it is set otherwise, are not asked for weights: a text may
/// be as long as a whole request.
const WEIGHED_BYTES_MAX: usize = 64 << 10;

/// What a text without these fields means.
const DEFAULTS: [(&str, &str); 20] = [
    ("Clip skip", "1"),
    ("Hires resize", "0x0"),
    ("Hires sampler", "Use same sampler"),
    ("Hires schedule type", "Use same scheduler"),
    ("Hires checkpoint", "Use same checkpoint"),
    ("Hires prompt", ""),
    ("Hires negative prompt", ""),
    ("Mask mode", "Inpaint masked"),
    ("Masked content", "original"),
    ("Inpaint area", "Whole picture"),
    ("Masked area padding", "32"),
    ("RNG", "GPU"),
    ("Schedule type", "Automatic"),
    ("Schedule max sigma", "0"),
    ("Schedule min sigma", "0"),
    ("Schedule rho", "0"),
    ("VAE Encoder", "Full"),
    ("VAE Decoder", "Full"),
    ("FP8 weight", "Disable"),
    (REFINER_BY_STEPS, "False"),
];

const OLD_TIMELINES: &str = "Old prompt editing timelines";
const REFINER_BY_STEPS: &str = "Refiner switch by sampling steps";
const PROMPTS_LENGTH: &str = "Pad conds v0";
const HALF_ALPHAS: &str = "Downcast alphas_cumprod";
/// The web UI's first state with a noise table of full precision: 225 changes behind its version 1.7.0.
const FULL_ALPHAS: Release = (1, 7, 0, 225);
/// Sides of a picture whose text does not say them.
const USUAL_SIZE: (u32, u32) = (512, 512);

pub(super) fn parse(text: &str) -> Infotext {
    let mut lines: Vec<&str> = text.trim().split('\n').collect();
    let mut fields = lines.last().map_or_else(Vec::new, |line| fields(line));
    if fields.len() < FEWEST_FIELDS {
        fields = Vec::new();
    } else {
        lines.pop();
    }
    let mut infotext = Infotext { fields, ..Infotext::default() };
    let mut in_negative = false;
    for line in lines {
        let mut line = line.trim();
        if let Some(rest) = line.strip_prefix(NEGATIVE) {
            in_negative = true;
            line = rest.trim();
        }
        let target = if in_negative { &mut infotext.negative_prompt } else { &mut infotext.prompt };
        if !target.is_empty() {
            target.push('\n');
        }
        target.push_str(line);
    }
    infotext
}

/// Every `key: value` of a line; what is neither is passed over.
pub(super) fn fields(line: &str) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    // Texts come from anyone's pictures: a line of a hundred thousand keys must not cost their square.
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut rest = line;
    while !rest.is_empty() {
        let Some((key, after)) = key(rest) else {
            rest = rest.split_once(',').map_or("", |(_, after)| after);
            continue;
        };
        let (value, after) = value(after);
        match places.entry(key) {
            Entry::Occupied(place) => fields[*place.get()].1 = value,
            Entry::Vacant(place) => {
                place.insert(fields.len());
                fields.push((key.to_owned(), value));
            }
        }
        rest = after;
    }
    fields
}

/// The key before the first colon and what follows the colon; `None` when no key stands before the next comma.
///
/// A key is the longest run of key characters that reaches the colon and begins with a letter, digit or underscore.
fn key(text: &str) -> Option<(&str, &str)> {
    let colon = text.find([':', ','])?;
    let (before, after) = (&text[..colon], text[colon..].strip_prefix(':')?);
    let is_key = |c: char| is_word(c) || matches!(c, ' ' | '-' | '/');
    let start = before.char_indices().rev().find(|(_, c)| !is_key(*c)).map_or(0, |(at, c)| at + c.len_utf8());
    let key = before[start..].trim_start_matches(|c| !is_word(c));
    (key.chars().count() >= 2).then_some((key, after))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// A quoted value that ends at a comma or the line's end, or else everything up to the next comma.
fn value(text: &str) -> (String, &str) {
    let text = text.trim_start();
    if let Some(end) = quoted_end(text) {
        let after = &text[end..];
        if after.is_empty() || after.starts_with(',') {
            let value = quote::unquote(&text[..end]).unwrap_or_else(|| text[..end].to_owned());
            return (value, after.strip_prefix(',').unwrap_or(""));
        }
    }
    let (value, after) = text.split_once(',').unwrap_or((text, ""));
    (value.to_owned(), after)
}

/// Where a quoted text at the start ends, behind its closing quote.
fn quoted_end(text: &str) -> Option<usize> {
    let mut characters = text.char_indices();
    if characters.next()?.1 != '"' {
        return None;
    }
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => drop(characters.next()),
            '"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

pub(super) fn migrated(infotext: &Infotext, by_version: bool) -> Infotext {
    let mut text = infotext.clone();
    if let Some(name) = text.get("Hypernet") {
        let tag = format!("<hypernet:{name}:{}>", text.get("Hypernet strength").unwrap_or("1.0"));
        text.prompt.push_str(&tag);
    }
    if let Some(first) = text.get("First pass size").and_then(sides) {
        let (width, height) = text.get("Size").and_then(sides).unwrap_or(USUAL_SIZE);
        let first = if first.0 == 0 || first.1 == 0 { old_first_pass(width, height) } else { first };
        text = text
            .field("Size", format!("{}x{}", first.0, first.1))
            .field("Hires resize", format!("{width}x{height}"));
    }
    if by_version { as_its_version_drew(text) } else { text }
}

/// With what the version that drew it did, and today's do only where they are told to.
fn as_its_version_drew(text: Infotext) -> Infotext {
    let release = release(&text);
    let is_before = |other: Release| release.is_some_and(|release| release < other);
    let changes = [&text.prompt, &text.negative_prompt].iter().any(|prompt| prompt.contains('['));
    let is_of_old_timelines = is_before((1, 6, 0, 0)) && changes && text.get(OLD_TIMELINES).is_none();
    let is_refined_by_steps =
        is_before((1, 8, 0, 0)) && text.get("Refiner").is_some() && text.get(REFINER_BY_STEPS).is_none();
    let has_prompts_length = is_before((1, 6, 0, 0))
        && matches!(text.get("Sampler"), Some("DDIM" | "PLMS"))
        && text.get(PROMPTS_LENGTH).is_none();
    let is_of_half_alphas = is_before(FULL_ALPHAS) && text.get(HALF_ALPHAS).is_none();
    text.optional_field(OLD_TIMELINES, is_of_old_timelines.then_some("True"))
        .optional_field(PROMPTS_LENGTH, has_prompts_length.then_some("True"))
        .optional_field(HALF_ALPHAS, is_of_half_alphas.then_some("True"))
        .optional_field(REFINER_BY_STEPS, is_refined_by_steps.then_some("True"))
}

/// The three numbers of a version, and of how many changes behind it: `v1.7.0-225-g0a1b2c3d`.
type Release = (u32, u32, u32, u32);

/// Of the web UI that drew it; `None` where another program did, or where the text does not say.
fn release(text: &Infotext) -> Option<Release> {
    let version = text.get(VERSION)?.strip_prefix('v')?;
    let mut parts = version.split(['.', '-']).map(|part| part.parse::<u32>().ok());
    let (major, minor) = (parts.next()??, parts.next()??);
    let mut further = || parts.next().flatten().unwrap_or(0);
    Some((major, minor, further(), further()))
}

pub(super) fn unsaid_beside(infotext: &Infotext, sent: &Infotext) -> Infotext {
    let weighs = |prompt: &str| {
        let is_weighed = |piece: &Piece| matches!(piece, Piece::Text { weight, .. } if *weight != 1.0);
        prompt.len() <= WEIGHED_BYTES_MAX && parse_attention(prompt).iter().any(is_weighed)
    };
    let weighed = weighs(&infotext.prompt) || weighs(&infotext.negative_prompt);
    let all = DEFAULTS.into_iter().chain(weighed.then_some(("Emphasis", "Original")));
    let unsaid = all.filter(|(key, _)| infotext.get(key).is_none() && sent.get(key).is_none());
    let fields = unsaid.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    Infotext { fields, ..Infotext::default() }
}

pub(super) fn web_ui_parameters(
    infotext: &Infotext,
    sent: &Infotext,
    by_version: bool,
) -> Vec<(String, String)> {
    let infotext = migrated(infotext, by_version);
    let unsaid = unsaid_beside(&infotext, sent).fields;
    let mut parameters = vec![
        ("Prompt".to_owned(), infotext.prompt),
        ("Negative prompt".to_owned(), infotext.negative_prompt),
    ];
    for (key, value) in infotext.fields.into_iter().chain(unsaid) {
        match size(&value) {
            Some((width, height)) => {
                parameters.push((format!("{key}-1"), width.to_owned()));
                parameters.push((format!("{key}-2"), height.to_owned()));
            }
            None => parameters.push((key, value)),
        }
    }
    parameters
}

/// A size in pixels.
fn sides(value: &str) -> Option<(u32, u32)> {
    let (width, height) = size(value)?;
    Some((width.parse().ok()?, height.parse().ok()?))
}

/// The two numbers of `512x768`.
fn size(value: &str) -> Option<(&str, &str)> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    value.split_once('x').filter(|(width, height)| is_number(width) && is_number(height))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(parameters: &[(String, String)], key: &str) -> String {
        parameters.iter().find(|(known, _)| known == key).map_or("-".into(), |(_, value)| value.clone())
    }

    #[test]
    fn reads_a_text_of_another_program() {
        let infotext = parse(
            "a cat,  (red:1.2)\n second line \nNegative prompt: dog\nbird\n\
             Steps: 30, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7.0, Seed: 12, Size: 512x768, \
             Model hash: abc, Lora hashes: \"one: 11, two: 22\", Version: v1.10.1",
        );
        assert_eq!(infotext.prompt, "a cat,  (red:1.2)\nsecond line");
        assert_eq!(infotext.negative_prompt, "dog\nbird");
        assert_eq!(infotext.fields.len(), 9);
        assert_eq!(infotext.get("Lora hashes"), Some("one: 11, two: 22"));
        assert_eq!(infotext.get("Version"), Some("v1.10.1"));
    }

    #[test]
    fn a_last_line_with_two_fields_is_prompt() {
        let text = "a\nSteps: 3, Seed: 4";
        assert_eq!(parse(text), Infotext { prompt: text.into(), ..Infotext::default() });
        assert_eq!(parse("Steps: 3, Seed: 4, Model: x").prompt, "");
    }

    #[test]
    fn passes_over_what_is_no_field() {
        let infotext =
            parse("p\nSteps: 3, Tiling, , x: 1, Seed: 4, !? Model: y, Note: \"open, Last: \"a\" b");
        let want = [("Steps", "3"), ("Seed", "4"), ("Model", "y"), ("Note", "\"open"), ("Last", "\"a\" b")];
        let got: Vec<_> = infotext.fields.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn a_key_read_twice_keeps_its_place_and_takes_the_last_value() {
        let infotext = parse("p\nSteps: 3, Seed: 4, Steps: 5, Model: y");
        assert_eq!((infotext.fields.len(), infotext.fields[0].1.as_str()), (3, "5"));
    }

    #[test]
    fn long_hostile_texts_take_linear_time() {
        let start = std::time::Instant::now();
        let keys: String = (0..200_000).map(|i| format!("key {i}: 1, ")).collect();
        for text in [keys, "a".repeat(2_000_000), "a:\"".repeat(500_000), "\\\"a: ".repeat(300_000)] {
            parse(&text);
        }
        assert!(start.elapsed() < std::time::Duration::from_secs(20), "{:?}", start.elapsed());
    }

    #[test]
    fn hands_out_sizes_in_two_and_what_was_left_unsaid() {
        let text = parse("p\nSteps: 3, Size: 512x768, RNG: NV");
        let parameters = text.web_ui_parameters(&text, true);
        for (key, want) in [
            ("Prompt", "p"),
            ("Negative prompt", ""),
            ("Size", "-"),
            ("Size-1", "512"),
            ("Size-2", "768"),
            ("Hires resize-1", "0"),
            ("Hires resize-2", "0"),
            ("RNG", "NV"),
            ("Clip skip", "1"),
            ("Schedule type", "Automatic"),
        ] {
            assert_eq!(get(&parameters, key), want, "{key}");
        }
    }

    #[test]
    fn a_field_that_was_taken_out_is_not_told_as_unsaid() {
        let sent = parse("a (cat:1.2)\nSteps: 3, Seed: 4, RNG: NV, Clip skip: 2, Emphasis: No norm");
        let left = parse("a (cat:1.2)\nSteps: 3, Seed: 4, Clip skip: 2");
        let parameters = left.web_ui_parameters(&sent, true);
        let told = ["RNG", "Emphasis", "Clip skip", "Schedule type"].map(|key| get(&parameters, key));
        assert_eq!(told, ["-", "-", "2", "Automatic"]);
    }

    #[test]
    fn what_old_texts_say_elsewhere_and_their_versions_mean_stands_where_it_does_today() {
        let of = |prompt: &str, fields: &str| {
            migrated(&parse(&format!("{prompt}\nSteps: 3, Seed: 4, Model: x{fields}")), true)
        };
        let sizes = |fields: &str| {
            let text = of("p", fields);
            (text.get("Size").map(str::to_owned), text.get("Hires resize").map(str::to_owned))
        };
        let both = |first: &str, second: &str| (Some(first.to_owned()), Some(second.to_owned()));
        assert_eq!(sizes(", Size: 1024x768, First pass size: 640x448"), both("640x448", "1024x768"));
        assert_eq!(sizes(", Size: 1024x1024, First pass size: 0x0"), both("512x512", "1024x1024"));
        assert_eq!(sizes(", First pass size: 256x256"), both("256x256", "512x512"));
        assert_eq!(sizes(", Size: 64x64, First pass size: small"), (Some("64x64".into()), None));
        assert_eq!(of("a cat", ", Hypernet: ink, Hypernet strength: 0.5").prompt, "a cat<hypernet:ink:0.5>");
        assert_eq!(of("a cat", ", Hypernet: ink").prompt, "a cat<hypernet:ink:1.0>");
        let by_steps = |fields: &str| of("p", fields).get(REFINER_BY_STEPS).map(str::to_owned);
        assert_eq!(by_steps(", Refiner: y, Version: v1.7.0"), Some("True".into()));
        let said = format!(", Refiner: y, {REFINER_BY_STEPS}: False, Version: v1.7.0");
        assert_eq!(by_steps(&said), Some("False".into()));
        for none in [", Refiner: y, Version: v1.8.0", ", Version: v1.7.0", ", Refiner: y"] {
            assert_eq!(by_steps(none), None, "{none}");
        }
        assert_eq!(of("a [b:c:0.5]", ", Version: v1.5.2").get(OLD_TIMELINES), Some("True"));
        assert_eq!(of("a b", ", Version: v1.5.2").get(OLD_TIMELINES), None);
    }

    #[test]
    fn noise_tables_were_of_half_precision_until_225_changes_behind_version_1_7() {
        let of = |fields: &str| {
            let text = parse(&format!("p\nSteps: 3, Seed: 4, Model: x{fields}"));
            migrated(&text, true).get(HALF_ALPHAS).map(str::to_owned)
        };
        for version in
            ["v0.9", "v1.5.2-14-g0a1b2c3d", "v1.6.0", "v1.7.0", "v1.7.0-224-g0a1b2c3d", "v1.7.0-RC"]
        {
            assert_eq!(of(&format!(", Version: {version}")).as_deref(), Some("True"), "{version}");
        }
        for version in
            ["v1.7.0-225-g0a1b2c3d", "v1.8.0-RC", "v1.8.0", "v1.10.1", "f2.0.1v1.10.1", "gesso 0.1.0", "1"]
        {
            assert_eq!(of(&format!(", Version: {version}")), None, "{version}");
        }
        assert_eq!(of(""), None);
        assert_eq!(of(&format!(", {HALF_ALPHAS}: False, Version: v1.6.0")).as_deref(), Some("False"));
    }

    #[test]
    fn negative_prompts_were_as_long_as_the_prompt_with_two_samplers_before_version_1_6() {
        for (sampler, version, want) in [
            ("DDIM", "v1.5.2", Some("True")),
            ("PLMS", "v1.5.2-14-g0a1b2c3d", Some("True")),
            ("UniPC", "v1.5.2", None),
            ("DDIM", "v1.6.0", None),
            ("DDIM", "gesso 0.1.0", None),
        ] {
            let text = parse(&format!("p\nSteps: 3, Seed: 4, Sampler: {sampler}, Version: {version}"));
            assert_eq!(migrated(&text, true).get(PROMPTS_LENGTH), want, "{sampler} {version}");
            assert_eq!(migrated(&text, false).get(PROMPTS_LENGTH), None);
        }
    }

    #[test]
    fn a_version_means_nothing_where_it_is_not_to() {
        let fields = "Size: 64x64, First pass size: 32x32, Refiner: y, Version: v1.5.2";
        let text = parse(&format!("a [b:c:0.5]\nSteps: 3, Seed: 4, {fields}"));
        let left = migrated(&text, false);
        for key in [OLD_TIMELINES, REFINER_BY_STEPS, HALF_ALPHAS] {
            assert!(left.get(key).is_none() && migrated(&text, true).get(key) == Some("True"), "{key}");
        }
        assert_eq!(
            left.get("Hires resize"),
            Some("64x64"),
            "what a text says elsewhere is no version's meaning"
        );
        assert_eq!(get(&text.web_ui_parameters(&text, true), HALF_ALPHAS), "True");
        assert_eq!(get(&text.web_ui_parameters(&text, false), HALF_ALPHAS), "-");
    }

    #[test]
    fn weights_without_a_word_are_the_usual_ones() {
        let emphasis = |prompt: &str, fields: &str| {
            let text = parse(&format!("{prompt}\nSteps: 3, Seed: 4, Model: x{fields}"));
            get(&text.web_ui_parameters(&text, true), "Emphasis")
        };
        assert_eq!(emphasis("a (cat:1.2)", ""), "Original");
        assert_eq!(emphasis("a cat\nNegative prompt: [dog]", ""), "Original");
        assert_eq!(emphasis("a (cat:1.2)", ", Emphasis: No norm"), "No norm");
        assert_eq!(emphasis("a \\(cat\\)", ""), "-");
        let weighed = |bytes: usize| format!("(a){}", "b".repeat(bytes - 3));
        assert_eq!(emphasis(&weighed(WEIGHED_BYTES_MAX), ""), "Original");
        assert_eq!(emphasis(&weighed(WEIGHED_BYTES_MAX + 1), ""), "-", "it is longer than what is drawn");
    }
}
