//! Prompts become the vectors a UNet reads: chunks of 77 tokens, each encoded alone, weighted, and joined along
//! tokens. Keeps the latest results, because the pictures of a request share them. Knows no sampler.

use std::rc::Rc;
use std::sync::Arc;

use gesso_core::prompt::{CHUNK_TOKENS, Chunk, Chunking, Conditioning, Embeddings, Mentions};
use gesso_core::request::Emphasis;
use gesso_engine::backend::{BackendError, ModelFile, PassSpec};
use tch::{Kind, TchError, Tensor};

use crate::compute::send;
use crate::embedding::Embedding;
use crate::failure::device_error;
use crate::lru::Lru;
use crate::networks::Networks;
use crate::resident::Resident;
use crate::tokenizer::{CLIP, Tokenizer};

/// Parts kept. One text is 237 KB a chunk for a text encoder 768 wide.
const PARTS_KEPT: usize = 64;
/// Parts of more chunks, over all their texts, are not kept: they are rare, and 64 of the longest would take gigabytes.
const CHUNKS_KEPT_MAX: usize = 16;
/// Chunks of one side of a pass, over all of its texts. The UNet's projection of one takes about 8 MB.
pub const CHUNKS_MAX: usize = 200;
/// Longest prompt taken. The server's own limit is the first; this one keeps the tokenizer's time bounded.
pub(crate) const PROMPT_BYTES_MAX: usize = 64 << 10;

/// What a part's vectors depend on.
#[derive(PartialEq)]
struct Key {
    model: Arc<ModelFile>,
    /// What is patched into the text encoder.
    patches: String,
    /// Each text with the rows it stands for.
    texts: Vec<(String, u32)>,
    clip_skip: u32,
    emphasis: Emphasis,
    comma_backtrack: u32,
    /// Names and hashes of the textual inversions the texts name.
    embeddings: Vec<(String, String)>,
}

/// Encodes prompts; one for all models of a backend.
pub(crate) struct Conditioner {
    tokenizer: Tokenizer,
    parts: Lru<Key, Rc<Vec<Tensor>>>,
}

impl Conditioner {
    pub(crate) fn new() -> Self {
        Self { tokenizer: Tokenizer::new(), parts: Lru::new(PARTS_KEPT) }
    }

    /// The vectors of every text of `conditioning`, in its order, `[1, 77 * chunks, width]` each in the UNet's kind.
    /// The pass's model and `patches` name `networks` in the cache.
    pub(crate) fn encode(
        &mut self,
        resident: &mut Resident,
        networks: &Networks,
        spec: &PassSpec<'_>,
        patches: &str,
        conditioning: &Conditioning,
    ) -> Result<Vec<Tensor>, BackendError> {
        let mentions = Mentions::of(conditioning.texts.iter().map(|text| text.text.as_str()));
        let is_named = |name: &str| mentions.may_name(name);
        let embeddings = resident.embeddings(spec.resources, networks.text_width(), &is_named)?;
        let mut vectors = Vec::with_capacity(conditioning.texts.len());
        let mut chunks = 0;
        for part in conditioning.texts.chunk_by(|a, b| a.part == b.part) {
            let key = Key {
                model: spec.model.clone(),
                patches: patches.to_owned(),
                texts: part.iter().map(|text| (text.text.clone(), text.entries)).collect(),
                clip_skip: spec.request.clip_skip,
                emphasis: spec.request.emphasis,
                comma_backtrack: spec.request.comma_backtrack,
                embeddings: embeddings
                    .iter()
                    .map(|embedding| (embedding.name.clone(), embedding.hash12.clone()))
                    .collect(),
            };
            let encoded = self.part(networks, &embeddings, key)?;
            chunks += encoded.iter().map(chunk_count).sum::<usize>();
            check_chunks(chunks)?;
            vectors.extend(encoded.iter().map(Tensor::shallow_clone));
        }
        Ok(vectors)
    }

    fn part(
        &mut self,
        networks: &Networks,
        embeddings: &[Rc<Embedding>],
        key: Key,
    ) -> Result<Rc<Vec<Tensor>>, BackendError> {
        if let Some(encoded) = self.parts.get(&key) {
            return Ok(encoded);
        }
        let known = embeddings.iter().map(|known| {
            (self.tokenizer.encode(&known.name), known.vectors.size().first().map_or(0, |n| *n as usize))
        });
        let known = Embeddings::new(known);
        let chunking = Chunking {
            vocabulary: CLIP,
            emphasis: key.emphasis,
            embeddings: Some(&known),
            comma_padding_backtrack: key.comma_backtrack as usize,
        };
        let mut rows = Vec::with_capacity(key.texts.len());
        let mut count = 0;
        for (text, entries) in &key.texts {
            let chunks = chunking.chunks(text, &|text| self.tokenizer.encode(text));
            count += chunks.len();
            // After each text, as a schedule may spell out hundreds of long ones, and the device waits meanwhile.
            check_chunks(count)?;
            rows.push(Row { chunks, entries: *entries });
        }
        let encode = |chunk: &Chunk| {
            let tokens: Vec<i64> = chunk.tokens.iter().map(|id| i64::from(*id)).collect();
            let vectors =
                chunk.embeddings.iter().map(|(place, index)| (*place as i64, &embeddings[*index].vectors));
            let tokens = Tensor::f_from_slice(&tokens)?.f_unsqueeze(0)?;
            networks.encode_text_with(&tokens, key.clip_skip, &vectors.collect::<Vec<_>>())
        };
        let encoded = encode_part(rows, key.emphasis, encode).map_err(device_error)?;
        let kind = networks.unet_kind();
        let encoded: Result<Vec<_>, _> = encoded.iter().map(|text| text.f_to_kind(kind)).collect();
        let encoded = Rc::new(encoded.map_err(device_error)?);
        if encoded.iter().map(chunk_count).sum::<usize>() <= CHUNKS_KEPT_MAX {
            self.parts.insert(key, encoded.clone());
        }
        Ok(encoded)
    }
}

fn chunk_count(text: &Tensor) -> usize {
    text.size().get(1).map_or(0, |tokens| *tokens as usize / CHUNK_TOKENS)
}

/// Refuses a prompt whose schedule spells out more text than the device should hold.
pub(crate) fn check_chunks(chunks: usize) -> Result<(), BackendError> {
    if chunks <= CHUNKS_MAX {
        return Ok(());
    }
    Err(BackendError::Request(format!(
        "the prompt's schedule spells out over {CHUNKS_MAX} chunks of 75 tokens; shorten it or change it less often"
    )))
}

/// One text of a part.
struct Row {
    chunks: Vec<Chunk>,
    /// How many rows of the encoder's call web UIs would give it.
    entries: u32,
}

/// The vectors of each row. Shorter rows get empty chunks at their end; emphasis is by chunk over all rows.
fn encode_part(
    mut rows: Vec<Row>,
    emphasis: Emphasis,
    encode: impl Fn(&Chunk) -> Result<Tensor, TchError>,
) -> Result<Vec<Tensor>, TchError> {
    let longest = rows.iter().map(|row| row.chunks.len()).max().unwrap_or(0);
    for row in &mut rows {
        row.chunks.resize_with(longest, || Chunk::empty(CLIP));
    }
    let mut encoded: Vec<Vec<Tensor>> = rows.iter().map(|_| Vec::with_capacity(longest)).collect();
    for place in 0..longest {
        let mut column = Vec::with_capacity(rows.len());
        for row in &rows {
            let chunk = &row.chunks[place];
            column.push((encode(chunk)?, chunk.weights.as_slice(), row.entries));
        }
        for (row, vectors) in encoded.iter_mut().zip(weigh(column, emphasis)?) {
            row.push(vectors);
        }
    }
    encoded.iter().map(|chunks| Tensor::f_cat(chunks, 1)).collect()
}

/// Multiplies vectors by their weights; web UIs then restore the mean over the whole tensor of one chunk, in which a
/// text stands once for each entry of its schedule.
fn weigh(column: Vec<(Tensor, &[f32], u32)>, emphasis: Emphasis) -> Result<Vec<Tensor>, TchError> {
    let is_plain = column.iter().all(|(_, weights, _)| weights.iter().all(|weight| *weight == 1.0));
    if is_plain || matches!(emphasis, Emphasis::None | Emphasis::Ignore) {
        return Ok(column.into_iter().map(|(vectors, ..)| vectors).collect());
    }
    let mut weighted = Vec::with_capacity(column.len());
    let (mut before, mut after) = (0.0, 0.0);
    for (vectors, weights, entries) in &column {
        let weights = send(&Tensor::f_from_slice(weights)?.f_reshape([1, -1, 1])?, vectors.device())?;
        let heavy = vectors.f_mul(&weights)?;
        before += f64::try_from(vectors.f_mean(Kind::Float)?)? * f64::from(*entries);
        after += f64::try_from(heavy.f_mean(Kind::Float)?)? * f64::from(*entries);
        weighted.push(heavy);
    }
    if emphasis == Emphasis::NoNorm {
        return Ok(weighted);
    }
    weighted.iter().map(|heavy| heavy.f_mul_scalar(before / after)).collect()
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
        let chunks =
            gesso_core::prompt::chunks(text, Emphasis::Original, &|text| tokenizer.encode(text), CLIP);
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
            let got =
                weigh(vec![(plain.shallow_clone(), &chunks[0].weights, 1)], emphasis).unwrap().remove(0);
            let want = golden(want);
            let error = f64::try_from((&got - &want).abs().max() / want.abs().max()).unwrap();
            assert!(error < 1e-5, "{emphasis:?}: {error:e}");
        }
    }

    #[test]
    fn the_mean_is_restored_over_all_entries_of_a_schedule() {
        let vectors = |value: f64| Tensor::full([1, 77, 4], value, (Kind::Float, tch::Device::Cpu));
        let (plain, heavy) = ([1.0; 77], [2.0; 77]);
        // Three rows of 1 and one of 4 that is doubled: the mean goes from 7/4 to 11/4.
        let column = vec![(vectors(1.0), &plain[..], 3), (vectors(4.0), &heavy[..], 1)];
        let got = weigh(column, Emphasis::Original).unwrap();
        let first = |tensor: &Tensor| f64::try_from(tensor.mean(Kind::Float)).unwrap();
        assert!((first(&got[0]) - 7.0 / 11.0).abs() < 1e-6 && (first(&got[1]) - 56.0 / 11.0).abs() < 1e-5);
    }

    #[test]
    fn shorter_texts_of_a_part_get_empty_chunks() {
        let row = |count| Row { chunks: vec![Chunk::empty(CLIP); count], entries: 1 };
        let encode = |_: &Chunk| Tensor::f_zeros([1, 77, 4], (Kind::Float, tch::Device::Cpu));
        let sizes: Vec<_> = encode_part(vec![row(1), row(3)], Emphasis::Original, encode)
            .unwrap()
            .iter()
            .map(|text| text.size()[1])
            .collect();
        assert_eq!(sizes, [231, 231]);
    }
}
