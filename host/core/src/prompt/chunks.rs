//! Splits a prompt into chunks of 75 tokens, each with its start, end and padding, as CLIP takes them. A chunk that
//! overflows shortly after a comma breaks at the comma. Called by backends. Knows nothing of the tokenizer but its
//! result, and of embeddings but their names and lengths.

use super::embeddings::{Embedding, Embeddings};
use super::{Piece, parse_attention};
use crate::request::Emphasis;

/// Tokens of a chunk with its start and end.
pub const CHUNK_TOKENS: usize = 77;

/// Tokens of text in a chunk.
const TEXT_TOKENS: usize = CHUNK_TOKENS - 2;

/// How far back the last comma may lie for the text behind it to move to the next chunk, unless a request says
/// otherwise.
pub const COMMA_BACKTRACK: usize = 20;

/// Stands in the tokens for a vector of an embedding, as in web UIs. CLIP has a word there ("!"), so that a chunk can
/// be looked up before the vectors are put in.
const PLACEHOLDER: u32 = 0;

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
    pub end: u32,
    /// Everything behind the first end: again the end in Stable Diffusion 1 and CLIP-L, 0 in OpenCLIP.
    pub pad: u32,
    pub comma: u32,
}

/// What the text encoder is given in one go.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    /// Always [`CHUNK_TOKENS`] ids.
    pub tokens: Vec<u32>,
    /// As long as `tokens`; 1 for start, end and padding.
    pub weights: Vec<f32>,
    /// Embeddings in their order: the index in `tokens` of the first vector, and which one of the list it is. Each
    /// has as many tokens as vectors, 75 at most: further vectors are left out.
    pub embeddings: Vec<(usize, usize)>,
}

impl Chunk {
    /// A chunk without text: what a shorter text is given when it is encoded together with longer ones.
    pub fn empty(vocabulary: Vocabulary) -> Self {
        Self::new(&[], Vec::new(), vocabulary)
    }

    /// `embeddings` with their place in `text`.
    fn new(text: &[Token], embeddings: Vec<(usize, usize)>, vocabulary: Vocabulary) -> Self {
        let Vocabulary { start, end, pad, .. } = vocabulary;
        let mut tokens = vec![start];
        tokens.extend(text.iter().map(|token| token.id));
        tokens.resize(CHUNK_TOKENS, end);
        // A text may spell an end of its own; web UIs pad from there.
        if let Some(first_end) = tokens.iter().position(|id| *id == end) {
            tokens[first_end + 1..].iter_mut().filter(|_| pad != end).for_each(|id| *id = pad);
        }
        let mut weights = vec![1.0];
        weights.extend(text.iter().map(|token| token.weight));
        weights.resize(CHUNK_TOKENS, 1.0);
        let embeddings = embeddings.into_iter().map(|(place, index)| (place + 1, index)).collect();
        Self { tokens, weights, embeddings }
    }
}

/// How a prompt is split.
#[derive(Debug, Clone, Copy)]
pub struct Chunking<'a> {
    pub vocabulary: Vocabulary,
    /// [`Emphasis::None`] takes the text literally, `BREAK` too; [`Emphasis::Ignore`] gives every token the weight 1.
    pub emphasis: Emphasis,
    pub embeddings: Option<&'a Embeddings>,
    /// How many tokens back from the overflow a comma may lie for the text behind it to move to the next chunk; 0
    /// never moves any.
    pub comma_padding_backtrack: usize,
}

/// The chunks of a prompt without embeddings, at least one. `tokenize` gives the ids of a text without start and end.
pub fn chunks(
    text: &str,
    emphasis: Emphasis,
    tokenize: &dyn Fn(&str) -> Vec<u32>,
    vocabulary: Vocabulary,
) -> Vec<Chunk> {
    let comma_padding_backtrack = COMMA_BACKTRACK;
    Chunking { vocabulary, emphasis, embeddings: None, comma_padding_backtrack }.chunks(text, tokenize)
}

impl Chunking<'_> {
    /// The chunks of a prompt, at least one. `tokenize` gives the ids of a text without start and end.
    ///
    /// Names of embeddings are looked for from left to right in what the tokenizer makes of a stretch of equal weight,
    /// anywhere, even inside a word. An embedding is never split: it begins a chunk if it does not fit.
    pub fn chunks(&self, text: &str, tokenize: &dyn Fn(&str) -> Vec<u32>) -> Vec<Chunk> {
        let pieces = match self.emphasis {
            Emphasis::None => vec![Piece::Text { text: text.to_owned(), weight: 1.0 }],
            Emphasis::Ignore | Emphasis::Original | Emphasis::NoNorm => parse_attention(text),
        };
        let mut builder = Builder {
            chunking: self,
            chunks: Vec::new(),
            open: Vec::new(),
            embeddings: Vec::new(),
            last_comma: None,
        };
        for piece in pieces {
            match piece {
                Piece::Break => builder.close(),
                Piece::Text { text, weight } => {
                    let weight = if self.emphasis == Emphasis::Ignore { 1.0 } else { weight as f32 };
                    builder.push_all(&tokenize(&text), weight);
                }
            }
        }
        builder.finish()
    }
}

struct Builder<'a> {
    chunking: &'a Chunking<'a>,
    chunks: Vec<Chunk>,
    /// Text of the chunk under way, at most [`TEXT_TOKENS`].
    open: Vec<Token>,
    /// Index in `open`, and which one.
    embeddings: Vec<(usize, usize)>,
    /// Index in `open`.
    last_comma: Option<usize>,
}

impl Builder<'_> {
    fn push_all(&mut self, mut ids: &[u32], weight: f32) {
        while let [id, rest @ ..] = ids {
            let found = self.chunking.embeddings.and_then(|embeddings| embeddings.find(ids));
            ids = match found {
                Some((embedding, length)) => {
                    self.push_embedding(embedding, weight);
                    &ids[length..]
                }
                None => {
                    self.push(Token { id: *id, weight });
                    rest
                }
            };
        }
    }

    fn push(&mut self, token: Token) {
        let is_comma = token.id == self.chunking.vocabulary.comma;
        if self.open.len() == TEXT_TOKENS {
            // A comma itself never drags text along: it just begins the next chunk, where it no longer counts.
            if is_comma { self.close() } else { self.overflow() }
        } else if is_comma {
            self.last_comma = Some(self.open.len());
        }
        self.open.push(token);
    }

    fn push_embedding(&mut self, Embedding { index, vectors }: Embedding, weight: f32) {
        let vectors = vectors.min(TEXT_TOKENS);
        if self.open.len() == TEXT_TOKENS {
            self.overflow();
        }
        if self.open.len() + vectors > TEXT_TOKENS {
            self.close();
        }
        self.embeddings.push((self.open.len(), index));
        self.open.resize(self.open.len() + vectors, Token { id: PLACEHOLDER, weight });
    }

    /// Closes a full chunk; text behind a near comma moves on, with the embeddings in it.
    fn overflow(&mut self) {
        let backtrack = self.chunking.comma_padding_backtrack;
        let near = self.last_comma.filter(|comma| TEXT_TOKENS - comma <= backtrack);
        let kept = near.map_or(TEXT_TOKENS, |comma| comma + 1);
        let moved = self.open.split_off(kept);
        let first_moved = self.embeddings.partition_point(|(place, _)| *place < kept);
        let moved_embeddings = self.embeddings.split_off(first_moved);
        self.close();
        self.open = moved;
        self.embeddings = moved_embeddings.into_iter().map(|(place, index)| (place - kept, index)).collect();
    }

    fn close(&mut self) {
        let embeddings = std::mem::take(&mut self.embeddings);
        self.chunks.push(Chunk::new(&self.open, embeddings, self.chunking.vocabulary));
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
        Vocabulary { start: 1000, end: 1001, pad: 1001, comma: u32::from_le_bytes([b',', 0, 0, 0]) };

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

    /// Names are spelled in characters, as the tokenizer above has it.
    fn embeddings(names: &[(&str, usize)]) -> Embeddings {
        Embeddings::new(names.iter().map(|(name, vectors)| (by_character(name), *vectors)))
    }

    fn split_with(text: &str, embeddings: &Embeddings, comma_padding_backtrack: usize) -> Vec<Chunk> {
        let embeddings = Some(embeddings);
        Chunking { vocabulary: VOCABULARY, emphasis: Emphasis::Original, embeddings, comma_padding_backtrack }
            .chunks(text, &by_character)
    }

    #[test]
    fn the_backtrack_is_a_parameter_and_zero_is_off() {
        let text = format!("{},{}", "x".repeat(70), "y".repeat(5));
        let none = Embeddings::default();
        let lengths = |backtrack| {
            let chunks = split_with(&text, &none, backtrack);
            texts(&chunks).iter().map(String::len).collect::<Vec<_>>()
        };
        assert_eq!(lengths(5), [71, 5]);
        assert_eq!(lengths(4), [75, 1]);
        assert_eq!(lengths(0), [75, 1]);
    }

    #[test]
    fn padding_follows_the_first_end() {
        let vocabulary = Vocabulary { pad: 0, ..VOCABULARY };
        let padded =
            |text: &str| chunks(text, Emphasis::Original, &by_character, vocabulary)[0].tokens.clone();
        assert_eq!(padded("x")[..4], [1000, u32::from('x'), 1001, 0]);
        assert_eq!(padded(&"x".repeat(75))[75..], [u32::from('x'), 1001]);
        assert_eq!(padded("x\u{3e9}y")[1..5], [u32::from('x'), 1001, 0, 0]);
        assert_eq!(padded("x\u{3e9}y")[76], 0);
        assert_eq!(padded(""), Chunk::empty(vocabulary).tokens);
    }

    #[test]
    fn an_embedding_takes_the_place_of_its_name() {
        let embeddings = embeddings(&[("cat", 3), ("catty", 2), ("none", 0)]);
        let [chunk] = &split_with("a (cat:1.5) catty none b", &embeddings, 20)[..] else {
            panic!("one chunk")
        };
        let (a, b) = (u32::from('a'), u32::from('b'));
        assert_eq!(chunk.tokens[..9], [1000, a, 0, 0, 0, 0, 0, b, 1001]);
        assert_eq!(chunk.weights[..7], [1.0, 1.0, 1.5, 1.5, 1.5, 1.0, 1.0]);
        assert_eq!(chunk.embeddings, [(2, 0), (5, 1), (7, 2)]);
    }

    #[test]
    fn names_are_found_at_any_position_but_not_across_weights() {
        let embeddings = embeddings(&[("cat", 2)]);
        let found = |text: &str| split_with(text, &embeddings, 20)[0].embeddings.clone();
        assert_eq!(found("concatenate"), [(4, 0)]);
        assert_eq!(found("catcat"), [(1, 0), (3, 0)]);
        assert_eq!(found("c(at)"), []);
    }

    #[test]
    fn an_embedding_that_does_not_fit_begins_a_chunk() {
        let embeddings = embeddings(&[("@", 10), ("#", 200)]);
        let shape = |text: &str| {
            let chunks = split_with(text, &embeddings, 20);
            chunks.iter().map(|chunk| chunk.embeddings.clone()).collect::<Vec<_>>()
        };
        assert_eq!(shape(&format!("{}@", "x".repeat(65))), [vec![(66, 0)]]);
        assert_eq!(shape(&format!("{}@", "x".repeat(66))), [vec![], vec![(1, 0)]]);
        assert_eq!(shape("x#@"), [vec![], vec![(1, 1)], vec![(1, 0)]]);
    }

    #[test]
    fn embeddings_move_with_the_text_behind_a_comma() {
        let embeddings = embeddings(&[("@", 3)]);
        let chunks = split_with(&format!("@{},y@{}", "x".repeat(60), "z".repeat(8)), &embeddings, 20);
        assert_eq!(chunks[0].embeddings, [(1, 0)]);
        assert_eq!(chunks[1].embeddings, [(2, 0)]);
        assert_eq!(chunks[1].tokens[1..6], [u32::from('y'), 0, 0, 0, u32::from('z')]);
    }

    proptest! {
        #[test]
        fn every_embedding_lies_whole_on_its_placeholders(text in "[ab,@# ]{0,300}", backtrack in 0usize..90) {
            let vectors = [7, 75, 1];
            let embeddings = embeddings(&[("@", 7), ("#", 90), ("ab", 1)]);
            let chunks = split_with(&text, &embeddings, backtrack);
            let mut found = Vec::new();
            for chunk in &chunks {
                prop_assert_eq!((chunk.tokens.len(), chunk.weights.len()), (CHUNK_TOKENS, CHUNK_TOKENS));
                let mut free = 1;
                for (place, index) in &chunk.embeddings {
                    prop_assert!(*place >= free);
                    free = place + vectors[*index];
                    prop_assert!(free < CHUNK_TOKENS);
                    prop_assert!(chunk.tokens[*place..free].iter().all(|id| *id == PLACEHOLDER));
                    found.push(*index);
                }
                let placeholders = chunk.tokens.iter().filter(|id| **id == PLACEHOLDER).count();
                prop_assert_eq!(placeholders, chunk.embeddings.iter().map(|(_, index)| vectors[*index]).sum());
            }
            let plain = text.replace(' ', "").replace("ab", "%");
            let want = plain.chars().filter_map(|c| "@#%".find(c)).collect::<Vec<_>>();
            prop_assert_eq!(found, want);
        }

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
