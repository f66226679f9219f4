//! Composition: a prompt of several parts with the word `AND` between them, each guiding on its own with its own
//! weight. Called by [`super::Conditioning`] for the positive side; a negative prompt has one part. Knows nothing of
//! what is inside a part: brackets do not protect the word.

use super::MAX_WEIGHT;

const AND: &str = "AND";

/// Parts of one prompt. Each is a row of the UNet's batch in every step, which a few letters should not buy without
/// end: after this many the word is text like any other.
pub const PARTS_MAX: usize = 32;

/// A part of a prompt and how strongly it guides.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Without the blanks at its end.
    pub text: String,
    /// 1 unless the part ends with `:number`.
    pub weight: f64,
}

/// The parts of a prompt, at least one.
pub fn parse_composition(prompt: &str) -> Vec<Part> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut parts = Vec::new();
    let mut start = 0;
    for (at, _) in prompt.match_indices(AND) {
        let end = at + AND.len();
        if prompt[..at].ends_with(is_word) || prompt[end..].starts_with(is_word) {
            continue;
        }
        if parts.len() + 1 == PARTS_MAX {
            break;
        }
        parts.push(part(&prompt[start..at]));
        start = end;
    }
    parts.push(part(&prompt[start..]));
    parts
}

fn part(text: &str) -> Part {
    let (text, weight) = text_and_weight(text).unwrap_or((text, 1.0));
    Part { text: text.trim_end().to_owned(), weight }
}

/// Reads `: 1.3` at the end: a sign if any, then digits with at most one dot among them. There are no exponents.
fn text_and_weight(text: &str) -> Option<(&str, f64)> {
    let text = text.trim_end();
    let before = text.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let before = before.strip_suffix(['+', '-']).unwrap_or(before);
    let weight: f64 = text[before.len()..].parse().ok()?;
    let text = before.trim_end().strip_suffix(':')?;
    Some((text, weight.clamp(-MAX_WEIGHT, MAX_WEIGHT)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Parts as `text*weight` with `|` between them.
    fn shown(prompt: &str) -> String {
        let parts = parse_composition(prompt);
        parts.iter().map(|part| format!("{}*{}", part.text, part.weight)).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn the_word_splits_and_a_number_at_the_end_weighs() {
        for (prompt, want) in [
            ("", "*1"),
            ("a cat", "a cat*1"),
            ("a AND b", "a*1| b*1"),
            ("a :1.2 AND b: -0.5 AND c:2.", "a*1.2| b*-0.5| c*2"),
            ("a:+.5\nAND\nb : 3 \n", "a*0.5|\nb*3"),
            ("a cat:1.3", "a cat*1.3"),
            ("(a:1.2) AND (b:0.5):2", "(a:1.2)*1| (b:0.5)*2"),
            ("a:1:2", "a:1*2"),
            ("a:1.2.3", "a:1.2.3*1"),
            ("a:1e3", "a:1e3*1"),
            ("a:-", "a:-*1"),
            ("a:.", "a:.*1"),
            ("a:--1", "a:--1*1"),
            ("a 1.5", "a 1.5*1"),
            (":2", "*2"),
            ("AND", "*1|*1"),
            ("AND AND", "*1|*1|*1"),
            ("[a AND b:3]", "[a*1| b:3]*1"),
            ("(AND)", "(*1|)*1"),
        ] {
            assert_eq!(shown(prompt), want, "{prompt}");
        }
    }

    #[test]
    fn only_the_whole_word_in_capitals_counts() {
        for prompt in ["a and b", "ANDROID", "LAND b", "a AND_b", "aANDb", "éAND", "And"] {
            assert_eq!(shown(prompt), format!("{prompt}*1"));
        }
    }

    #[test]
    fn weights_stay_finite() {
        assert_eq!(parse_composition(&format!("a:{}", "9".repeat(400)))[0].weight, MAX_WEIGHT);
    }

    #[test]
    fn words_past_the_last_part_are_text() {
        let parts = parse_composition(&"x AND ".repeat(100));
        assert_eq!(parts.len(), PARTS_MAX);
        assert!(parts[PARTS_MAX - 1].text.starts_with(" x AND x AND"));
    }

    proptest! {
        #[test]
        fn parts_are_in_bounds(prompt in "( AND |:|[-+.0-9a ]|é){0,40}", other: String) {
            for prompt in [prompt, other] {
                let parts = parse_composition(&prompt);
                prop_assert!((1..=PARTS_MAX).contains(&parts.len()));
                prop_assert!(parts.iter().all(|part| part.weight.abs() <= MAX_WEIGHT));
            }
        }

        #[test]
        fn parts_read_back_from_their_texts(weights in prop::collection::vec(-99.0f64..99.0, 1..9)) {
            let text = |weight: &f64| format!("x {weight}:{weight}");
            let prompt = weights.iter().map(text).collect::<Vec<_>>().join(" AND ");
            let read: Vec<f64> = parse_composition(&prompt).iter().map(|part| part.weight).collect();
            prop_assert_eq!(read, weights);
        }
    }
}
