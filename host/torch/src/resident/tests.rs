//! The two tiers, with the machine's memory in the place of the device's.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;

/// The demo checkpoint's bytes, every number of it moved by its last bit.
fn moved(mut file: Vec<u8>) -> Vec<u8> {
    let header = u64::from_le_bytes(*file.first_chunk().unwrap()) as usize;
    file[8 + header..].iter_mut().step_by(2).for_each(|low| *low ^= 1);
    file
}

struct Models {
    folder: tempfile::TempDir,
    resident: Resident,
    bytes: u64,
}

impl Models {
    /// `a` and `b` are one checkpoint twice, `c` is another. The device holds `fitting` of them.
    fn new(fitting: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let demo =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/demo-model/demo-v1.safetensors");
        let demo = fs::read(demo).unwrap();
        for (name, bytes) in [("a", demo.clone()), ("b", demo.clone()), ("c", moved(demo))] {
            fs::write(path(&folder, name), bytes).unwrap();
        }
        let compute = Compute::from(Kind::Float);
        let bytes = Checkpoint::open(&path(&folder, "a")).unwrap().bytes(compute);
        let bounds = Bounds { models: 3, host_bytes: u64::MAX, device_bytes: bytes * fitting + bytes / 2 };
        Self { folder, resident: Resident::in_two_tiers(bounds, compute), bytes }
    }

    fn load(&mut self, name: &str) -> Rc<Networks> {
        let path = path(&self.folder, name);
        let model = Arc::new(ModelFile { name: name.into(), path, version: String::new() });
        self.resident.networks(&model, None, &[], false).unwrap()
    }

    fn delete(&self, name: &str) {
        fs::remove_file(path(&self.folder, name)).unwrap();
    }
}

fn path(folder: &tempfile::TempDir, name: &str) -> PathBuf {
    folder.path().join(format!("{name}.safetensors"))
}

/// Addresses of the tensors.
fn addresses(networks: &Networks) -> Vec<usize> {
    networks.tensors().pieces().map(|(address, _)| address).collect()
}

#[test]
fn what_left_the_device_comes_back_without_its_file() {
    let mut models = Models::new(1);
    let first = models.load("a");
    let waiting = Rc::downgrade(&first.origin().unwrap());
    let copied =
        addresses(&first).iter().zip(waiting.upgrade().unwrap().pieces()).all(|(at, (from, _))| *at != from);
    assert!(copied, "the device has copies");
    let weight =
        |networks: &Networks| networks.tensors().get("model.diffusion_model.out.2.weight").unwrap().copy();
    let before = weight(&first);
    drop(first);
    models.load("c");
    models.delete("a");
    let again = models.load("a");
    assert!(weight(&again) == before);
    assert!(Rc::ptr_eq(&again.origin().unwrap(), &waiting.upgrade().unwrap()), "it was not read again");
}

#[test]
fn one_that_fits_beside_the_others_stays_on_the_device() {
    let mut models = Models::new(2);
    let first = addresses(&models.load("a"));
    models.load("c");
    assert!(addresses(&models.load("a")) == first);
}

#[test]
fn what_two_checkpoints_share_is_on_the_device_once() {
    let mut models = Models::new(2);
    let (a, b) = (models.load("a"), models.load("b"));
    assert!(addresses(&a) == addresses(&b));
    assert!(addresses(&a) != addresses(&models.load("c")));
}

#[test]
fn working_memory_makes_models_wait_in_the_machines() {
    let mut models = Models::new(2);
    let first = Rc::downgrade(&models.load("a"));
    models.load("c");
    assert!(first.upgrade().is_some());
    models.resident.reserve(models.bytes);
    assert!(first.upgrade().is_none(), "the device needs the room for a picture");
}

#[test]
fn each_kind_of_memory_tells_what_its_checkpoints_take() {
    let mut models = Models::new(2);
    let pieces: std::collections::HashMap<_, _> = models.load("a").tensors().pieces().collect();
    let each: u64 = pieces.values().sum();
    assert!(each > 0);
    models.load("b");
    models.load("c");
    let told = |tier: &gesso_engine::backend::Tier| {
        let names: Vec<_> = tier.models.iter().map(|(model, _)| model.name.clone()).collect();
        assert!(tier.models.iter().all(|(_, bytes)| *bytes == each), "{tier:?}");
        (names.concat(), tier.bytes)
    };
    let residency = models.resident.residency();
    let device = residency.device.unwrap();
    assert_eq!(told(&device), ("abc".into(), 2 * each), "two of them share everything");
    assert_eq!(told(&residency.host), ("abc".into(), 2 * each));
    assert_eq!((device.bytes_max, residency.host.bytes_max), (models.bytes * 2 + models.bytes / 2, u64::MAX));
    assert!(models.resident.drop_unused());
    let residency = models.resident.residency();
    assert_eq!(residency.device.map(|device| told(&device)), Some((String::new(), 0)));
    assert_eq!(told(&residency.host), ("abc".into(), 2 * each), "they wait to be copied again");
}

#[test]
fn what_runs_out_of_memory_runs_once_more_without_what_is_not_in_use() {
    let mut models = Models::new(2);
    drop(models.load("a"));
    let held = models.load("c");
    let out = || BackendError::OutOfMemory("fake".into());
    let mut runs = 0;
    let done = models.resident.with_room(|resident| {
        runs += 1;
        if resident.loaded().len() > 1 { Err(out()) } else { Ok(runs) }
    });
    assert_eq!(done, Ok(2));
    let mut runs = 0;
    let failed = models.resident.with_room(|_| -> Result<(), _> {
        runs += 1;
        Err(out())
    });
    assert_eq!((failed, runs), (Err(out()), 1), "nothing is left to drop");
    drop(held);
    let again = addresses(&models.load("a"));
    assert!(!again.is_empty(), "the next job works");
}
