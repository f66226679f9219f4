//! `cargo xtask test`: everything the project tests, each kind in a stage of its own, told together at the end.

use anyhow::Result;

use crate::client_test;
use crate::kits;
use crate::paths::Paths;
use crate::process::{cargo, run, succeeds};
use crate::registry;
use crate::setup;
use crate::stages::Stages;

/// Runs all tests: host, documentation, plugins, a Python client (about 45 min cold on 2 cores, half of it the build)
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Leave out documentation tests and the Python client, kill the store and end servers under load a few times only
    #[arg(long)]
    fast: bool,
    /// How often the store is killed and must have lost nothing, and a server is ended under load and must have failed no
    /// request [default: 25, with --fast 5]
    #[arg(long)]
    rounds: Option<u32>,
}

pub(crate) fn command(options: &Options) -> Result<()> {
    let paths = Paths::find()?;
    let rounds = options.rounds.unwrap_or(if options.fast { 5 } else { 25 }).to_string();
    let mut stages = Stages::new(setup::STAGES + if options.fast { 4 } else { 6 });
    setup::stages(&paths, &mut stages)?;
    kits::stage(&paths, &mut stages)?;
    registry::stage(&paths, &mut stages);

    let nextest = succeeds(cargo(&paths.root).args(["nextest", "--version"]));
    let (runner, expected) = match nextest {
        true => ("cargo nextest", "about 40 min with the first build, half of that without"),
        false => (
            "cargo test",
            "cargo-nextest is not installed, so cargo's own; about 45 min with the first build",
        ),
    };
    stages.attempt(&format!("host tests ({runner})"), expected, || {
        let mut tests = cargo(&paths.root);
        match nextest {
            true => tests.args(["nextest", "run", "--workspace", "--no-fail-fast"]),
            false => tests.args([
                "test",
                "--workspace",
                "--no-fail-fast",
                "--lib",
                "--bins",
                "--tests",
                "--examples",
            ]),
        };
        run(tests.env(ROUNDS, &rounds))
    });
    if !options.fast {
        stages.attempt("documentation tests", "about 1 min", || {
            run(cargo(&paths.root).args(["test", "--workspace", "--doc"]))
        });
    }
    stages.attempt("plugin tests", "seconds", || {
        // On the host's own target: what plugins compute is tested without a sandbox around it.
        ["plugins", "examples/plugins"].iter().try_for_each(|workspace| {
            let mut tests = cargo(&paths.root);
            tests.env("CARGO_TARGET_DIR", paths.target.join("guests"));
            tests.args(["test", "--workspace", "--target", "x86_64-unknown-linux-gnu", "--manifest-path"]);
            run(tests.arg(paths.root.join(workspace).join("Cargo.toml")))
        })
    });
    if !options.fast {
        stages.attempt("Python client", "webuiapi draws a picture; 10 MB to fetch the first time", || {
            client_test::run(&paths)
        });
    }
    stages.finish()
}

/// Read by the store's test that kills its process, and by the server's that ends it under load.
const ROUNDS: &str = "GESSO_KILL_ROUNDS";
