//! Textual inversions in every form in circulation, and files that are none.

use gesso_torch::embedding::{Embedding, EmbeddingError, Skipped};
use proptest::prelude::*;

use crate::support::{Archive, fixture};

fn load(file: &str) -> Result<Embedding, EmbeddingError> {
    Embedding::load(&fixture("embeddings").join(file))
}

/// Loads a file and compares its vectors with the ones it was made of.
#[track_caller]
fn check(file: &str, name: &str, size: [i64; 2]) -> Embedding {
    let embedding = load(file).unwrap();
    assert_eq!((embedding.name.as_str(), embedding.vectors.size()), (name, size.to_vec()));
    let vectors = Archive::read(&fixture("embeddings/vectors.safetensors"));
    let want = vectors.tensor(file.split('.').next().unwrap());
    assert!(embedding.vectors.equal(&want.reshape(size)), "{file}");
    embedding
}

#[test]
fn pickles_of_web_uis_are_read_with_what_they_say() {
    let embedding = check("webui.pt", "webui", [2, 64]);
    assert_eq!(embedding.step, Some(1500));
    assert_eq!(embedding.checkpoint.as_deref(), Some("abcdef12"));
    assert_eq!(embedding.checkpoint_name.as_deref(), Some("tiny"));
    assert!(embedding.hash12.len() == 12 && embedding.hash12.bytes().all(|byte| byte.is_ascii_hexdigit()));
}

#[test]
fn a_pickle_of_one_vector_is_a_table_of_one() {
    check("single.bin", "single", [1, 64]);
}

#[test]
fn safetensors_of_one_tensor_are_read_whatever_its_name() {
    check("params.safetensors", "params", [3, 64]);
    check("diffusers.safetensors", "diffusers", [1, 64]);
}

#[test]
fn pictures_carry_embeddings_and_their_names() {
    let embedding = check("picture.png", "named picture", [2, 64]);
    assert_eq!(embedding.step, Some(1500));
    check("compressed.png", "named compressed", [1, 64]);
    for file in ["hidden.png", "hidden.webp"] {
        let hidden = check(file, "named hidden", [2, 64]);
        assert_eq!((hidden.step, hidden.checkpoint_name.as_deref()), (Some(1500), Some("tiny")));
    }
    let plain = load("plain.png").unwrap_err();
    assert!(matches!(plain, EmbeddingError::Picture(_)), "{plain}");
}

#[test]
fn another_width_is_skipped_and_says_so() {
    assert!(load("webui.pt").unwrap().for_width(64).is_ok());
    let wide = load("wide.safetensors").unwrap();
    let skipped = wide.for_width(64).unwrap_err();
    assert_eq!(skipped, Skipped { name: "wide".into(), found: 96, wanted: 64 });
    // Both encoders' vectors of a Stable Diffusion XL file, so it can fit no other.
    let xl = load("xl.safetensors").unwrap();
    assert_eq!((xl.width(), xl.vectors.size()[0]), (20, 2));
    assert!(xl.for_width(8).is_err() && xl.for_width(12).is_err());
}

#[test]
fn colours_of_previews_are_not_searched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hidden.Preview.png");
    std::fs::copy(fixture("embeddings").join("hidden.png"), &path).unwrap();
    let error = Embedding::load(&path).unwrap_err();
    assert!(matches!(&error, EmbeddingError::Picture(why) if why.contains("preview")), "{error}");
    // A text chunk is an embedding whatever the file is called.
    std::fs::copy(fixture("embeddings").join("picture.png"), &path).unwrap();
    assert_eq!(Embedding::load(&path).unwrap().name, "named picture");
}

#[test]
fn files_of_several_tensors_are_refused() {
    let error = load("several.safetensors").unwrap_err();
    assert!(matches!(error, EmbeddingError::Several(2)), "{error}");
}

#[test]
fn more_vectors_than_a_prompt_has_tokens_are_refused() {
    let mut archive = Archive::read(&fixture("embeddings/params.safetensors"));
    let long = tch::Tensor::ones([76, 64], (tch::Kind::Float, tch::Device::Cpu));
    archive.insert("emb_params", safetensors::tensor::Dtype::F32, &long);
    let (_folder, path) = archive.write();
    let error = Embedding::load(&path).unwrap_err();
    assert!(matches!(error, EmbeddingError::Shape(shape) if shape == [76, 64]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn damaged_files_are_read_or_refused(
        file in proptest::sample::select(vec![
            "webui.pt",
            "single.bin",
            "params.safetensors",
            "picture.png",
            "hidden.webp",
        ]),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
        kept in 0.5f64..1.2,
    ) {
        let mut bytes = std::fs::read(fixture("embeddings").join(file)).unwrap();
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        bytes.truncate((bytes.len() as f64 * kept) as usize);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(file);
        std::fs::write(&path, bytes).unwrap();
        let _ = Embedding::load(&path);
    }
}
