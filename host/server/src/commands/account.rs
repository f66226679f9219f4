//! `gesso user` and `gesso key`: who may use a running server.

use std::io::Read;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};

use super::client::{Server, checked, show, when};
use crate::settings::cli::account::{Key, KeyCommand, User, UserCommand};
use crate::telemetry;

pub(crate) fn users(arguments: &User) -> anyhow::Result<()> {
    let server = Server::as_admin(&arguments.connection)?;
    match &arguments.command {
        UserCommand::List => {
            let users = server.list("/users")?;
            if users.is_empty() && !arguments.json {
                telemetry::announce("nobody has an account; `gesso user add NAME` makes the first");
            }
            show(arguments.json, &Value::Array(users), user_line);
        }
        UserCommand::Add { name, role, password_stdin } => {
            let mut body = json!({"name": name, "role": role});
            if *password_stdin {
                body["password"] = password()?.into();
            }
            show(arguments.json, &server.json("POST", "/users", Some(&body))?, user_line);
            if !*password_stdin && !arguments.json {
                telemetry::announce(&format!(
                    "no password; `gesso key new --user {name}` lets them in by a key"
                ));
            }
        }
        UserCommand::Set { name, role, enabled, password_stdin } => {
            let mut body = Map::new();
            if let Some(role) = role {
                body.insert("role".into(), role.as_str().into());
            }
            if let Some(enabled) = enabled {
                body.insert("enabled".into(), (*enabled).into());
            }
            if *password_stdin {
                body.insert("password".into(), password()?.into());
            }
            if body.is_empty() {
                bail!("nothing to change; see `gesso user set --help`");
            }
            let path = format!("/users/{}", checked("a user's name", name)?);
            show(arguments.json, &server.json("PATCH", &path, Some(&Value::Object(body)))?, user_line);
        }
        UserCommand::Remove { name } => {
            let path = format!("/users/{}", checked("a user's name", name)?);
            let answer = server.json("DELETE", &path, None)?;
            show(arguments.json, &answer, |_| format!("{name} removed, with all of their keys"));
        }
    }
    Ok(())
}

pub(crate) fn keys(arguments: &Key) -> anyhow::Result<()> {
    let server = Server::as_admin(&arguments.connection)?;
    match &arguments.command {
        KeyCommand::List => {
            show(arguments.json, &Value::Array(server.list("/keys")?), key_line);
        }
        KeyCommand::New { user, label, days } => {
            let mut body = json!({"label": label});
            if let Some(user) = user {
                body["user"] = user.as_str().into();
            }
            if let Some(days) = days {
                let ends = SystemTime::now() + Duration::from_secs(u64::from(*days) * 86_400);
                let ends = ends.duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
                body["expires_ms"] = u64::try_from(ends.as_millis()).unwrap_or(u64::MAX).into();
            }
            let made = server.json("POST", "/keys", Some(&body))?;
            // Alone on its line, so that scripts can take it.
            show(arguments.json, &made, |made| made["key"].as_str().unwrap_or_default().to_owned());
            telemetry::complain("keep it: it is not shown again");
        }
        KeyCommand::Remove { id } => {
            let path = format!("/keys/{}", checked("the id of a key", id)?);
            let answer = server.json("DELETE", &path, None)?;
            show(arguments.json, &answer, |_| format!("{id} withdrawn"));
        }
    }
    Ok(())
}

fn user_line(user: &Value) -> String {
    let text = |name: &str| user[name].as_str().unwrap_or("-");
    let state = if user["enabled"] == true { "enabled" } else { "disabled" };
    let password = if user["has_password"] == true { "password" } else { "keys only" };
    format!(
        "{:20} {:9} {state:9} {password:10} since {}",
        text("name"),
        text("role"),
        when(&user["created_ms"])
    )
}

fn key_line(key: &Value) -> String {
    let text = |name: &str| key[name].as_str().unwrap_or("-");
    let (made, ends) = (when(&key["created_ms"]), when(&key["expires_ms"]));
    let line =
        format!("{:12} {:20} made {made}  ends {ends:19}  {}", text("id"), text("user"), text("label"));
    line.trim_end().to_owned()
}

/// The first line of standard input: a password on the command line would be in everybody's list of processes.
fn password() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin().take(4096).read_to_string(&mut text).context("standard input cannot be read")?;
    let password = text.lines().next().unwrap_or_default();
    if password.is_empty() {
        bail!("standard input holds no password; try `gesso user ... --password-stdin < file`");
    }
    Ok(password.to_owned())
}
