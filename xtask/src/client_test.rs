//! Runs a client that others wrote, PyPI's `webuiapi`, against the real server: `tests/clients/webuiapi_test.py`
//! says what it does. Called by `test`, with the server that the host tests have built.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::paths::Paths;
use crate::process;
use crate::python;
use crate::server::Server;

pub(crate) fn run(paths: &Paths) -> Result<()> {
    let clients = paths.root.join("tests/clients");
    let packages = python::packages(&paths.cache, "clients", &clients.join("requirements.txt"))?;
    // Not built here: `cargo build -p gesso` alone resolves features otherwise than the whole workspace does, and
    // would compile wasmtime once more.
    let binary = paths.target.join("debug/gesso");
    ensure!(binary.exists(), "the host tests did not build {}", binary.display());
    let folder = paths.local.join("client-test");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    // A models folder of its own, into which the client puts a control network.
    let models = folder.join("models");
    let checkpoints = models.join("Stable-diffusion");
    std::fs::create_dir_all(&checkpoints)?;
    let demo = paths.root.join("examples/demo-model/demo-v3.safetensors");
    std::fs::copy(demo, checkpoints.join("demo-v3.safetensors"))?;
    let mut command = Server::command(&binary, &paths.root, "127.0.0.1:0", &folder);
    command.env("GESSO_MODELS", &models);
    let server = Server::launch(command, &folder, Duration::from_secs(180))?;
    let mut python = Command::new("python3");
    python.arg(clients.join("webuiapi_test.py")).arg(&server.url).arg(folder.join("data/admin-key"));
    python.arg(&models);
    python.env("PYTHONPATH", packages).env("PYTHONDONTWRITEBYTECODE", "1");
    process::run(&mut python).with_context(|| server.last_words())?;
    server.stop(Duration::from_secs(75))
}
