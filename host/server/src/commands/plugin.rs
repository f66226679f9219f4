//! `gesso plugin`: the admin routes of a running server, from a terminal, and what authors do without one.

mod check;
mod dev;
mod kit;
mod project;
mod scaffold;
mod sign;
mod trial;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::environment;
use crate::settings::cli::{AdminCommand, AuthorCommand, Plugin, PluginCommand, Serve};
use crate::telemetry;

/// How often a drain looks.
const DRAIN_LOOK: Duration = Duration::from_millis(200);

pub(crate) fn run(arguments: &Plugin) -> anyhow::Result<()> {
    match &arguments.command {
        PluginCommand::Author(command) => author(arguments, command),
        PluginCommand::Admin(command) => administer(&server(arguments)?, command),
    }
}

fn author(arguments: &Plugin, command: &AuthorCommand) -> anyhow::Result<()> {
    match command {
        AuthorCommand::New(new) => scaffold::run(new),
        AuthorCommand::Build { folder } => project::build(folder),
        AuthorCommand::Test { folder, bless } => trial::run(folder, *bless),
        AuthorCommand::Dev { folder } => dev::run(folder, &server(arguments)?),
        AuthorCommand::Check { file } => check::run(file),
        AuthorCommand::Pack { file, manifest, out } => project::pack(file, manifest, out.as_deref()),
        AuthorCommand::Keygen { out } => sign::new_key(out),
        AuthorCommand::Sign { file, key } => sign::sign(file, key),
        AuthorCommand::Verify { file, keys } => sign::verify(file, keys),
    }
}

fn server(arguments: &Plugin) -> anyhow::Result<Server> {
    let key = match &arguments.admin_key {
        Some(key) => key.clone(),
        None => stored_key(arguments)?,
    };
    Ok(Server { base: arguments.url.trim_end_matches('/').to_owned(), key })
}

fn administer(server: &Server, command: &AdminCommand) -> anyhow::Result<()> {
    match command {
        AdminCommand::List => {
            let Value::Array(plugins) = server.call("GET", "/plugins", None)? else {
                bail!("{} did not answer with a list; is it a Gesso server?", server.base);
            };
            if plugins.is_empty() {
                telemetry::announce(
                    "no plugins; drop a .wasm file into the plugins folder or use `plugin install`",
                );
            }
            for plugin in &plugins {
                telemetry::announce(&line(plugin));
            }
        }
        AdminCommand::Install { file } => {
            let bytes = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
            telemetry::announce(&line(&server.call("POST", "/plugins", Some(bytes))?));
        }
        AdminCommand::Rollback { id } => {
            telemetry::announce(&line(&server.call(
                "POST",
                &format!("/plugins/{}/rollback", checked(id)?),
                None,
            )?));
        }
        AdminCommand::Configure { id, enabled, on_failure, called, position } => {
            let said = [
                ("enabled", enabled.map(Value::from)),
                ("on_failure", on_failure.clone().map(Value::from)),
                ("called", called.clone().map(Value::from)),
                ("position", position.map(Value::from)),
            ];
            let body: serde_json::Map<_, _> =
                said.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
            let path = format!("/plugins/{}", checked(id)?);
            let body = Value::Object(body).to_string().into_bytes();
            telemetry::announce(&line(&server.call("PATCH", &path, Some(body))?));
        }
        AdminCommand::Drain { id } => drain(server, checked(id)?)?,
        AdminCommand::Grant { id, file } => {
            let body = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
            let path = format!("/plugins/{}/grants", checked(id)?);
            telemetry::announce(&line(&server.call("PUT", &path, Some(body))?));
        }
        AdminCommand::Logs { id } => {
            let lines = server.call("GET", &format!("/plugins/{}/logs", checked(id)?), None)?;
            lines.as_array().into_iter().flatten().for_each(|line| telemetry::announce(&log_line(line)));
        }
        AdminCommand::History { id } => {
            let Value::Array(events) =
                server.call("GET", &format!("/plugins/{}/history", checked(id)?), None)?
            else {
                bail!("{} did not answer with a list; is it a Gesso server?", server.base);
            };
            if events.is_empty() {
                telemetry::announce(&format!("nothing was ever done to a plugin named {id}"));
            }
            events.iter().for_each(|event| telemetry::announce(&event_line(event)));
        }
        AdminCommand::Remove { id } => {
            server.call("DELETE", &format!("/plugins/{}", checked(id)?), None)?;
            telemetry::announce(&format!("{id} removed"));
        }
    }
    Ok(())
}

/// New calls end at once with the switch; those under way take as long as they take.
fn drain(server: &Server, id: &str) -> anyhow::Result<()> {
    let path = format!("/plugins/{id}");
    let mut status = server.call("PATCH", &path, Some(br#"{"enabled": false}"#.to_vec()))?;
    let mut told = 0;
    loop {
        let running = status["running"].as_u64().unwrap_or_default();
        if running == 0 {
            telemetry::announce(&line(&status));
            return Ok(());
        }
        if running != told {
            telemetry::announce(&format!(
                "{id} is off for new requests; waiting for {running} calls under way"
            ));
            told = running;
        }
        std::thread::sleep(DRAIN_LOOK);
        status = server.call("GET", &path, None)?;
    }
}

fn stored_key(arguments: &Plugin) -> anyhow::Result<String> {
    let settings = environment::settings(&Serve { data: arguments.data.clone(), ..Serve::default() })?;
    if let Some(key) = settings.admin_key {
        return Ok(key);
    }
    let path: PathBuf = settings.data.join("admin-key");
    let key = std::fs::read_to_string(&path).with_context(|| {
        format!(
            "no admin key: {} cannot be read; pass --admin-key, or --data with the server's data folder",
            path.display()
        )
    })?;
    Ok(key.trim().to_owned())
}

/// An id goes into a path, so it has to look like one.
fn checked(id: &str) -> anyhow::Result<&str> {
    if !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Ok(id);
    }
    bail!("{id:?} is not a plugin id: letters, digits and '-' only; `gesso plugin list` shows them")
}

fn line(plugin: &Value) -> String {
    let text = |key: &str| plugin.get(key).and_then(Value::as_str).unwrap_or("-");
    let state = plugin.pointer("/state/is").and_then(Value::as_str).unwrap_or("-");
    let reason = plugin
        .pointer("/state/reason")
        .and_then(Value::as_str)
        .map_or(String::new(), |why| format!(": {why}"));
    let worlds: Vec<_> =
        plugin["worlds"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    format!(
        "{:20} {:10} {} ({}), {} calls, {} failures{reason}",
        text("id"),
        text("version"),
        state,
        worlds.join(", "),
        plugin["calls"],
        plugin["failures"]
    )
}

fn log_line(line: &Value) -> String {
    let text = |key: &str| line.get(key).and_then(Value::as_str).unwrap_or_default();
    format!("{} {:5} {}", when(line), text("level"), text("text"))
}

/// In UTC.
fn when(line: &Value) -> String {
    let at = line["time_ms"].as_i64().and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok());
    at.map_or_else(String::new, |at| at.strftime("%F %T").to_string())
}

fn event_line(event: &Value) -> String {
    let text = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default();
    let at = when(event);
    format!("{at} {:10} {}{}", text("event"), text("version"), text("detail"))
}

struct Server {
    base: String,
    key: String,
}

impl Server {
    fn call(&self, method: &str, path: &str, body: Option<Vec<u8>>) -> anyhow::Result<Value> {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("authorization", format!("Bearer {}", self.key))
            .header("content-type", "application/wasm")
            .body(body.unwrap_or_default())?;
        let mut response = agent.run(request).with_context(|| {
            format!("no answer from {}; is the server running? (--url names another)", self.base)
        })?;
        let text = response.body_mut().read_to_string()?;
        let value: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        if response.status().is_success() {
            return Ok(value);
        }
        let message =
            value.get("message").and_then(Value::as_str).map_or_else(|| value.to_string(), ToOwned::to_owned);
        bail!("{} ({})", message, response.status())
    }
}
