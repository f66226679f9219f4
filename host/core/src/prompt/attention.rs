//! The attention syntax of web UIs: `(x)` weighs 1.1 times, `[x]` 1 / 1.1, `(x:1.3)` as it says, a backslash takes
//! the next bracket literally, `BREAK` ends a chunk. Every text is a prompt: nothing here is an error. Linear time,
//! no recursion.

use super::MAX_WEIGHT;

/// Brackets of one kind nested deeper than this still pair up but weigh nothing more: it bounds the work for each
/// piece, and 1.1 to this power is past all use.
const MAX_DEPTH: usize = 64;

const ROUND: f64 = 1.1;
const SQUARE: f64 = 1.0 / 1.1;
const BREAK: &str = "BREAK";

/// A stretch of a prompt.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// Never empty, and never next to another text of equal weight.
    Text { text: String, weight: f64 },
    /// The chunk ends here.
    Break,
}

/// Reads a prompt into pieces. No text gives no pieces.
pub fn parse_attention(prompt: &str) -> Vec<Piece> {
    read(prompt).finish()
}

fn read(prompt: &str) -> Parser {
    let mut parser = Parser::default();
    let mut rest = prompt;
    while let Some(first) = rest.chars().next() {
        rest = match first {
            '\\' => {
                let literal = rest[1..].chars().next().filter(|c| is_special(*c) && *c != ':');
                // A backslash before anything else vanishes.
                let end = 1 + literal.map_or(0, char::len_utf8);
                parser.push(&rest[1..end]);
                &rest[end..]
            }
            '(' => {
                parser.round.open(parser.pieces.len());
                &rest[1..]
            }
            '[' => {
                parser.square.open(parser.pieces.len());
                &rest[1..]
            }
            ')' => {
                parser.close_round(ROUND, ")");
                &rest[1..]
            }
            ']' => {
                parser.close_square();
                &rest[1..]
            }
            ':' => match weight_and_closer(rest) {
                Some((weight, len)) => {
                    parser.close_round(weight, &rest[..len]);
                    &rest[len..]
                }
                None => {
                    parser.push(":");
                    &rest[1..]
                }
            },
            _ => {
                let end = rest.find(is_special).unwrap_or(rest.len());
                parser.push_words(&rest[..end]);
                &rest[end..]
            }
        };
    }
    parser
}

/// Writes pieces as a prompt that reads back as the same pieces.
pub fn write_attention(pieces: &[Piece]) -> String {
    let mut prompt = String::new();
    for (i, piece) in pieces.iter().enumerate() {
        match piece {
            Piece::Text { text, weight } if *weight == 1.0 => escape(text, &mut prompt),
            Piece::Text { text, weight } => {
                prompt.push('(');
                escape(text, &mut prompt);
                prompt.push_str(&format!(":{weight})"));
            }
            Piece::Break => {
                // The word eats the blanks around it; an empty pair of brackets keeps those of its neighbours.
                let before = i.checked_sub(1).and_then(|i| pieces.get(i));
                let blank_before =
                    matches!(before, Some(Piece::Text { text, .. }) if text.ends_with(char::is_whitespace));
                let after = pieces.get(i + 1);
                let blank_after =
                    matches!(after, Some(Piece::Text { text, .. }) if text.starts_with(char::is_whitespace));
                prompt.push_str(if blank_before { "()" } else { " " });
                prompt.push_str(BREAK);
                prompt.push_str(if blank_after { "()" } else { " " });
            }
        }
    }
    prompt
}

fn escape(text: &str, prompt: &mut String) {
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if rest.starts_with(BREAK) {
            // A backslash before a letter vanishes, and with it the word.
            prompt.push_str("B\\REAK");
            rest = &rest[BREAK.len()..];
            continue;
        }
        if is_special(first) && first != ':' {
            prompt.push('\\');
        }
        prompt.push(first);
        rest = &rest[first.len_utf8()..];
    }
}

fn is_special(c: char) -> bool {
    matches!(c, '\\' | '(' | ')' | '[' | ']' | ':')
}

/// Reads `:1.3)` at the start, blanks around the number allowed: the weight and the length of it all.
fn weight_and_closer(text: &str) -> Option<(f64, usize)> {
    let number = text[1..].trim_start();
    let unsigned = number.strip_prefix(['+', '-']).unwrap_or(number);
    let after = unsigned.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let weight: f64 = number[..number.len() - after.len()].parse().ok()?;
    let rest = after.trim_start().strip_prefix(')')?;
    Some((weight.clamp(-MAX_WEIGHT, MAX_WEIGHT), text.len() - rest.len()))
}

/// Where the open brackets of one kind began, as indices of pieces.
#[derive(Default)]
struct Brackets {
    starts: Vec<usize>,
    /// Open brackets past [`MAX_DEPTH`].
    deeper: usize,
}

impl Brackets {
    fn open(&mut self, at: usize) {
        if self.starts.len() < MAX_DEPTH { self.starts.push(at) } else { self.deeper += 1 }
    }

    /// The start of the innermost one, `Some(None)` when that is too deep to count, `None` when none is open.
    fn close(&mut self) -> Option<Option<usize>> {
        if self.deeper > 0 {
            self.deeper -= 1;
            return Some(None);
        }
        self.starts.pop().map(Some)
    }
}

#[derive(Default)]
struct Parser {
    pieces: Vec<Piece>,
    round: Brackets,
    square: Brackets,
}

impl Parser {
    /// Appends to the last text where both will be of equal weight: a piece for each stray bracket of a long text would fill the
    /// memory.
    fn push(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let end = self.pieces.len();
        // What is open weighs both, unless it was opened between them.
        let opens_here = [&self.round, &self.square].iter().any(|kind| kind.starts.last() == Some(&end));
        match self.pieces.last_mut() {
            Some(Piece::Text { text: last, weight }) if *weight == 1.0 && !opens_here => last.push_str(text),
            _ => self.pieces.push(Piece::Text { text: text.to_owned(), weight: 1.0 }),
        }
    }

    /// Text without brackets, in which the word `BREAK` counts.
    fn push_words(&mut self, text: &str) {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let mut part_start = 0;
        let mut after_break = false;
        for (at, _) in text.match_indices(BREAK) {
            let end = at + BREAK.len();
            if text[..at].ends_with(is_word) || text[end..].starts_with(is_word) {
                continue;
            }
            let part = text[part_start..at].trim_end();
            self.push(if after_break { part.trim_start() } else { part });
            self.pieces.push(Piece::Break);
            (part_start, after_break) = (end, true);
        }
        let part = &text[part_start..];
        self.push(if after_break { part.trim_start() } else { part });
    }

    /// Without an open bracket the closer is text.
    fn close_round(&mut self, factor: f64, literal: &str) {
        match self.round.close() {
            Some(Some(start)) => self.multiply(start, factor),
            Some(None) => {}
            None => self.push(literal),
        }
    }

    fn close_square(&mut self) {
        match self.square.close() {
            Some(Some(start)) => self.multiply(start, SQUARE),
            Some(None) => {}
            None => self.push("]"),
        }
    }

    fn multiply(&mut self, start: usize, factor: f64) {
        for piece in &mut self.pieces[start..] {
            if let Piece::Text { weight, .. } = piece {
                *weight = (*weight * factor).clamp(-MAX_WEIGHT, MAX_WEIGHT);
            }
        }
    }

    /// Closes what is still open and joins texts of equal weight.
    fn finish(mut self) -> Vec<Piece> {
        for start in std::mem::take(&mut self.round.starts) {
            self.multiply(start, ROUND);
        }
        for start in std::mem::take(&mut self.square.starts) {
            self.multiply(start, SQUARE);
        }
        let mut joined: Vec<Piece> = Vec::new();
        for piece in self.pieces {
            match (joined.last_mut(), piece) {
                (Some(Piece::Text { text, weight }), Piece::Text { text: more, weight: same })
                    if *weight == same =>
                {
                    text.push_str(&more);
                }
                (_, piece) => joined.push(piece),
            }
        }
        joined
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    /// Pieces as `text*weight`, four decimals, `|` between them.
    fn shown(prompt: &str) -> String {
        let shown = |piece: &Piece| match piece {
            Piece::Text { text, weight } => format!("{text}*{}", (weight * 1e4).round() / 1e4),
            Piece::Break => BREAK.into(),
        };
        parse_attention(prompt).iter().map(shown).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn reads_the_documented_examples() {
        assert_eq!(shown("an (important) word"), "an *1|important*1.1| word*1");
        assert_eq!(
            shown("a (((house:1.3)) [on] a (hill:0.5), sun, (((sky)))."),
            "a *1|house*1.573| *1.1|on*1| a *1.1|hill*0.55|, sun, *1.1|sky*1.4641|.*1.1"
        );
    }

    #[test]
    fn reads_each_form() {
        for (prompt, want) in [
            ("", ""),
            ("()[]", ""),
            ("normal text", "normal text*1"),
            ("(unbalanced", "unbalanced*1.1"),
            ("[a [b", "a *0.9091|b*0.8264"),
            ("stray) and ]", "stray) and ]*1"),
            (r"\(literal\]", "(literal]*1"),
            (r"(\(unnecessary\))", "(unnecessary)*1.1"),
            (r"back\slash \\", r"backslash \*1"),
            ("(x: -.5 )", "x*-0.5"),
            ("(x:+2)", "x*2"),
            ("a:1.2) b", "a:1.2) b*1"),
            ("(a:1.2.3)", "a:1.2.3*1.1"),
            ("(a:)", "a:*1.1"),
            ("[a:0.5]", "a:0.5*0.9091"),
            ("(a [b) c]", "a *1.1|b*1| c*0.9091"),
            ("a)(b)]c", "a)*1|b*1.1|]c*1"),
            ("((a)b]", "a*1.21|b]*1.1"),
            ("(a:1)b (c:1)", "ab c*1"),
            ("(é:1.5)ß", "é*1.5|ß*1"),
        ] {
            assert_eq!(shown(prompt), want, "{prompt}");
        }
    }

    #[test]
    fn break_is_a_word_that_eats_the_blanks_around_it() {
        for (prompt, want) in [
            ("a BREAK b", "a*1|BREAK|b*1"),
            ("a\nBREAK\n b", "a*1|BREAK|b*1"),
            ("BREAK", "BREAK"),
            ("a BREAK BREAK", "a*1|BREAK|BREAK"),
            ("BREAKFAST xBREAK BREAK_ break", "BREAKFAST xBREAK BREAK_ break*1"),
            ("(a BREAK b:1.2)", "a*1.2|BREAK|b*1.2"),
            ("(a)BREAK(b)", "a*1.1|BREAK|b*1.1"),
            (r"B\REAK", "BREAK*1"),
        ] {
            assert_eq!(shown(prompt), want, "{prompt}");
        }
        let literal = vec![Piece::Text { text: "BREAK".into(), weight: 1.0 }];
        assert_eq!(parse_attention(r"B\REAK"), literal);
        assert_eq!(parse_attention("BREAK"), [Piece::Break]);
    }

    #[test]
    fn weights_stay_finite() {
        let weight_of = |prompt: &str| match &parse_attention(prompt)[..] {
            [Piece::Text { weight, .. }] => *weight,
            other => panic!("{other:?}"),
        };
        assert_eq!(weight_of(&format!("(x:{})", "9".repeat(400))), MAX_WEIGHT);
        assert_eq!(weight_of("((x:9999):-9999)"), -MAX_WEIGHT);
    }

    #[test]
    fn deeper_brackets_pair_up_but_weigh_nothing_more() {
        let nested = |depth: usize| format!("{}x{}y", "(".repeat(depth), ")".repeat(depth));
        let [Piece::Text { weight: at_limit, .. }, after] = &parse_attention(&nested(MAX_DEPTH))[..] else {
            panic!("two pieces");
        };
        assert!((at_limit - 1.1f64.powi(64)).abs() < 1e-9);
        assert_eq!(*after, Piece::Text { text: "y".into(), weight: 1.0 });
        assert_eq!(parse_attention(&nested(5000)), parse_attention(&nested(MAX_DEPTH)));
    }

    #[test]
    fn stray_signs_lie_in_one_piece_from_the_first() {
        for unit in [")", "]", ":", r"\(", "a)"] {
            let prompt = unit.repeat(1000);
            assert_eq!(read(&prompt).pieces.len(), 1, "{unit}");
            assert_eq!(parse_attention(&prompt).len(), 1, "{unit}");
        }
        // A bracket between them may weigh what follows yet.
        assert_eq!(read("a(b").pieces.len(), 2);
    }

    /// A hundred thousand brackets would take minutes in quadratic time.
    #[test]
    fn long_hostile_prompts_take_linear_time() {
        let start = Instant::now();
        for unit in ["(", "[a", "(a)", "a:", ": 1", ")", r"\", "(a:1.1", "BREAK ", "([(a:2)"] {
            let prompt = unit.repeat(100_000);
            write_attention(&parse_attention(&prompt));
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    }

    /// Texts made of what the grammar cares about, with some of everything else.
    fn prompts() -> impl Strategy<Value = String> {
        let tokens = [
            "(", ")", "[", "]", ":", "\\", "BREAK", " BREAK ", ":1.2)", ":0.5 )", ":-3)", " ", "\n", "B",
            "REAK", "a", "é", ",", "1.5", "_", ".",
        ];
        let structured = prop::collection::vec(prop::sample::select(tokens.to_vec()), 0..40);
        prop_oneof![structured.prop_map(|tokens| tokens.concat()), any::<String>()]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn what_is_written_reads_back_the_same(prompt in prompts()) {
            let pieces = parse_attention(&prompt);
            let written = write_attention(&pieces);
            prop_assert_eq!(parse_attention(&written), pieces, "{}", written);
        }

        #[test]
        fn pieces_are_never_empty_infinite_or_left_apart(prompt in prompts()) {
            let pieces = parse_attention(&prompt);
            for piece in &pieces {
                if let Piece::Text { text, weight } = piece {
                    prop_assert!(!text.is_empty() && weight.is_finite());
                }
            }
            for pair in pieces.windows(2) {
                if let [Piece::Text { weight: a, .. }, Piece::Text { weight: b, .. }] = pair {
                    prop_assert_ne!(a, b);
                }
            }
        }

        #[test]
        fn text_without_syntax_is_one_piece_as_it_is(prompt in "[a-z0-9 ,.é]{1,60}") {
            prop_assert_eq!(parse_attention(&prompt), [Piece::Text { text: prompt, weight: 1.0 }]);
        }
    }
}
