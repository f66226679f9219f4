//! `gesso plugin push`: an author's component into a registry, for servers to install it from.

use std::path::Path;

use super::check;
use crate::environment;
use crate::settings::cli::Serve;
use crate::telemetry;

pub(super) fn run(file: &Path, to: &str, config: Option<&Path>) -> anyhow::Result<()> {
    let (checked, _) = check::judge(file)?;
    let component = std::fs::read(file)?;
    let settings = environment::settings(&Serve { config: config.map(Path::to_owned), ..Serve::default() })?;
    let remotes = settings.remotes()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let digest = runtime.block_on(remotes.push(to, component.into(), &checked.manifest))?;
    telemetry::announce(&format!("{to} is {digest}"));
    Ok(())
}
