//! Taking in a drawing: everything about its body is checked before it becomes a task, or takes the place of a waiting one's.

use std::sync::Arc;

use gesso_core::ids::TaskId;
use gesso_core::infotext::Infotext;
use gesso_plugin_host::Whom;
use gesso_store::Task;
use rand::RngExt;
use serde_json::{Map, Value};

use crate::accounts::Caller;
use crate::app::App;
use crate::blocking::blocking;
use crate::controls;
use crate::error::AppError;
use crate::faces::DrawnFaces;
use crate::http::wire::added_networks::AddedNetworks;
use crate::http::wire::control;
use crate::http::wire::faces::FacesWanted;
use crate::http::wire::file_format::FileFormat;
use crate::http::wire::generate::{self, Defaults, Drawing};
use crate::http::wire::grid_options::{self, GridOptions};
use crate::http::wire::infotext_options::{self, InfotextOptions};
use crate::http::wire::infotext_report;
use crate::http::wire::interrogate::TagOptions;
use crate::http::wire::options;
use crate::http::wire::output_options::OutputOptions;
use crate::http::wire::soft_inpainting;
use crate::http::wire::terms::RequestTerms;
use crate::sources::enlarger;
use crate::tasks::{self, Repeat, Submitted, Work};
use crate::{infotexts, plugin_use, resources, scripts, styles};

/// In what a drawing's pictures come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    /// In a task: each by a name of its own.
    Task,
    /// In the web UI's list, where a grid may stand before them.
    Pictures,
}

/// Always-on scripts of every web UI that act by its page alone: requests that were written down there carry their arguments, and
/// there they do nothing either. `Tiled VAE` spares memory, and pictures are decoded in tiles where there is too little
/// of it, whatever its arguments say.
const PANELS: [&str; 7] =
    ["comments", "extra options", "hypertile", "refiner", "sampler", "seed", "tiled vae"];

/// Checks a drawing's body and makes it a task, which survives the process from here on.
///
/// `body` is what the client sent. The task belongs to `caller`.
pub(crate) async fn submit(
    app: &Arc<App>,
    caller: &Caller,
    drawing: Drawing,
    body: &Map<String, Value>,
    terms: &RequestTerms,
    reply: Reply,
) -> Result<Submitted, AppError> {
    let sent = || Value::Object(body.clone()).to_string();
    let repeat = Repeat::new(caller, drawing.as_str(), sent, terms);
    if let Some(submitted) = tasks::earlier(app, repeat.as_ref()).await? {
        return Ok(submitted);
    }
    let checked = check(app, caller, drawing, body).await?;
    tasks::submit(app, caller, checked.into_work(drawing, reply, repeat), terms).await
}

/// Has a waiting drawing draw something else: `change` makes of what was asked for what is asked for now, which is checked as a
/// new request of the task's owner is.
///
/// # Errors
/// `Conflict` for a task that is no drawing, does not wait, or has begun or changed meanwhile; what `change` says, and every
/// problem of the body that it leaves.
pub(crate) async fn amend(
    app: &Arc<App>,
    caller: &Caller,
    id: &TaskId,
    change: impl FnOnce(Drawing, &mut Map<String, Value>) -> Result<(), AppError>,
) -> Result<Task, AppError> {
    let task = tasks::get(app, caller, id).await?;
    let drawing = Drawing::parse(&task.kind);
    let drawing =
        drawing.ok_or_else(|| AppError::Conflict("the task is no drawing and stays as it is".into()))?;
    tasks::check_waits(task.state)?;
    let stored = tasks::body(app, &task).await.map_err(|error| match error {
        // Another change has deleted it.
        AppError::NotFound(_) => tasks::changed_meanwhile(),
        other => other,
    });
    let Value::Object(stored) = stored? else {
        return Err(AppError::Internal("a stored request is not an object".into()));
    };
    let before = generate::to_request(drawing, &stored, &app.defaults, &app.limits);
    let before = before.map_or(0, |request| request.image_count());
    let (mut body, has_grid) = generate::asked(stored);
    change(drawing, &mut body)?;
    let owner = app.caller_named(&task.owner).unwrap_or_else(|| caller.clone());
    let checked = check(app, &owner, drawing, &body).await?;
    let more = checked.pictures.saturating_sub(before);
    // Whoever waits for its pictures waits for them in the same form.
    let reply = if has_grid { Reply::Pictures } else { Reply::Task };
    tasks::amend(app, &owner, task, checked.into_work(drawing, reply, None), more).await
}

/// A drawing's body that was checked, as it is stored.
pub(crate) struct Checked {
    body: Map<String, Value>,
    pictures: u32,
    /// The file name of its checkpoint.
    model: String,
}

impl Checked {
    pub(crate) fn into_work(mut self, drawing: Drawing, reply: Reply, repeat: Option<Repeat>) -> Work {
        if reply == Reply::Pictures {
            grid_options::mark(&mut self.body);
        }
        let body = Value::Object(self.body).to_string();
        Work { kind: drawing.as_str(), body, pictures: self.pictures, model: Some(self.model), repeat }
    }
}

/// Checks a drawing's body and settles what it leaves open.
pub(crate) async fn check(
    app: &App,
    caller: &Caller,
    drawing: Drawing,
    body: &Map<String, Value>,
) -> Result<Checked, AppError> {
    let saved = app.options.of(&caller.name).await?;
    let by_version = infotext_options::saved_by_version(&saved.options);
    let defaults = Defaults { by_version, ..app.defaults.clone() };
    let filled = |text: Option<&Infotext>| {
        let read = drawing.read_with(body, (text, &defaults), || rand::rng().random());
        let mut read = read.map_err(AppError::Invalid)?;
        let mut chooses = false;
        if let Some(text) = text {
            let chosen = infotext_options::choose_checkpoint(&mut read, text, &saved.options);
            chooses = chosen.map_err(AppError::Invalid)?;
        }
        options::lay_under(&mut read, &saved.options);
        Ok::<_, AppError>((read, chooses))
    };
    // What the client says itself, and what no text says, is judged before plugins are asked about its text.
    let (own, _) = filled(None)?;
    check_output(&own)?;
    let mut body = match infotexts::of_request(app, caller, body).await? {
        Some((text, report)) => {
            let mut body = match filled(Some(&text))? {
                (read, true) => known_by_name(app, &text, read).await?,
                (read, false) => read,
            };
            infotext_report::write(&mut body, &report);
            body
        }
        None => own,
    };
    styles::lay_into(&mut body, &app.styles, &app.limits).await?;
    AddedNetworks::of(&body).map_err(AppError::Invalid)?.write_into(&mut body);
    let request =
        generate::to_request(drawing, &body, &app.defaults, &app.limits).map_err(AppError::Invalid)?;
    let whom = plugin_use::whom_of_request(app, caller, &body)?;
    check_scripts(app, &whom, drawing, &body)?;
    let units = controls::check(app, &whom, &body)?;
    match scripts::named(app, &whom, drawing, &body)? {
        Some(script) => drop(scripts::arguments(&script, &body)?),
        // The drawings of a script may have pictures that the request has not.
        None => controls::check_pictures(&units, &body)?,
    }
    let pictures = request.image_count();
    let catalogue = app.catalogue.clone();
    let wanted_faces = FacesWanted::read(&body).map_err(AppError::Invalid)?;
    // The blocking pool: folders and the heads of files.
    let model = blocking(move || {
        let checkpoint = resources::checkpoint(&catalogue, &request)?;
        controls::check_networks(&catalogue, &units)?;
        resources::hires_checkpoint(&catalogue, &request)?;
        resources::refiner(&catalogue, &request)?;
        enlarger::named(&catalogue, &request)?;
        DrawnFaces::find(&catalogue, wanted_faces)?;
        Ok::<_, AppError>(checkpoint.file_name)
    })
    .await??;
    Ok(Checked { body, pictures, model })
}

/// The body with the checkpoint that its text has chosen: by the name in the text where nothing here has the hash in it.
async fn known_by_name(
    app: &App,
    text: &Infotext,
    mut body: Map<String, Value>,
) -> Result<Map<String, Value>, AppError> {
    if let Some((hash, name)) = infotext_options::hash_and_name(text) {
        let (catalogue, hash) = (app.catalogue.clone(), hash.to_owned());
        // The blocking pool: folders, and files that were never hashed.
        if blocking(move || catalogue.checkpoint(Some(&hash))).await?.is_err() {
            infotext_options::choose_by_name(&mut body, name);
        }
    }
    Ok(body)
}

/// The options that say what becomes of pictures once they are drawn.
fn check_output(body: &Map<String, Value>) -> Result<(), AppError> {
    let checked = FileFormat::of(body)
        .and_then(|_| OutputOptions::of(body))
        .and_then(|_| GridOptions::of(body))
        .and_then(|_| TagOptions::of(body))
        .and_then(|_| InfotextOptions::of(body));
    checked.map(drop).map_err(AppError::Invalid)
}

/// Arguments for a plugin that is not there would be lost without a word.
fn check_scripts(
    app: &App,
    whom: &Whom,
    drawing: Drawing,
    body: &Map<String, Value>,
) -> Result<(), AppError> {
    let Some(scripts) = body.get("alwayson_scripts").and_then(Value::as_object) else { return Ok(()) };
    let (plugins, steps) = (app.plugins.list_for(whom), app.plugins.step_hook_list(whom));
    let own: &[&str] = match drawing {
        Drawing::Txt2Img => &[control::SCRIPT],
        Drawing::Img2Img => &[control::SCRIPT, soft_inpainting::SCRIPT],
    };
    for name in scripts.keys().filter(|name| !own.iter().any(|own| name.eq_ignore_ascii_case(own))) {
        let is_known = plugins.iter().any(|plugin| plugin_use::is_named(plugin, name))
            || steps.iter().any(|steps| plugin_use::is_title(&steps.title, name))
            || PANELS.iter().any(|panel| panel.eq_ignore_ascii_case(name));
        if !is_known {
            return Err(AppError::no_script(
                "alwayson_scripts",
                format!("always on script {name} not found"),
            ));
        }
    }
    Ok(())
}
