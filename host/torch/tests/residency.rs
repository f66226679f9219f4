//! Switching between checkpoints, on the real backend: memory does not grow with the number of switches. A binary of its
//! own, because memory is the process's and tests beside it would be measured too.

#![allow(clippy::unwrap_used, reason = "a test ends where something unexpected comes back")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use gesso_core::prompt::{Clock, Conditioning};
use gesso_core::request::GenerateRequest;
use gesso_engine::backend::{Backend, ModelFile, PassSpec};
use gesso_engine::{Resources, Share};
use gesso_torch::{DtypeChoice, TorchBackend, TorchSettings};
use safetensors::tensor::{SafeTensors, TensorView};

const UNET: &str = "model.diffusion_model.";
const SWITCHES: usize = 100;
/// Switches until every block the allocator keeps has been made.
const WARM_UP: usize = 100;
/// What may be left of allocations that were given back, as a part of what was resident after warming up.
const GROWTH_MAX: f64 = 1.05;

/// The demo checkpoint with other numbers in its UNet.
fn checkpoint(folder: &Path, index: u8) -> Arc<ModelFile> {
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/demo-model/demo-v3.safetensors");
    let bytes = fs::read(demo).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let changed = file.tensors().into_iter().map(|(name, view)| {
        let mut data = view.data().to_vec();
        if name.starts_with(UNET) {
            // The lowest bit of the mantissa's first number is enough to be another tensor.
            data[0] = data[0].wrapping_add(index);
        }
        (name, view.dtype(), view.shape().to_vec(), data)
    });
    let changed: Vec<_> = changed.collect();
    let views = changed.iter().map(|(name, dtype, shape, data)| {
        (name.clone(), TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    let path = folder.join(format!("{index}.safetensors"));
    let metadata = header.metadata().clone();
    fs::write(&path, safetensors::serialize(views, metadata).unwrap()).unwrap();
    Arc::new(ModelFile { name: index.to_string(), path, version: String::new() })
}

/// What a request for this checkpoint begins with.
fn switch_to(backend: &mut TorchBackend, model: &Arc<ModelFile>) {
    let request = GenerateRequest { width: 64, height: 64, steps: 1, ..GenerateRequest::default() };
    let clock = Clock::new(1);
    let spec = PassSpec {
        model,
        resources: &Resources::default(),
        request: &request,
        width: 64,
        height: 64,
        steps: 1,
        is_second: false,
        positive: &Conditioning::positive("", clock),
        negative: &Conditioning::negative("", clock),
        source: None,
        refiner: None,
        share: Share::default(),
    };
    drop(backend.open_pass(&spec).unwrap());
}

/// Bytes of this process in memory; pages are 4 KiB on the machines this is tested on, and only ratios are looked at.
fn resident() -> f64 {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    pages.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 4096.0
}

#[test]
fn a_hundred_switches_between_three_checkpoints_leave_memory_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let models = [1, 2, 3].map(|index| checkpoint(folder.path(), index));
    let settings = TorchSettings { dtype: DtypeChoice::F32, resident_models: 2, ..TorchSettings::default() };
    let mut backend = TorchBackend::open(settings).unwrap();
    let mut models = models.iter().cycle();
    // The most that is resident meanwhile: what the allocator keeps for the next allocation comes and goes.
    let mut switch = |times: usize| {
        let after_each = models.by_ref().take(times).map(|model| {
            switch_to(&mut backend, model);
            resident()
        });
        after_each.fold(0.0, f64::max)
    };
    let before = switch(WARM_UP);
    let after = switch(SWITCHES);
    println!(
        "at most {:.1} MiB, in {SWITCHES} switches more {:.1} MiB",
        before / 1048576.0,
        after / 1048576.0
    );
    assert!(after <= before * GROWTH_MAX, "{before} bytes became {after}");
}
