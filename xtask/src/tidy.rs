//! `cargo xtask tidy`: the rules of the house that no compiler checks, from `cargo metadata` and the files as they
//! lie. One file per rule below `tidy/`; `lint` calls this too.

mod dependencies;
mod deploy;
mod files;
mod licences;
mod plugins;
mod wit;

use anyhow::{Result, bail};

use crate::build_plugins::WORKSPACES;
use crate::paths::Paths;
use crate::process::metadata;
use crate::stages::Stages;
use crate::wit_freeze;

/// Checks dependency direction, licences and sources, wit/, file sizes, deploy/ and plugins' pictures (a few seconds)
#[derive(clap::Args)]
pub(crate) struct Options {}

pub(crate) fn command(_: &Options) -> Result<()> {
    let paths = Paths::find()?;
    let mut stages = Stages::new(1);
    stages.run("tidy", "a few seconds", || check(&paths))?;
    stages.finish()
}

pub(crate) fn check(paths: &Paths) -> Result<()> {
    let lists = licences::Lists::read(&paths.root.join("deny.toml"))?;
    // The host on the platform it is built for, guests on theirs.
    let host = metadata(&paths.root, &["--filter-platform", "x86_64-unknown-linux-gnu"])?;
    let mut problems = dependencies::problems(&host);
    problems.extend(lists.problems(&host)?);
    for workspace in WORKSPACES {
        let guests = metadata(&paths.root.join(workspace), &["--filter-platform", "wasm32-wasip2"])?;
        problems.extend(lists.problems(&guests)?);
    }
    problems.extend(wit_freeze::problems(&paths.root)?);
    problems.extend(wit::problems(&paths.root)?);
    problems.extend(files::problems(&paths.root)?);
    problems.extend(deploy::problems(&paths.root)?);
    problems.extend(plugins::problems(&paths.root)?);
    if problems.is_empty() {
        return Ok(());
    }
    bail!("{} rules of the house are broken:\n  {}", problems.len(), problems.join("\n  "))
}
