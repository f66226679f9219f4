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

#[cfg(test)]
mod tests {
    use super::*;

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
