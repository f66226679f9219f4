//! `cargo xtask fuzz-api`: schemathesis asks a server what its own document allows and what it does not, one request after
//! another and in the sequences that the document's links lead to. Pictures are made up, so that the time goes into requests.
//! Never part of `test`: what is asked is another each time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::paths::Paths;
use crate::process::{BUILD_TIME, build, run};
use crate::python;
use crate::server::Server;
use crate::setup;
use crate::stages::Stages;

/// Has schemathesis ask a server whatever it can think of, and judge the answers by the server's document (20 min)
#[derive(clap::Args)]
pub(crate) struct Options {
    /// For how many minutes it asks
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: u64,
    /// Pass to schemathesis what follows `--`, `--seed 7` or `--include-tag tasks` for instance
    #[arg(last = true)]
    more: Vec<String>,
}

/// Not asked: the first ends the server, and behind the others every drawing waits.
const LEFT_OUT: [&str; 3] = ["/restart", "/queue/pause", "/agent-scheduler/v1/queue/pause"];
/// What a document cannot say, so that these would blame what is wanted: which models, tasks and pictures there are; that web
/// UIs take numbers as texts, and null; that wrong credentials soon get 429. Tests hold those, by operation.
const NOT_CHECKED: &str = "positive_data_acceptance,negative_data_rejection,ignored_auth";
/// Every request needs its key, as on a server that others reach. Whom a task names is not told: nobody else's
/// server is asked for this.
const SETTINGS: &str = "access = \"closed\"\nwebhook_hosts = []\n";
/// Of one request, in seconds: the largest drawings are many megabytes of pictures.
const PATIENCE: &str = "60";
const START: Duration = Duration::from_secs(180);
/// Longer than the server's own drain.
const DRAIN: Duration = Duration::from_secs(75);

pub(crate) fn command(options: &Options) -> Result<()> {
    let paths = Paths::find()?;
    let mut stages = Stages::new(setup::STAGES + 3);
    setup::stages(&paths, &mut stages)?;
    let requirements = paths.root.join("xtask/requirements/fuzz_api.txt");
    let packages = stages.run("schemathesis", "30 MB to fetch the first time", || {
        python::packages(&paths.cache, "fuzz-api", &requirements)
    })?;
    stages.run("build", BUILD_TIME, || build(&paths.root))?;
    stages.run("requests", &format!("{} min", options.minutes), || ask(&paths, &packages, options))?;
    stages.finish()
}

fn ask(paths: &Paths, packages: &Path, options: &Options) -> Result<()> {
    let folder = paths.local.join("fuzz-api");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let server = start(paths, &folder)?;
    let key = fs::read_to_string(server.data().join("admin-key")).context("the server made no admin key")?;
    let mut python = Command::new("python3");
    python.args(["-m", "schemathesis.cli", "run"]).arg(format!("{}/openapi.json", server.url));
    python.args([
        "--checks",
        "all",
        "--exclude-checks",
        NOT_CHECKED,
        "--continue-on-failure",
        "--request-timeout",
        PATIENCE,
    ]);
    python.arg("--max-time").arg((options.minutes * 60).to_string());
    python.arg("--header").arg(format!("Authorization: Bearer {}", key.trim()));
    for path in LEFT_OUT {
        python.args(["--exclude-path", path]);
    }
    python.args(&options.more);
    // It keeps what it found beside where it is started.
    python.current_dir(&folder).env("PYTHONPATH", packages).env("PYTHONDONTWRITEBYTECODE", "1");
    run(&mut python).with_context(|| server.last_words())?;
    server.stop(DRAIN)
}

/// With folders of its own: requests may remove what is in them.
fn start(paths: &Paths, folder: &Path) -> Result<Server> {
    let checkpoints = folder.join("models/Stable-diffusion");
    fs::create_dir_all(&checkpoints)?;
    let demo = "demo-v3.safetensors";
    fs::copy(paths.root.join("examples/demo-model").join(demo), checkpoints.join(demo))?;
    let plugins = folder.join("plugins");
    fs::create_dir_all(&plugins)?;
    for file in components(&paths.plugins())? {
        fs::copy(&file, plugins.join(file.file_name().context("a plugin without a name")?))?;
    }
    let settings = folder.join("settings.toml");
    fs::write(&settings, SETTINGS)?;
    let binary = paths.target.join("debug/gesso");
    let mut command = Server::command(&binary, &paths.root, "127.0.0.1:0", folder);
    command.arg("--made-up-pictures").env("GESSO_CONFIG", settings);
    command.env("GESSO_MODELS", folder.join("models")).env("GESSO_PLUGINS", plugins);
    Server::launch(command, folder, START)
}

fn components(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for item in fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))? {
        let path = item?.path();
        if path.extension().is_some_and(|extension| extension == "wasm") {
            found.push(path);
        }
    }
    Ok(found)
}
