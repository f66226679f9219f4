//! The two tiers, with the machine's memory in the place of the device's, and what both bounds count.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::file_version::version_of;
use crate::model_cache::Held;

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
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/demo-model/demo-v3.safetensors");
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
        let model = file(name, path(&self.folder, name));
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

fn file(name: &str, path: PathBuf) -> Arc<ModelFile> {
    Arc::new(ModelFile { name: name.into(), path, version: String::new() })
}

#[test]
fn what_was_replaced_since_it_was_found_is_refused_and_never_kept_as_what_it_was() {
    let mut models = Models::new(2);
    let place = path(&models.folder, "a");
    let found = || {
        let (path, version) = (place.clone(), version_of(&place).unwrap());
        Arc::new(ModelFile { name: "a".into(), path, version })
    };
    let before = found();
    fs::copy(path(&models.folder, "c"), &place).unwrap();
    let modified = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1);
    fs::File::options().write(true).open(&place).unwrap().set_modified(modified).unwrap();
    let said = "a.safetensors: it was replaced";
    let replaced = |error: &BackendError| matches!(error, BackendError::Model(why) if why.contains(said));
    for _ in 0..2 {
        let refused = models.resident.networks(&before, None, &[], false).err().unwrap();
        assert!(replaced(&refused), "{refused}");
    }
    let beside = models.resident.beside(
        |resident| &mut resident.vaes,
        &before,
        |_| Ok::<_, BackendError>(Tensors::default()),
    );
    assert!(replaced(&beside.err().unwrap()));
    assert_eq!(kept(&models), (String::new(), String::new()));
    assert!(models.resident.networks(&found(), None, &[], false).is_ok(), "what lies there now");
    let over = models.resident.networks(&found(), Some(&before), &[], false).err().unwrap();
    assert!(matches!(&over, BackendError::Vae(why) if why.contains(said)), "as a VAE: {over}");
}

/// The same on a processor, where there is one kind of memory: for so many checkpoints by number and by half.
fn on_a_processor(number: usize, halves: u64) -> Models {
    let mut models = Models::new(1);
    let bounds = Bounds { models: number, host_bytes: models.bytes * halves / 2, device_bytes: u64::MAX };
    models.resident = Resident::new(bounds, Compute::from(Kind::Float));
    models
}

/// Keeps a VAE of about so many bytes, as if it had been read.
fn keep_vae(models: &mut Models, name: &str, bytes: u64) -> Rc<Tensors> {
    let tensor = Tensor::zeros([bytes as i64 / 4], (Kind::Float, Device::Cpu));
    let named = std::collections::BTreeMap::from([("w".to_owned(), tensor)]);
    let vae = Rc::new(Tensors { named, ..Tensors::default() });
    models.resident.vaes.insert(file(name, name.into()), vae.clone());
    models.resident.settle();
    vae
}

/// Names of the VAEs and of the checkpoints that are there.
fn kept(models: &Models) -> (String, String) {
    let vaes = models.resident.vaes.keys().map(|vae| vae.name.clone());
    (vaes.collect(), models.resident.loaded().iter().map(|model| model.name.clone()).collect())
}

#[test]
fn what_is_kept_beside_checkpoints_counts_and_goes_before_them() {
    let mut models = on_a_processor(3, 5);
    let half = models.bytes / 2;
    drop(models.load("a"));
    drop(models.load("c"));
    drop(keep_vae(&mut models, "x", half / 2));
    assert_eq!(kept(&models), ("x".into(), "ac".into()));
    assert!(models.resident.bytes() > models.bytes * 2);
    let held = keep_vae(&mut models, "y", half);
    assert_eq!(kept(&models), ("y".into(), "ac".into()), "the one unused longest goes");
    drop(keep_vae(&mut models, "z", half));
    assert_eq!(kept(&models), ("yz".into(), "c".into()), "there is none but what is in use");
    drop(models.load("a"));
    assert_eq!(kept(&models), ("y".into(), "ca".into()));
    drop(held);
    models.resident.settle();
    assert_eq!(kept(&models), ("y".into(), "ca".into()), "all is within the bound");
}

#[test]
fn a_switch_leaves_what_is_kept_beside_the_checkpoint_that_goes() {
    let mut models = on_a_processor(1, 3);
    drop(models.load("a"));
    let half = models.bytes / 2;
    drop(keep_vae(&mut models, "x", half));
    drop(models.load("c"));
    assert_eq!(kept(&models), ("x".into(), "c".into()));
}

#[test]
fn what_is_there_already_drives_nothing_out_where_all_takes_too_much() {
    let mut models = on_a_processor(1, 2);
    drop(models.load("a"));
    let half = models.bytes / 2;
    let in_use = [keep_vae(&mut models, "x", half), keep_vae(&mut models, "y", half)];
    drop(in_use);
    let read = |_: &Path| -> Result<Tensors, BackendError> { panic!("it is there") };
    let again = models.resident.beside(|resident| &mut resident.vaes, &file("x", "x".into()), read);
    drop(again.unwrap());
    assert_eq!(kept(&models), ("yx".into(), "a".into()));
    drop(keep_vae(&mut models, "z", half));
    assert_eq!(kept(&models), ("z".into(), "a".into()), "what comes does");
}

#[test]
fn less_working_memory_than_before_drives_nothing_out() {
    let mut models = Models::new(2);
    drop(models.load("a"));
    let in_use = hypernetwork(&mut models);
    models.resident.reserve(models.bytes * 2);
    drop(in_use);
    models.resident.reserve(0);
    assert_eq!(models.resident.hypernetworks.values().count(), 1, "there is room for both");
    models.resident.reserve(models.bytes * 2);
    assert_eq!(models.resident.hypernetworks.values().count(), 0);
}

/// A hypernetwork, from its cache or read and kept.
fn hypernetwork(models: &mut Models) -> Rc<Hypernetwork> {
    let plain = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hypernetworks/plain.pt");
    let read = |path: &Path| {
        Hypernetwork::load(path, Device::Cpu).map_err(|error| BackendError::Request(error.to_string()))
    };
    let caches: fn(&mut Resident) -> &mut Lru<_, _> = |resident| &mut resident.hypernetworks;
    models.resident.beside(caches, &file("plain", plain), read).unwrap()
}

#[test]
fn on_a_device_what_was_unused_longest_goes_whatever_it_is() {
    let mut models = Models::new(2);
    let bound = models.bytes * 2 + models.bytes / 2;
    // For a moment a byte more is needed than is free.
    let press = |models: &mut Models| {
        models.resident.reserve(bound - models.resident.bytes() + 1);
        models.resident.reserve(0);
        let loaded = models.resident.loaded().iter().map(|model| model.name.clone()).collect::<String>();
        (models.resident.hypernetworks.values().count(), loaded)
    };
    drop(models.load("a"));
    drop(hypernetwork(&mut models));
    drop(models.load("c"));
    assert_eq!(press(&mut models), (1, "c".into()), "the checkpoint was used before it");
    drop(models.load("a"));
    assert_eq!(press(&mut models), (0, "ca".into()), "both checkpoints were used since");
    let in_use = models.load("c");
    drop(hypernetwork(&mut models));
    assert_eq!(press(&mut models), (1, "c".into()));
    assert_eq!(press(&mut models), (0, "c".into()), "what is in use stays");
    drop(in_use);
}

#[test]
fn what_is_laid_over_a_checkpoint_has_what_was_unused_longest_go_too() {
    let mut models = Models::new(2);
    drop(models.load("a"));
    drop(hypernetwork(&mut models));
    drop(models.load("c"));
    let bound = models.bytes * 2 + models.bytes / 2;
    models.resident.reserve(bound - models.resident.bytes());
    assert_eq!(models.resident.loaded().len(), 2, "all that is there just fits");
    let [model, vae] = ["c", "a"].map(|name| file(name, path(&models.folder, name)));
    let variant = models.resident.networks(&model, Some(&vae), &[], false).unwrap();
    assert_eq!(kept(&models), ("a".into(), "c".into()));
    assert_eq!(
        models.resident.hypernetworks.values().count(),
        1,
        "it was used after the checkpoint that went"
    );
    drop(variant);
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
