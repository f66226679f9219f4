//! `gesso plugin new`: a project to start from. Its sources are those of `examples/plugins`, which are built and tested with
//! everything else.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use gesso_plugin_host::Manifest;

use super::kit;
use super::project::{COMPONENTIZE_PY, COMPONENTIZE_QJS, Project};
use crate::environment;
use crate::settings::cli::plugin::{Language, NewPlugin, World};
use crate::telemetry;

/// A path in the project, and what stands there.
type File = (&'static str, String);

macro_rules! example {
    ($folder:literal: $($file:literal),+) => {
        vec![$((
            $file,
            include_str!(concat!("../../../../../examples/plugins/", $folder, "/", $file)).to_owned(),
        )),+]
    };
}

/// Manifest, source and test of the example, the manifest first.
fn example(language: Language, world: World) -> Vec<File> {
    use Language::{Js, Python, Rust};
    use World::{
        Annotator, GridHook, HttpExtension, InfotextHook, InputFetcher, ModelHook, PictureHook, RequestHook,
        SaveHook, Script, StepHook,
    };
    match (language, world) {
        (Rust, RequestHook) => example!("request-hook": "manifest.json", "src/lib.rs"),
        (Rust, Annotator) => example!("annotator": "manifest.json", "src/lib.rs"),
        (Rust, PictureHook) => example!("picture-hook": "manifest.json", "src/lib.rs"),
        (Rust, StepHook) => example!("step-hook": "manifest.json", "src/lib.rs"),
        (Rust, Script) => example!("script": "manifest.json", "src/lib.rs"),
        (Rust, HttpExtension) => example!("http-extension": "manifest.json", "src/lib.rs"),
        (Python, RequestHook) => {
            example!("python/request-hook": "manifest.json", "plugin.py", "test_plugin.py")
        }
        (Python, Annotator) => example!("python/annotator": "manifest.json", "plugin.py", "test_plugin.py"),
        (Python, PictureHook) => {
            example!("python/picture-hook": "manifest.json", "plugin.py", "test_plugin.py")
        }
        (Python, StepHook) => example!("python/step-hook": "manifest.json", "plugin.py", "test_plugin.py"),
        (Python, Script) => example!("python/script": "manifest.json", "plugin.py", "test_plugin.py"),
        (Python, HttpExtension) => {
            example!("python/http-handler": "manifest.json", "plugin.py", "test_plugin.py")
        }
        (Js, RequestHook) => example!("js/request-hook": "manifest.json", "plugin.js", "plugin.test.js"),
        (Js, Annotator) => example!("js/annotator": "manifest.json", "plugin.js", "plugin.test.js"),
        (Js, PictureHook) => example!("js/picture-hook": "manifest.json", "plugin.js", "plugin.test.js"),
        (Js, StepHook) => example!("js/step-hook": "manifest.json", "plugin.js", "plugin.test.js"),
        (Js, Script) => example!("js/script": "manifest.json", "plugin.js", "plugin.test.js"),
        (Js, HttpExtension) => example!("js/http-handler": "manifest.json", "plugin.js", "plugin.test.js"),
        (Rust, InputFetcher) => example!("input-fetcher": "manifest.json", "src/lib.rs"),
        (Python, InputFetcher) => {
            example!("python/input-fetcher": "manifest.json", "plugin.py", "test_plugin.py")
        }
        (Js, InputFetcher) => example!("js/input-fetcher": "manifest.json", "plugin.js", "plugin.test.js"),
        (Rust, InfotextHook) => example!("infotext-hook": "manifest.json", "src/lib.rs"),
        (Python, InfotextHook) => {
            example!("python/infotext-hook": "manifest.json", "plugin.py", "test_plugin.py")
        }
        (Js, InfotextHook) => example!("js/infotext-hook": "manifest.json", "plugin.js", "plugin.test.js"),
        (Rust, SaveHook) => example!("save-hook": "manifest.json", "src/lib.rs"),
        (Python, SaveHook) => example!("python/save-hook": "manifest.json", "plugin.py", "test_plugin.py"),
        (Js, SaveHook) => example!("js/save-hook": "manifest.json", "plugin.js", "plugin.test.js"),
        (Rust, ModelHook) => example!("model-hook": "manifest.json", "src/lib.rs"),
        (Python, ModelHook) => example!("python/model-hook": "manifest.json", "plugin.py", "test_plugin.py"),
        (Js, ModelHook) => example!("js/model-hook": "manifest.json", "plugin.js", "plugin.test.js"),
        (Rust, GridHook) => example!("grid-hook": "manifest.json", "src/lib.rs"),
        (Python, GridHook) => example!("python/grid-hook": "manifest.json", "plugin.py", "test_plugin.py"),
        (Js, GridHook) => example!("js/grid-hook": "manifest.json", "plugin.js", "plugin.test.js"),
    }
}

fn does(world: World) -> &'static str {
    match world {
        World::RequestHook => "ends every prompt with a style",
        World::Annotator => "makes a ControlNet map of few levels",
        World::PictureHook => "says how bright a picture is",
        World::StepHook => "gives high guidance the contrast of the prompt's own estimate",
        World::Script => "draws a request with several seeds",
        World::InputFetcher => "brings pictures of one colour",
        World::HttpExtension => "counts the words of a text",
        World::InfotextHook => "puts the template of a prompt back in its place",
        World::SaveHook => "writes a line into its log for each picture that is saved",
        World::ModelHook => "writes a line into its log for each checkpoint that is loaded",
        World::GridHook => "lays the pictures of a grid in one row",
    }
}

pub(super) fn run(arguments: &NewPlugin) -> anyhow::Result<()> {
    let NewPlugin { name, language, world, folder, sdk } = arguments;
    let is_id = (1..=64).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if !is_id {
        bail!("{name:?} cannot name a plugin; use a to z, 0 to 9 and -, beginning with a letter");
    }
    let folder = folder.clone().unwrap_or_else(|| PathBuf::from(name));
    if folder.exists() {
        bail!("{} is there already; choose another name, or another place with --folder", folder.display());
    }
    let mut files = named(example(*language, *world), name)?;
    let (around, kit) = match language {
        Language::Rust => {
            let sdk = rust_sdk(sdk.as_deref())?;
            (around_rust(name, &sdk), sdk)
        }
        Language::Python => (around_python(), PathBuf::from(kit::FOLDER)),
        Language::Js => (around_js(), PathBuf::from(kit::FOLDER)),
    };
    files.extend(around);
    files.push(("README.md", readme(name, *language, *world, &kit.join("README.md"))));
    for (path, text) in files {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)
                .with_context(|| format!("{} cannot be made", parent.display()))?;
        }
        std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    // So that editors and the language's own test runner find it from the start.
    kit::lay_out(&Project::open(&folder)?)?;
    telemetry::announce(&format!(
        "{} is a plugin that {}.\n\n  cd {}\n{}\n",
        folder.display(),
        does(*world),
        folder.display(),
        steps(name, *language)
    ));
    Ok(())
}

/// The one that is named, that of the checkout around, or the one in the plugin's own folder.
fn rust_sdk(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    let checkout = || environment::checkout().map(|checkout| checkout.join("sdk-plugin"));
    let Some(sdk) = named.map(Path::to_owned).or_else(checkout) else {
        return Ok(PathBuf::from(kit::SDK));
    };
    sdk.canonicalize().with_context(|| {
        format!("there is no SDK at {}; --sdk names the folder sdk-plugin of a checkout", sdk.display())
    })
}

/// The example under its new name.
fn named(mut files: Vec<File>, name: &str) -> anyhow::Result<Vec<File>> {
    let manifest = Manifest::parse(files[0].1.as_bytes())?;
    files[0].1 = files[0].1.replace(&format!("{:?}", manifest.id), &format!("{name:?}"));
    files[0].1 =
        files[0].1.replace("\"Example: ", "\"").replace(" (Python)", "").replace(" (JavaScript)", "");
    Ok(files)
}

fn around_rust(name: &str, sdk: &Path) -> Vec<File> {
    let cargo = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\npublish = false\n\n[lib]\ncrate-type = \
         [\"cdylib\", \"rlib\"]\n\n[dependencies]\ngesso-plugin = {{ path = {sdk:?} }}\n\n# Small is fast to load, too.\n\
         [profile.release]\nopt-level = \"s\"\nlto = true\ncodegen-units = 1\nstrip = true\npanic = \"abort\"\n\n\
         [workspace]\nexclude = [{kit:?}]\n",
        kit = kit::FOLDER
    );
    vec![("Cargo.toml", cargo), (".gitignore", format!("/target\n/*.wasm\n/{}\n", kit::FOLDER))]
}

fn around_python() -> Vec<File> {
    vec![
        ("requirements.txt", format!("{COMPONENTIZE_PY}\n")),
        ("pyrightconfig.json", format!("{{ \"extraPaths\": [\"{}\"] }}\n", kit::FOLDER)),
        (".gitignore", format!("/{}\n/.venv\n/*.wasm\n__pycache__\n", kit::FOLDER)),
    ]
}

fn around_js() -> Vec<File> {
    let (tool, version) = COMPONENTIZE_QJS;
    let package = format!(
        "{{\n  \"private\": true,\n  \"type\": \"module\",\n  \"devDependencies\": {{ \"{tool}\": \"{version}\" }}\n}}\n"
    );
    let types = format!("{{ \"include\": [\"*.js\", \"{}/index.d.ts\"] }}\n", kit::FOLDER);
    vec![
        ("package.json", package),
        ("jsconfig.json", types),
        (".gitignore", format!("/{}\n/*.wasm\n/node_modules\n", kit::FOLDER)),
    ]
}

/// What to do next, in a terminal in the plugin's folder.
fn steps(name: &str, language: Language) -> String {
    let tools = match language {
        Language::Rust => "rustup target add wasm32-wasip2".to_owned(),
        Language::Python => "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt".to_owned(),
        Language::Js => "npm install".to_owned(),
    };
    [
        (tools, "once"),
        ("gesso plugin test".to_owned(), "its own tests, then the component in a host like the server's"),
        ("gesso plugin build".to_owned(), "the component"),
        (format!("gesso plugin install {name}.wasm"), "into a running server"),
        ("gesso plugin dev".to_owned(), "or all of it again whenever a file changes"),
    ]
    .iter()
    .map(|(command, what)| format!("  {command:47} # {what}"))
    .collect::<Vec<_>>()
    .join("\n")
}

/// `kit` says what a manifest may have.
fn readme(name: &str, language: Language, world: World, kit: &Path) -> String {
    let (steps, does, kit) = (steps(name, language).replace("\n  ", "\n    "), does(world), kit.display());
    format!(
        "# {name}\n\nA plugin for Gesso that {does}.\n\n  {steps}\n\nWhat else `manifest.json` may say is in `{kit}`.\n"
    )
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_world_has_a_project_of_its_own_name_in_every_language() {
        for language in [Language::Rust, Language::Python, Language::Js] {
            for world in World::value_variants() {
                let files = named(example(language, *world), "my-plugin").unwrap();
                let manifest = Manifest::parse(files[0].1.as_bytes()).unwrap();
                assert_eq!(manifest.id, "my-plugin");
                assert!(!manifest.title.unwrap().starts_with("Example"));
                let sources = &files[1..];
                assert!(sources.iter().all(|(_, text)| !text.contains("example-")), "{language:?} {world:?}");
            }
        }
    }

    #[test]
    fn a_world_is_known_by_the_name_that_the_guide_has_for_it() {
        assert_eq!(World::from_str("http-handler", false), Ok(World::HttpExtension));
        assert_eq!(World::from_str("http-extension", false), Ok(World::HttpExtension));
    }

    #[test]
    fn the_project_in_rust_finds_its_sdk() {
        let files = around_rust("my-plugin", Path::new("/sdk"));
        assert!(files[0].1.contains("gesso-plugin = { path = \"/sdk\" }"));
    }
}
