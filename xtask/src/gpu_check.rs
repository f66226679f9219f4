//! `cargo xtask gpu-check`: what a GPU makes of our networks. The machine with the GPU need have neither Rust nor this
//! checkout: a folder with the program and the script is made to be carried there.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::parity;
use crate::paths::Paths;
use crate::process::{cargo, run};
use crate::setup;
use crate::stages::Stages;

/// The scripts; the first is the one to start.
const SCRIPTS: [&str; 4] = ["gpu_check.py", "full_parity.py", "bench_engine.py", "reference.py"];

/// Packs a check of parity and speed for a machine with a GPU (no Rust needed there), or runs it here
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Run it on this machine, with the Python on the path: it must have torch 2.11.0 with CUDA (10 min)
    #[arg(long)]
    run: bool,
    /// Pass to the script what follows `--`, `--device cpu` for instance; `-- --help` lists it
    #[arg(last = true)]
    script: Vec<String>,
}

pub(crate) fn command(options: &Options) -> Result<()> {
    let paths = Paths::find()?;
    let mut stages = Stages::new(setup::STAGES + if options.run { 3 } else { 2 });
    setup::stages(&paths, &mut stages)?;
    stages.run("build", "seconds after a build of the server", || {
        run(cargo(&paths.root).args(["build", "--package", "gesso-torch", "--example", parity::EXAMPLE]))
    })?;
    let folder = paths.root.join("target/gpu-check");
    stages.run("pack", "a second", || pack(&paths.root, &folder))?;
    if options.run {
        stages.run("check", "about 10 min; leave the machine alone", || {
            let weights = paths.cache.join("parity-full");
            std::fs::create_dir_all(&weights)?;
            let mut python = Command::new("python3");
            python.arg(folder.join(SCRIPTS[0])).arg(folder.join(parity::EXAMPLE)).arg(weights);
            run(python.args(&options.script).env("PYTHONDONTWRITEBYTECODE", "1"))
        })?;
    }
    stages.finish()?;
    if !options.run {
        println!(
            "Carry {} to the machine with the GPU. There, with torch 2.11.0, diffusers and transformers for Python:\n  \
             python3 {} ./{} /tmp/gpu-check",
            folder.display(),
            SCRIPTS[0],
            parity::EXAMPLE
        );
    }
    Ok(())
}

/// The program without its symbols, which are most of it, and the scripts.
fn pack(root: &Path, folder: &Path) -> Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    std::fs::create_dir_all(folder)?;
    for script in SCRIPTS {
        let from = root.join("host/torch/tests/fixtures").join(script);
        std::fs::copy(&from, folder.join(script)).with_context(|| format!("{}", from.display()))?;
    }
    let built = root.join("target/debug/examples").join(parity::EXAMPLE);
    run(Command::new("strip").arg("--output-file").arg(folder.join(parity::EXAMPLE)).arg(built))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_module_of_ours_that_a_script_imports_is_packed() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/torch/tests/fixtures");
        let mut imported = 0;
        for script in SCRIPTS {
            let text = std::fs::read_to_string(folder.join(script)).unwrap();
            for line in text.lines().map(str::trim_start) {
                let name = line.strip_prefix("import ").or_else(|| line.strip_prefix("from "));
                let name = name.and_then(|rest| rest.split([' ', '.', ',']).next()).unwrap_or_default();
                let module = format!("{name}.py");
                if !name.is_empty() && folder.join(&module).is_file() {
                    imported += 1;
                    assert!(SCRIPTS.contains(&module.as_str()), "{script} imports {module}");
                }
            }
        }
        assert!(imported > 0, "they import each other");
    }
}
