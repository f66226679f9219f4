//! Progress of one long step: a bar on a terminal, a line every 15 seconds on a pipe.
//! Used by downloads, extraction and the demonstration's picture.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::stages::size;

const LINE_EVERY: Duration = Duration::from_secs(15);

pub(crate) struct Meter {
    label: String,
    total: u64,
    unit: Unit,
    shown: Shown,
}

#[derive(Clone, Copy)]
pub(crate) enum Unit {
    Bytes,
    Steps,
}

enum Shown {
    Bar(ProgressBar),
    Lines { last: Instant },
}

impl Meter {
    pub(crate) fn new(label: &str, total: u64, unit: Unit) -> Self {
        let shown = if std::io::stderr().is_terminal() {
            let template = match unit {
                Unit::Bytes => "      {msg} {wide_bar} {bytes}/{total_bytes} {eta}",
                Unit::Steps => "      {msg} {wide_bar} {pos}/{len} {eta}",
            };
            let style =
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            Shown::Bar(ProgressBar::new(total).with_style(style).with_message(label.to_owned()))
        } else {
            Shown::Lines { last: Instant::now() }
        };
        Self { label: label.to_owned(), total, unit, shown }
    }

    pub(crate) fn set(&mut self, position: u64) {
        let position = position.min(self.total);
        match &mut self.shown {
            Shown::Bar(bar) => bar.set_position(position),
            Shown::Lines { last } if last.elapsed() >= LINE_EVERY => {
                *last = Instant::now();
                let (done, total) = match self.unit {
                    Unit::Bytes => (size(position), size(self.total)),
                    Unit::Steps => (position.to_string(), self.total.to_string()),
                };
                println!("      {}: {done} of {total}", self.label);
            }
            Shown::Lines { .. } => {}
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}
