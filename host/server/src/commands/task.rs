//! `gesso task`: the tasks of a running server, from a terminal.

use serde_json::Value;

use super::client::{Server, checked, show, when};
use super::drawing;
use super::preview::Previews;
use crate::settings::cli::task::{TaskArguments, TaskCommand};
use crate::telemetry;

pub(crate) fn run(arguments: &TaskArguments) -> anyhow::Result<()> {
    let server = Server::as_said(&arguments.connection);
    let path = |id: &str| Ok::<_, anyhow::Error>(format!("/tasks/{}", checked("the id of a task", id)?));
    match &arguments.command {
        TaskCommand::List { state, limit } => {
            let state = state.as_ref().map_or_else(String::new, |state| format!("&state={state}"));
            let page = server.json("GET", &format!("/tasks?limit={limit}{state}"), None)?;
            if page["tasks"].as_array().is_some_and(Vec::is_empty) && !arguments.json {
                telemetry::announce("no tasks");
            }
            show(arguments.json, &page["tasks"], line);
        }
        TaskCommand::Show { id } => show(true, &server.json("GET", &path(id)?, None)?, line),
        TaskCommand::Cancel { id } => {
            let answer = server.json("POST", &format!("{}/cancellation", path(id)?), None)?;
            show(arguments.json, &answer, |_| format!("{id} stops"));
        }
        TaskCommand::Retry { id } => {
            let task = server.json("POST", &format!("{}/retry", path(id)?), None)?;
            show(arguments.json, &task, line);
        }
        TaskCommand::Remove { id } => {
            let answer = server.json("DELETE", &path(id)?, None)?;
            show(arguments.json, &answer, |_| format!("{id} removed, with its pictures"));
        }
        TaskCommand::Wait { id, out, seen } => {
            let mut previews = Previews::new(seen.preview);
            let task = drawing::wait(&server, checked("the id of a task", id)?, &mut previews)?;
            let succeeded = drawing::succeeded(&task);
            let saved = match out {
                Some(out) if succeeded.is_ok() => drawing::save(&server, &task, out, &mut previews)?,
                _ => Vec::new(),
            };
            if arguments.json || saved.is_empty() {
                show(arguments.json, &task, line);
            } else {
                saved.iter().for_each(|path| telemetry::announce(&path.display().to_string()));
            }
            succeeded?;
        }
    }
    Ok(())
}

fn line(task: &Value) -> String {
    let text = |name: &str| task[name].as_str().unwrap_or("-").to_owned();
    let reason = task["message"].as_str().map_or_else(String::new, |message| format!("  {message}"));
    let made = when(&task["createdMs"]);
    format!(
        "{:44} {:9} {:8} {:12} {made}{reason}",
        text("taskId"),
        text("status"),
        text("kind"),
        text("user")
    )
}
