//! `cargo xtask parity`: our networks beside diffusers and transformers. The small comparison is part of the torch
//! crate's tests; the full one makes random weights of Stable Diffusion 1.5's size and takes minutes and gigabytes.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::machine;
use crate::paths::Paths;
use crate::process::{cargo, run};
use crate::python;
use crate::setup;
use crate::stages::Stages;

/// Compares with diffusers and transformers: committed fixtures (1 min), or --full at SD1.5's size (15 min)
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Install the reference (5 GB in the cache, once), draw random weights of full size and print the table
    #[arg(long)]
    full: bool,
}

/// Our side, an example of the torch crate.
pub(crate) const EXAMPLE: &str = "beside_diffusers";
/// Packages 5 GB, twice while pip unpacks them, and the weights.
const ROOM_BYTES: u64 = 20_000_000_000;

pub(crate) fn command(options: &Options) -> Result<()> {
    let paths = Paths::find()?;
    let mut stages = Stages::new(setup::STAGES + if options.full { 3 } else { 1 });
    setup::stages(&paths, &mut stages)?;
    if options.full {
        full(&paths, &mut stages)?;
    } else {
        stages.run("fixtures", "about 1 min after the build", || {
            run(cargo(&paths.root).args(["test", "--package", "gesso-torch", "--tests"]))
        })?;
    }
    stages.finish()
}

/// Installs the reference and has it make weights of full size and what it computes with them: its packages, and the
/// folder with both.
pub(crate) fn reference(paths: &Paths, stages: &mut Stages) -> Result<(PathBuf, PathBuf)> {
    let requirements = paths.root.join("xtask/requirements/parity.txt");
    let packages = stages.run("reference packages", "3 GB to fetch, about 5 min, once", || {
        machine::check_room(&paths.cache, ROOM_BYTES, "make room, or set GESSO_CACHE to another disk")?;
        python::packages(&paths.cache, "parity", &requirements)
    })?;
    let folder = paths.cache.join("parity-full");
    std::fs::create_dir_all(&folder)?;
    stages.run("reference tensors", "about 4 min", || {
        let mut python = Command::new("python3");
        python.arg(paths.root.join("host/torch/tests/fixtures/full_parity.py")).arg(&folder);
        run(python.env("PYTHONPATH", &packages).env("PYTHONDONTWRITEBYTECODE", "1"))
    })?;
    Ok((packages, folder))
}

fn full(paths: &Paths, stages: &mut Stages) -> Result<()> {
    let (_, folder) = reference(paths, stages)?;
    stages.run("comparison", "about 4 min after the build", || {
        let mut example = cargo(&paths.root);
        run(example
            .args(["run", "--package", "gesso-torch", "--example", EXAMPLE, "--", "parity"])
            .arg(&folder))
    })
}
