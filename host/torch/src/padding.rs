//! Prompts at one length, as two options of web UIs have it, so that both sides of the guidance share a call: the shorter one gets
//! empty chunks, or the negative prompt is fitted to the prompt. Attention reads what is put behind a text, so pictures change;
//! without the options two lengths are two calls.

use gesso_core::prompt::CHUNK_TOKENS;
use gesso_engine::backend::BackendError;
use tch::{TchError, Tensor};

use crate::conditioning::check_chunks;
use crate::failure::device_error;

/// Texts of both sides, `[1, 77 * chunks, width]` each, with the vectors of an empty prompt behind those of the shorter side.
///
/// # Errors
/// More chunks than a side may have.
pub(crate) fn to_one_length(
    sides: [Vec<Tensor>; 2],
    empty: &Tensor,
) -> Result<[Vec<Tensor>; 2], BackendError> {
    let [first, second] = sides;
    let longest = length(&first).max(length(&second));
    Ok([padded(first, longest, empty)?, padded(second, longest, empty)?])
}

/// Texts of the negative prompt with as many vectors as the prompt has: the last one again behind those of a shorter text, and
/// none of those of a longer one that are too many.
///
/// # Errors
/// More chunks than a side may have.
pub(crate) fn to_length_of(prompt: &[Tensor], negative: &[Tensor]) -> Result<Vec<Tensor>, BackendError> {
    let wanted = length(prompt);
    check_chunks(negative.len() * (wanted as usize / CHUNK_TOKENS))?;
    let fitted = |text: &Tensor| lengthened(text, wanted)?.f_narrow(1, 0, wanted);
    negative.iter().map(fitted).collect::<Result<_, TchError>>().map_err(device_error)
}

fn padded(texts: Vec<Tensor>, longest: i64, empty: &Tensor) -> Result<Vec<Tensor>, BackendError> {
    let own = length(&texts);
    if own == longest {
        return Ok(texts);
    }
    check_chunks(texts.len() * (longest as usize / CHUNK_TOKENS))?;
    let chunks = (longest - own) / tokens(empty).max(1);
    let pad = || -> Result<Vec<Tensor>, TchError> {
        let behind = empty.f_repeat([1, chunks, 1])?;
        texts.iter().map(|text| Tensor::f_cat(&[&lengthened(text, own)?, &behind], 1)).collect()
    };
    pad().map_err(device_error)
}

/// The parts of a prompt are brought to one length by their last vector, as web UIs do.
fn lengthened(text: &Tensor, length: i64) -> Result<Tensor, TchError> {
    let missing = length - tokens(text);
    if missing <= 0 {
        return Ok(text.shallow_clone());
    }
    let last = text.f_narrow(1, tokens(text) - 1, 1)?.f_expand([-1, missing, -1], false)?;
    Tensor::f_cat(&[text, &last], 1)
}

fn length(texts: &[Tensor]) -> i64 {
    texts.iter().map(tokens).max().unwrap_or(0)
}

fn tokens(text: &Tensor) -> i64 {
    text.size().get(1).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    fn text(values: &[f64]) -> Tensor {
        let chunks: Vec<_> =
            values.iter().map(|value| Tensor::full([1, 77, 2], *value, (Kind::Float, Device::Cpu))).collect();
        Tensor::cat(&chunks, 1)
    }

    fn same(found: &[Tensor], wanted: &[&[f64]]) -> bool {
        found.len() == wanted.len() && found.iter().zip(wanted).all(|(found, want)| found.equal(&text(want)))
    }

    #[test]
    fn the_shorter_side_gets_the_vectors_of_an_empty_prompt() {
        let empty = text(&[9.0]);
        for swapped in [false, true] {
            // Two parts of the prompt, of which one is shorter.
            let mut sides = [vec![text(&[1.0, 2.0]), text(&[3.0])], vec![text(&[4.0, 5.0, 6.0, 7.0])]];
            if swapped {
                sides.swap(0, 1);
            }
            let [mut short, mut long] = to_one_length(sides, &empty).unwrap();
            if swapped {
                std::mem::swap(&mut short, &mut long);
            }
            assert!(same(&short, &[&[1.0, 2.0, 9.0, 9.0], &[3.0, 3.0, 9.0, 9.0]]), "{swapped}");
            assert!(same(&long, &[&[4.0, 5.0, 6.0, 7.0]]), "{swapped}");
        }
        let equal = to_one_length([vec![text(&[1.0])], vec![text(&[2.0])]], &empty).unwrap();
        assert!(same(&equal[0], &[&[1.0]]) && same(&equal[1], &[&[2.0]]));
    }

    #[test]
    fn the_negative_prompt_is_fitted_to_the_prompt() {
        // Two parts of the prompt, of which one is shorter.
        let prompt = [text(&[1.0, 2.0]), text(&[3.0])];
        let fitted = |negative: &[Tensor]| to_length_of(&prompt, negative).unwrap();
        assert!(same(&fitted(&[text(&[4.0])]), &[&[4.0, 4.0]]));
        assert!(same(&fitted(&[text(&[4.0, 5.0])]), &[&[4.0, 5.0]]));
        let longer = [text(&[4.0, 5.0, 6.0]), text(&[7.0, 8.0, 9.0])];
        assert!(same(&fitted(&longer), &[&[4.0, 5.0], &[7.0, 8.0]]));
        let many: Vec<_> = (0..50).map(|_| text(&[1.0])).collect();
        let refused = to_length_of(&[text(&[2.0; 5])], &many).unwrap_err();
        assert!(matches!(&refused, BackendError::Request(why) if why.contains("chunks")), "{refused}");
    }

    #[test]
    fn many_short_texts_beside_a_long_one_are_refused() {
        let one = text(&[1.0]);
        let many: Vec<_> = (0..50).map(|_| one.shallow_clone()).collect();
        let refused = to_one_length([many, vec![text(&[2.0; 5])]], &one).unwrap_err();
        assert!(matches!(&refused, BackendError::Request(why) if why.contains("chunks")), "{refused}");
    }
}
