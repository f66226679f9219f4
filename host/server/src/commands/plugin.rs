//! `gesso plugin`: the admin routes of a running server, from a terminal, and what authors do without one.

mod check;
mod dev;
mod goldens;
mod kit;
mod project;
mod push;
mod scaffold;
mod sign;
mod step_trial;
mod trial;

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use gesso_plugin_host::is_elsewhere;
use serde_json::{Value, json};

use super::client::{Server, checked, show, when};
use crate::settings::cli::plugin::{AdminCommand, AuthorCommand, Plugin, PluginCommand};
use crate::telemetry::{self, one_line};

/// How often a drain looks.
const DRAIN_LOOK: Duration = Duration::from_millis(200);

pub(crate) fn run(arguments: &Plugin) -> anyhow::Result<()> {
    match &arguments.command {
        PluginCommand::Author(command) => author(arguments, command),
        PluginCommand::Admin(command) => administer(&Server::as_admin(&arguments.connection)?, command),
    }
}

fn author(arguments: &Plugin, command: &AuthorCommand) -> anyhow::Result<()> {
    match command {
        AuthorCommand::New(new) => scaffold::run(new),
        AuthorCommand::Build { folder } => project::build(folder),
        AuthorCommand::Test { folder, bless } => trial::run(folder, *bless),
        AuthorCommand::Dev { folder } => dev::run(folder, &Server::as_admin(&arguments.connection)?),
        AuthorCommand::Check { file } => check::run(file),
        AuthorCommand::Pack { file, manifest, assets, out } => {
            project::pack(file, manifest, assets.as_deref(), out.as_deref())
        }
        AuthorCommand::Push { file, to, config } => push::run(file, to, config.as_deref()),
        AuthorCommand::Keygen { out } => sign::new_key(out),
        AuthorCommand::Sign { file, key } => sign::sign(file, key),
        AuthorCommand::Verify { file, keys } => sign::verify(file, keys),
    }
}

fn administer(server: &Server, command: &AdminCommand) -> anyhow::Result<()> {
    match command {
        AdminCommand::List => {
            let plugins = server.list("/plugins")?;
            if plugins.is_empty() {
                telemetry::announce(
                    "no plugins; drop a .wasm file into the plugins folder or use `plugin install`",
                );
            }
            for plugin in &plugins {
                telemetry::announce(&line(plugin));
            }
        }
        AdminCommand::Show { id } => {
            show(true, &server.json("GET", &format!("/plugins/{}", plugin_id(id)?), None)?, line);
        }
        AdminCommand::Install { from, digest } => {
            telemetry::announce(&line(&install(server, from, digest.as_deref())?));
        }
        AdminCommand::Rollback { id } => {
            let path = format!("/plugins/{}/rollback", plugin_id(id)?);
            telemetry::announce(&line(&server.json("POST", &path, None)?));
        }
        AdminCommand::Configure { id, enabled, on_failure, called, serves, may_be_left_out, position } => {
            let said = [
                ("enabled", enabled.map(Value::from)),
                ("on_failure", on_failure.as_deref().map(word_or_json)),
                ("called", called.clone().map(Value::from)),
                ("serves", serves.clone()),
                ("may_be_left_out", may_be_left_out.map(Value::from)),
                ("position", position.map(Value::from)),
            ];
            let body: serde_json::Map<_, _> =
                said.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
            let path = format!("/plugins/{}", plugin_id(id)?);
            telemetry::announce(&line(&server.json("PATCH", &path, Some(&Value::Object(body)))?));
        }
        AdminCommand::Drain { id, timeout } => drain(server, plugin_id(id)?, Duration::from_secs(*timeout))?,
        AdminCommand::Grant { id, file } => {
            let body = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
            let path = format!("/plugins/{}/grants", plugin_id(id)?);
            let granted = server.call("PUT", &path, "application/json", &[], Some(body))?;
            telemetry::announce(&line(&granted));
        }
        AdminCommand::Settings { id, restore: None } => {
            let versions = server.list(&format!("/plugins/{}/settings", plugin_id(id)?))?;
            if versions.is_empty() {
                telemetry::announce(&format!("{id} was given no settings over this server"));
            }
            versions.iter().for_each(|version| telemetry::announce(&settings_line(version)));
        }
        AdminCommand::Settings { id, restore: Some(number) } => {
            let path = format!("/plugins/{}/settings", plugin_id(id)?);
            telemetry::announce(&line(&server.json("POST", &path, Some(&json!({"number": number})))?));
        }
        AdminCommand::Logs { id } => {
            let lines = server.list(&format!("/plugins/{}/logs", plugin_id(id)?))?;
            lines.iter().for_each(|line| telemetry::announce(&log_line(line)));
        }
        AdminCommand::History { id } => {
            let events = server.list(&format!("/plugins/{}/history", plugin_id(id)?))?;
            if events.is_empty() {
                telemetry::announce(&format!("nothing was ever done to a plugin named {id}"));
            }
            events.iter().for_each(|event| telemetry::announce(&event_line(event)));
        }
        AdminCommand::Remove { id } => {
            server.json("DELETE", &format!("/plugins/{}", plugin_id(id)?), None)?;
            telemetry::announce(&format!("{id} removed"));
        }
        AdminCommand::Forget { id } => {
            server.json("DELETE", &format!("/plugins/{}/data", plugin_id(id)?), None)?;
            telemetry::announce(&format!("{id} keeps nothing any more"));
        }
    }
    Ok(())
}

fn install(server: &Server, from: &str, digest: Option<&str>) -> anyhow::Result<Value> {
    if is_elsewhere(from) {
        return server.json("POST", "/plugins", Some(&json!({"from": from, "digest": digest})));
    }
    if digest.is_some() {
        bail!("--digest is for what lies elsewhere; {from} is a file of this machine");
    }
    let bytes = std::fs::read(from).with_context(|| format!("{from} cannot be read"))?;
    server.call("POST", "/plugins", "application/wasm", &[], Some(bytes))
}

/// New calls end at once with the switch; those under way take as long as they take.
fn drain(server: &Server, id: &str, timeout: Duration) -> anyhow::Result<()> {
    let path = format!("/plugins/{id}");
    let begun = Instant::now();
    let mut status = server.json("PATCH", &path, Some(&json!({"enabled": false})))?;
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
        if begun.elapsed() >= timeout {
            bail!(
                "{id} is off for new requests, but {running} calls are still under way after {} s: drain it again to wait on, \
                 with --timeout as long as they may take",
                timeout.as_secs()
            );
        }
        std::thread::sleep(DRAIN_LOOK);
        status = server.json("GET", &path, None)?;
    }
}

/// A word as it is, anything else as the JSON that it is.
fn word_or_json(said: &str) -> Value {
    serde_json::from_str(said).unwrap_or_else(|_| Value::from(said))
}

fn plugin_id(id: &str) -> anyhow::Result<&str> {
    checked("a plugin id", id).context("`gesso plugin list` shows them")
}

fn line(plugin: &Value) -> String {
    let text = |key: &str| plugin.get(key).and_then(Value::as_str).unwrap_or("-");
    let state = plugin.pointer("/state/is").and_then(Value::as_str).unwrap_or("-");
    let reason = plugin
        .pointer("/state/reason")
        .and_then(Value::as_str)
        .map_or(String::new(), |why| format!(": {why}"));
    let source = plugin["source"].as_object().map_or(String::new(), |source| {
        let text = |key: &str| source.get(key).and_then(Value::as_str).unwrap_or("-");
        format!(", from {} ({})", text("from"), text("digest"))
    });
    let refused = plugin["refused_update"]
        .as_str()
        .map_or(String::new(), |why| format!("; a newer build is refused: {why}"));
    let tier = plugin.pointer("/granted/tier").and_then(Value::as_str);
    let tier = tier.map_or(String::new(), |tier| format!(", tier {tier}"));
    let worlds: Vec<_> =
        plugin["worlds"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let granted = granted(&plugin["granted"]);
    // Why it does not run may be in its own words.
    one_line(&format!(
        "{:20} {:10} {} ({}), {} calls, {} failures{granted}{tier}{source}{reason}{refused}",
        text("id"),
        text("version"),
        state,
        worlds.join(", "),
        plugin["calls"],
        plugin["failures"]
    ))
}

/// What was granted, by name; `gesso plugin show` says how much. The tier is told beside.
fn granted(grants: &Value) -> String {
    fn has_figure(budgets: &Value) -> bool {
        match budgets {
            Value::Object(parts) => parts.values().any(has_figure),
            figure => figure.is_number(),
        }
    }
    let is_given = |name: &str, value: &Value| match value {
        _ if name == "tier" => false,
        _ if name == "budgets" => has_figure(value),
        Value::Object(parts) => !parts.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Number(count) => count.as_u64() != Some(0),
        value => value.as_bool().unwrap_or_default(),
    };
    let grants = grants.as_object().into_iter().flatten();
    let given: Vec<_> =
        grants.filter(|(name, value)| is_given(name, value)).map(|(name, _)| name.as_str()).collect();
    if given.is_empty() { String::new() } else { format!(", granted ({})", given.join(", ")) }
}

fn settings_line(version: &Value) -> String {
    let by = version["by"].as_str().unwrap_or("-");
    let number = version["number"].as_u64().unwrap_or_default();
    one_line(&format!("{number:4} {:19} {by:12} {}", when(&version["time_ms"]), version["settings"]))
}

fn log_line(line: &Value) -> String {
    let text = |key: &str| line.get(key).and_then(Value::as_str).unwrap_or_default();
    one_line(&format!("{} {:5} {}", when(&line["time_ms"]), text("level"), text("text")))
}

fn event_line(event: &Value) -> String {
    let text = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default();
    // What the folder or a start brought about was asked for by nobody.
    let by = event["by"].as_str().map(|by| format!("(by {by}, request {})", text("request_id")));
    let about = [text("version"), text("detail"), by.as_deref().unwrap_or_default()];
    let about: Vec<_> = about.into_iter().filter(|text| !text.is_empty()).collect();
    one_line(&format!("{} {:10} {}", when(&event["time_ms"]), text("event"), about.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_tells_of_a_plugin_is_one_line_and_drives_no_terminal() {
        let odd = "odd\n\u{1b}[2Jodd";
        for told in [
            line(&json!({"id": "a", "state": {"is": "failed", "reason": odd}, "source": {"from": odd}})),
            settings_line(&json!({"by": odd, "settings": {"a": odd}})),
            log_line(&json!({"level": odd, "text": odd})),
            event_line(&json!({"event": odd, "detail": odd, "by": odd, "request_id": odd})),
        ] {
            assert!(told.contains("odd") && !told.contains(char::is_control), "{told:?}");
        }
    }

    #[test]
    fn a_build_and_where_it_came_from_are_two_words() {
        let told = |event: Value| event_line(&event);
        let active =
            json!({"event": "active", "version": "1.2.0", "detail": "from oci://registry.example/a:1"});
        assert!(told(active).ends_with("active     1.2.0 from oci://registry.example/a:1"));
        assert!(
            told(json!({"event": "configured", "version": null, "detail": "enabled false"}))
                .ends_with("configured enabled false")
        );
    }

    #[test]
    fn the_list_tells_grants_and_a_build_that_is_refused() {
        let nothing = json!({"cpu_ms": null, "wall_ms": null, "memory_mib": null});
        let none = json!({"folders": {}, "hosts": [], "private_addresses": false, "kv_bytes": 0, "tier": null,
            "budgets": {"hook": nothing, "script_jobs_max": null}, "settings": null});
        let plugin = |granted: &Value| json!({"id": "a", "granted": granted, "refused_update": null});
        assert!(!line(&plugin(&none)).contains("granted") && !line(&plugin(&none)).contains("refused"));
        let mut some = none.clone();
        some["kv_bytes"] = 4096.into();
        some["budgets"]["script_jobs_max"] = 0.into();
        some["tier"] = "trusted".into();
        let told = line(&plugin(&some));
        assert!(told.contains(", granted (") && told.contains(", tier trusted"), "{told}");
        assert!(told.contains("kv_bytes") && told.contains("budgets") && !told.contains("hosts"), "{told}");
        let refused = line(&json!({"id": "a", "refused_update": "it does not start"}));
        assert!(refused.ends_with("; a newer build is refused: it does not start"), "{refused}");
    }
}
