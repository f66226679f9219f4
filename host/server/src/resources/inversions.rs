//! Which textual inversions a request uses, for its infotext. The engine finds them for itself, among the same tokens.

use std::sync::{Arc, LazyLock};

use gesso_core::prompt::{Chunking, Clock, Conditioning, Embeddings, Mentions};
use gesso_core::request::GenerateRequest;
use gesso_engine::backend::ModelFile;
use gesso_torch::embedding::Embedding;
use gesso_torch::{CHUNKS_MAX, CLIP, Tokenizer};

/// Takes a moment to build.
static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(Tokenizer::new);

/// Name and hash of each of `files` that a prompt of the request names and that is `width` wide, in the files' order. Reads
/// those whose name is in a prompt at all: call it where blocking is allowed.
pub(super) fn used(
    files: &[Arc<ModelFile>],
    width: Option<i64>,
    request: &GenerateRequest,
) -> Vec<(String, String)> {
    let texts = texts(request);
    let mentions = Mentions::of(texts.iter().map(String::as_str));
    let read = |file: &Arc<ModelFile>| {
        let embedding = Embedding::load(&file.path).ok()?;
        (Some(embedding.width()) == width).then(|| (file.name.clone(), embedding.hash12))
    };
    let known: Vec<_> = files.iter().filter(|file| mentions.may_name(&file.name)).filter_map(read).collect();
    if known.is_empty() {
        return known;
    }
    // How many vectors one has matters to where chunks end, and not to what is found.
    let names = Embeddings::new(known.iter().map(|(name, _)| (TOKENIZER.encode(name), 1)));
    let chunking = Chunking {
        vocabulary: CLIP,
        emphasis: request.emphasis,
        embeddings: Some(&names),
        comma_padding_backtrack: request.comma_backtrack as usize,
    };
    let chunks = texts.iter().flat_map(|text| chunking.chunks(text, &|text| TOKENIZER.encode(text)));
    // The engine refuses a request with more on one of its sides, of which there are two in each pass.
    let chunks = chunks.take(4 * CHUNKS_MAX);
    let found: Vec<usize> = chunks.flat_map(|chunk| chunk.embeddings).map(|(_, index)| index).collect();
    let indexed = known.into_iter().enumerate().filter(|(index, _)| found.contains(index));
    indexed.map(|(_, embedding)| embedding).collect()
}

/// Every text that is encoded, in either pass that is drawn.
fn texts(request: &GenerateRequest) -> Vec<String> {
    let steps = request.first_pass().prompt_clock();
    let clock = Clock { steps, hires_steps: None, old: request.old_scheduling };
    let first = (&request.prompt, &request.negative_prompt, clock);
    let mut sides: Vec<_> = request.draws_first_pass().then_some(first).into_iter().collect();
    if let Some(hires) = &request.hires {
        let prompt = hires.prompt.as_ref().unwrap_or(&request.prompt);
        let negative_prompt = hires.negative_prompt.as_ref().unwrap_or(&request.negative_prompt);
        let steps = request.hires_pass(hires).prompt_clock();
        sides.push((prompt, negative_prompt, Clock { hires_steps: Some(steps), ..clock }));
    }
    let both = sides.into_iter().flat_map(|(prompt, negative_prompt, clock)| {
        [
            Conditioning::positive(&request.split(prompt).0, clock),
            Conditioning::negative(&request.split(negative_prompt).0, clock),
        ]
    });
    both.flat_map(|side| side.texts).map(|text| text.text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A safetensors file of one vector of `width` numbers.
    fn write(folder: &std::path::Path, name: &str, width: usize) -> Arc<ModelFile> {
        let header = serde_json::json!({
            "emb_params": {"dtype": "F32", "shape": [1, width], "data_offsets": [0, 4 * width]},
        });
        let header = header.to_string();
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.into_bytes());
        bytes.extend(vec![0; 4 * width]);
        let path = folder.join(format!("{name}.safetensors"));
        std::fs::write(&path, bytes).unwrap();
        Arc::new(ModelFile { name: name.into(), path, version: String::new() })
    }

    #[test]
    fn those_that_prompts_name_are_told_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let files = [("easyfix", 8), ("night", 8), ("wide", 9), ("never", 8), ("night_(v2)", 8)]
            .map(|(name, width)| write(folder.path(), name, width));
        let names = |prompt: &str, negative_prompt: &str| {
            let request = GenerateRequest {
                prompt: prompt.into(),
                negative_prompt: negative_prompt.into(),
                ..GenerateRequest::default()
            };
            let used = used(&files, Some(8), &request);
            assert!(used.iter().all(|(_, hash)| hash.len() == 12), "{used:?}");
            used.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(names("sea, wide", "# never"), Vec::<String>::new());
        assert_eq!(names("(sea at Night:1.2)", "easyfix"), ["easyfix", "night"]);
        // Letters of another word are none of its tokens.
        assert_eq!(names("a nightingale", ""), Vec::<String>::new());
        assert_eq!(names("[sea:night:0.5]", ""), ["night"]);
        assert_eq!(names(r"sea, night_\(v2\)", ""), ["night_(v2)"]);
    }
}
