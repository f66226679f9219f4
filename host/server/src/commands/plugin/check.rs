//! `gesso plugin check`: what a server would say to a component, without one.

use std::path::Path;

use anyhow::{Context, bail};
use gesso_plugin_host::{Checked, check_component};

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
}
