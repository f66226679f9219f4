//! Prompts from file or textbox: each line is a prompt, or fields of a request such as `--prompt "a cat" --steps 20`.

use gesso_plugin::{Arguments, Fault, Params, ScriptCall, ScriptOutput};
use serde_json::Value;

use crate::drawing::{draw_all, pictures, seed};

/// Fields that a line may name, by what they hold.
const TEXTS: [&str; 4] = ["prompt", "negative_prompt", "sampler_name", "scheduler"];
const NUMBERS: [&str; 11] = [
    "seed",
    "subseed",
    "subseed_strength",
    "seed_resize_from_h",
    "seed_resize_from_w",
    "batch_size",
    "n_iter",
    "steps",
    "cfg_scale",
    "width",
    "height",
];
const FLAGS: [&str; 2] = ["restore_faces", "tiling"];
/// Fields of web UIs that change nothing here.
const IGNORED: [&str; 5] =
    ["outpath_samples", "outpath_grids", "prompt_for_display", "do_not_save_samples", "do_not_save_grid"];

pub(crate) fn run(call: &ScriptCall) -> Result<ScriptOutput, Fault> {
    let arguments = Arguments(&call.arguments);
    let iterates = arguments.flag(0, "Iterate seed every line")?;
    let at_end = arguments.choice(2, "Insert prompts at the", &["start", "end"])? == 1;
    let text = arguments.text(3);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        return Err(Fault::InvalidInput(
            "\"List of prompt inputs\" is empty; send one prompt a line.".into(),
        ));
    }
    let mut next_seed = seed(&call.params);
    let mut requests = Vec::with_capacity(lines.len());
    for (number, line) in lines.iter().enumerate() {
        let mut params = call.params.clone();
        params.set("seed", next_seed);
        apply(&mut params, line, at_end)
            .map_err(|problem| Fault::InvalidInput(format!("Line {}: {problem}.", number + 1)))?;
        let count = |field: &str| params.get(field).and_then(Value::as_u64).unwrap_or(1);
        next_seed += if iterates { count("batch_size") * count("n_iter") } else { 0 };
        requests.push(params);
    }
    let pictures = draw_all(call, requests)?.into_iter().flat_map(pictures).collect();
    Ok(ScriptOutput { pictures, index_of_first_image: 0 })
}

/// Lays a line over a request.
fn apply(params: &mut Params, line: &str, at_end: bool) -> Result<(), String> {
    // Words may hold dashes of their own.
    if !line.starts_with("--") {
        join(params, "prompt", line, at_end);
        return Ok(());
    }
    let words = shlex::split(line).ok_or("a quotation is not closed")?;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let name =
            word.strip_prefix("--").ok_or_else(|| format!("{word:?} stands where a --field belongs"))?;
        // A prompt without quotation marks goes on to the next field.
        let mut value = words.next().ok_or_else(|| format!("--{name} has no value"))?.clone();
        if ["prompt", "negative_prompt"].contains(&name) {
            while let Some(more) = words.clone().next().filter(|more| !more.starts_with("--")) {
                value = format!("{value} {more}");
                words.next();
            }
        }
        set(params, name, value, at_end)?;
    }
    Ok(())
}

fn set(params: &mut Params, name: &str, value: String, at_end: bool) -> Result<(), String> {
    // A whole number stays one: pictures are counted by it.
    let number = || {
        let number = value.parse::<i64>().map(Value::from).or_else(|_| value.parse::<f64>().map(Value::from));
        number.map_err(|_| format!("--{name} is {value:?}; it must be a number"))
    };
    match name {
        "prompt" | "negative_prompt" => join(params, name, &value, at_end),
        // A sampler's name; numbers of old versions say nothing any more, in web UIs either.
        "sampler_index" if value.parse::<u64>().is_err() => params.set("sampler_name", value),
        "sampler_index" => {}
        "sd_model" => override_setting(params, "sd_model_checkpoint", value),
        "styles" => {
            let styles: Vec<Value> = value.split(',').map(str::trim).map(Value::from).collect();
            params.set("styles", styles);
        }
        name if TEXTS.contains(&name) => params.set(name, value),
        name if NUMBERS.contains(&name) => params.set(name, number()?),
        name if FLAGS.contains(&name) => {
            let flag = ["true", "1"].contains(&value.to_lowercase().as_str());
            params.set(name, flag);
        }
        name if IGNORED.contains(&name) => {}
        other => {
            let known = [&TEXTS[..], &NUMBERS, &FLAGS, &["sampler_index", "sd_model", "styles"]];
            let known = known.concat().join(", --");
            return Err(format!("--{other} is not known; known are --{known}"));
        }
    }
    Ok(())
}

/// The line's words before the request's own, or behind them.
fn join(params: &mut Params, field: &str, words: &str, at_end: bool) {
    let own = params.get(field).and_then(Value::as_str).unwrap_or_default().trim().to_owned();
    let joined = match (own.is_empty(), at_end) {
        (true, _) => words.to_owned(),
        (false, true) => format!("{own} {words}"),
        (false, false) => format!("{words} {own}"),
    };
    params.set(field, joined);
}

pub(crate) fn override_setting(params: &mut Params, option: &str, value: impl Into<Value>) {
    let mut options = params.get("override_settings").and_then(Value::as_object).cloned().unwrap_or_default();
    options.insert(option.to_owned(), value.into());
    params.set("override_settings", options);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(line: &str, at_end: bool) -> Result<Params, String> {
        let mut params =
            Params::from_json(r#"{"prompt": "sea", "negative_prompt": "", "steps": 20}"#).unwrap();
        apply(&mut params, line, at_end).map(|()| params)
    }

    #[test]
    fn a_plain_line_is_a_prompt_beside_the_requests_own() {
        assert_eq!(applied("a cat", false).unwrap().prompt(), "a cat sea");
        assert_eq!(applied("a cat", true).unwrap().prompt(), "sea a cat");
        assert_eq!(applied("a cat -- at night", false).unwrap().prompt(), "a cat -- at night sea");
    }

    #[test]
    fn a_line_may_name_fields() {
        let params = applied(
            r#"--prompt "two words" --steps 7 --cfg_scale 4.5 --sd_model other --styles "a, b" --tiling true"#,
            false,
        );
        let params = params.unwrap();
        assert_eq!(params.prompt(), "two words sea");
        let get = |field: &str| params.get(field).cloned().unwrap();
        assert_eq!((get("steps").as_f64(), get("cfg_scale").as_f64()), (Some(7.0), Some(4.5)));
        assert_eq!(get("override_settings")["sd_model_checkpoint"], "other");
        assert_eq!((get("styles")[1].as_str(), get("tiling")), (Some("b"), Value::Bool(true)));
        assert_eq!(applied("--prompt a red cat --steps 3", true).unwrap().prompt(), "sea a red cat");
        let sampler = |line: &str| applied(line, false).unwrap().get("sampler_name").cloned();
        assert_eq!(sampler("--sampler_index \"DPM++ 2M\" --outpath_grids x"), Some("DPM++ 2M".into()));
        assert_eq!(sampler("--sampler_index 3"), None);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (line, says) in [
            ("--steps many", "must be a number"),
            ("--colour red", "--colour is not known"),
            ("--prompt \"open", "not closed"),
            ("--steps", "no value"),
            ("--steps 3 cat --seed 1", "\"cat\" stands where"),
        ] {
            let problem = applied(line, false).unwrap_err();
            assert!(problem.contains(says), "{problem}");
        }
    }
}
