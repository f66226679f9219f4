//! Textual inversions in every form in circulation, and files that are none.

use gesso_torch::embedding::{Embedding, EmbeddingError, Skipped};
use proptest::prelude::*;
use zip::CompressionMethod;

use crate::pickles::archive;
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

/// What Python's pickler writes in protocol 2 of a dict as the first trainer saved it (Gal et al. 2022): its vectors
/// lie in a `ParameterDict`, whose fields are those of every module of torch.
const FIRST_TRAINER: &[u8] =
    b"\x80\x02}q\x00(X\x0f\x00\x00\x00string_to_tokenq\x01}q\x02X\x01\x00\x00\x00*q\x03M\t\x01\
    sX\x0f\x00\x00\x00string_to_paramq\x04ctorch.nn.modules.container\nParameterDict\nq\x05)\x81q\x06}q\x07(\
    X\x08\x00\x00\x00trainingq\x08\x88\
    X\x0b\x00\x00\x00_parametersq\tccollections\nOrderedDict\nq\n)Rq\x0bh\x03\
    ctorch._utils\n_rebuild_parameter\nq\x0cctorch._utils\n_rebuild_tensor_v2\nq\r\
    ((X\x07\x00\x00\x00storageq\x0ectorch\nFloatStorage\nq\x0fX\x01\x00\x00\x000q\x10\
    X\x03\x00\x00\x00cpuq\x11K\x02tq\x12QK\x00K\x01K\x02\x86q\x13K\x02K\x01\x86q\x14\
    \x89h\n)Rq\x15tq\x16Rq\x17\x88h\n)Rq\x18\x87q\x19Rq\x1as\
    X\x08\x00\x00\x00_buffersq\x1bh\n)Rq\x1c\
    X\x1b\x00\x00\x00_non_persistent_buffers_setq\x1dc__builtin__\nset\nq\x1e]q\x1f\x85q\x20Rq!\
    X\x0f\x00\x00\x00_backward_hooksq\x22h\n)Rq#X\x16\x00\x00\x00_is_full_backward_hookq$N\
    X\x0e\x00\x00\x00_forward_hooksq%h\n)Rq&X\x12\x00\x00\x00_forward_pre_hooksq'h\n)Rq(\
    X\x11\x00\x00\x00_state_dict_hooksq)h\n)Rq*X\x1a\x00\x00\x00_load_state_dict_pre_hooksq+h\n)Rq,\
    X\x1b\x00\x00\x00_load_state_dict_post_hooksq-h\n)Rq.X\x08\x00\x00\x00_modulesq/h\n)Rq0\
    X\x0c\x00\x00\x00_initializedq1\x88ubu.";

#[test]
fn vectors_in_a_module_of_parameters_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("first.pt");
    std::fs::write(&path, archive(FIRST_TRAINER, CompressionMethod::Stored)).unwrap();
    let embedding = Embedding::load(&path).unwrap();
    assert_eq!((embedding.name.as_str(), embedding.width()), ("first", 2));
    assert!(embedding.vectors.equal(&tch::Tensor::from_slice(&[1.0_f32, 2.0]).reshape([1, 2])));
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
