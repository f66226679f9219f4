//! `cargo xtask lint`: formatting, clippy with warnings as errors, the rules of the house, and `cargo deny` where it
//! is installed. The quick checks come first.

use std::path::Path;

use anyhow::Result;

use crate::build_plugins::WORKSPACES;
use crate::guest_toolchain::{GuestToolchain, TARGET};
use crate::paths::Paths;
use crate::process::{cargo, run, succeeds};
use crate::setup;
use crate::stages::Stages;
use crate::tidy;

/// Checks formatting, clippy, dependency rules and licences (about 10 min cold, 1 min warm)
#[derive(clap::Args)]
pub(crate) struct Options {}

pub(crate) fn command(_: &Options) -> Result<()> {
    let paths = Paths::find()?;
    let mut stages = Stages::new(4 + setup::STAGES + 2 * WORKSPACES.len());
    format(&paths.root, "the host", &paths.root, &mut stages);
    for workspace in WORKSPACES {
        format(&paths.root, workspace, &paths.root.join(workspace), &mut stages);
    }
    stages.attempt("tidy", "dependency direction, licences, wit, file sizes, deploy", || tidy::check(&paths));
    if succeeds(cargo(&paths.root).args(["deny", "--version"])) {
        stages.attempt("cargo deny", "licences, bans and sources", || {
            run(cargo(&paths.root).args(["deny", "check", "licenses", "bans", "sources"]))
        });
    } else {
        stages.skip("cargo deny", "not installed; tidy has checked licences and sources against deny.toml");
    }
    setup::stages(&paths, &mut stages)?;
    stages.attempt("clippy of the host", "about 8 min cold", || {
        let mut clippy = cargo(&paths.root);
        run(clippy.args(["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]))
    });
    for workspace in WORKSPACES {
        let toolchain = GuestToolchain::find();
        if toolchain != Some(GuestToolchain::Installed) {
            stages.skip(&format!("clippy of {workspace}"), &format!("clippy has no {TARGET} here"));
            continue;
        }
        stages.attempt(&format!("clippy of {workspace}"), "seconds", || {
            let manifest = paths.root.join(workspace).join("Cargo.toml");
            let mut clippy = GuestToolchain::Installed.cargo(&paths.root, &paths.target, "clippy");
            clippy.args(["--quiet", "--workspace", "--manifest-path"]).arg(manifest);
            run(clippy.args(["--", "-D", "warnings"]))
        });
    }
    stages.finish()
}

fn format(root: &Path, name: &str, folder: &Path, stages: &mut Stages) {
    stages.attempt(&format!("formatting of {name}"), "a second", || {
        let manifest = folder.join("Cargo.toml");
        run(cargo(root).args(["fmt", "--all", "--manifest-path"]).arg(manifest).args(["--", "--check"]))
    });
}
