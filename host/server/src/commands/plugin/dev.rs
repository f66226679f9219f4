//! `gesso plugin dev`: builds whenever a source changes, puts what was built into a running server, and shows the plugin's log.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::project::Project;
use super::{Server, kit, line, log_line};
use crate::commands::client::Refusal;
use crate::telemetry;

/// Between looks at the sources and at the log.
const LOOK: Duration = Duration::from_millis(500);
/// Folders that builds write into.
const BUILT: [&str; 6] = ["target", "node_modules", "__pycache__", ".venv", ".git", kit::FOLDER];
/// Written by the first build, which would call for a second one.
const LOCK: &str = "Cargo.lock";
/// A source tree deeper or larger than this is no plugin's.
const DEPTH_MAX: usize = 8;

/// Until it is interrupted. A build or an install that fails says why, and the next change tries again.
pub(super) fn run(folder: &Path, server: &Server) -> anyhow::Result<()> {
    let id = Project::open(folder)?.manifest.id;
    telemetry::announce(&format!("watching {}; Ctrl-C ends it", folder.display()));
    let mut log = Log { place: format!("/plugins/{id}/logs"), last: None };
    let mut known = BTreeMap::new();
    loop {
        let sources = sources(folder);
        if sources != known {
            known = sources;
            match build_and_install(folder, server) {
                Ok(status) => telemetry::announce(&status),
                Err(error) => telemetry::complain(&format!("{error:#}")),
            }
        }
        log.news(server).iter().for_each(|text| telemetry::announce(text));
        std::thread::sleep(LOOK);
    }
}

fn build_and_install(folder: &Path, server: &Server) -> anyhow::Result<String> {
    // The server says itself what is wrong with it, and compiles it in any case.
    let component = Project::open(folder)?.build()?;
    let status = server.call("POST", "/plugins", "application/wasm", &[], Some(std::fs::read(component)?))?;
    Ok(line(&status))
}

/// Every source with the time it was last written.
fn sources(folder: &Path) -> BTreeMap<PathBuf, SystemTime> {
    let mut found = BTreeMap::new();
    let mut folders = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let Ok(about) = entry.metadata() else { continue };
            let is_built =
                name == LOCK || path.extension().is_some_and(|kind| kind == "wasm" || kind == "partial");
            if about.is_dir() && depth < DEPTH_MAX && !BUILT.iter().any(|built| name == *built) {
                folders.push((path, depth + 1));
            } else if let (true, false, Ok(written)) = (about.is_file(), is_built, about.modified()) {
                found.insert(path, written);
            }
        }
    }
    found
}

/// The plugin's log on the server, of which only what is new is shown.
struct Log {
    place: String,
    last: Option<Value>,
}

impl Log {
    fn news(&mut self, server: &Server) -> Vec<String> {
        self.new_of(server.json("GET", &self.place, None))
    }

    fn new_of(&mut self, answer: anyhow::Result<Value>) -> Vec<String> {
        let answer = match answer {
            Ok(answer) => answer,
            // All that a plugin logs which is not there yet will be news.
            Err(error) if error.downcast_ref::<Refusal>().is_some_and(Refusal::is_not_found) => Value::Null,
            // A server that is restarted or busy has nothing to show for now, and what it showed is known still.
            Err(_) => return Vec::new(),
        };
        let lines = answer.as_array().cloned().unwrap_or_default();
        let seen = self.last.as_ref().and_then(|last| lines.iter().rposition(|line| line == last));
        let first = match (&self.last, seen) {
            // What was logged before the watch began is not news.
            (None, _) => lines.len(),
            (Some(_), seen) => seen.map_or(0, |seen| seen + 1),
        };
        self.last = Some(lines.last().cloned().unwrap_or(Value::Null));
        lines[first..].iter().map(|line| format!("  {}", log_line(line))).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_builds_write_is_no_source() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "src/lib.rs",
            "target/debug/x.rs",
            ".kit/entry.py",
            "node_modules/a.js",
            ".venv/lib/a.py",
            "a.wasm",
            "Cargo.lock",
            "manifest.json",
        ] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let names: Vec<_> = sources(folder.path()).into_keys().collect();
        assert_eq!(names, ["manifest.json", "src/lib.rs"].map(|name| folder.path().join(name)));
    }

    #[test]
    fn lines_of_the_log_are_shown_once_whatever_the_server_answers_between() {
        let line = |text: &str| json!({"time_ms": 1, "level": "info", "text": text});
        let refused = |status| -> anyhow::Result<Value> { Err(Refusal { status, text: "no".into() }.into()) };
        let mut log = Log { place: String::new(), last: None };
        assert!(log.new_of(Ok(json!([line("before the watch")]))).is_empty());
        assert!(log.new_of(Err(anyhow::anyhow!("no answer"))).is_empty());
        assert!(log.new_of(refused(503)).is_empty());
        let told = log.new_of(Ok(json!([line("before the watch"), line("new")])));
        assert!(told.len() == 1 && told[0].ends_with("new"), "{told:?}");
        assert!(log.new_of(refused(404)).is_empty());
        let told = log.new_of(Ok(json!([line("of the plugin installed then")])));
        assert_eq!(told.len(), 1, "{told:?}");
    }
}
