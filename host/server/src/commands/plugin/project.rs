//! A plugin's folder: which language it is in, and how its component comes to be. Knows the tools by name, and says where
//! to get one that is missing.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use gesso_plugin_host::{Assets, Manifest, pack_component};
use gesso_store::Folder;
use serde_json::Value;

use super::kit;
use crate::settings::cli::plugin::Language;
use crate::telemetry;

/// The folder of a plugin's project whose files its component carries.
const ASSETS: &str = "assets";
/// More than all of a component's files may have.
const ASSET_BYTES_MAX: u64 = 64 << 20;

/// Where Python installs what is for one project: systems whose own Python is managed install nothing beside it.
const VENV: &str = ".venv/bin";

/// The versions that the kits were tried with.
pub(super) const COMPONENTIZE_PY: &str = "componentize-py==0.25.1";
pub(super) const COMPONENTIZE_QJS: (&str, &str) = ("componentize-qjs", "0.4.5");

pub(super) struct Project {
    pub(super) folder: PathBuf,
    pub(super) language: Language,
    pub(super) manifest: Manifest,
    manifest_text: Vec<u8>,
}

impl Project {
    /// Reads what is in the folder.
    pub(super) fn open(folder: &Path) -> anyhow::Result<Self> {
        let has = |name: &str| folder.join(name).is_file();
        let language = match (has("Cargo.toml"), has("plugin.py"), has("plugin.js")) {
            (true, ..) => Language::Rust,
            (_, true, _) => Language::Python,
            (.., true) => Language::Js,
            _ => bail!(
                "{} is no plugin's folder: it has none of Cargo.toml, plugin.py and plugin.js; `gesso plugin new` begins one",
                folder.display()
            ),
        };
        let path = folder.join("manifest.json");
        let manifest_text = std::fs::read(&path).with_context(|| {
            format!("{} cannot be read; `gesso plugin new` begins a plugin with one", path.display())
        })?;
        let manifest = Manifest::parse(&manifest_text).with_context(|| path.display().to_string())?;
        Ok(Self { folder: folder.to_owned(), language, manifest, manifest_text })
    }

    /// Where [`Self::build`] leaves the component.
    pub(super) fn component(&self) -> PathBuf {
        self.folder.join(format!("{}.wasm", self.manifest.id))
    }

    /// Compiles it and puts the manifest in, and the files of the folder `assets`.
    pub(super) fn build(&self) -> anyhow::Result<PathBuf> {
        let built = match self.language {
            Language::Rust => self.build_rust()?,
            Language::Python => self.build_python()?,
            Language::Js => self.build_js()?,
        };
        let bytes = std::fs::read(&built).with_context(|| format!("{} was not built", built.display()))?;
        let place = self.folder.join(ASSETS);
        let assets = if place.is_dir() { assets(&place)? } else { Assets::default() };
        let (packed, _) = pack_component(&bytes, &self.manifest_text, &assets)
            .map_err(|reason| anyhow::anyhow!("{}: {reason}", built.display()))?;
        let component = self.component();
        replace(&component, &packed)?;
        Ok(component)
    }

    /// Runs the author's own tests, which need no server.
    pub(super) fn unit_tests(&self) -> anyhow::Result<()> {
        kit::lay_out(self)?;
        let mut tests = match self.language {
            Language::Rust => Command::new("cargo"),
            Language::Python => self.tool(VENV, "python3"),
            Language::Js => Command::new("node"),
        };
        match self.language {
            Language::Rust => tests.arg("test"),
            Language::Python => tests
                .args(["-m", "unittest"])
                .env("PYTHONPATH", kit::FOLDER)
                .env("PYTHONDONTWRITEBYTECODE", "1"),
            Language::Js => tests.arg("--test"),
        };
        let hint = match self.language {
            Language::Rust => "https://rustup.rs has it",
            Language::Python => "Python 3.10 or later is needed",
            Language::Js => "Node 20 or later is needed",
        };
        self.run(&mut tests, hint)
    }

    fn build_rust(&self) -> anyhow::Result<PathBuf> {
        kit::lay_out(self)?;
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--release", "--target", "wasm32-wasip2", "--message-format"]);
        cargo.arg("json-render-diagnostics").current_dir(&self.folder).stderr(Stdio::inherit());
        let output = cargo.output().context("cargo does not start; https://rustup.rs has it")?;
        ensure!(
            output.status.success(),
            "the build failed; where the target is missing, `rustup target add wasm32-wasip2` installs it"
        );
        let text = String::from_utf8_lossy(&output.stdout);
        let artefacts = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let files = artefacts.filter_map(|message| {
            let files = message["filenames"].as_array()?;
            files.iter().filter_map(Value::as_str).find(|name| name.ends_with(".wasm")).map(PathBuf::from)
        });
        files
            .reduce(|_, last| last)
            .context("the build made no component: is `crate-type = [\"cdylib\"]` in Cargo.toml?")
    }

    fn build_python(&self) -> anyhow::Result<PathBuf> {
        let world = kit::lay_out_for_world(self)?;
        let mut tool = self.tool(VENV, "componentize-py");
        tool.args(["--quiet", "--wit-path"]).arg(kit::in_folder("wit")).args(["--world", &world]);
        // CPython imports all of WASI, sockets too, which no host of ours offers; what the kit needs it asks of the host.
        tool.args(["componentize", "--stub-wasi", "--python-path", kit::FOLDER, "--python-path", "."]);
        tool.args(["entry", "--output"]).arg(kit::in_folder("built.wasm"));
        let installs = format!("python3 -m venv .venv && .venv/bin/pip install {COMPONENTIZE_PY}");
        self.run(&mut tool, &format!("`{installs}` in the plugin's folder installs it"))?;
        Ok(self.folder.join(kit::in_folder("built.wasm")))
    }

    fn build_js(&self) -> anyhow::Result<PathBuf> {
        let world = kit::lay_out_for_world(self)?;
        let (name, version) = COMPONENTIZE_QJS;
        let mut tool = self.tool("node_modules/.bin", name);
        tool.arg("--wit").arg(kit::in_folder("wit")).args(["--world", &world, "--module-root", "."]);
        tool.arg("--js").arg(kit::in_folder("entry.js")).args(["--sync", "--stub-wasi", "--output"]);
        tool.arg(kit::in_folder("built.wasm")).stdout(Stdio::null());
        self.run(
            &mut tool,
            &format!("`npm install` in the plugin's folder, or `npm install {name}@{version}`"),
        )?;
        Ok(self.folder.join(kit::in_folder("built.wasm")))
    }

    /// A tool that was installed into `place`, in the plugin's folder or in one around it; else the one of that name that the
    /// terminal finds.
    fn tool(&self, place: &str, name: &str) -> Command {
        let folder = self.folder.canonicalize().unwrap_or_else(|_| self.folder.clone());
        let installed =
            folder.ancestors().map(|around| around.join(place).join(name)).find(|tool| tool.is_file());
        Command::new(installed.unwrap_or_else(|| PathBuf::from(name)))
    }

    fn run(&self, command: &mut Command, remedy: &str) -> anyhow::Result<()> {
        let name = command.get_program().to_string_lossy().into_owned();
        match command.current_dir(&self.folder).status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => bail!("{name} failed ({status}); what it says stands above"),
            Err(error) if error.kind() == ErrorKind::NotFound => bail!("{name} is not installed: {remedy}"),
            Err(error) => Err(error).with_context(|| format!("{name} does not start")),
        }
    }
}

/// Puts a component where one may be already; by rename, since a server may be watching the folder, and half a component is
/// none.
pub(super) fn replace(component: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let partial = component.with_added_extension("partial");
    std::fs::write(&partial, bytes)
        .and_then(|()| std::fs::rename(&partial, component))
        .with_context(|| format!("{} cannot be written", component.display()))
}

/// The files of a folder, for a component to carry.
fn assets(folder: &Path) -> anyhow::Result<Assets> {
    let opened = Folder::open(folder)?;
    let files = opened.list()?.into_iter().map(|name| -> anyhow::Result<_> {
        let bytes = opened.read(&name, ASSET_BYTES_MAX)?;
        Ok((name, bytes))
    });
    let files = files.collect::<Result<Vec<_>, _>>()?;
    Assets::new(files)
        .map_err(|reason| anyhow::anyhow!("the files of {} cannot be carried: {reason}", folder.display()))
}

/// `gesso plugin build`.
pub(super) fn build(folder: &Path) -> anyhow::Result<()> {
    let project = Project::open(folder)?;
    telemetry::announce(&format!("building {}", project.manifest.id));
    let component = project.build()?;
    super::check::run(&component)?;
    telemetry::announce(&format!("built {}", component.display()));
    Ok(())
}

/// `gesso plugin pack`.
pub(super) fn pack(
    file: &Path,
    manifest: &Path,
    folder: Option<&Path>,
    out: Option<&Path>,
) -> anyhow::Result<()> {
    let assets = folder.map(assets).transpose()?.unwrap_or_default();
    let component = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let manifest = std::fs::read(manifest).with_context(|| {
        format!("{} cannot be read; --manifest names the file with the plugin's manifest", manifest.display())
    })?;
    let (packed, named) = pack_component(&component, &manifest, &assets)
        .map_err(|reason| anyhow::anyhow!("{} cannot be packed: {reason}", file.display()))?;
    let out = out.map_or_else(|| file.with_file_name(format!("{}.wasm", named.id)), Path::to_owned);
    replace(&out, &packed)?;
    super::check::run(&out)?;
    telemetry::announce(&format!("packed {}", out.display()));
    Ok(())
}
