//! The tables that `bench api` prints. Knows nothing of how it was measured.

use super::load::Done;

/// A line of the table: ours, and what it is measured beside.
pub(super) struct Row {
    pub(super) work: String,
    pub(super) ours: f64,
    pub(super) beside: f64,
    pub(super) unit: Unit,
}

#[derive(Clone, Copy)]
pub(super) enum Unit {
    /// More is better.
    PerSecond,
    /// Less is better.
    Milliseconds,
}

/// Bytes in memory.
pub(super) struct Memory {
    pub(super) state: String,
    pub(super) gesso: u64,
    pub(super) fastapi: u64,
}

/// Seconds of a request, and those of them that it was in the engine.
#[derive(Clone, Copy)]
pub(super) struct Split {
    pub(super) whole: f64,
    pub(super) engine: f64,
}

impl Row {
    pub(super) fn rates<T>(work: String, ours: &Done<T>, beside: &Done<T>) -> Self {
        Self { work, ours: ours.per_second(), beside: beside.per_second(), unit: Unit::PerSecond }
    }

    /// The median, and what one in a hundred takes longer than.
    pub(super) fn times(what: &str, work: &str, ours: &Done<()>, beside: &Done<()>) -> [Self; 2] {
        [("p50", 0.5), ("p99", 0.99)].map(|(name, share)| Self {
            work: format!("{what}, {name}: {work}"),
            ours: ours.percentile(share),
            beside: beside.percentile(share),
            unit: Unit::Milliseconds,
        })
    }
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::PerSecond => format!("{value:.0} /s"),
            Self::Milliseconds => format!("{value:.2} ms"),
        }
    }
}

impl Split {
    /// What the service adds, in seconds.
    fn around(self) -> f64 {
        self.whole - self.engine
    }
}

pub(super) fn print(rows: &[Row], memory: &[Memory]) {
    println!("\n| Work | Gesso | Beside it | Ratio |\n|---|---|---|---|");
    for Row { work, ours, beside, unit } in rows {
        println!("| {work} | {} | {} | {:.2} |", unit.show(*ours), unit.show(*beside), ours / beside);
    }
    println!("\n| Memory | Gesso | FastAPI |\n|---|---|---|");
    let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    for Memory { state, gesso, fastapi } in memory {
        println!("| {state} | {} | {} |", megabytes(*gesso), megabytes(*fastapi));
    }
}

/// A request on an engine that takes no time, and a `picture` that is really drawn.
pub(super) fn print_around(request: Split, picture: Split, about_picture: &str) {
    println!(
        "\nA sync request on an engine that takes no time took {:.2} ms on average, {:.2} ms of them in the engine: the \
         service takes {:.2} ms.",
        request.whole * 1e3,
        request.engine * 1e3,
        request.around() * 1e3
    );
    println!(
        "\n{about_picture} took {:.3} s, {:.3} s of them in the engine: the service adds {:.2} %.",
        picture.whole,
        picture.engine,
        picture.around() / picture.engine * 100.0
    );
}
