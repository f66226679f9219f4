//! TorchScript networks: run as libtorch's own loader would, and refused where their code reaches outside.

use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gesso_core::numbers::Numbers;
use gesso_engine::backend::{Backend, BackendError, ModelFile};
use gesso_torch::{TorchBackend, TorchSettings, about_network};
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/networks").join(name)
}

fn run(path: &Path, inputs: &[Numbers]) -> Result<Vec<Numbers>, BackendError> {
    let mut backend = TorchBackend::open(TorchSettings::default()).unwrap();
    let file = ModelFile { name: "net".into(), path: path.to_owned(), version: String::new() };
    backend.run_network(&Arc::new(file), inputs)
}

fn numbers(shape: &[u32], values: &[f32]) -> Numbers {
    Numbers::new(shape.to_vec(), values.to_vec()).unwrap()
}

/// The archive with other text in its members of code.
fn with_code(name: &str, change: impl Fn(&str) -> String) -> tempfile::NamedTempFile {
    changed(name, str::to_owned, change)
}

/// The archive with other names of its members.
fn renamed(name: &str, rename: impl Fn(&str) -> String) -> tempfile::NamedTempFile {
    changed(name, rename, str::to_owned)
}

fn changed(
    name: &str,
    rename: impl Fn(&str) -> String,
    change: impl Fn(&str) -> String,
) -> tempfile::NamedTempFile {
    let mut archive = ZipArchive::new(Cursor::new(std::fs::read(fixture(name)).unwrap())).unwrap();
    let mut changed = ZipWriter::new(tempfile::NamedTempFile::new().unwrap());
    for index in 0..archive.len() {
        let mut member = archive.by_index(index).unwrap();
        let mut bytes = Vec::new();
        member.read_to_end(&mut bytes).unwrap();
        if member.name().unwrap().ends_with(".py") {
            bytes = change(std::str::from_utf8(&bytes).unwrap()).into_bytes();
        }
        let name = rename(&member.name().unwrap());
        changed.start_file(name, SimpleFileOptions::default()).unwrap();
        changed.write_all(&bytes).unwrap();
    }
    changed.finish().unwrap()
}

#[test]
fn a_detector_says_where_and_what_it_is() {
    let mut picture = vec![0.0; 3 * 64 * 64];
    // The lower right cell is red, the upper left one white.
    for (y, x) in (0..32).flat_map(|y| (0..32).map(move |x| (y, x))) {
        picture[(32 + y) * 64 + 32 + x] = 0.75;
        for channel in 0..3 {
            picture[channel * 64 * 64 + y * 64 + x] = 1.0;
        }
    }
    let outputs = run(&fixture("red_places.torchscript"), &[numbers(&[1, 3, 64, 64], &picture)]).unwrap();
    let [found] = outputs.as_slice() else { panic!("{} outputs", outputs.len()) };
    assert_eq!(found.shape, [1, 5, 4]);
    assert_eq!(found.values[..4], [16.0, 48.0, 16.0, 48.0], "the centres across");
    assert_eq!(found.values[16..], [0.0, 0.0, 0.0, 0.75], "the scores");
    let about = about_network(&fixture("red_places.torchscript")).unwrap().unwrap();
    assert!(about.contains("\"red\""), "{about}");
    assert_eq!(about_network(&fixture("nested.torchscript")).unwrap(), None);
}

#[test]
fn outputs_inside_of_others_come_in_order() {
    let (a, b) = (numbers(&[2], &[1.0, 5.0]), numbers(&[2], &[3.0, 4.0]));
    let outputs = run(&fixture("nested.torchscript"), &[a.clone(), b]).unwrap();
    let values: Vec<&[f32]> = outputs.iter().map(|output| output.values.as_slice()).collect();
    assert_eq!(values, [&[4.0, 9.0][..], &[3.0, 20.0], &[0.0, 1.0], &[0.0, 1.0, 2.0]]);
    let error = run(&fixture("nested.torchscript"), &[a]).unwrap_err();
    assert!(matches!(error, BackendError::Request(_)), "{error}");
}

#[test]
fn code_that_touches_files_is_refused_and_does_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("written");
    // libtorch runs each of these.
    for (call, says) in [
        ("ops.aten.save(a, PATH)", "the operator save"),
        ("torch.save(a, PATH)", "the operator save"),
        ("getattr(torch, \"sa\" \"ve\")(a, PATH)", "getattr other than"),
        ("getattr(torch, \"\\163ave\")(a, PATH)", "getattr other than"),
    ] {
        let call = call.replace("PATH", &format!("{target:?}"));
        let bad = with_code("nested.torchscript", |code| {
            code.replace("_0 = (torch.add", &format!("{call}\n    _0 = (torch.add"))
        });
        let input = numbers(&[1], &[1.0]);
        let error = run(bad.path(), &[input.clone(), input]).unwrap_err().to_string();
        assert!(error.contains("its code names") && error.contains(says), "{call}: {error}");
        assert!(!target.exists());
    }
}

#[test]
fn members_that_nobody_looked_at_are_refused() {
    // libtorch finds members without regard to case.
    for (name, other) in
        [("code/__torch__.py", "CODE/__torch__.py"), ("version", "model.json"), ("constants.pkl", "Data.pkl")]
    {
        let bad = renamed("nested.torchscript", |member| member.replace(name, other));
        let error = run(bad.path(), &[]).unwrap_err().to_string();
        assert!(error.contains(other) && error.contains("no part of a network"), "{error}");
    }
}

#[test]
fn what_is_no_network_is_told_so() {
    for (bytes, says) in [
        (b"PK\x03\x04 no archive".to_vec(), "its archive"),
        (
            std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/compact_x4.pth"))
                .unwrap(),
            "it has no code",
        ),
        (Vec::new(), "its archive"),
    ] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        let error = run(file.path(), &[]).unwrap_err();
        assert!(matches!(&error, BackendError::Model(text) if text.contains(says)), "{error}");
    }
    let damaged = with_code("red_places.torchscript", |code| code.replace("forward", "backward("));
    assert!(matches!(run(damaged.path(), &[]), Err(BackendError::Model(_))));
}
