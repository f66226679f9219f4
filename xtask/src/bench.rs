//! `cargo xtask bench`: `engine` is the networks beside diffusers on the same random weights of Stable Diffusion 1.5's size,
//! alternating in one run, so that what counts is the ratio. Never part of a test: times are no bound.

use std::process::Command;

use anyhow::Result;

use crate::bench_api;
use crate::bench_plugins;
use crate::parity;
use crate::paths::Paths;
use crate::process::{BUILD_TIME, build, run};
use crate::setup;
use crate::stages::Stages;

/// Times Gesso beside others on this machine, as ratios
#[derive(clap::Args)]
pub(crate) struct Options {
    #[arg(value_enum)]
    what: What,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum What {
    /// UNet step in f32 and bf16, VAE decode, text encoder, beside diffusers (20 min, 20 GB of disk, 16 GB of memory)
    Engine,
    /// Calls of plugins, beside wasmtime alone and OpenCV, in Rust, Python and JavaScript (10 min)
    Plugins,
    /// Submits, results, status reads, listeners and memory, beside FastAPI with SQLite; a picture beside its engine (5 min)
    Api,
}

pub(crate) fn command(options: &Options) -> Result<()> {
    let paths = Paths::find()?;
    match options.what {
        What::Engine => engine(&paths),
        What::Plugins => bench_plugins::command(&paths),
        What::Api => bench_api::command(&paths),
    }
}

fn engine(paths: &Paths) -> Result<()> {
    let mut stages = Stages::new(setup::STAGES + 4);
    setup::stages(paths, &mut stages)?;
    let (packages, folder) = parity::reference(paths, &mut stages)?;
    // The profile of every other build: what is timed runs in libtorch.
    stages.run("build", BUILD_TIME, || build(&paths.root))?;
    stages.run("timing", "about 10 min; leave the machine alone", || {
        let mut python = Command::new("python3");
        python.arg(paths.root.join("host/torch/tests/fixtures/bench_engine.py")).arg(&folder);
        python.arg(paths.root.join("target/debug/examples").join(parity::EXAMPLE)).arg("bench").arg(&folder);
        python.env("PYTHONPATH", packages).env("PYTHONDONTWRITEBYTECODE", "1");
        run(python.env("LD_LIBRARY_PATH", paths.root.join(".gesso/libtorch/lib")))
    })?;
    stages.finish()
}
