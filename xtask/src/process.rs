//! Runs other programs for every command: shown to the person, or captured and quoted when they fail.
//! Knows nothing of what the programs do.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// `cargo` as the person would call it: without the variables that `cargo run` adds for this program, because
/// build scripts that watch them (ring's does) would run again after each change between nested and plain calls.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(root);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// How long [`build`] takes, as stages tell it.
pub(crate) const BUILD_TIME: &str = "about 12 min on 2 cores the first time, seconds after the tests";

/// Builds programs and examples. With examples cargo gives dependencies the features that tests ask for too, which reach down to
/// wasmtime: so what the tests have built is taken, and is not built once more for each.
pub(crate) fn build(root: &Path) -> Result<()> {
    run(cargo(root).args(["build", "--workspace", "--bins", "--examples"]))
}

/// Runs with this program's own output streams.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = describe(command);
    let status =
        command.stdin(Stdio::null()).status().with_context(|| format!("`{line}` could not be started"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// Runs silently and returns standard output; a failure quotes the end of standard error.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let line = describe(command);
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("`{line}` could not be started"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{line}` failed ({}): {}", output.status, last_lines(&said, 5));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// `cargo metadata` of the workspace at `folder`.
pub(crate) fn metadata(folder: &Path, arguments: &[&str]) -> Result<serde_json::Value> {
    let text = capture(cargo(folder).args(["metadata", "--format-version", "1"]).args(arguments))?;
    serde_json::from_str(&text).context("cargo metadata answered something that is not JSON")
}

pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

fn describe(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_program_is_quoted_with_its_last_words() {
        let error = capture(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("why"), "{error}");
    }

    #[test]
    fn keeps_only_the_last_lines_that_say_something() {
        assert_eq!(last_lines("a\n\nb\nc\n", 2), "b\nc");
        assert_eq!(last_lines("", 2), "");
    }
}
