//! Which plugins are there for whom: who asks, as the plugin host knows them, and what their request leaves out. Which plugin
//! serves whom, and which may be left out, is the admin's choice and kept by the plugin host.

use gesso_plugin_host::{CallContext, Named, PluginStatus, Whom, without_version};
use serde_json::{Map, Value};

use crate::accounts::Caller;
use crate::app::App;
use crate::error::AppError;
use crate::http::request_id;
use crate::http::wire::fields::FieldProblem;

/// The field that names the plugins a request leaves out.
pub(crate) const OFF: &str = "plugins_off";
/// Names of plugins that one request leaves out. Each that is wrong is told with a sentence of its own.
const OFF_MAX: usize = 100;

/// Who asks, with nothing left out.
pub(crate) fn whom(caller: &Caller) -> Whom {
    let roles = caller.role.included().map(|role| role.as_str().to_owned()).collect();
    Whom { name: caller.name.clone(), roles, without: Named::default() }
}

/// A call for the request that is answered now, which is no task yet or none at all.
pub(crate) fn call_of_request(whom: Whom, seed: u64) -> CallContext {
    CallContext { whom, ..CallContext::new(request_id::current(), seed) }
}

/// Who sends a drawing's body, with what it leaves out.
///
/// # Errors
/// Too many names; else a problem for each name that is no plugin's that is there for them, or one's that may not be left out.
pub(crate) fn whom_of_request(
    app: &App,
    caller: &Caller,
    body: &Map<String, Value>,
) -> Result<Whom, AppError> {
    let whom = whom(caller);
    match left_out(body).count() {
        0 => return Ok(whom),
        1..=OFF_MAX => {}
        count => {
            let message = format!("{OFF} names {count} plugins; send at most {OFF_MAX}");
            return Err(AppError::invalid(OFF, message));
        }
    }
    let there = app.plugins.list_for(&whom);
    let problems: Vec<_> = left_out(body).filter_map(|name| problem(&there, name)).collect();
    if !problems.is_empty() {
        let problems = problems.into_iter().map(|message| FieldProblem { field: OFF.into(), message });
        return Err(AppError::Invalid(problems.collect()));
    }
    Ok(Whom { without: Named::new(left_out(body)), ..whom })
}

/// For whom a task's body is drawn: its owner, with the rights that they have now. Without an account they are nobody in
/// particular. The plugin host keeps what may not be left out any more.
pub(crate) fn whom_of_task(app: &App, owner: &str, body: &Map<String, Value>) -> Whom {
    let nobody = || Whom { name: owner.to_owned(), ..Whom::default() };
    let whom = app.caller_named(owner).map_or_else(nobody, |caller| whom(&caller));
    Whom { without: Named::new(left_out(body)), ..whom }
}

/// The plugins that a drawing's body says something to.
pub(crate) fn addressed(body: &Map<String, Value>) -> Named {
    let scripts = body.get("alwayson_scripts").and_then(Value::as_object);
    Named::new(scripts.into_iter().flatten().map(|(name, _)| name.as_str()))
}

/// Whether a client means this plugin: by its id or title, in any case, with a version behind it or without.
pub(crate) fn is_named(plugin: &PluginStatus, name: &str) -> bool {
    let own = [Some(plugin.id.as_str()), plugin.title.as_deref()];
    own.into_iter().flatten().any(|own| is_title(own, name))
}

/// Whether a client that says `name` means what is called `title`.
pub(crate) fn is_title(title: &str, name: &str) -> bool {
    title.eq_ignore_ascii_case(name) || title.eq_ignore_ascii_case(without_version(name))
}

/// An echo has the fields that web UIs have, and this one where it was used.
pub(crate) fn tidy(echo: &mut Map<String, Value>) {
    if left_out(echo).next().is_none() {
        echo.remove(OFF);
    }
}

fn left_out(body: &Map<String, Value>) -> impl Iterator<Item = &str> {
    body.get(OFF).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn problem(there: &[PluginStatus], name: &str) -> Option<String> {
    match there.iter().find(|plugin| is_named(plugin, name)) {
        Some(plugin) if plugin.may_be_left_out => None,
        Some(plugin) => Some(format!(
            "{OFF}: {} may not be left out: the admin has not allowed it (may_be_left_out of the plugin); send the request \
             without its name here",
            plugin.id
        )),
        None => {
            let free: Vec<_> = there
                .iter()
                .filter(|plugin| plugin.may_be_left_out)
                .map(|plugin| plugin.id.as_str())
                .collect();
            let free = if free.is_empty() { "none".to_owned() } else { free.join(", ") };
            Some(format!("{OFF}: there is no plugin {name:?}; those that may be left out are: {free}"))
        }
    }
}
