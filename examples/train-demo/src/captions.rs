//! Captions to the token ids the text encoder reads: one chunk of 77, as web UIs fill it.

use gesso_torch::Tokenizer;
use tch::{TchError, Tensor};

const START: i64 = 49_406;
const END: i64 = 49_407;
/// Tokens of a chunk with its marks.
pub(crate) const LENGTH: usize = 77;

/// `[captions, 77]` ids: begin, words, end, and end again up to the length.
pub(crate) fn tokens<'a>(
    tokenizer: &Tokenizer,
    captions: impl Iterator<Item = &'a str>,
) -> Result<Tensor, TchError> {
    let mut ids = Vec::new();
    for caption in captions {
        let from = ids.len();
        ids.push(START);
        ids.extend(tokenizer.encode(caption).into_iter().take(LENGTH - 2).map(i64::from));
        ids.resize(from + LENGTH, END);
    }
    Tensor::f_from_slice(&ids)?.f_view([-1, LENGTH as i64])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_a_chunk_with_end_marks() {
        let long = "red ".repeat(100);
        let ids = tokens(&Tokenizer::new(), ["", "a red circle", &long].into_iter()).unwrap();
        assert_eq!(ids.size(), [3, 77]);
        let row = |index: i64| Vec::<i64>::try_from(ids.get(index)).unwrap();
        assert_eq!(row(0)[..3], [START, END, END]);
        assert_eq!(row(1)[4..], [END; 73]);
        assert_eq!((row(2)[0], row(2)[76]), (START, END));
        assert_ne!(row(2)[75], END);
    }
}
