//! The only place that reads environment variables, the current folder and the place of the binary.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::commands::preview::Terminal;
use crate::settings::{ENVIRONMENT, Settings, SettingsError, Surroundings, cli};
use crate::startup::StartupError;

/// Settings from flags, environment and file.
pub(crate) fn settings(arguments: &cli::Serve) -> Result<Settings, StartupError> {
    let mut said: Vec<(String, String, String)> = ENVIRONMENT
        .iter()
        .filter_map(|(name, key)| {
            let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
            Some(((*name).to_owned(), (*key).to_owned(), value))
        })
        .collect();
    said.extend(arguments.said());
    // Empty is as if it were not there, as with the other variables.
    let config = std::env::var_os("GESSO_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
    let config = arguments.config.clone().or(config);
    let file = match &config {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| SettingsError::Invalid {
                place: path.display().to_string(),
                message: format!("the settings file cannot be read: {error}"),
            });
            Some((path.as_path(), text?))
        }
        None => None,
    };
    let file = file.as_ref().map(|(path, text)| (*path, text.as_str()));
    Ok(Settings::resolve(&surroundings(), file, &said)?)
}

/// Hidden variables of the same prefix that no setting reads, most likely slips.
pub(crate) fn unknown_variables() -> Vec<String> {
    const OTHERS: &[&str] = &["GESSO_CONFIG", "GESSO_CACHE", "GESSO_URL", "GESSO_LOG", "GESSO_KILL_ROUNDS"];
    std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| name.starts_with("GESSO_"))
        .filter(|name| !OTHERS.contains(&name.as_str()) && ENVIRONMENT.iter().all(|(known, _)| known != name))
        .collect()
}

/// What to log; `GESSO_LOG` takes the usual directives, such as `debug` or `gesso_engine=trace`.
pub(crate) fn log_filter() -> String {
    std::env::var("GESSO_LOG")
        .unwrap_or_else(|_| "info,wasmtime=warn,cranelift_codegen=warn,sled=warn".into())
}

/// The command that this process was started with.
pub(crate) fn this_command() -> std::io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1));
    Ok(command)
}

/// What standard error leads to, by what terminals say of themselves.
pub(crate) fn terminal() -> Terminal {
    let said = |name: &str| std::env::var(name).unwrap_or_default();
    let is_said = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    Terminal {
        is_one: std::io::stderr().is_terminal(),
        term: said("TERM"),
        programs: [said("TERM_PROGRAM"), said("LC_TERMINAL")],
        colours: said("COLORTERM"),
        is_shared: is_said("TMUX") || is_said("STY"),
    }
}

/// The checkout of the project that this program, or the current folder, is in.
pub(crate) fn checkout() -> Option<PathBuf> {
    surroundings().checkout
}

fn surroundings() -> Surroundings {
    let places = [std::env::current_exe().ok(), std::env::current_dir().ok()];
    let checkout = places.iter().flatten().find_map(|place| {
        let is_checkout = |folder: &&Path| {
            folder.join("examples/demo-model").is_dir() && folder.join("host/server/Cargo.toml").is_file()
        };
        place.ancestors().find(is_checkout).map(Path::to_owned)
    });
    let user_data = std::env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share")));
    Surroundings { checkout, user_data }
}
