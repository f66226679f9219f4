//! What admins did to plugins and what came of it: lines appended to a file, read back by plugin. Bounded by keeping one file
//! before the current one. Knows no change's rules.

use serde::{Deserialize, Serialize};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A file that has grown to this is set aside, in the place of the one set aside before.
const FILE_BYTES: u64 = 1 << 20;
/// Lines that are read back.
const LINES: usize = 200;

/// One event of a plugin's life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrailLine {
    /// Milliseconds since the Unix epoch; for reading only, nothing is decided by it.
    pub time_ms: u64,
    pub plugin: String,
    pub event: TrailEvent,
    /// Of the build that became active.
    pub version: Option<String>,
    pub digest: Option<String>,
    /// Why, or what, in a sentence.
    pub detail: Option<String>,
    /// Who asked for it; `None` of what the folder or a start brought about, and of lines from before this was kept.
    #[serde(default)]
    pub by: Option<String>,
    /// The request that asked for it.
    #[serde(default)]
    pub request_id: Option<String>,
}

/// Who asks for a change, and by which request; nobody where the folder was changed by hand.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asker {
    pub(crate) by: Option<String>,
    pub(crate) request_id: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrailEvent {
    /// Another build serves.
    Active,
    /// A build does not; the one before it may serve on.
    Refused,
    Granted,
    Configured,
    Removed,
    /// What it kept is gone.
    DataDropped,
}

pub(crate) struct Trail {
    path: PathBuf,
}

impl Trail {
    pub(crate) fn at(folder: &Path) -> Self {
        Self { path: folder.join("trail.jsonl") }
    }

    fn before(&self) -> PathBuf {
        self.path.with_extension("1.jsonl")
    }

    /// A trail that cannot be written keeps no change from being made.
    pub(crate) fn note(
        &self,
        plugin: &str,
        event: TrailEvent,
        build: Option<(&str, &str)>,
        detail: Option<String>,
        asker: &Asker,
    ) {
        let line = TrailLine {
            time_ms: now_ms(),
            plugin: plugin.to_owned(),
            event,
            version: build.map(|(version, _)| version.to_owned()),
            digest: build.map(|(_, digest)| digest.to_owned()),
            detail,
            by: asker.by.clone(),
            request_id: asker.request_id.clone(),
        };
        if let Err(error) = self.append(&line) {
            tracing::warn!(%error, path = %self.path.display(), "the trail of changes cannot be written");
        }
    }

    fn append(&self, line: &TrailLine) -> io::Result<()> {
        if std::fs::metadata(&self.path).is_ok_and(|file| file.len() > FILE_BYTES) {
            std::fs::rename(&self.path, self.before())?;
        }
        let mut file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        // One write, so that a crash leaves whole lines, the last one at worst cut off; a line begins one of its own.
        file.write_all(format!("\n{}", serde_json::to_string(line)?).as_bytes())
    }

    /// The newest lines of a plugin, oldest first; a line that was cut off is left out.
    pub(crate) fn of(&self, plugin: &str) -> Vec<TrailLine> {
        let text =
            [self.before(), self.path.clone()].map(|path| std::fs::read_to_string(path).unwrap_or_default());
        let lines =
            text.iter().flat_map(|text| text.lines()).filter_map(|line| serde_json::from_str(line).ok());
        let all: Vec<TrailLine> = lines.filter(|line: &TrailLine| line.plugin == plugin).collect();
        all[all.len().saturating_sub(LINES)..].to_vec()
    }
}

/// Milliseconds since the Unix epoch; for reading only, nothing is decided by it.
pub(crate) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_by_plugin_and_survive_a_cut_and_a_full_file() {
        let folder = tempfile::tempdir().unwrap();
        let (trail, nobody) = (Trail::at(folder.path()), Asker::default());
        trail.note("a", TrailEvent::Active, Some(("1.0.0", "abc")), None, &nobody);
        trail.note("b", TrailEvent::Removed, None, None, &nobody);
        trail.note("a", TrailEvent::Refused, None, Some("it does not compile".into()), &nobody);
        let mut file = OpenOptions::new().append(true).open(folder.path().join("trail.jsonl")).unwrap();
        file.write_all(b"\n{\"time_ms\": 1, \"plu").unwrap();
        let events: Vec<_> = trail.of("a").into_iter().map(|line| line.event).collect();
        assert_eq!(events, [TrailEvent::Active, TrailEvent::Refused]);
        assert_eq!(trail.of("nobody"), []);
        trail.note("a", TrailEvent::Configured, None, None, &nobody);
        assert_eq!(trail.of("a").len(), 3, "a cut line took the next one with it");

        file.write_all(format!("\n{}", "x".repeat(FILE_BYTES as usize)).as_bytes()).unwrap();
        trail.note("a", TrailEvent::Granted, None, None, &nobody);
        assert_eq!(trail.of("a").len(), 4);
        assert!(std::fs::metadata(folder.path().join("trail.jsonl")).unwrap().len() < 1000);
    }

    #[test]
    fn lines_tell_who_asked_and_those_from_before_that_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let trail = Trail::at(folder.path());
        let before =
            r#"{"time_ms":1,"plugin":"a","event":"active","version":"1.0.0","digest":"abc","detail":null}"#;
        std::fs::write(folder.path().join("trail.jsonl"), before).unwrap();
        let asker = Asker { by: Some("ann".into()), request_id: Some("r1".into()) };
        trail.note("a", TrailEvent::Removed, None, None, &asker);
        let lines = trail.of("a");
        let told = |line: &TrailLine| (line.event, line.by.clone(), line.request_id.clone());
        assert_eq!(told(&lines[0]), (TrailEvent::Active, None, None));
        assert_eq!(told(&lines[1]), (TrailEvent::Removed, Some("ann".into()), Some("r1".into())));
    }
}
