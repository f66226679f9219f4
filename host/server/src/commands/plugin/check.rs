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
