//! Requests that a plugin's script draws in place of the pipeline: which script a request names, what the script is given,
//! and what its drawings say together.

use std::sync::Arc;

use gesso_core::pixels::Pixels;
use gesso_engine::Progress;
use gesso_plugin_host::{ActingPlugin, HookError, Script, ScriptError, ScriptInput, ScriptOutput, Whom};
use serde_json::{Map, Value};
use tokio::sync::watch;

use crate::app::App;
use crate::drawings::{Asker, Drawings};
use crate::error::AppError;
use crate::http::wire::generate::Drawing;
use crate::pipeline::Asked;
use crate::plugin_view::SCRIPT_NAME;

const ARGS: &str = "script_args";
/// The script that a body names, for this kind of drawing, and that is there for `whom`.
///
/// # Errors
/// A problem that says what there is instead.
pub(crate) fn named(
    app: &App,
    whom: &Whom,
    drawing: Drawing,
    body: &Map<String, Value>,
) -> Result<Option<Script>, AppError> {
    let name = body.get(SCRIPT_NAME).and_then(Value::as_str).unwrap_or_default().trim();
    if name.is_empty() || name.eq_ignore_ascii_case("none") {
        return Ok(None);
    }
    let mut all = app.plugins.scripts(whom);
    all.retain(|script| if drawing == Drawing::Img2Img { script.img2img } else { script.txt2img });
    if let Some(place) = all.iter().position(|script| script.title.eq_ignore_ascii_case(name)) {
        return Ok(Some(all.swap_remove(place)));
    }
    let titles: Vec<_> = all.iter().map(|script| script.title.as_str()).collect();
    let there =
        if titles.is_empty() { "there is none".into() } else { format!("there are {}", titles.join(", ")) };
    Err(AppError::no_script(
        SCRIPT_NAME,
        format!("Script '{name}' not found for {}: {there}", drawing.as_str()),
    ))
}

/// The arguments as the script gets them, a JSON list.
pub(crate) fn arguments(script: &Script, body: &Map<String, Value>) -> Result<String, AppError> {
    let settled = script.settle(body.get(ARGS).unwrap_or(&Value::Null));
    settled.map(|list| Value::from(list).to_string()).map_err(|problem| AppError::invalid(ARGS, problem))
}

/// What a script made, and what its drawings say together.
pub(crate) struct Scripted {
    pub(crate) output: ScriptOutput,
    /// The first drawing's `info`, with the seeds and prompts of all.
    pub(crate) info: Value,
    pub(crate) warnings: Vec<String>,
    /// Sampler steps over all pictures.
    pub(crate) steps: f64,
    /// Its own, and those that acted in its drawings.
    pub(crate) plugins: Vec<ActingPlugin>,
}

/// Runs a script. `params` is the body as its plugins left it, without pictures; `pictures` are those of the request.
pub(crate) async fn run(
    app: &Arc<App>,
    asked: Asked<'_>,
    script: &Script,
    params: String,
    (init_images, mask): (Vec<Pixels>, Option<Pixels>),
    show: impl FnOnce(watch::Receiver<Progress>),
) -> Result<Scripted, AppError> {
    let arguments = arguments(script, asked.body)?;
    let input = ScriptInput { params, arguments, init_images, mask };
    let drawings = Drawings::of(Asker::Script, &Arc::default(), app, asked, show)?;
    let output = app.plugins.run_script(asked.call, &script.title, input, drawings.inference()).await;
    let drawn = drawings.take();
    let output = output.map_err(|error| match (error, drawn.shortage) {
        // What the script made of it is a consequence; the task is tried again.
        (ScriptError::Refused(_) | ScriptError::Hook(HookError::PluginFailed { .. }), Some(shortage)) => {
            shortage
        }
        (ScriptError::Refused(reason), None) => {
            AppError::invalid(ARGS, format!("{}: {reason}", script.title))
        }
        (ScriptError::Hook(error), _) => error.into(),
    })?;
    let info = merged(drawn.infos, &output.infotexts, output.index_of_first_image);
    let plugins = std::iter::once(output.plugin.clone()).chain(drawn.plugins).collect();
    Ok(Scripted { output, info, warnings: drawn.warnings, steps: drawn.steps, plugins })
}

/// The info of several drawings' pictures: the first drawing's, with what differs between drawings of all of them.
pub(crate) fn merged(infos: Vec<Value>, infotexts: &[String], index_of_first_image: u32) -> Value {
    let mut lists: Vec<(&str, Vec<Value>)> =
        ["all_prompts", "all_negative_prompts", "all_seeds", "all_subseeds"]
            .map(|key| (key, Vec::new()))
            .into();
    for info in &infos {
        for (key, list) in &mut lists {
            list.extend(info.get(*key).and_then(Value::as_array).into_iter().flatten().cloned());
        }
    }
    let mut info = infos.into_iter().next().unwrap_or_else(|| Value::Object(Map::new()));
    for (key, list) in lists {
        info[key] = list.into();
    }
    info["infotexts"] = infotexts.into();
    info["index_of_first_image"] = index_of_first_image.into();
    info
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_info_of_a_script_has_the_seeds_of_all_its_drawings() {
        let info = |seed: u64| json!({"prompt": "a", "all_seeds": [seed], "all_prompts": ["a"], "index_of_first_image": 0});
        let merged = merged(vec![info(3), info(4)], &["x".to_owned()], 1);
        assert_eq!((&merged["all_seeds"], &merged["prompt"]), (&json!([3, 4]), &json!("a")));
        assert_eq!((&merged["infotexts"], &merged["index_of_first_image"]), (&json!(["x"]), &json!(1)));
    }
}
