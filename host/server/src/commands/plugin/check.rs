//! `gesso plugin check`: what a server would say to a component, without one.

use std::path::Path;

use anyhow::{Context, bail};
use gesso_plugin_host::{Checked, Manifest, Wants, check_component};
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
    lines.extend(called_hooks(manifest));
    let wanted = wanted(&manifest.wants);
    if !wanted.is_empty() {
        lines.push(format!(
            "`gesso plugin grant {id} FILE` grants all that it wants, in place of every earlier grant and setting (those that are \
             to stay, as `gesso plugin show {id}` has them in `granted`, belong into FILE too), with this in FILE: {}",
            Value::Object(wanted),
            id = manifest.id
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

/// Of a plugin of the world `request-hook`: which hooks are called. A component has both, whether its author wrote them or the
/// kit did, so that the manifest alone says what is called.
pub(super) fn called_hooks(manifest: &Manifest) -> Option<String> {
    if !manifest.worlds.iter().any(|world| world == "request-hook") {
        return None;
    }
    let is_called = |hook: &&str| manifest.hooks.iter().any(|name| name == *hook);
    let (called, left_out): (Vec<_>, Vec<_>) = ["before", "after"].into_iter().partition(is_called);
    let called = if called.is_empty() { "none".to_owned() } else { called.join(", ") };
    let left_out = match left_out.as_slice() {
        [] => String::new(),
        hooks => format!("; left out by the manifest's `hooks`, and never called: {}", hooks.join(", ")),
    };
    Some(format!("hooks that are called: {called}{left_out}"))
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
        for part in ["in place of every earlier grant and setting", "`gesso plugin show depth`"] {
            assert!(line.contains(part), "{part} is not in {line}");
        }
    }

    #[test]
    fn hooks_that_the_manifest_leaves_out_are_told() {
        let hooks = |world: &str, said: &str| {
            let text =
                format!(r#"{{"id": "a", "version": "1.0.0", "api": "0.2.0", "worlds": ["{world}"]{said}}}"#);
            called_hooks(&Manifest::parse(text.as_bytes()).unwrap())
        };
        assert_eq!(hooks("request-hook", "").unwrap(), "hooks that are called: before, after");
        let one = hooks("request-hook", r#", "hooks": ["before"]"#).unwrap();
        assert_eq!(
            one,
            "hooks that are called: before; left out by the manifest's `hooks`, and never called: after"
        );
        let none = hooks("request-hook", r#", "hooks": []"#).unwrap();
        assert!(
            none.starts_with("hooks that are called: none; ") && none.ends_with(": before, after"),
            "{none}"
        );
        assert_eq!(hooks("http-handler", ""), None);
    }
}
