//! Prompts become the contexts a UNet reads: chunks of 77 tokens, each encoded alone, weighted, and joined along
//! tokens. Keeps the latest results, because the pictures of a request share them. Knows no sampler.

use std::rc::Rc;
use std::sync::Arc;

use gesso_core::prompt::{Chunk, chunks};
use gesso_core::request::Emphasis;
use gesso_engine::backend::ModelFile;
use tch::{Kind, TchError, Tensor};

use crate::checkpoint::Networks;
use crate::lru::Lru;
use crate::tokenizer::{CLIP, Tokenizer};

/// Contexts kept. One is 237 KB a chunk for a text encoder 768 wide.
const CONTEXTS_KEPT: usize = 64;
/// Contexts of more chunks are not kept: they are rare, and 64 of the longest would take gigabytes.
const CHUNKS_KEPT_MAX: usize = 8;
/// Longest prompt taken. The server's own limit is the first; this one keeps the tokenizer's time bounded.
pub(crate) const PROMPT_BYTES_MAX: usize = 64 << 10;

#[derive(PartialEq)]
struct Key {
    model: Arc<ModelFile>,
    text: String,
    clip_skip: u32,
    emphasis: Emphasis,
}

/// Encodes prompts; one for all models of a backend.
pub(crate) struct Conditioner {
    tokenizer: Tokenizer,
    contexts: Lru<Key, Rc<Tensor>>,
}

impl Conditioner {
    pub(crate) fn new() -> Self {
        Self { tokenizer: Tokenizer::new(), contexts: Lru::new(CONTEXTS_KEPT) }
    }

    /// The context of `text`, `[1, 77 * chunks, width]` in the UNet's kind. `model` names `networks` in the cache.
    pub(crate) fn context(
        &mut self,
        networks: &Networks,
        model: &Arc<ModelFile>,
        text: &str,
        clip_skip: u32,
        emphasis: Emphasis,
    ) -> Result<Rc<Tensor>, TchError> {
        let key = Key { model: model.clone(), text: text.to_owned(), clip_skip, emphasis };
        if let Some(context) = self.contexts.get(&key) {
            return Ok(context);
        }
        let chunks = chunks(text, emphasis, &|text| self.tokenizer.encode(text), CLIP);
        let context = encode(networks, &chunks, clip_skip, emphasis)?;
        let context = Rc::new(context.f_to_kind(networks.unet_kind())?);
        if chunks.len() <= CHUNKS_KEPT_MAX {
            self.contexts.insert(key, context.clone());
        }
        Ok(context)
    }
}

fn encode(
    networks: &Networks,
    chunks: &[Chunk],
    clip_skip: u32,
    emphasis: Emphasis,
) -> Result<Tensor, TchError> {
    let mut encoded = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        let tokens: Vec<i64> = chunk.tokens.iter().map(|id| i64::from(*id)).collect();
        let tokens = Tensor::f_from_slice(&tokens)?.f_unsqueeze(0)?;
        encoded.push(weigh(networks.encode_text(&tokens, clip_skip)?, &chunk.weights, emphasis)?);
    }
    Tensor::f_cat(&encoded, 1)
}

/// Multiplies vectors by their weights; web UIs then restore the mean over the chunk's whole tensor.
fn weigh(vectors: Tensor, weights: &[f32], emphasis: Emphasis) -> Result<Tensor, TchError> {
    if weights.iter().all(|weight| *weight == 1.0) {
        return Ok(vectors);
    }
    let weights = Tensor::f_from_slice(weights)?.f_reshape([1, -1, 1])?;
    let weighted = vectors.f_mul(&weights)?;
    match emphasis {
        Emphasis::None | Emphasis::Ignore => Ok(vectors),
        Emphasis::NoNorm => Ok(weighted),
        Emphasis::Original => {
            weighted.f_mul(&vectors.f_mean(Kind::Float)?.f_div(&weighted.f_mean(Kind::Float)?)?)
        }
    }
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::SafeTensors;

    use super::*;

    /// What transformers made of the text, weighed by the reference script.
    #[test]
    fn emphasis_equals_the_reference_vectors() {
        let bytes = include_bytes!("../tests/fixtures/goldens.safetensors");
        let goldens = SafeTensors::deserialize(bytes).unwrap();
        let golden = |name: &str| {
            Tensor::f_from_data_size(goldens.tensor(name).unwrap().data(), &[1, 77, 64], Kind::Float).unwrap()
        };
        let tokenizer = Tokenizer::new();
        let text = "a (red:1.3) cat [and dog]";
        let chunks = chunks(text, Emphasis::Original, &|text| tokenizer.encode(text), CLIP);
        assert_eq!(chunks.len(), 1);
        let tokens = goldens.tensor("text.emphasised.tokens").unwrap();
        let tokens = tokens.data().chunks(8).map(|id| u32::from(id[0]) | u32::from(id[1]) << 8);
        assert_eq!(chunks[0].tokens, tokens.collect::<Vec<_>>());
        let plain = golden("text.emphasised.skip1");
        for (emphasis, want) in [
            (Emphasis::Original, "emphasis.original"),
            (Emphasis::NoNorm, "emphasis.no_norm"),
            (Emphasis::Ignore, "text.emphasised.skip1"),
        ] {
            let got = weigh(plain.shallow_clone(), &chunks[0].weights, emphasis).unwrap();
            let want = golden(want);
            let error = f64::try_from((&got - &want).abs().max() / want.abs().max()).unwrap();
            assert!(error < 1e-5, "{emphasis:?}: {error:e}");
        }
    }
}
