//! Textual inversion: names in a prompt that stand for vectors of their own. Finds them among tokens. Called by
//! [`super::Chunking`]. Knows neither files nor the vectors themselves: an embedding is its place in a list.

use std::collections::BTreeMap;

/// The embeddings that prompts may name.
#[derive(Debug, Clone, Default)]
pub struct Embeddings {
    /// By the first token, then the longest name first.
    by_first_token: BTreeMap<u32, Vec<Name>>,
}

#[derive(Debug, Clone)]
struct Name {
    tokens: Vec<u32>,
    found: Embedding,
}

/// An embedding found in a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Embedding {
    /// In the list that [`Embeddings::new`] was given.
    pub(super) index: usize,
    pub(super) vectors: usize,
}

impl Embeddings {
    /// Of a list of names, as the tokenizer gives them without start and end, and numbers of vectors. A name without
    /// tokens is never found. Of equal names the first counts.
    pub fn new(names: impl IntoIterator<Item = (Vec<u32>, usize)>) -> Self {
        let mut by_first_token: BTreeMap<u32, Vec<Name>> = BTreeMap::new();
        for (index, (tokens, vectors)) in names.into_iter().enumerate() {
            if let Some(first) = tokens.first().copied() {
                let found = Embedding { index, vectors };
                by_first_token.entry(first).or_default().push(Name { tokens, found });
            }
        }
        for names in by_first_token.values_mut() {
            names.sort_by_key(|name| std::cmp::Reverse(name.tokens.len()));
        }
        Self { by_first_token }
    }

    /// The embedding with the longest name that `tokens` begin with, and the length of the name.
    pub(super) fn find(&self, tokens: &[u32]) -> Option<(Embedding, usize)> {
        let names = self.by_first_token.get(tokens.first()?)?;
        let name = names.iter().find(|name| tokens.starts_with(&name.tokens))?;
        Some((name.found, name.tokens.len()))
    }
}

/// Texts, for the question which embeddings they may name at all: cheaper than tokens, and before a file is read.
#[derive(Debug, Clone)]
pub struct Mentions(Vec<String>);

impl Mentions {
    /// Of texts as they are written, with signs of emphasis and backslashes.
    pub fn of<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        Self(texts.into_iter().map(bare).collect())
    }

    /// False only where no tokens of a text can be those of `name`.
    ///
    /// Signs may be escaped and blanks be several, so that letters and digits are compared alone. Other letters than
    /// ASCII's have several spellings in Unicode: a name that has one may be anywhere.
    pub fn may_name(&self, name: &str) -> bool {
        let name_bare = bare(name);
        !name.is_ascii() || self.0.iter().any(|text| text.contains(&name_bare))
    }
}

/// ASCII's letters and digits, of the text in lower case: in Unicode's, as tokenizers have it, in which a Kelvin sign is a `k`.
fn bare(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).filter(char::is_ascii_alphanumeric).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_for_however_they_are_written() {
        let texts = [r"a (bad_prompt_\(v2\):1.2)", "Soft  light, 1970", "caf\u{e9}", "fla\u{212a}e"];
        let mentions = Mentions::of(texts);
        for name in ["bad_prompt_(v2)", "BAD prompt", "soft light", "--", "", "caf\u{65}\u{301}", "flake"] {
            assert!(mentions.may_name(name), "{name}");
        }
        for name in ["bad_prompt_(v3)", "prompts", "light 1971"] {
            assert!(!mentions.may_name(name), "{name}");
        }
    }

    #[test]
    fn the_longest_name_is_found() {
        let embeddings = Embeddings::new([
            (vec![1], 4),
            (vec![1, 2, 3], 2),
            (vec![1, 2], 1),
            (vec![], 9),
            (vec![1, 2], 7),
        ]);
        let found = |tokens: &[u32]| {
            embeddings.find(tokens).map(|(found, length)| (found.index, found.vectors, length))
        };
        assert_eq!(found(&[1, 2, 3, 4]), Some((1, 2, 3)));
        assert_eq!(found(&[1, 2, 4]), Some((2, 1, 2)));
        assert_eq!(found(&[1, 3]), Some((0, 4, 1)));
        assert_eq!(found(&[2, 1]), None);
        assert_eq!(found(&[]), None);
    }
}
