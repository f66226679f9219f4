//! Hypernetworks as web UIs save them against PyTorch modules of the same structure.

use gesso_torch::hypernetwork::{Hypernetwork, HypernetworkError};
use tch::{Device, Kind, Tensor};

use crate::support::{Archive, fixture, relative_error};

const STRENGTH: f64 = 0.7;

fn load(name: &str) -> Result<Hypernetwork, HypernetworkError> {
    Hypernetwork::load(&fixture("hypernetworks").join(format!("{name}.pt")), tch::Device::Cpu)
}

fn results() -> Archive {
    Archive::read(&fixture("hypernetworks/results.safetensors"))
}

#[track_caller]
fn check(hypernetwork: &Hypernetwork, name: &str, width: i64) {
    let results = results();
    let of = |part: &str| results.tensor(&format!("{name}.{width}.{part}"));
    let context = of("context");
    let (keys, values) = hypernetwork.apply(&context, &context, STRENGTH).unwrap();
    for (got, part) in [(keys, "keys"), (values, "values")] {
        // Of the change alone.
        let error = relative_error(&(got - &context), &(of(part) - &context));
        println!("{name} {width} {part}: {error:.1e}");
        assert!(error < 1e-5, "{name} {width} {part}: {error:e}");
    }
}

#[test]
fn every_structure_and_activation_computes_as_pytorch_does() {
    let results = results();
    let names = results.tensors.keys().filter_map(|name| name.strip_suffix(".context"));
    let mut count = 0;
    for name in names {
        let (name, width) = name.split_once('.').unwrap();
        check(&load(name).unwrap(), name, width.parse().unwrap());
        count += 1;
    }
    assert_eq!(count, 21);
}

#[test]
fn files_of_the_first_days_are_read_under_their_own_names() {
    let old = load("old").unwrap();
    assert_eq!((old.name(), old.step()), ("old", Some(7)));
    check(&old, "plain", 8);
}

#[test]
fn other_widths_pass_unchanged() {
    let deep = load("deep").unwrap();
    assert_eq!(deep.widths().collect::<Vec<_>>(), [8, 12]);
    let context = Tensor::ones([1, 3, 9], (Kind::Float, Device::Cpu));
    let (keys, values) = deep.apply(&context, &context, 1.0).unwrap();
    assert!(keys.equal(&context) && values.equal(&context));
}

#[test]
fn the_context_keeps_its_kind() {
    let context = Tensor::ones([1, 3, 8], (Kind::BFloat16, Device::Cpu));
    let (keys, _) = load("plain").unwrap().apply(&context, &context, 1.0).unwrap();
    assert_eq!(keys.kind(), Kind::BFloat16);
}

#[test]
fn files_that_hold_something_else_are_refused() {
    let error = Hypernetwork::load(&fixture("embeddings/webui.pt"), tch::Device::Cpu).unwrap_err();
    assert!(matches!(error, HypernetworkError::Missing(_)), "{error}");
    let error = Hypernetwork::load(&fixture("embeddings/params.safetensors"), tch::Device::Cpu).unwrap_err();
    assert!(matches!(error, HypernetworkError::Unreadable(_)), "{error}");
}
