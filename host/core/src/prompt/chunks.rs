//! Splits a prompt into chunks of 75 tokens, each with its start, end and padding, as CLIP takes them. A chunk that
//! overflows shortly after a comma breaks at the comma. Knows nothing of the tokenizer but its result.

use super::{Piece, parse_attention};
use crate::request::Emphasis;

/// Tokens of a chunk with its start and end.
pub const CHUNK_TOKENS: usize = 77;

/// Tokens of text in a chunk.
const TEXT_TOKENS: usize = CHUNK_TOKENS - 2;

/// How far back the last comma may lie for the text behind it to move to the next chunk.
const COMMA_BACKTRACK: usize = 20;

/// A token of text and what attention it was given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Token {
    pub id: u32,
    pub weight: f32,
}

/// The ids that have a meaning here. CLIP: start 49406, end 49407, comma 267.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vocabulary {
    pub start: u32,
    /// Also the padding, as in Stable Diffusion 1.
    pub end: u32,
    pub comma: u32,
}

/// What the text encoder is given in one go.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    /// Always [`CHUNK_TOKENS`] ids.
    pub tokens: Vec<u32>,
    /// As long as `tokens`; 1 for start, end and padding.
    pub weights: Vec<f32>,
}

/// The chunks of a prompt, at least one. `tokenize` gives the ids of a text without start and end.
///
/// [`Emphasis::None`] takes the text literally, `BREAK` too; [`Emphasis::Ignore`] gives every token the weight 1.
pub fn chunks(
    text: &str,
    emphasis: Emphasis,
    tokenize: &dyn Fn(&str) -> Vec<u32>,
    vocabulary: Vocabulary,
) -> Vec<Chunk> {
    let pieces = match emphasis {
        Emphasis::None => vec![Piece::Text { text: text.to_owned(), weight: 1.0 }],
        Emphasis::Ignore | Emphasis::Original | Emphasis::NoNorm => parse_attention(text),
    };
    let mut builder = Builder { vocabulary, chunks: Vec::new(), open: Vec::new(), last_comma: None };
    for piece in pieces {
        match piece {
            Piece::Break => builder.close(),
            Piece::Text { text, weight } => {
                let weight = if emphasis == Emphasis::Ignore { 1.0 } else { weight as f32 };
                tokenize(&text).into_iter().for_each(|id| builder.push(Token { id, weight }));
            }
        }
    }
    builder.finish()
}

struct Builder {
    vocabulary: Vocabulary,
    chunks: Vec<Chunk>,
    /// Text of the chunk under way, at most [`TEXT_TOKENS`].
    open: Vec<Token>,
    /// Index in `open`.
    last_comma: Option<usize>,
}

impl Builder {
    fn push(&mut self, token: Token) {
        let is_comma = token.id == self.vocabulary.comma;
        if self.open.len() == TEXT_TOKENS {
            // A comma itself never drags text along: it just begins the next chunk, where it no longer counts.
            let moved = match self.last_comma {
                Some(comma) if !is_comma && TEXT_TOKENS - comma <= COMMA_BACKTRACK => {
                    self.open.split_off(comma + 1)
                }
                _ => Vec::new(),
            };
            self.close();
            self.open = moved;
        } else if is_comma {
            self.last_comma = Some(self.open.len());
        }
        self.open.push(token);
    }

    fn close(&mut self) {
        let Vocabulary { start, end, .. } = self.vocabulary;
        let mut tokens = Vec::with_capacity(CHUNK_TOKENS);
        let mut weights = Vec::with_capacity(CHUNK_TOKENS);
        tokens.push(start);
        weights.push(1.0);
        tokens.extend(self.open.iter().map(|token| token.id));
        weights.extend(self.open.iter().map(|token| token.weight));
        tokens.resize(CHUNK_TOKENS, end);
        weights.resize(CHUNK_TOKENS, 1.0);
        self.chunks.push(Chunk { tokens, weights });
        self.open.clear();
        self.last_comma = None;
    }

    fn finish(mut self) -> Vec<Chunk> {
        if !self.open.is_empty() || self.chunks.is_empty() {
            self.close();
        }
        self.chunks
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VOCABULARY: Vocabulary =
        Vocabulary { start: 1000, end: 1001, comma: u32::from_le_bytes([b',', 0, 0, 0]) };

    /// Every character but the blank is a token.
    fn by_character(text: &str) -> Vec<u32> {
        text.chars().filter(|c| *c != ' ').map(u32::from).collect()
    }

    fn split(text: &str) -> Vec<Chunk> {
        chunks(text, Emphasis::Original, &by_character, VOCABULARY)
    }

    /// The texts of the chunks, without start, end and padding.
    fn texts(chunks: &[Chunk]) -> Vec<String> {
        let text =
            |chunk: &Chunk| chunk.tokens.iter().filter_map(|id| char::from_u32(*id)).collect::<String>();
        chunks.iter().map(|chunk| text(chunk).replace(['\u{3e8}', '\u{3e9}'], "")).collect()
    }

    #[test]
    fn an_empty_prompt_is_one_padded_chunk() {
        let [chunk] = &split("")[..] else { panic!("one chunk") };
        assert_eq!((chunk.tokens[0], &chunk.tokens[1..]), (1000, &[1001; 76][..]));
        assert_eq!(chunk.weights, [1.0; 77]);
    }

    #[test]
    fn weights_stand_at_their_tokens() {
        let [chunk] = &split("a (b:1.5)")[..] else { panic!("one chunk") };
        assert_eq!(chunk.tokens[..4], [1000, u32::from('a'), u32::from('b'), 1001]);
        assert_eq!(chunk.weights[..4], [1.0, 1.0, 1.5, 1.0]);
    }

    #[test]
    fn seventy_five_tokens_fill_a_chunk() {
        assert_eq!(texts(&split(&"x".repeat(75))), ["x".repeat(75)]);
        assert_eq!(texts(&split(&"x".repeat(76))), ["x".repeat(75), "x".into()]);
    }

    #[test]
    fn text_behind_a_near_comma_moves_to_the_next_chunk() {
        // The comma is token 55 of 0..=74: twenty back from the overflow, the furthest that counts.
        let near = format!("{},{}", "x".repeat(55), "y".repeat(20));
        assert_eq!(texts(&split(&near)), [format!("{},", "x".repeat(55)), "y".repeat(20)]);
        let far = format!("{},{}", "x".repeat(54), "y".repeat(21));
        assert_eq!(texts(&split(&far)), [format!("{},{}", "x".repeat(54), "y".repeat(20)), "y".into()]);
    }

    #[test]
    fn weights_move_with_their_text() {
        let chunks = split(&format!("{},(yy:2){}", "x".repeat(70), "z".repeat(9)));
        assert_eq!(texts(&chunks)[1], "yyzzzzzzzzz");
        assert_eq!(chunks[1].weights[..4], [1.0, 2.0, 2.0, 1.0]);
    }

    #[test]
    fn a_comma_that_overflows_begins_the_next_chunk() {
        let text = format!("{},{},{}", "x".repeat(60), "y".repeat(14), "z".repeat(3));
        let first = format!("{},{}", "x".repeat(60), "y".repeat(14));
        assert_eq!(texts(&split(&text)), [first, ",zzz".into()]);
    }

    #[test]
    fn break_ends_a_chunk() {
        assert_eq!(texts(&split("a BREAK b")), ["a", "b"]);
        assert_eq!(texts(&split("BREAK b")), ["", "b"]);
        assert_eq!(texts(&split("a BREAK")), ["a"]);
    }

    #[test]
    fn emphasis_decides_what_the_syntax_does() {
        let of = |emphasis| chunks("(ab:2) BREAK", emphasis, &by_character, VOCABULARY);
        assert_eq!(texts(&of(Emphasis::None)), ["(ab:2)BREAK"]);
        assert_eq!(texts(&of(Emphasis::Ignore)), ["ab"]);
        assert_eq!(of(Emphasis::Ignore)[0].weights, [1.0; 77]);
        assert_eq!(of(Emphasis::NoNorm)[0].weights[1..4], [2.0, 2.0, 1.0]);
    }

    proptest! {
        #[test]
        fn every_token_is_kept_in_order(text in "[a-z, ]{0,400}") {
            let chunks = split(&text);
            prop_assert_eq!(texts(&chunks).concat(), text.replace(' ', ""));
            for chunk in &chunks {
                prop_assert_eq!((chunk.tokens.len(), chunk.weights.len()), (CHUNK_TOKENS, CHUNK_TOKENS));
                prop_assert_eq!((chunk.tokens[0], chunk.tokens[CHUNK_TOKENS - 1]), (1000, 1001));
            }
        }

        #[test]
        fn no_prompt_panics(text: String) {
            prop_assert!(!split(&text).is_empty());
        }
    }
}
