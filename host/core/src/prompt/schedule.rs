//! Prompt editing: `[a:b:0.5]` changes a prompt on the way, `[a|b]` cycles through its items. Turns a text into what
//! it says at which step. Called by [`super::Conditioning`] for each part. Leaves attention syntax as it is and knows
//! no sampler: steps are calls of the denoiser.

use std::collections::BTreeSet;

use grammar::{Number, Program};

mod grammar;

/// Entries of one schedule. A pass has at most 300 calls (150 steps, two calls each), so this cuts nothing a server
/// serves; it bounds the memory for a clock that it does not.
const ENTRIES_MAX: usize = 1000;

/// How long the pass is that a prompt is scheduled for, in calls of the denoiser: twice the sampler's steps if it is
/// of second order. Of image to image it is the steps asked for, even where fewer are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Calls of the first pass, or of the only one.
    pub steps: u32,
    /// Calls of the hires pass, if that is the pass meant. There fractions run from 1.0 to 2.0, and whole numbers
    /// continue after the first pass.
    pub hires_steps: Option<u32>,
    /// `use_old_scheduling`: every number below 1 is a fraction, others are steps, and the hires pass goes by the
    /// first pass's numbers.
    pub old: bool,
}

/// What a prompt says up to a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The last step it is for, from 1 to the clock's total.
    pub end: u32,
    pub text: String,
}

/// The entries of a text, at least one, with rising ends; the last ends with the pass. A text that is not well formed
/// is literal: one entry. Time and memory grow with the length of the text times the number of entries, which is at
/// most that of steps.
pub fn schedule(text: &str, clock: Clock) -> Vec<Entry> {
    let total = clock.total();
    let literal = || vec![Entry { end: total, text: text.to_owned() }];
    let Some(program) = Program::parse(text) else { return literal() };
    let mut ends: BTreeSet<u32> = program.numbers().map(|number| clock.boundary(number)).collect();
    if program.has_cycles() {
        ends.extend((1..=total).take(ENTRIES_MAX));
    }
    ends.remove(&0);
    ends.remove(&total);
    let ends = ends.into_iter().take(ENTRIES_MAX - 1).chain([total]);
    ends.map(|end| Entry { end, text: program.text_at(end, |number| clock.boundary(number)) }).collect()
}

/// What a schedule says at a call of the denoiser, counted from 0. The first entry whose end is not before it counts,
/// so an entry that ends at 3 is for four calls, 0 to 3, as in web UIs. Past the end the last one holds.
pub fn text_at(entries: &[Entry], call: u32) -> &str {
    let found = entries.partition_point(|entry| entry.end < call);
    entries.get(found).or(entries.last()).map_or("", |entry| &entry.text)
}

impl Clock {
    /// The clock of a first pass, or of the only one.
    pub fn new(steps: u32) -> Self {
        Self { steps, hires_steps: None, old: false }
    }

    /// The last step of the pass.
    fn total(self) -> u32 {
        let steps = if self.old { self.steps } else { self.hires_steps.unwrap_or(self.steps) };
        steps.max(1)
    }

    /// The last step before a change that a prompt puts at `number`; 0 when the change was before this pass.
    fn boundary(self, number: Number) -> u32 {
        let total = f64::from(self.total());
        let continued = !self.old && self.hires_steps.is_some();
        let step = match number.has_point {
            _ if self.old && number.value < 1.0 => number.value * total,
            _ if self.old => number.value,
            true => (number.value - if continued { 1.0 } else { 0.0 }) * total,
            false => number.value - if continued { f64::from(self.steps) } else { 0.0 },
        };
        // Within bounds, so nothing is lost but the fraction.
        step.clamp(0.0, total) as u32
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str, clock: Clock) -> Vec<String> {
        schedule(text, clock).into_iter().map(|entry| format!("{}:{}", entry.end, entry.text)).collect()
    }

    #[test]
    fn reads_the_documented_examples() {
        let clock = Clock::new(10);
        assert_eq!(shown("a [b:3]", clock), ["3:a ", "10:a b"]);
        assert_eq!(shown("a[b:[c:d:2]:1]e", clock), ["1:abe", "2:ace", "10:ade"]);
        assert_eq!(shown("((a][:b:c [d:3]", clock), ["3:((a][:b:c ", "10:((a][:b:c d"]);
        assert_eq!(shown("[a:b:c]", clock), ["10:[a:b:c]"]);
        let cycle: Vec<String> = (1..=10)
            .map(|step| format!("{step}:{}", if step % 4 == 1 { "female" } else { "male" }))
            .collect();
        assert_eq!(shown("[fe|||]male", clock), cycle);
    }

    #[test]
    fn a_hires_pass_continues_the_first() {
        let clock = Clock { steps: 10, hires_steps: Some(8), old: false };
        for (text, want) in [
            ("[a:b:.5]", &["8:b"][..]),
            ("[a:b:1.0]", &["8:b"][..]),
            ("[a:b:1.5]", &["4:a", "8:b"][..]),
            ("[a:b:2.0]", &["8:a"][..]),
            ("[a:b:3]", &["8:b"][..]),
            ("[a:b:13]", &["3:a", "8:b"][..]),
            ("[a:b:99]", &["8:a"][..]),
        ] {
            assert_eq!(shown(text, clock), want, "{text}");
        }
    }

    #[test]
    fn old_scheduling_goes_by_size_and_by_the_first_pass() {
        for hires_steps in [None, Some(8)] {
            let clock = Clock { steps: 10, hires_steps, old: true };
            assert_eq!(shown("[a:b:3e-1]", clock), ["3:a", "10:b"]);
            assert_eq!(shown("[a:b:1.5]", clock), ["1:a", "10:b"]);
        }
    }

    /// What another parser makes of the documented grammar: `tests/reference_prompts.py`.
    #[test]
    fn equals_the_reference_on_every_prompt_of_the_table() {
        let unescape = |text: &str| {
            let (mut plain, mut chars) = (String::new(), text.chars());
            while let Some(c) = chars.next() {
                plain.push(match c {
                    '\\' => match chars.next().unwrap() {
                        'n' => '\n',
                        't' => '\t',
                        other => other,
                    },
                    other => other,
                });
            }
            plain
        };
        let mut scheduled = 0;
        for line in include_str!("../../tests/prompt_schedules.txt").lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            let clock = Clock {
                steps: fields[0].parse().unwrap(),
                hires_steps: fields[1].parse().ok(),
                old: fields[2] == "old",
            };
            let want: Vec<String> = fields[4..].iter().map(|entry| unescape(entry)).collect();
            assert_eq!(shown(&unescape(fields[3]), clock), want, "{line}");
            scheduled += usize::from(want.len() > 1);
        }
        assert!(scheduled > 400, "{scheduled}");
    }

    #[test]
    fn a_call_uses_the_first_entry_that_does_not_end_before_it() {
        let entries = schedule("[a:b:3]", Clock::new(10));
        let texts: String = (0..12).map(|call| text_at(&entries, call)).collect();
        assert_eq!(texts, "aaaabbbbbbbb");
        assert_eq!(text_at(&[], 3), "");
    }

    #[test]
    fn a_clock_past_all_use_is_cut() {
        let entries = schedule("[a|b]", Clock::new(u32::MAX));
        assert_eq!((entries.len(), entries[ENTRIES_MAX - 1].end), (ENTRIES_MAX, u32::MAX));
        assert_eq!(schedule("[a|b]", Clock::new(0)).len(), 1);
    }

    /// Nested this deep, a parser that calls itself would end the process; in quadratic time this takes minutes.
    #[test]
    fn long_hostile_prompts_neither_overflow_nor_stall() {
        let start = Instant::now();
        let deep = |open: &str, close: &str| format!("{}x{}", open.repeat(50_000), close.repeat(50_000));
        for (open, close) in [
            ("[", "]"),
            ("(", ")"),
            ("[", ":3]"),
            ("[a:", ":.5]"),
            ("[a|", "]"),
            ("[([", ":1])|]"),
            ("[:", ""),
        ] {
            schedule(&deep(open, close), Clock::new(300));
        }
        for unit in ["[a:b:3]", "[a|b]", "[", "[(", "([)]", "|", ":", "\\", "[[a:2]"] {
            schedule(&unit.repeat(3000), Clock::new(300));
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    }

    fn prompts() -> impl Strategy<Value = String> {
        let structured = "(\\[|\\]|\\(|\\)|:|\\||\\\\|:3\\]|:0\\.5\\]|\\[a:b:|\\[a\\||[ab 1.é\n]){0,40}";
        prop_oneof![structured, any::<String>()]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn every_step_has_an_entry(
            text in prompts(), steps in 1u32..40, hires_steps in prop::option::of(1u32..40), old: bool,
        ) {
            let clock = Clock { steps, hires_steps, old };
            let entries = schedule(&text, clock);
            prop_assert_eq!(entries.last().map(|entry| entry.end), Some(clock.total()));
            prop_assert!(entries[0].end >= 1);
            prop_assert!(entries.windows(2).all(|pair| pair[0].end < pair[1].end));
            prop_assert!(entries.iter().all(|entry| entry.text.len() <= text.len()));
        }

        #[test]
        fn text_without_colons_and_bars_is_one_entry_as_it_is(text in "[a-z0-9 ,.é()\\[\\]]{0,60}") {
            prop_assert_eq!(schedule(&text, Clock::new(10)), [Entry { end: 10, text }]);
        }
    }
}
