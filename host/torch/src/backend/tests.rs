//! What the backend keeps from one call to the next.

use std::path::Path;

use gesso_core::img2img::{Img2Img, PictureOptions, ResizeMode};
use gesso_core::prompt::{Clock, Conditioning};
use gesso_core::request::GenerateRequest;
use gesso_core::sampler::{Call, Draw, Guidance};
use gesso_engine::{Resources, Share};

use super::*;
use crate::models::unet::context::Context;

fn backend() -> TorchBackend {
    let settings = TorchSettings { device: DeviceChoice::Cpu, dtype: DtypeChoice::F32, ..Default::default() };
    TorchBackend::open(settings).unwrap()
}

fn demo() -> Arc<ModelFile> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/demo-model/demo-v3.safetensors");
    Arc::new(ModelFile { name: "demo".into(), path, version: String::new() })
}

fn open(
    backend: &mut TorchBackend,
    prompt: &str,
    side: u32,
    clip_skip: u32,
) -> Result<OpenPass<Rc<Pass>>, BackendError> {
    let request =
        GenerateRequest { width: side, height: side, steps: 4, clip_skip, ..GenerateRequest::default() };
    open_request(backend, &demo(), prompt, &request)
}

fn open_request(
    backend: &mut TorchBackend,
    model: &Arc<ModelFile>,
    prompt: &str,
    request: &GenerateRequest,
) -> Result<OpenPass<Rc<Pass>>, BackendError> {
    let clock = Clock::new(request.steps);
    backend.open_pass(&PassSpec {
        model,
        resources: &Resources::default(),
        request,
        width: request.width,
        height: request.height,
        steps: request.steps,
        is_second: false,
        positive: &Conditioning::positive(prompt, clock),
        negative: &Conditioning::negative("", clock),
        source: None,
        refiner: None,
        share: Share::default(),
    })
}

/// A picture under way, of 64 by 64 pixels.
fn begin(backend: &mut TorchBackend, prompt: &str) -> Sample {
    let open = open(backend, prompt, 64, 1).unwrap();
    begin_in(backend, &open.pass)
}

fn begin_in(backend: &mut TorchBackend, pass: &Rc<Pass>) -> Sample {
    let noise = (0_u16..4 * 8 * 8).map(|place| f32::from(place).sin()).collect();
    let (start, noise) = (Start { latent: 0.0, noise: 1.0 }, StartNoise { noise, fill: None });
    backend.begin(pass, Origin::Fresh { picture: 0 }, start, noise, &|| false).unwrap()
}

fn step(backend: &mut TorchBackend, samples: &mut [Sample], number: u32) {
    let call = Call {
        before: Vec::new(),
        sigma: 1.0,
        timestep: 500.0 - f64::from(number),
        c_in: 1.0,
        c_skip: 1.0,
        c_out: -1.0,
        guidance: Guidance::default(),
        after: Vec::new(),
        draw: Draw::None,
        measure: None,
        step: number,
    };
    let row = |sample| Row {
        sample,
        call: &call,
        calls_before: number,
        blend_before: false,
        noise: None,
        picture: 0,
        seed: 0,
        is_second: false,
        hooks: &[],
    };
    let mut rows: Vec<_> = samples.iter_mut().map(row).collect();
    assert!(backend.step(&mut rows).unwrap().iter().all(Result::is_ok));
}

#[test]
fn the_texts_of_a_batch_are_joined_once_until_another_is_read() {
    let mut backend = backend();
    let mut samples = ["a red circle", "[sea:mountain:1]"].map(|prompt| begin(&mut backend, prompt));
    step(&mut backend, &mut samples, 0);
    let first = samples[0].joins.wholes();
    assert_eq!(first.len(), 1, "both prompts of both pictures share a call");
    // What is joined anew takes the place of what was there.
    step(&mut backend, &mut samples, 1);
    assert!(first[0].upgrade().is_some());
    step(&mut backend, &mut samples, 2);
    assert!(first[0].upgrade().is_none(), "the second prompt has changed");
    let second = samples[0].joins.wholes();
    step(&mut backend, &mut samples, 3);
    assert!(second.len() == 1 && second[0].upgrade().is_some());
    // One of them alone.
    step(&mut backend, &mut samples[1..], 3);
    assert!(second[0].upgrade().is_none(), "who leads no more keeps nothing");
    let alone = samples[1].joins.wholes();
    assert!(alone.len() == 1 && alone[0].upgrade().is_some());
    drop(samples);
    assert!(alone[0].upgrade().is_none(), "it goes with its picture");
}

#[test]
fn what_is_read_from_what_was_joined_before_is_the_same_to_the_last_bit() {
    let prompts = ["a red circle AND sea :0.5", "mountain"];
    let estimates = |keeps: bool| {
        let mut backend = backend();
        let mut samples = prompts.map(|prompt| begin(&mut backend, prompt));
        let mut estimates = Vec::new();
        for number in 0..3 {
            let before = samples[0].joins.wholes();
            step(&mut backend, &mut samples, number);
            let is_kept = before.iter().any(|whole| whole.upgrade().is_some());
            assert_eq!(is_kept, keeps && number > 0, "call {number}");
            estimates.extend(samples.iter().map(|sample| sample.latents.denoised.as_ref().unwrap().copy()));
            if !keeps {
                samples[0].joins.forget();
            }
        }
        estimates
    };
    let (kept, anew) = (estimates(true), estimates(false));
    assert!(kept.iter().zip(&anew).all(|(kept, anew)| kept.equal(anew)));
}

/// What a step of theirs keeps for the next.
fn kept_by_a_step(backend: &mut TorchBackend, samples: &mut [Sample], number: u32) -> Weak<Context> {
    step(backend, samples, number);
    let kept = samples[0].joins.wholes().remove(0);
    assert!(kept.upgrade().is_some());
    kept
}

#[test]
fn what_steps_keep_goes_before_anything_else_is_computed() {
    let mut backend = backend();
    let mut samples = ["a red circle", "sea"].map(|prompt| begin(&mut backend, prompt));
    let kept = kept_by_a_step(&mut backend, &mut samples, 0);
    let open = open(&mut backend, "mountain", 64, 1).unwrap();
    assert!(kept.upgrade().is_none(), "a pass is opened");
    let kept = kept_by_a_step(&mut backend, &mut samples, 1);
    let other = begin_in(&mut backend, &open.pass);
    assert!(kept.upgrade().is_none(), "a picture is begun, which may be enlarged first");
    let kept = kept_by_a_step(&mut backend, &mut samples, 2);
    backend.finish(other, &|| false).unwrap();
    assert!(kept.upgrade().is_none(), "a picture is decoded");
    let kept = kept_by_a_step(&mut backend, &mut samples, 3);
    backend.load(&demo()).unwrap();
    assert!(kept.upgrade().is_none(), "a model is brought");
}

/// The demo checkpoint as one that reads a picture beside the latent.
fn editing(folder: &Path) -> Arc<ModelFile> {
    const FIRST: &str = "model.diffusion_model.input_blocks.0.0.weight";
    let mut tensors = Tensor::read_safetensors(&demo().path).unwrap();
    for (_, first) in tensors.iter_mut().filter(|(name, _)| name == FIRST) {
        *first = Tensor::cat(&[&*first, &*first], 1);
    }
    let path = folder.join("edit.safetensors");
    Tensor::write_safetensors(&tensors, &path).unwrap();
    Arc::new(ModelFile { name: "edit".into(), path, version: String::new() })
}

#[test]
fn an_edit_checkpoint_is_asked_without_its_picture_only_where_that_guides() {
    let folder = tempfile::tempdir().unwrap();
    let model = editing(folder.path());
    let mut backend = backend();
    for (image_cfg_scale, rows) in [(1.0, 2), (1.5, 3)] {
        let over = Img2Img {
            denoising_strength: 0.8,
            exact_steps: false,
            resize_mode: ResizeMode::Stretch,
            image_cfg_scale,
            colour_correction: false,
            mask: None,
            pictures: PictureOptions::default(),
        };
        let (width, height, img2img) = (64, 64, Some(over));
        let request = GenerateRequest { width, height, img2img, ..GenerateRequest::default() };
        let open = open_request(&mut backend, &model, "a red circle", &request).unwrap();
        let mut samples = [begin_in(&mut backend, &open.pass)];
        step(&mut backend, &mut samples, 0);
        let wholes = samples[0].joins.wholes();
        let wholes = wholes.iter().filter_map(Weak::upgrade);
        let asked: Vec<i64> = wholes.map(|whole| whole.layers[0].keys.size()[0]).collect();
        assert_eq!(asked, [rows], "{image_cfg_scale}");
    }
}

/// The demo checkpoint twice over, as files of different content.
fn two_checkpoints(folder: &Path) -> [Arc<ModelFile>; 2] {
    let demo = std::fs::read(&demo().path).unwrap();
    let header = u64::from_le_bytes(*demo.first_chunk().unwrap()) as usize;
    [("a", 0_u8), ("c", 1)].map(|(name, bit)| {
        let mut bytes = demo.clone();
        bytes[8 + header..].iter_mut().step_by(2).for_each(|low| *low ^= bit);
        let path = folder.join(format!("{name}.safetensors"));
        std::fs::write(&path, bytes).unwrap();
        Arc::new(ModelFile { name: name.into(), path, version: String::new() })
    })
}

#[test]
fn models_have_the_room_again_that_a_drawing_had_which_ended_or_was_refused() {
    let folder = tempfile::tempdir().unwrap();
    let models = two_checkpoints(folder.path());
    let mut backend = backend();
    let bytes = backend.resident.bytes_to_come(&models[0]).unwrap();
    // A picture of 512 by 512 takes a gigabyte to be decoded, and the demo checkpoint some tens of megabytes.
    let bounds = Bounds { models: 3, host_bytes: u64::MAX, device_bytes: bytes * 3 };
    let compute = backend.resident.compute();
    let loaded =
        |backend: &TorchBackend| backend.loaded().iter().map(|model| model.name.clone()).collect::<Vec<_>>();
    for clip_skip in [1, 99] {
        backend.resident = Resident::in_two_tiers(bounds, compute);
        assert_eq!(open(&mut backend, "sea", 512, clip_skip).is_ok(), clip_skip == 1);
        for model in &models {
            backend.load(model).unwrap();
        }
        assert!(loaded(&backend).ends_with(&["a".into(), "c".into()]), "{clip_skip}");
    }
    let in_flight = open(&mut backend, "sea", 512, 1).unwrap();
    assert_eq!(loaded(&backend), ["demo"]);
    for model in [&models[1], &models[0]] {
        backend.load(model).unwrap();
    }
    assert_eq!(loaded(&backend), ["demo", "a"], "what is under way keeps its room");
    drop(in_flight);
}
