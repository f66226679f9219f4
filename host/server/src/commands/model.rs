//! `gesso model`: the models of a running server, from a terminal.

use anyhow::bail;
use serde_json::{Value, json};

use super::client::{Server, show};
use crate::settings::cli::model::{Model, ModelCommand};

pub(crate) fn run(arguments: &Model) -> anyhow::Result<()> {
    let server = Server::as_said(&arguments.connection);
    let (answer, said) = match &arguments.command {
        ModelCommand::List => {
            show(arguments.json, &Value::Array(server.list("/models")?), line);
            return Ok(());
        }
        ModelCommand::Register { object, kind, name, etag } => {
            let name = name.as_deref().or_else(|| object.rsplit('/').next()).unwrap_or_default();
            let body = json!({"type": kind, "name": name, "ossPath": object, "etag": etag});
            let answer = server.json("POST", "/models", Some(&body))?;
            (answer, format!("{name} is being copied; `gesso model list` tells when it is there"))
        }
        ModelCommand::Remove { name } => {
            let answer = server.json("DELETE", &path(name)?, None)?;
            (answer, format!("{name} removed, with its file"))
        }
        ModelCommand::Load => {
            let answer = server.json("POST", "/sdapi/v1/reload-checkpoint", None)?;
            (answer, "the checkpoint is in memory".to_owned())
        }
        ModelCommand::Unload => {
            let answer = server.json("POST", "/sdapi/v1/unload-checkpoint", None)?;
            (answer, "what no picture needs is out of memory".to_owned())
        }
    };
    show(arguments.json, &answer, |_| said.clone());
    Ok(())
}

/// Names of models may hold spaces, which addresses may not.
fn path(name: &str) -> anyhow::Result<String> {
    if gesso_store::is_model_name(name) {
        return Ok(format!("/models/{}", name.replace(' ', "%20")));
    }
    bail!("{name:?} is not the name of a model's file; `gesso model list` has them behind their types")
}

fn line(model: &Value) -> String {
    let text = |name: &str| model[name].as_str().unwrap_or("-").to_owned();
    let hash: String = text("etag").chars().take(10).collect();
    let why = model["message"].as_str().map_or_else(String::new, |message| format!("  {message}"));
    format!("{:11} {hash:10} {:15} {}{why}", text("status"), text("type"), text("name"))
}
