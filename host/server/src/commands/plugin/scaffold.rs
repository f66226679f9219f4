//! `gesso plugin new`: a project to start from. Its sources are those of `examples/plugins`, which are built and tested with
//! everything else.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::environment;
use crate::settings::cli::{NewPlugin, World};
use crate::telemetry;

/// A plugin's files that differ between worlds.
struct Example {
    /// What the example calls itself, in its manifest.
    id: &'static str,
    manifest: &'static str,
    source: &'static str,
    /// What its README says of it.
    does: &'static str,
}

macro_rules! example {
    ($world:literal, $does:literal) => {
        Example {
            id: concat!("example-", $world),
            manifest: include_str!(concat!("../../../../../examples/plugins/", $world, "/manifest.json")),
            source: include_str!(concat!("../../../../../examples/plugins/", $world, "/src/lib.rs")),
            does: $does,
        }
    };
}

impl World {
    fn example(self) -> Example {
        match self {
            Self::RequestHook => example!("request-hook", "ends every prompt with a style"),
            Self::Annotator => example!("annotator", "makes a ControlNet map of few levels"),
            Self::Script => example!("script", "draws a request with several seeds"),
            Self::HttpExtension => example!("http-extension", "counts the words of a text"),
        }
    }
}

pub(super) fn run(arguments: &NewPlugin) -> anyhow::Result<()> {
    let NewPlugin { name, world, folder, sdk } = arguments;
    let is_id = (1..=64).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if !is_id {
        bail!("{name:?} cannot name a plugin; use a to z, 0 to 9 and -, beginning with a letter");
    }
    let sdk = match sdk {
        Some(sdk) => sdk.clone(),
        None => environment::checkout().map(|checkout| checkout.join("sdk-plugin")).context(
            "the SDK is not here: run this in a checkout of Gesso, or name the folder sdk-plugin of one with --sdk",
        )?,
    };
    let sdk = sdk.canonicalize().with_context(|| format!("there is no SDK at {}", sdk.display()))?;
    let folder = folder.clone().unwrap_or_else(|| PathBuf::from(name));
    if folder.exists() {
        bail!("{} is there already; choose another name, or another place with --folder", folder.display());
    }
    let example = world.example();
    for (path, text) in files(name, &example, &sdk) {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)
                .with_context(|| format!("{} cannot be made", parent.display()))?;
        }
        std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    telemetry::announce(&format!(
        "{} is a plugin that {}.\n\n  cd {}\n  cargo test                                      # its own tests, without a \
         server\n  cargo build --release --target wasm32-wasip2    # once: rustup target add wasm32-wasip2\n  gesso plugin \
         check {built}\n  gesso plugin install {built}",
        folder.display(),
        example.does,
        folder.display(),
        built = format_args!("target/wasm32-wasip2/release/{}.wasm", name.replace('-', "_")),
    ));
    Ok(())
}

fn files(name: &str, example: &Example, sdk: &Path) -> Vec<(&'static str, String)> {
    let manifest = example.manifest.replace(example.id, name).replace("\"Example: ", "\"");
    let cargo = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\npublish = false\n\n[lib]\ncrate-type = \
         [\"cdylib\", \"rlib\"]\n\n[dependencies]\ngesso-plugin = {{ path = {sdk:?} }}\n\n# Small is fast to load, too.\n\
         [profile.release]\nopt-level = \"s\"\nlto = true\ncodegen-units = 1\nstrip = true\npanic = \"abort\"\n\n\
         [workspace]\n"
    );
    let readme = format!(
        "# {name}\n\nA plugin for Gesso that {}.\n\n    cargo test\n    cargo build --release --target wasm32-wasip2\n    \
         gesso plugin install target/wasm32-wasip2/release/{}.wasm\n",
        example.does,
        name.replace('-', "_")
    );
    vec![
        ("Cargo.toml", cargo),
        ("manifest.json", manifest),
        ("src/lib.rs", example.source.to_owned()),
        ("README.md", readme),
        (".gitignore", "/target\n".to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use gesso_plugin_host::Manifest;

    use super::*;

    #[test]
    fn every_world_has_a_project_of_its_own_name() {
        for world in [World::RequestHook, World::Annotator, World::Script, World::HttpExtension] {
            let files = files("my-plugin", &world.example(), Path::new("/sdk"));
            let text = |name: &str| files.iter().find(|(path, _)| *path == name).unwrap().1.clone();
            let manifest = Manifest::parse(text("manifest.json").as_bytes()).unwrap();
            assert_eq!(manifest.id, "my-plugin");
            assert!(!manifest.title.unwrap().starts_with("Example"));
            assert!(text("Cargo.toml").contains("gesso-plugin = { path = \"/sdk\" }"));
            assert!(!text("src/lib.rs").contains("example-"), "{world:?} names itself in its source");
        }
    }
}
