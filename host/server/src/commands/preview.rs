//! Pictures in the terminal of whoever runs a command: while they are drawn, each in the place of the one before, and when
//! they are. Knows what stands on the screen and how old it is. How a terminal takes a picture is [`escapes`]; where
//! pictures come from is the commands' own.
//!
//! They go to standard error, as progress bars do: standard output is for what scripts read.

mod escapes;

use std::io::Write;
use std::time::{Duration, Instant};

use console::Term;
use gesso_core::pixels::Pixels;
use indicatif::ProgressBar;

pub(crate) use escapes::Terminal;

use crate::environment;
use crate::settings::cli::drawing::Preview;
use escapes::{Frame, Way};

/// Drafts are looked at no oftener: each costs the server a request and the terminal a picture.
const PACE: Duration = Duration::from_secs(1);

pub(crate) struct Previews {
    /// `None` where nothing is shown.
    way: Option<Way>,
    looked: Option<Instant>,
    draft: Option<Pixels>,
    /// Of the draft that stands above the cursor.
    draft_rows: u16,
    /// Terminals that know pictures by numbers have the next in the place of the one of the same number.
    number: u32,
}

impl Previews {
    pub(crate) fn new(wanted: Preview) -> Self {
        let way = escapes::way(wanted, &environment::terminal());
        // Other programs number their pictures too, most of them from one.
        Self { way, looked: None, draft: None, draft_rows: 0, number: std::process::id() << 8 }
    }

    pub(crate) fn are_shown(&self) -> bool {
        self.way.is_some()
    }

    /// Whether it is time to look at a draft; who asks is taken to look.
    pub(crate) fn is_due(&mut self) -> bool {
        let due = self.way.is_some() && self.looked.is_none_or(|at| at.elapsed() >= PACE);
        if due {
            self.looked = Some(Instant::now());
        }
        due
    }

    /// Shows how far a picture is, above the bar, in the place of the draft before.
    pub(crate) fn show_draft(&mut self, bar: &ProgressBar, draft: &Pixels) {
        if self.draft.as_ref() == Some(draft) {
            return;
        }
        self.draft_rows = bar.suspend(|| self.show(draft));
        self.draft = Some(draft.clone());
    }

    /// Shows a picture that is finished, in the place of its draft. The next one goes below. No bar may be on the screen.
    pub(crate) fn show_picture(&mut self, picture: &Pixels) {
        self.show(picture);
        (self.draft, self.draft_rows) = (None, 0);
        self.number = self.number.wrapping_add(1);
    }

    /// The rows that it takes. A picture that cannot be shown is no failure: it is in a file, or will be.
    fn show(&self, picture: &Pixels) -> u16 {
        let of = |way| Frame::of(picture, way, Term::stderr().size(), self.number);
        let Some(frame) = self.way.and_then(of) else { return self.draft_rows };
        let mut out = std::io::stderr().lock();
        drop(out.write_all(frame.over(self.draft_rows).as_bytes()).and_then(|()| out.flush()));
        frame.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drafts_are_looked_for_at_a_pace_and_not_where_nothing_is_shown() {
        let mut never = Previews::new(Preview::Never);
        assert!(!never.are_shown() && !never.is_due());
        let mut always = Previews::new(Preview::Always);
        assert!(always.are_shown() && always.is_due());
        assert!(!always.is_due(), "a moment after the first");
        always.looked = Instant::now().checked_sub(PACE);
        assert!(always.is_due());
    }
}
