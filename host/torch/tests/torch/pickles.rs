//! PyTorch's own files: what `torch.save` writes reads back value for value, and no pickle that asks for more than
//! data is loaded. `tests/fixtures/make_pickles.py` makes both kinds with Python.

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Write};
use std::path::PathBuf;
use std::sync::LazyLock;

use gesso_torch::{Problem, Tensors, Value, inspect_pickle};
use proptest::prelude::*;
use tch::{Kind, Tensor};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::support::fixture;

static FIXTURES: LazyLock<BTreeMap<String, Vec<u8>>> = LazyLock::new(|| {
    let mut archive = ZipArchive::new(std::fs::File::open(fixture("pickles.zip")).unwrap()).unwrap();
    let mut files = BTreeMap::new();
    for index in 0..archive.len() {
        let mut file = archive.by_index(index).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        files.insert(file.name().unwrap().to_string(), bytes);
    }
    files
});

fn written(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.pt");
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn read(bytes: &[u8]) -> Result<Tensors, Problem> {
    let (_folder, path) = written(bytes);
    Tensors::read(&path).map_err(|error| error.problem)
}

/// An archive as torch lays it out, around a pickle and one storage of eight bytes.
pub(crate) fn archive(pickle: &[u8], method: CompressionMethod) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(method);
    for (name, bytes) in [("data.pkl", pickle), ("data/0", &[0, 0, 128, 63, 0, 0, 0, 64][..])] {
        writer.start_file(format!("archive/{name}"), options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

#[derive(serde::Deserialize)]
struct Expected {
    shape: Vec<i64>,
    kind: String,
    /// Of each value as f64.
    bits: Vec<u64>,
}

fn kind(name: &str) -> Kind {
    match name {
        "float32" => Kind::Float,
        "float16" => Kind::Half,
        "bfloat16" => Kind::BFloat16,
        "float64" => Kind::Double,
        "float8_e4m3fn" => Kind::Float8e4m3fn,
        "float8_e5m2" => Kind::Float8e5m2,
        "int64" => Kind::Int64,
        "int32" => Kind::Int,
        "int16" => Kind::Int16,
        "int8" => Kind::Int8,
        "uint8" => Kind::Uint8,
        "bool" => Kind::Bool,
        other => panic!("{other} is not used in fixtures"),
    }
}

fn values(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.to_kind(Kind::Double).flatten(0, -1)).unwrap()
}

#[test]
fn every_tensor_that_torch_saves_reads_back_value_for_value() {
    let expected: BTreeMap<String, BTreeMap<String, Expected>> =
        serde_json::from_slice(&FIXTURES["good/expected.json"]).unwrap();
    assert_eq!(expected.len(), 7);
    for (file, tensors) in expected {
        let got = read(&FIXTURES[&format!("good/{file}.pt")]).unwrap();
        assert!(got.named.keys().eq(tensors.keys()), "{file}");
        for (name, want) in tensors {
            let got = &got.named[&name];
            assert_eq!((got.size(), got.kind()), (want.shape, kind(&want.kind)), "{file}: {name}");
            let bits: Vec<_> = values(got).into_iter().map(f64::to_bits).collect();
            assert_eq!(bits, want.bits, "{file}: {name}");
        }
    }
}

#[test]
fn no_pickle_that_asks_for_more_than_data_is_loaded() {
    let refusals: BTreeMap<String, String> = serde_json::from_slice(&FIXTURES["bad/refusals.json"]).unwrap();
    assert!(refusals.len() > 60);
    let mut wrong = Vec::new();
    for (name, words) in refusals {
        let pickle = &FIXTURES[&format!("bad/{name}.pkl")];
        match read(&archive(pickle, CompressionMethod::Stored)) {
            Err(problem) if problem.to_string().contains(&words) => {}
            other => wrong.push((name, words, other.map(drop))),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_pickle_that_calls_a_function_is_refused_by_its_name_in_every_container() {
    let pickle = &FIXTURES["bad/reduce2.pkl"];
    for file in [pickle.clone(), archive(pickle, CompressionMethod::Stored)] {
        let problem = read(&file).unwrap_err();
        assert!(matches!(&problem, Problem::Forbidden(name) if name == "posix.system"), "{problem}");
    }
}

/// What Python's pickler writes for the class of `torch.nn.ParameterDict`, in protocol 2.
const PARAMETER_DICT: &[u8] = b"\x80\x02ctorch.nn.modules.container\nParameterDict\n";

#[test]
fn a_parameter_dict_is_the_dict_in_its_state_wherever_it_was_noted() {
    // Noted as it is made, in a list twice: before it has its state, and after.
    let noted = b")\x81q\x00](h\x00h\x00}X\x0b\x00\x00\x00_parameters}X\x01\x00\x00\x00kK\x07ssbe\x86.";
    let pickle = [PARAMETER_DICT, noted].concat();
    let (_folder, path) = written(&archive(&pickle, CompressionMethod::Stored));
    let tree = Value::read(&path).unwrap();
    let [noted, list] = tree.members() else { panic!("{tree:?}") };
    let [before, after] = list.members() else { panic!("{tree:?}") };
    for dict in [noted, before, after] {
        assert_eq!(dict.get("k").and_then(Value::as_int), Some(7), "{dict:?}");
    }
    // Without a state it is empty.
    let bare = inspect_pickle(&[PARAMETER_DICT, b")\x81."].concat());
    assert!(bare.is_ok(), "{bare:?}");
}

#[test]
fn a_parameter_dict_is_made_of_nothing_and_holds_a_dict() {
    let no_dict = "a state that is no dict";
    let no_parameters = "parameters that are no dict";
    let cases: [(&[u8], &str); 10] = [
        (b"}\x85\x81.", "wrong arguments"),
        (b"}\x85R.", "wrong arguments"),
        (b")\x81]b.", no_dict),
        (b")\x81)b.", no_dict),
        (b")\x81Nb.", no_dict),
        // The state is a ParameterDict too.
        (b")\x81q\x00h\x00b.", no_dict),
        (b")\x81}b.", no_parameters),
        (b")\x81}X\x0b\x00\x00\x00_parameters]sb.", no_parameters),
        // They are the ParameterDict itself.
        (b")\x81q\x00}X\x0b\x00\x00\x00_parametersh\x00sb.", no_parameters),
        (b")\x81X\x01\x00\x00\x00kK\x07s.", "no container"),
    ];
    for (rest, words) in cases {
        let problem = inspect_pickle(&[PARAMETER_DICT, rest].concat()).unwrap_err();
        assert!(problem.to_string().contains(words), "{} for {problem}", rest.escape_ascii());
    }
    // It holds itself, which has no end.
    let endless = b")\x81q\x00}X\x0b\x00\x00\x00_parameters}X\x01\x00\x00\x00kh\x00ssb.";
    let problem = inspect_pickle(&[PARAMETER_DICT, endless].concat()).unwrap_err();
    assert!(problem.to_string().contains("too deeply"), "{problem}");
    // Of the other modules of torch none is known.
    for name in ["ModuleDict", "ParameterList", "Sequential"] {
        let pickle = format!("ctorch.nn.modules.container\n{name}\n)R.");
        let problem = inspect_pickle(pickle.as_bytes()).unwrap_err();
        assert!(matches!(&problem, Problem::Forbidden(found) if found.ends_with(name)), "{problem}");
    }
}

#[test]
fn the_values_around_the_tensors_read_back() {
    for name in ["tree", "tree_old"] {
        let (_folder, path) = written(&FIXTURES[&format!("good/{name}.pt")]);
        let tree = Value::read(&path).unwrap();
        assert_eq!(tree.get("name").and_then(Value::as_text), Some("a style"));
        let ints = ["step", "far"].map(|key| tree.get(key).and_then(Value::as_int));
        assert_eq!(ints, [Some(1500), Some(1 << 40)]);
        assert!(matches!(tree.get("rate"), Some(Value::Float(0.25))));
        assert!(matches!(tree.get("score"), Some(Value::Float(0.5))));
        assert!(matches!(tree.get("none"), Some(Value::None)));
        assert!(matches!(tree.get("flag"), Some(Value::Bool(true))));
        assert!(matches!(tree.get("device"), Some(Value::Other)));
        let sizes: Vec<_> = tree.get("size").unwrap().members().iter().map(Value::as_int).collect();
        assert_eq!(sizes, [Some(3), Some(4)]);
        let [one, nested, dict] = tree.get("list").unwrap().members() else { panic!("{tree:?}") };
        assert_eq!((one.as_int(), nested.members()[0].as_int()), (Some(1), Some(2)));
        assert_eq!(nested.members()[1].members()[1].as_text(), Some("four"));
        let [(key, value)] = dict.entries() else { panic!("{dict:?}") };
        assert_eq!((key.as_int(), value.as_text()), (Some(5), Some("six")));
        assert_eq!(tree.get("set").unwrap().members()[0].as_int(), Some(7));
        let tensor = tree.get("state_dict").and_then(|state| state.get("row")?.as_tensor()).unwrap();
        assert_eq!(values(&tensor.read().unwrap()), [0.0, 1.0, 2.0, 3.0, 4.0]);
    }
}

/// Two floats, 1 and 2, under `w`; the pickle is the one of the hostile set that is only too long.
fn honest() -> Vec<u8> {
    let mut pickle = FIXTURES["bad/storage_too_long.pkl"].clone();
    let place = pickle.windows(5).position(|bytes| bytes == b"J\x03\0\0\0").unwrap();
    pickle[place + 1] = 2;
    pickle
}

#[test]
fn an_archive_may_be_compressed_but_not_encrypted() {
    let stored = archive(&honest(), CompressionMethod::Stored);
    for file in [&stored, &archive(&honest(), CompressionMethod::Deflated)] {
        assert_eq!(values(&read(file).unwrap().named["w"]), [1.0, 2.0]);
    }
    let mut encrypted = stored;
    // Bit 0 of the flags, in each member's own header and in the directory at the end.
    for (magic, flags) in [(b"PK\x03\x04", 6), (b"PK\x01\x02", 8)] {
        let places = encrypted.windows(4).enumerate().filter(|(_, bytes)| *bytes == magic);
        for place in places.map(|(place, _)| place).collect::<Vec<_>>() {
            encrypted[place + flags] |= 1;
        }
    }
    let problem = read(&encrypted).unwrap_err();
    assert!(problem.to_string().contains("encrypted"), "{problem}");
}

#[test]
fn a_pickle_that_unpacks_without_end_is_refused() {
    let problem = read(&archive(&vec![b'N'; 129 << 20], CompressionMethod::Deflated)).unwrap_err();
    assert!(problem.to_string().contains("unpack"), "{problem}");
}

#[test]
fn a_storage_that_unpacks_without_end_is_refused() {
    let elements = 8 << 20;
    let mut pickle = honest();
    let place = pickle.windows(5).position(|bytes| bytes == b"J\x02\0\0\0").unwrap();
    pickle[place + 1..place + 5].copy_from_slice(&i32::to_le_bytes(elements));
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for (name, bytes) in [("data.pkl", pickle), ("data/0", vec![0; 4 * elements as usize])] {
        writer.start_file(format!("archive/{name}"), options).unwrap();
        writer.write_all(&bytes).unwrap();
    }
    let problem = read(&writer.finish().unwrap().into_inner()).unwrap_err();
    assert!(problem.to_string().contains("would unpack"), "{problem}");
}

#[test]
fn a_file_cut_short_after_it_was_opened_gives_an_error_when_a_tensor_is_read() {
    for name in ["good/tree.pt", "good/tree_old.pt"] {
        let (_folder, path) = written(&FIXTURES[name]);
        let tree = Value::read(&path).unwrap();
        let tensor = tree.get("state_dict").and_then(|state| state.get("plain")?.as_tensor()).unwrap();
        assert_eq!(tensor.read().unwrap().size(), [2, 3]);
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(100).unwrap();
        assert!(matches!(tensor.read(), Err(Problem::Changed)), "{name}");
    }
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    for name in ["good/flat.pt", "good/flat_old.pt"] {
        let whole = &FIXTURES[name];
        for length in (0..whole.len()).step_by(61).chain([whole.len() - 1]) {
            assert!(read(&whole[..length]).is_err(), "{name} at {length}");
        }
    }
}

fn changed(bytes: &[u8], changes: &[(prop::sample::Index, u8)]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (place, value) in changes {
        let place = place.index(bytes.len());
        bytes[place] = *value;
    }
    bytes
}

/// The pickles inside the good archives.
static PICKLES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut pickles = Vec::new();
    for name in ["flat", "tree", "protocol3", "protocol4", "protocol5"] {
        let mut archive = ZipArchive::new(Cursor::new(&FIXTURES[&format!("good/{name}.pt")])).unwrap();
        let mut bytes = Vec::new();
        let index = archive.index_for_name("archive/data.pkl").unwrap();
        archive.by_index(index).unwrap().read_to_end(&mut bytes).unwrap();
        inspect_pickle(&bytes).unwrap();
        pickles.push(bytes);
    }
    pickles
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_are_a_pickle_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _ = inspect_pickle(&bytes);
    }

    #[test]
    fn a_pickle_with_changed_bytes_is_read_or_refused(
        which in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let _ = inspect_pickle(&changed(&PICKLES[which.index(PICKLES.len())], &changes));
    }

    /// Pieces of good pickles in another order: instructions stay whole more often than with changed bytes.
    #[test]
    fn pickles_cut_and_joined_are_read_or_refused(
        pieces in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1usize..200), 1..12),
    ) {
        let mut bytes = Vec::new();
        for (which, from, length) in pieces {
            let pickle = &PICKLES[which.index(PICKLES.len())];
            let from = from.index(pickle.len());
            bytes.extend_from_slice(&pickle[from..pickle.len().min(from + length)]);
        }
        bytes.push(b'.');
        let _ = inspect_pickle(&bytes);
    }

    #[test]
    fn a_file_with_changed_bytes_is_read_or_refused(
        old in any::<bool>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let name = if old { "good/flat_old.pt" } else { "good/flat.pt" };
        let _ = read(&changed(&FIXTURES[name], &changes));
    }
}
