//! ControlNets, T2I-Adapters and what else acts on a UNet's call, against diffusers on random weights. Bounds are
//! those of `parity.rs`; `tests/fixtures/make_control_fixtures.py` makes what is compared with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gesso_core::control::{ControlKind, ControlMode, ControlPass, ControlUnit};
use gesso_torch::{
    Context, ContextMap, Control, ControlCall, ControlModel, Extras, LoadError, Networks, Problem, Strength,
    Tensors,
};
use safetensors::tensor::Dtype;
use tch::{Kind, TchError, Tensor};

use crate::passes::widened;
use crate::support::{Archive, fixture, relative_error};

const BOUND: f64 = 1e-4;
const UNET: &str = "model.diffusion_model.";

/// How a control file spells its names.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Spelling {
    Original,
    Diffusers,
    /// Original names behind a prefix, beside a checkpoint's own tensors.
    InsideCheckpoint,
}

/// The archive of a fixture's network.
pub(crate) fn control_archive(name: &str, spelling: Spelling) -> Archive {
    let (stored, tiny) = (Archive::read(&fixture(name)), Archive::tiny());
    let names: BTreeMap<String, String> = serde_json::from_str(&stored.metadata["names"]).unwrap();
    let mut archive = Archive { tensors: BTreeMap::new(), metadata: tiny.metadata.clone() };
    for (theirs, original) in names {
        let weight = format!("weight.{theirs}");
        let tensor = if stored.tensors.contains_key(&weight) {
            stored.tensor(&weight)
        } else {
            // The encoder is the base's own with every tensor reversed.
            tiny.tensor(&format!("{UNET}{original}")).flip([0])
        };
        let name = match spelling {
            Spelling::Original => original,
            Spelling::Diffusers => theirs,
            Spelling::InsideCheckpoint => format!("control_model.{original}"),
        };
        archive.insert(&name, Dtype::F16, &tensor);
    }
    if spelling == Spelling::InsideCheckpoint {
        let other = tiny.tensor(&format!("{UNET}out.0.weight"));
        archive.insert(&format!("{UNET}out.0.weight"), Dtype::F16, &other);
    }
    archive
}

/// The tiny UNet's tensors.
fn base() -> Tensors {
    let tiny = Archive::tiny();
    let unet = tiny.tensors.keys().filter(|name| name.starts_with(UNET));
    let named = unet.map(|name| (name.clone(), tiny.tensor(name))).collect();
    Tensors { named, metadata: BTreeMap::new() }
}

fn load_named(archive: &Archive, name: &str) -> Result<ControlModel, LoadError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, archive.bytes()).unwrap();
    ControlModel::load(&path, Kind::Float, &base())
}

fn load(archive: &Archive) -> ControlModel {
    load_named(archive, "control.safetensors").unwrap()
}

fn tiny() -> (tempfile::TempDir, PathBuf) {
    Archive::tiny().write()
}

fn networks(path: &Path) -> Networks {
    Networks::load(path, Kind::Float).unwrap()
}

#[track_caller]
fn check(what: &str, got: &Tensor, want: &Tensor) {
    let error = relative_error(got, want);
    println!("{what}: {error:.1e}");
    assert!(error < BOUND, "{what} differs by {error:e}");
}

/// A picture of the fixture in 0..1.
fn picture(goldens: &Archive, name: &str) -> Tensor {
    goldens.tensor(&format!("golden.{name}")).to_kind(Kind::Float) / 255.0
}

/// The base UNet, and the inputs that the goldens have in common.
struct Scene {
    networks: Networks,
    goldens: Archive,
    text: Tensor,
    context: Context,
    x: Tensor,
    t: Tensor,
}

impl Scene {
    fn new() -> Self {
        let (_folder, path) = tiny();
        let networks = networks(&path);
        let goldens = Archive::read(&fixture("control.safetensors"));
        let [text, x, t] = ["context", "x", "t"].map(|name| goldens.tensor(&format!("golden.{name}")));
        let context = networks.context(&text, None).unwrap();
        Self { networks, goldens, text, context, x, t }
    }

    fn golden(&self, name: &str) -> Tensor {
        self.goldens.tensor(&format!("golden.{name}"))
    }

    /// What `model` adds for all rows, with a picture of the fixture.
    fn residuals(&self, model: &ControlModel, hint: &str, strength: &Strength<'_>) -> Control {
        let hint = model.hint(&picture(&self.goldens, hint)).unwrap();
        let context = model.context(&self.text, None).unwrap();
        let call = ControlCall { x: &self.x, timesteps: &self.t, context: &context, hint: &hint, map: None };
        model.residuals(&call, strength).unwrap()
    }

    fn full_strength(&self, model: &ControlModel, hint: &str) -> Control {
        let scales = vec![1.0; model.layers()];
        self.residuals(model, hint, &Strength { scales: &scales, region: None })
    }

    fn noise(&self, control: Option<&Control>) -> Tensor {
        let extras = Extras { control, ..Extras::default() };
        self.networks.predict_noise_with(&self.x, &self.t, &self.context, &extras).unwrap()
    }

    #[track_caller]
    fn check_noise(&self, what: &str, control: &Control, want: &Tensor) {
        let got = self.noise(Some(control));
        check(what, &got, want);
        let plain = relative_error(&self.noise(None), want);
        assert!(plain > 0.01, "{what}: without control it is as near ({plain:e})");
    }
}

fn tensors(control: &Control) -> Vec<&Tensor> {
    control.inputs.iter().chain(&control.middle).chain(&control.features).collect()
}

#[test]
fn every_residual_of_a_controlnet_equals_diffusers() {
    let scene = Scene::new();
    let model = load(&control_archive("control.safetensors", Spelling::Original));
    assert_eq!((model.kind(), model.layers(), model.pools()), (ControlKind::ControlNet, 13, false));
    let control = scene.full_strength(&model, "hint.0");
    let got = tensors(&control);
    assert_eq!(got.len(), 13);
    for (index, got) in got.into_iter().enumerate() {
        check(&format!("residual {index}"), got, &scene.golden(&format!("residual.{index}")));
    }
}

#[test]
fn a_controlnet_steers_the_unet_as_in_diffusers() {
    let scene = Scene::new();
    let model = load(&control_archive("control.safetensors", Spelling::Original));
    let one = scene.full_strength(&model, "hint.0");
    scene.check_noise("one unit", &one, &scene.golden("one"));
    let scales = [0.6; 13];
    let other = scene.residuals(&model, "hint.1", &Strength { scales: &scales, region: None });
    scene.check_noise("two units", &one.sum(&other).unwrap(), &scene.golden("two"));
}

#[test]
fn sizes_that_do_not_halve_evenly_are_steered_too() {
    let scene = Scene::new();
    let model = load(&control_archive("control.safetensors", Spelling::Original));
    let scene = Scene { x: scene.golden("odd.x"), ..scene };
    let control = scene.full_strength(&model, "odd.hint");
    scene.check_noise("13x11", &control, &scene.golden("odd"));
}

/// The mode in which the negative prompt's row is left alone and outer layers are weakened.
#[test]
fn control_that_prevails_over_the_prompt_steers_only_its_row() {
    let scene = Scene::new();
    let model = load(&control_archive("control.safetensors", Spelling::Original));
    let unit = ControlUnit { mode: ControlMode::Control, ..ControlUnit::default() };
    assert!(!unit.applies_to_uncond(model.pools()));
    let pass = ControlPass { kind: model.kind(), layers: model.layers(), high_res: false };
    let scales = unit.scales(pass).unwrap();
    let first = |tensor: &Tensor| tensor.narrow(0, 0, 1);
    let context = model.context(&first(&scene.text), None).unwrap();
    let hint = model.hint(&picture(&scene.goldens, "hint.0")).unwrap();
    let (x, timesteps) = (first(&scene.x), first(&scene.t));
    let call = ControlCall { x: &x, timesteps: &timesteps, context: &context, hint: &hint, map: None };
    let control = model.residuals(&call, &Strength { scales: &scales, region: None }).unwrap();
    let control = control.placed(&[0], 2).unwrap();
    scene.check_noise("only the prompt's row", &control, &scene.golden("guess"));
    let (got, plain) = (scene.noise(Some(&control)), scene.noise(None));
    assert_eq!(relative_error(&got.narrow(0, 1, 1), &plain.narrow(0, 1, 1)), 0.0);
}

#[test]
fn a_region_limits_a_unit_to_its_part_of_the_picture() {
    let scene = Scene::new();
    let model = load(&control_archive("control.safetensors", Spelling::Original));
    let region = Tensor::zeros([1, 1, 64, 64], (Kind::Float, tch::Device::Cpu));
    let _ = region.narrow(3, 0, 27).fill_(1.0);
    let scales = [1.0; 13];
    let control = scene.residuals(&model, "hint.0", &Strength { scales: &scales, region: Some(&region) });
    scene.check_noise("left part", &control, &scene.golden("region"));
}

#[test]
fn networks_with_shuffle_in_their_name_act_through_averages() {
    let scene = Scene::new();
    let archive = control_archive("control.safetensors", Spelling::Original);
    let model = load_named(&archive, "control_v11e_sd15_Shuffle.safetensors").unwrap();
    assert!(model.pools());
    let control = scene.full_strength(&model, "hint.0");
    assert!(tensors(&control).iter().all(|tensor| tensor.size()[2..] == [1, 1]));
    scene.check_noise("averages", &control, &scene.golden("pooled"));
}

#[test]
fn every_spelling_of_a_controlnet_loads_to_the_same_network() {
    let scene = Scene::new();
    let original = load(&control_archive("control.safetensors", Spelling::Original));
    let want = scene.full_strength(&original, "hint.0");
    for spelling in [Spelling::Diffusers, Spelling::InsideCheckpoint] {
        let model = load(&control_archive("control.safetensors", spelling));
        let got = scene.full_strength(&model, "hint.0");
        for (got, want) in tensors(&got).into_iter().zip(tensors(&want)) {
            assert!(got.equal(want));
        }
    }
}

/// What a file of differences to the tiny checkpoint has of a whole one, without the mark that says so.
fn differences(whole: &Archive) -> Archive {
    let tiny = Archive::tiny();
    let mut archive = whole.clone();
    archive.tensors.clear();
    for name in whole.tensors.keys() {
        let base = format!("{UNET}{name}");
        let mut tensor = whole.tensor(name).to_kind(Kind::Float);
        if tiny.tensors.contains_key(&base) {
            tensor -= tiny.tensor(&base).to_kind(Kind::Float);
        }
        archive.insert(&format!("control_model.{name}"), Dtype::F32, &tensor);
    }
    archive
}

fn mark(archive: &mut Archive) {
    archive.insert("difference", Dtype::F32, &Tensor::zeros([1], (Kind::Float, tch::Device::Cpu)));
}

#[test]
fn differences_are_added_to_the_base_they_were_made_for() {
    let scene = Scene::new();
    let whole = control_archive("control.safetensors", Spelling::Original);
    let want = scene.full_strength(&load(&whole), "hint.0");
    let mut archive = differences(&whole);
    let without_mark = load(&archive);
    mark(&mut archive);
    let model = load(&archive);
    assert!(model.is_tied() && !without_mark.is_tied());
    let got = scene.full_strength(&model, "hint.0");
    for (index, (got, want)) in tensors(&got).into_iter().zip(tensors(&want)).enumerate() {
        check(&format!("difference {index}"), got, want);
    }
    let wrong = scene.full_strength(&without_mark, "hint.0");
    assert!(relative_error(&wrong.inputs[11], &want.inputs[11]) > 0.1);
}

#[test]
fn differences_are_added_to_what_an_inpainting_base_does_to_the_latent() {
    let scene = Scene::new();
    let whole = control_archive("control.safetensors", Spelling::Original);
    let want = scene.full_strength(&load(&whole), "hint.0");
    let mut archive = differences(&whole);
    mark(&mut archive);
    let first = format!("{UNET}input_blocks.0.0.weight");
    let mut base = base();
    base.named.insert(first.clone(), widened(9, 0.3).tensor(&first));
    let (_folder, path) = archive.write();
    let model = ControlModel::load(&path, Kind::Float, &base).unwrap();
    let got = scene.full_strength(&model, "hint.0");
    for (index, (got, want)) in tensors(&got).into_iter().zip(tensors(&want)).enumerate() {
        check(&format!("difference {index}"), got, want);
    }
}

#[test]
fn every_feature_of_the_adapters_equals_diffusers_and_steers_the_unet_like_it() {
    let scene = Scene::new();
    let net = load(&control_archive("control.safetensors", Spelling::Original));
    let residuals = scene.full_strength(&net, "hint.0");
    for name in ["full", "light"] {
        let file = format!("adapter_{name}.safetensors");
        let (goldens, model) =
            (Archive::read(&fixture(&file)), load(&control_archive(&file, Spelling::Original)));
        let golden = |what: &str| goldens.tensor(&format!("golden.{what}"));
        assert_eq!((model.kind(), model.layers()), (ControlKind::T2iAdapter, 4));
        let control = scene.full_strength(&model, "hint.0");
        for (index, feature) in control.features.iter().enumerate() {
            check(&format!("{name} {index}"), feature, &golden(&index.to_string()));
        }
        for (index, feature) in scene.full_strength(&model, "odd.hint").features.iter().enumerate() {
            check(&format!("{name} 13x11 {index}"), feature, &golden(&format!("odd.{index}")));
        }
        scene.check_noise(name, &control, &golden("one"));
        let unit = ControlUnit { mode: ControlMode::Prompt, ..ControlUnit::default() };
        let pass = ControlPass { kind: model.kind(), layers: 4, high_res: false };
        let scales = unit.scales(pass).unwrap();
        let soft = scene.residuals(&model, "hint.0", &Strength { scales: &scales, region: None });
        scene.check_noise(&format!("{name}, soft"), &soft, &golden("soft"));
        let both = control.sum(&residuals).unwrap();
        scene.check_noise(&format!("{name} and a ControlNet"), &both, &golden("with_net"));
        let model = load(&control_archive(&file, Spelling::Diffusers));
        let other = scene.full_strength(&model, "hint.0");
        assert!(control.features.iter().zip(&other.features).all(|(a, b)| a.equal(b)));
    }
}

/// What the fixture script does to the contexts of some widths.
struct Changed;

impl ContextMap for Changed {
    fn map(&self, context: &Tensor) -> Result<(Tensor, Tensor), TchError> {
        if ![64, 24, 48].contains(&context.size3()?.2) {
            return Ok((context.shallow_clone(), context.shallow_clone()));
        }
        Ok((context + context.flip([-1]).tanh() * 0.25, context - context.sin() * 0.5))
    }
}

#[test]
fn a_context_map_changes_what_keys_and_values_are_made_of() {
    let scene = Scene::new();
    let map: Option<&dyn ContextMap> = Some(&Changed);
    let context = scene.networks.context(&scene.text, map).unwrap();
    let noise = |control| {
        let extras = Extras { control, map, ..Extras::default() };
        scene.networks.predict_noise_with(&scene.x, &scene.t, &context, &extras).unwrap()
    };
    check("mapped", &noise(None), &scene.golden("mapped"));
    assert!(relative_error(&scene.noise(None), &scene.golden("mapped")) > 0.01);
    let model = load(&control_archive("control.safetensors", Spelling::Original));
    let hint = model.hint(&picture(&scene.goldens, "hint.0")).unwrap();
    let read = model.context(&scene.text, map).unwrap();
    let call = ControlCall { x: &scene.x, timesteps: &scene.t, context: &read, hint: &hint, map };
    let control = model.residuals(&call, &Strength { scales: &[1.0; 13], region: None }).unwrap();
    check("mapped, with a ControlNet", &noise(Some(&control)), &scene.golden("mapped.net"));
}

#[test]
fn unets_that_read_a_picture_besides_equal_diffusers() {
    let goldens = Archive::read(&fixture("control.safetensors"));
    let golden = |name: &str| goldens.tensor(&format!("golden.{name}"));
    for channels in [8, 9] {
        let mut archive = Archive::tiny();
        let weight = golden(&format!("wide.{channels}.conv"));
        archive.insert(&format!("{UNET}input_blocks.0.0.weight"), Dtype::F16, &weight);
        let (_folder, path) = archive.write();
        let networks = networks(&path);
        assert_eq!(networks.input_channels(), channels);
        let x = golden(&format!("wide.{channels}.x"));
        let got = networks.predict_noise(&x, &golden("t"), &golden("context")).unwrap();
        check(&format!("{channels} channels"), &got, &golden(&format!("wide.{channels}")));
    }
}

#[test]
fn control_in_bf16_stays_near_f32() {
    let scene = Scene::new();
    let (_folder, path) = tiny();
    let networks = Networks::load(&path, Kind::BFloat16).unwrap();
    let half = |tensor: &Tensor| tensor.to_kind(Kind::BFloat16);
    let (x, context) = (half(&scene.x), networks.context(&half(&scene.text), None).unwrap());
    let region = Tensor::ones([1, 1, 64, 64], (Kind::Float, tch::Device::Cpu));
    let mut sum = Control::default();
    for file in ["control.safetensors", "adapter_full.safetensors"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(file);
        std::fs::write(&path, control_archive(file, Spelling::Original).bytes()).unwrap();
        let model = ControlModel::load(&path, Kind::BFloat16, &base()).unwrap();
        let hint = model.hint(&picture(&scene.goldens, "hint.0")).unwrap();
        let read = model.context(&scene.text, None).unwrap();
        let call = ControlCall { x: &x, timesteps: &scene.t, context: &read, hint: &hint, map: None };
        let scales = vec![1.0; model.layers()];
        let strength = Strength { scales: &scales, region: Some(&region) };
        let control = model.residuals(&call, &strength).unwrap();
        assert!(tensors(&control).iter().all(|tensor| tensor.kind() == Kind::BFloat16));
        sum = sum.sum(&control).unwrap();
    }
    let extras = Extras { control: Some(&sum), ..Extras::default() };
    let got = networks.predict_noise_with(&x, &scene.t, &context, &extras).unwrap();
    let want = Archive::read(&fixture("adapter_full.safetensors")).tensor("golden.with_net");
    let error = relative_error(&got.to_kind(Kind::Float), &want);
    println!("bf16: {error:.1e}");
    assert!((1e-4..0.1).contains(&error), "{error:e}");
}

#[test]
fn contexts_of_single_rows_join_to_that_of_the_batch() {
    let scene = Scene::new();
    let row = |row| scene.networks.context(&scene.text.narrow(0, row, 1), None).unwrap();
    let joined = Context::join(&[&row(0), &row(1)]).unwrap();
    let got = scene.networks.predict_noise_with(&scene.x, &scene.t, &joined, &Extras::default()).unwrap();
    check("joined", &got, &scene.noise(None));
    let swapped = Context::join(&[&row(1), &row(0)]).unwrap();
    let got = scene.networks.predict_noise_with(&scene.x, &scene.t, &swapped, &Extras::default()).unwrap();
    assert!(relative_error(&got, &scene.noise(None)) > 0.01);
}

#[test]
fn parts_of_different_networks_do_not_go_together() {
    let scene = Scene::new();
    let net = load(&control_archive("control.safetensors", Spelling::Original));
    let adapter = load(&control_archive("adapter_light.safetensors", Spelling::Original));
    let hint = picture(&scene.goldens, "hint.0");
    let (net_hint, adapter_hint) = (net.hint(&hint).unwrap(), adapter.hint(&hint).unwrap());
    let context = net.context(&scene.text, None).unwrap();
    let residuals = |context, hint, scales: &[f64]| {
        let call = ControlCall { x: &scene.x, timesteps: &scene.t, context, hint, map: None };
        net.residuals(&call, &Strength { scales, region: None })
    };
    assert!(residuals(&context, &net_hint, &[1.0; 13]).is_ok());
    let shape = |result: Result<Control, TchError>, word: &str| match result {
        Err(TchError::Shape(why)) => assert!(why.contains(word), "{why}"),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("{word} is taken"),
    };
    shape(residuals(&context, &net_hint, &[1.0; 4]), "factors");
    shape(residuals(&context, &adapter_hint, &[1.0; 13]), "hint");
    let small = net.hint(&hint.narrow(3, 0, 32)).unwrap();
    shape(residuals(&context, &small, &[1.0; 13]), "another size");
    let empty = adapter.context(&scene.text, None).unwrap();
    shape(residuals(&empty, &net_hint, &[1.0; 13]), "context");
    assert!(Context::join(&[&context, &empty]).is_err());
    let mut control = scene.full_strength(&net, "hint.0");
    control.inputs.pop();
    let extras = Extras { control: Some(&control), ..Extras::default() };
    assert!(scene.networks.predict_noise_with(&scene.x, &scene.t, &scene.context, &extras).is_err());
    let mut control = scene.full_strength(&adapter, "hint.0");
    control.features.pop();
    let extras = Extras { control: Some(&control), ..Extras::default() };
    assert!(scene.networks.predict_noise_with(&scene.x, &scene.t, &scene.context, &extras).is_err());
}

#[test]
fn damaged_control_files_are_refused_with_the_tensor_that_is_wrong() {
    let refused = |file: &str, change: &dyn Fn(&mut Archive)| {
        let mut archive = control_archive(file, Spelling::Original);
        change(&mut archive);
        match load_named(&archive, "control.safetensors") {
            Ok(_) => panic!("it is taken"),
            Err(error) => error.problem,
        }
    };
    let zeros = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, tch::Device::Cpu));
    let net = "control.safetensors";
    let key = "zero_convs.3.0.weight";
    let problem = refused(net, &|archive| drop(archive.tensors.remove(key)));
    assert!(matches!(&problem, Problem::Missing(name) if name == key), "{problem}");
    let problem = refused(net, &|archive| archive.insert(key, Dtype::F16, &zeros(&[24, 24, 3, 3])));
    assert!(matches!(&problem, Problem::Shape { key: name, .. } if name == key), "{problem}");
    let problem = refused(net, &|archive| archive.insert("zero_convs.12.0.bias", Dtype::F16, &zeros(&[1])));
    assert!(matches!(&problem, Problem::Unknown(name) if name == "zero_convs.12.0.bias"), "{problem}");
    let problem = refused(net, &|archive| archive.insert("lora_controlnet", Dtype::F16, &zeros(&[1])));
    assert!(matches!(&problem, Problem::Control(why) if why.contains("Control-LoRA")), "{problem}");
    for (file, key) in [
        ("adapter_full.safetensors", "body.7.block1.weight"),
        ("adapter_light.safetensors", "body.3.in_conv.weight"),
    ] {
        let problem = refused(file, &|archive| drop(archive.tensors.remove(key)));
        assert!(matches!(&problem, Problem::Control(why) if why.contains("T2I-Adapter")), "{problem}");
    }
}
