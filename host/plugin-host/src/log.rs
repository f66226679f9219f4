//! The log of one plugin: a ring of recent lines, fed by `call.log` and by the guest's standard streams. Read by
//! the plugin's page. Bounded in lines and bytes, and never repeats control characters of a guest.

use serde::Serialize;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Lines kept for each plugin.
const RING_LINES: usize = 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
}

/// One line of a plugin's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// Milliseconds since the Unix epoch; for reading only, nothing is decided by it.
    pub time_ms: u64,
    pub level: LogLevel,
    pub request_id: String,
    pub text: String,
}

#[derive(Debug, Default)]
pub(crate) struct LogRing {
    lines: Mutex<VecDeque<LogLine>>,
}

impl LogRing {
    pub(crate) fn push(&self, level: LogLevel, request_id: &str, text: String) {
        let time_ms =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == RING_LINES {
            lines.pop_front();
        }
        lines.push_back(LogLine { time_ms, level, request_id: request_id.to_owned(), text });
    }

    pub(crate) fn clear(&self) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(crate) fn snapshot(&self) -> Vec<LogLine> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// At most `max` bytes of `text` with control characters escaped, so that one call to `log` is one line and no
/// terminal is driven by it.
pub(crate) fn tidy(text: &str, max: usize) -> String {
    let mut line = String::with_capacity(text.len().min(max) + 1);
    for character in text.chars() {
        let before = line.len();
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
        if line.len() > max {
            line.truncate(before);
            line.push('…');
            break;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_control_characters_and_cuts_long_lines() {
        assert_eq!(tidy("a\nb\u{1b}[31m", 100), "a\\nb\\u{1b}[31m");
        assert_eq!(tidy("ääää", 5), "ää…");
    }

    #[test]
    fn keeps_the_newest_lines() {
        let ring = LogRing::default();
        for number in 0..=RING_LINES {
            ring.push(LogLevel::Info, "r", number.to_string());
        }
        let lines = ring.snapshot();
        assert_eq!(lines.len(), RING_LINES);
        assert_eq!(lines[0].text, "1");
    }
}
