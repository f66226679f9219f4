//! The numbered stages every command prints: what is done, what it will cost, what it cost.
//! Knows nothing of the work itself.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

pub(crate) struct Stages {
    total: usize,
    records: Vec<Record>,
}

struct Record {
    title: String,
    outcome: Outcome,
}

enum Outcome {
    Skipped,
    Done(Duration),
    Failed(Duration),
}

impl Stages {
    pub(crate) fn new(total: usize) -> Self {
        Self { total, records: Vec::new() }
    }

    /// A stage that needs no work, with the reason.
    pub(crate) fn skip(&mut self, title: &str, reason: &str) {
        println!("[{}/{}] {title}: {reason}", self.records.len() + 1, self.total);
        self.records.push(Record { title: title.to_owned(), outcome: Outcome::Skipped });
    }

    /// A stage the command cannot go on without. `expected` says size and time beforehand.
    pub(crate) fn run<T>(
        &mut self,
        title: &str,
        expected: &str,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let number = self.records.len() + 1;
        println!("[{number}/{}] {title} … {expected}", self.total);
        let start = Instant::now();
        let result = work();
        let cost = start.elapsed();
        let outcome = if result.is_ok() { Outcome::Done(cost) } else { Outcome::Failed(cost) };
        self.records.push(Record { title: title.to_owned(), outcome });
        match &result {
            Ok(_) => println!("      done in {}", duration(cost)),
            Err(_) => println!("      failed after {}", duration(cost)),
        }
        result.with_context(|| format!("stage {number} of {} ({title})", self.total))
    }

    /// A stage whose failure is told at once and counted at the end, so that one run shows all failures.
    pub(crate) fn attempt(&mut self, title: &str, expected: &str, work: impl FnOnce() -> Result<()>) {
        if let Err(error) = self.run(title, expected, work) {
            println!("      {error:#}");
        }
    }

    /// The list of stages with their cost; an error when one failed.
    pub(crate) fn finish(self) -> Result<()> {
        let width = self.records.iter().map(|record| record.title.chars().count()).max().unwrap_or(0);
        let mut failed = Vec::new();
        let mut sum = Duration::ZERO;
        println!();
        for record in &self.records {
            let text = match record.outcome {
                Outcome::Skipped => "skipped".to_owned(),
                Outcome::Done(cost) => {
                    sum += cost;
                    duration(cost)
                }
                Outcome::Failed(cost) => {
                    sum += cost;
                    failed.push(record.title.as_str());
                    format!("FAILED after {}", duration(cost))
                }
            };
            println!("  {:<width$}  {text}", record.title);
        }
        println!("  {:<width$}  {}", "together", duration(sum));
        let skipped = self.records.iter().filter(|record| matches!(record.outcome, Outcome::Skipped)).count();
        let passed = self.records.len() - failed.len() - skipped;
        println!("stages: {passed} passed, {} failed, {skipped} skipped", failed.len());
        if !failed.is_empty() {
            bail!("{} of {} stages failed: {}", failed.len(), self.records.len(), failed.join(", "));
        }
        Ok(())
    }
}

/// `0.4 s`, `12.3 s`, `3 min 05 s`.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 60 {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    }
}

/// `543 MB`, `1.9 GB`; powers of ten, as download sizes are given.
pub(crate) fn size(bytes: u64) -> String {
    if bytes < 1_000_000_000 {
        format!("{} MB", bytes.div_ceil(1_000_000))
    } else {
        format!("{:.1} GB", bytes as f64 / 1e9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_on_after_a_failed_attempt_and_names_it_at_the_end() {
        let mut stages = Stages::new(3);
        stages.attempt("first", "", || bail!("broken"));
        stages.attempt("second", "", || Ok(()));
        stages.skip("third", "nothing to do");
        let error = stages.finish().unwrap_err().to_string();
        assert_eq!(error, "1 of 3 stages failed: first");
    }

    #[test]
    fn a_stage_that_must_succeed_names_itself_in_the_error() {
        let error = Stages::new(2).run("libtorch", "", || -> Result<()> { bail!("no network") }).unwrap_err();
        assert_eq!(format!("{error:#}"), "stage 1 of 2 (libtorch): no network");
    }

    #[test]
    fn writes_times_and_sizes_as_people_read_them() {
        assert_eq!(duration(Duration::from_millis(420)), "0.4 s");
        assert_eq!(duration(Duration::from_secs(185)), "3 min 05 s");
        assert_eq!(size(543_563_777), "544 MB");
        assert_eq!(size(2_500_000_000), "2.5 GB");
    }
}
