//! One side of a request for one pass: which texts guide which call of the denoiser, and how strongly. Made from a
//! prompt that has its styles in, and its comments and extra networks out; read by whoever drives a backend. Knows
//! neither sampler nor encoder.

use std::collections::HashMap;

use super::composition::{Part, parse_composition};
use super::schedule::{Clock, Entry, schedule};

/// The texts of a prompt and when each counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Conditioning {
    /// At least one. Those of one part stand together, each once.
    pub texts: Vec<ScheduledText>,
    /// At least one, with rising ends. Neighbours differ.
    pub stretches: Vec<Stretch>,
}

/// A text to encode.
///
/// Web UIs encode the texts of a part in one call of the encoder, one for each entry of its schedule: shorter ones get
/// empty chunks at their end, and [`crate::request::Emphasis::Original`] restores the mean over all of them. Parts of
/// different lengths are brought to one length by repeating the last vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduledText {
    pub text: String,
    /// Texts with equal numbers belong to one call of the encoder.
    pub part: usize,
    /// How many rows of that call it is: the entries of the schedule that say this.
    pub entries: u32,
}

/// Calls that are guided alike.
#[derive(Debug, Clone, PartialEq)]
pub struct Stretch {
    /// The last call, from 0.
    pub end: u32,
    /// Indices of [`Conditioning::texts`] with their weights; at least one.
    pub parts: Vec<(usize, f64)>,
}

impl Conditioning {
    /// Of a positive prompt: the word `AND` divides it.
    pub fn positive(prompt: &str, clock: Clock) -> Self {
        Self::of(parse_composition(prompt), clock)
    }

    /// Of a negative prompt, in which `AND` is text: one part of weight 1.
    pub fn negative(prompt: &str, clock: Clock) -> Self {
        Self::of(vec![Part { text: prompt.to_owned(), weight: 1.0 }], clock)
    }

    /// Texts and weights at a call of the denoiser, counted from 0. Past the end the last ones hold.
    pub fn at(&self, call: u32) -> &[(usize, f64)] {
        let found = self.stretches.partition_point(|stretch| stretch.end < call);
        self.stretches.get(found).or(self.stretches.last()).map_or(&[], |stretch| &stretch.parts)
    }

    fn of(parts: Vec<Part>, clock: Clock) -> Self {
        let mut texts = Vec::new();
        let mut known: HashMap<String, Vec<(u32, usize)>> = HashMap::new();
        // For each part its weight and, for each entry, the end and the index of the text.
        let mut timelines = Vec::with_capacity(parts.len());
        for Part { text, weight } in parts {
            let number = known.len();
            let timeline =
                known.entry(text).or_insert_with_key(|text| list(schedule(text, clock), number, &mut texts));
            timelines.push((timeline.clone(), weight));
        }
        Self { texts, stretches: stretches(&timelines) }
    }
}

/// Adds a schedule's texts to the list, each once; gives ends and indices.
fn list(entries: Vec<Entry>, part: usize, texts: &mut Vec<ScheduledText>) -> Vec<(u32, usize)> {
    let mut known: HashMap<String, usize> = HashMap::new();
    let mut timeline = Vec::with_capacity(entries.len());
    for Entry { end, text } in entries {
        let index = *known.entry(text).or_insert_with_key(|text| {
            texts.push(ScheduledText { text: text.clone(), part, entries: 0 });
            texts.len() - 1
        });
        texts[index].entries += 1;
        timeline.push((end, index));
    }
    timeline
}

/// Lays timelines over each other. All end with the pass.
fn stretches(timelines: &[(Vec<(u32, usize)>, f64)]) -> Vec<Stretch> {
    let mut ends: Vec<u32> =
        timelines.iter().flat_map(|(timeline, _)| timeline).map(|(end, _)| *end).collect();
    ends.sort_unstable();
    ends.dedup();
    let mut places = vec![0; timelines.len()];
    let mut stretches: Vec<Stretch> = Vec::new();
    for end in ends {
        let mut parts = Vec::with_capacity(timelines.len());
        for ((timeline, weight), place) in timelines.iter().zip(&mut places) {
            while timeline[*place].0 < end {
                *place += 1;
            }
            parts.push((timeline[*place].1, *weight));
        }
        match stretches.last_mut() {
            Some(last) if last.parts == parts => last.end = end,
            _ => stretches.push(Stretch { end, parts }),
        }
    }
    stretches
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::super::schedule::text_at;
    use super::*;

    /// Stretches as `end: text*weight + text*weight`.
    fn shown(conditioning: &Conditioning) -> Vec<String> {
        let part = |(text, weight): &(usize, f64)| format!("{}*{weight}", conditioning.texts[*text].text);
        let parts = |stretch: &Stretch| stretch.parts.iter().map(part).collect::<Vec<_>>().join(" + ");
        conditioning.stretches.iter().map(|stretch| format!("{}: {}", stretch.end, parts(stretch))).collect()
    }

    #[test]
    fn parts_with_schedules_of_their_own_are_laid_over_each_other() {
        let conditioning = Conditioning::positive("a [b:4] AND [c::6]d:0.5", Clock::new(10));
        assert_eq!(shown(&conditioning), ["4: a *1 +  cd*0.5", "6: a b*1 +  cd*0.5", "10: a b*1 +  d*0.5"]);
        let texts: Vec<_> = conditioning.texts.iter().map(|text| (text.text.as_str(), text.part)).collect();
        assert_eq!(texts, [("a ", 0), ("a b", 0), (" cd", 1), (" d", 1)]);
    }

    #[test]
    fn a_plain_prompt_is_one_text_for_the_whole_pass() {
        assert_eq!(shown(&Conditioning::positive("a (b:1.2)", Clock::new(10))), ["10: a (b:1.2)*1"]);
        assert_eq!(shown(&Conditioning::positive("", Clock::new(10))), ["10: *1"]);
    }

    #[test]
    fn a_negative_prompt_has_one_part() {
        assert_eq!(
            shown(&Conditioning::negative("a AND [b:3]:2", Clock::new(10))),
            ["3: a AND :2*1", "10: a AND b:2*1"]
        );
    }

    #[test]
    fn a_text_is_listed_once_with_the_rows_it_stands_for() {
        let conditioning = Conditioning::positive("[a|b|a]", Clock::new(10));
        let texts: Vec<_> =
            conditioning.texts.iter().map(|text| (text.text.as_str(), text.entries)).collect();
        assert_eq!(texts, [("a", 7), ("b", 3)]);
        assert_eq!(shown(&conditioning)[..3], ["1: a*1", "2: b*1", "4: a*1"]);
    }

    #[test]
    fn equal_parts_share_their_texts() {
        let conditioning = Conditioning::positive("a:2 AND b AND a", Clock::new(10));
        assert_eq!(shown(&conditioning), ["10: a*2 +  b*1 +  a*1"]);
        let conditioning = Conditioning::positive("a AND b AND a AND b:3", Clock::new(10));
        assert_eq!(conditioning.texts.len(), 3);
        assert_eq!(conditioning.at(0), [(0, 1.0), (1, 1.0), (2, 1.0), (1, 3.0)]);
    }

    #[test]
    fn calls_look_their_texts_up() {
        let conditioning = Conditioning::positive("[a:b:3]", Clock::new(10));
        let texts: String =
            (0..12).map(|call| conditioning.texts[conditioning.at(call)[0].0].text.as_str()).collect();
        assert_eq!(texts, "aaaabbbbbbbb");
    }

    #[test]
    fn the_longest_prompt_of_the_most_parts_is_planned_in_time() {
        let start = Instant::now();
        let prompt = "[a|b|c] [d:e:0.3] AND ".repeat(800);
        let conditioning = Conditioning::positive(&prompt, Clock::new(300));
        assert!(conditioning.stretches.len() <= 300);
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    }

    proptest! {
        #[test]
        fn every_call_says_what_its_schedules_say(
            prompt in "( AND |\\[a:b:|\\[|\\]|\\||:|:[0-9]\\]|:0\\.5\\]|[ab ]){0,30}", steps in 1u32..20,
        ) {
            let clock = Clock::new(steps);
            let conditioning = Conditioning::positive(&prompt, clock);
            let schedules: Vec<_> = parse_composition(&prompt).into_iter()
                .map(|part| (schedule(&part.text, clock), part.weight)).collect();
            for call in 0..=steps + 1 {
                let want: Vec<_> = schedules.iter()
                    .map(|(entries, weight)| (text_at(entries, call), *weight)).collect();
                let got: Vec<_> = conditioning.at(call).iter()
                    .map(|(text, weight)| (conditioning.texts[*text].text.as_str(), *weight)).collect();
                prop_assert_eq!(got, want);
            }
        }
    }
}
