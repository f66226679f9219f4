//! `gesso plugin check`: what a server would say to a component, without one.

use std::path::Path;

use anyhow::{Context, bail};
use gesso_plugin_host::{Checked, Wants, check_component};
use serde_json::{Map, Value, json};

use crate::telemetry;

pub(super) fn run(file: &Path) -> anyhow::Result<()> {
    let (checked, bytes) = judge(file)?;
    telemetry::announce(&report(&checked, bytes));
    Ok(())
}

/// What a server would take it for, and its length in bytes.
pub(super) fn judge(file: &Path) -> anyhow::Result<(Checked, usize)> {
    let bytes = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    match check_component(&bytes) {
        Ok(checked) => Ok((checked, bytes.len())),
        Err(reason) => bail!("a server would refuse {}: {reason}", file.display()),
    }
}

fn report(checked: &Checked, bytes: usize) -> String {
    let Checked { manifest, imports, needs } = checked;
    let mut lines = vec![
        format!(
            "{} {}: {}, {} KiB",
            manifest.id,
            manifest.version,
            manifest.worlds.join(", "),
            bytes.div_ceil(1024)
        ),
        format!("imports: {}", imports.join(", ")),
    ];
    lines.push(match needs {
        Some(needs) => format!("it is stored, and runs once an admin has granted what it needs: {needs}"),
        None => "it runs without any grant".into(),
    });
    let wanted = wanted(&manifest.wants);
    if !wanted.is_empty() {
        lines.push(format!(
            "`gesso plugin grant {} FILE` grants all that it wants, with this in FILE: {}",
            manifest.id,
            Value::Object(wanted)
        ));
    }
    let aliases = &manifest.wants.aliases;
    if !aliases.is_empty() {
        lines.push(format!(
            "it answers under /ext/{}/, and where an admin has granted them (`aliases`) at {}",
            manifest.id,
            aliases.join(", ")
        ));
    }
    let unnamed = [
        (manifest.title.is_none(), "title"),
        (manifest.description.is_none(), "description"),
        (manifest.licence.is_none(), "licence"),
    ];
    let unnamed: Vec<_> =
        unnamed.iter().filter(|(is_missing, _)| *is_missing).map(|(_, field)| *field).collect();
    if !unnamed.is_empty() {
        lines.push(format!("its manifest could say more: {}", unnamed.join(", ")));
    }
    lines.join("\n")
}

/// What the manifest wants, as an admin grants it; where a folder lies is the admin's to say.
fn wanted(wants: &Wants) -> Map<String, Value> {
    let Wants { folders, hosts, models, read_tensors, kv_bytes, blob_bytes, aliases } = wants;
    let places: Map<_, _> = folders.iter().map(|name| (name.clone(), json!("/path/to/it"))).collect();
    let grants = [
        ("folders", !folders.is_empty(), Value::Object(places)),
        ("hosts", !hosts.is_empty(), json!(hosts)),
        ("models", !models.is_empty(), json!(models)),
        ("read_tensors", *read_tensors, json!(read_tensors)),
        ("kv_bytes", *kv_bytes > 0, json!(kv_bytes)),
        ("blob_bytes", *blob_bytes > 0, json!(blob_bytes)),
        ("aliases", !aliases.is_empty(), json!(aliases)),
    ];
    let wanted = grants.into_iter().filter(|(_, is_wanted, _)| *is_wanted);
    wanted.map(|(grant, _, value)| (grant.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use gesso_plugin_host::Manifest;

    use super::*;

    fn said(wants: &str) -> String {
        let text = format!(
            r#"{{"id": "depth", "version": "1.0.0", "api": "0.2.0", "worlds": ["http-handler"], "wants": {wants}}}"#
        );
        let manifest = Manifest::parse(text.as_bytes()).unwrap();
        report(&Checked { manifest, imports: Vec::new(), needs: None }, 1025)
    }

    #[test]
    fn aliases_are_told_where_there_are_some() {
        let told = said(r#"{"aliases": ["/depth/v1", "/depth/v2"]}"#);
        assert!(told.starts_with("depth 1.0.0: http-handler, 2 KiB"), "{told}");
        assert!(
            told.contains(
                "under /ext/depth/, and where an admin has granted them (`aliases`) at /depth/v1, /depth/v2"
            ),
            "{told}"
        );
        assert!(!said("{}").contains("aliases"));
    }

    #[test]
    fn what_is_wanted_is_told_as_an_admin_grants_it() {
        let told = said(r#"{"models": ["depth_*"], "kv_bytes": 4096, "folders": ["words"]}"#);
        let line = told.lines().find(|line| line.starts_with("`gesso plugin grant depth FILE`")).unwrap();
        let (_, file) = line.split_once("in FILE: ").unwrap();
        let grants: Value = serde_json::from_str(file).unwrap();
        let right = json!({"folders": {"words": "/path/to/it"}, "models": ["depth_*"], "kv_bytes": 4096});
        assert_eq!(grants, right);
        assert!(serde_json::from_str::<crate::grants::GrantBody>(file).is_ok());
        assert!(!said("{}").contains("plugin grant"));
    }
}
