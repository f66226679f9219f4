//! CLIP's byte-pair encoding: text to token ids, equal to transformers' CLIPTokenizer on `tests/fixtures/tokens.json`.
//!
//! The merges and their application are `instant-clip-tokenizer`'s. Four things it does otherwise are done here,
//! before it sees a word: Unicode composition (NFC), lower case letter by letter (a final sigma stays `σ`), the
//! split into words, and the spelling of the begin and end marks. HTML entities stay as they are written.

use std::sync::LazyLock;

use gesso_core::prompt::Vocabulary;
use instant_clip_tokenizer::Token;
use regex::Regex;
use unicode_normalization::UnicodeNormalization;

/// The ids with a meaning of their own in CLIP's vocabulary.
pub const CLIP: Vocabulary = Vocabulary { start: 49_406, end: 49_407, pad: 49_407, comma: 267 };

const MARKS: [(&str, u32); 2] = [("<|startoftext|>", CLIP.start), ("<|endoftext|>", CLIP.end)];

#[expect(clippy::expect_used, reason = "the pattern is a constant and a test runs it")]
static WORDS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+").expect("a valid pattern")
});

/// Reads text as CLIP's text encoder was taught to.
pub struct Tokenizer {
    merges: instant_clip_tokenizer::Tokenizer,
}

impl Default for Tokenizer {
    fn default() -> Self {
        Self { merges: instant_clip_tokenizer::Tokenizer::new() }
    }
}

impl Tokenizer {
    pub fn new() -> Self {
        Self::default()
    }

    /// The ids of `text`, without begin and end. Time grows with the square of the longest word.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        let mut rest = text;
        while let Some((place, mark, id)) = next_mark(rest) {
            self.encode_plain(&rest[..place], &mut ids);
            ids.push(id);
            rest = &rest[place + mark.len()..];
        }
        self.encode_plain(rest, &mut ids);
        ids
    }

    /// The text of `ids` up to the first end mark, with one space between its parts; begin marks are left out. `None` where
    /// one is none of the vocabulary.
    pub fn decode(&self, ids: impl IntoIterator<Item = u32>) -> Option<String> {
        let token = |id: u32| Token::from_u16(u16::try_from(id).ok()?, &self.merges);
        let ids = ids.into_iter().take_while(|id| *id != CLIP.end).filter(|id| *id != CLIP.start);
        let tokens = ids.map(token).collect::<Option<Vec<_>>>()?;
        Some(self.merges.decode(tokens).split_whitespace().collect::<Vec<_>>().join(" "))
    }

    fn encode_plain(&self, text: &str, ids: &mut Vec<u32>) {
        let text: String = text.nfc().flat_map(char::to_lowercase).collect();
        let mut tokens = Vec::new();
        for word in WORDS.find_iter(&text) {
            self.merges.encode(word.as_str(), &mut tokens);
        }
        ids.extend(tokens.into_iter().map(|token| u32::from(token.to_u16())));
    }
}

fn next_mark(text: &str) -> Option<(usize, &'static str, u32)> {
    let found = MARKS.iter().filter_map(|(mark, id)| Some((text.find(mark)?, *mark, *id)));
    found.min_by_key(|(place, _, _)| *place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_transformers_on_tricky_texts() {
        #[derive(serde::Deserialize)]
        struct Line {
            text: String,
            ids: Vec<u32>,
        }
        let table: Vec<Line> = serde_json::from_str(include_str!("../tests/fixtures/tokens.json")).unwrap();
        assert!(table.len() >= 60);
        let tokenizer = Tokenizer::new();
        let wrong: Vec<_> = table
            .iter()
            .filter(|line| tokenizer.encode(&line.text) != line.ids)
            .map(|line| (&line.text, &line.ids, tokenizer.encode(&line.text)))
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn ids_are_read_back_up_to_their_end() {
        let tokenizer = Tokenizer::new();
        let mut ids = vec![CLIP.start];
        ids.extend(tokenizer.encode("A red circle, photographed at night"));
        assert_eq!(tokenizer.decode(ids.clone()).as_deref(), Some("a red circle , photographed at night"));
        ids.extend([CLIP.end, 0, CLIP.pad]);
        assert_eq!(tokenizer.decode(ids).as_deref(), Some("a red circle , photographed at night"));
        assert_eq!(tokenizer.decode([49_408]), None);
        assert_eq!(tokenizer.decode([1 << 16]), None);
    }

    #[test]
    fn knows_the_comma() {
        assert_eq!(Tokenizer::new().encode(","), [CLIP.comma]);
    }
}
