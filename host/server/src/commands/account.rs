//! `gesso user` and `gesso key`: who may use a running server.

use std::io::Read;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};

use super::client::{Server, checked, when};
use crate::settings::cli::{Key, KeyCommand, User, UserCommand};
use crate::telemetry;

pub(crate) fn users(arguments: &User) -> anyhow::Result<()> {
    let server = Server::as_admin(&arguments.connection)?;
    match &arguments.command {
        UserCommand::List => {
            let users = server.list("/users")?;
            if users.is_empty() {
                telemetry::announce("nobody has an account; `gesso user add NAME` makes the first");
            }
            users.iter().for_each(|user| telemetry::announce(&user_line(user)));
        }
        UserCommand::Add { name, role, password_stdin } => {
            let mut body = json!({"name": name, "role": role});
            if *password_stdin {
                body["password"] = password()?.into();
            }
            telemetry::announce(&user_line(&server.json("POST", "/users", Some(&body))?));
            if !*password_stdin {
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
            telemetry::announce(&user_line(&server.json("PATCH", &path, Some(&Value::Object(body)))?));
        }
        UserCommand::Remove { name } => {
            server.json("DELETE", &format!("/users/{}", checked("a user's name", name)?), None)?;
            telemetry::announce(&format!("{name} removed, with all of their keys"));
        }
    }
    Ok(())
}

pub(crate) fn keys(arguments: &Key) -> anyhow::Result<()> {
    let server = Server::as_admin(&arguments.connection)?;
    match &arguments.command {
        KeyCommand::List => {
            for key in server.list("/keys")? {
                let text = |name: &str| key[name].as_str().unwrap_or("-").to_owned();
                let (made, ends) = (when(&key["created_ms"]), when(&key["expires_ms"]));
                let line = format!(
                    "{:12} {:20} made {made}  ends {ends:19}  {}",
                    text("id"),
                    text("user"),
                    text("label")
                );
                telemetry::announce(line.trim_end());
            }
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
            telemetry::announce(made["key"].as_str().unwrap_or_default());
            telemetry::complain("keep it: it is not shown again");
        }
        KeyCommand::Remove { id } => {
            server.json("DELETE", &format!("/keys/{}", checked("the id of a key", id)?), None)?;
            telemetry::announce(&format!("{id} withdrawn"));
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
