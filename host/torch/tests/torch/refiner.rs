//! Pictures that another checkpoint goes on with, through the engine and the real backend: what comes of it is what the
//! two networks draw by hand, one after the other.

use std::path::Path;

use gesso_core::hires::{Hires, HiresSize, HiresUpscaler, LatentUpscaler};
use gesso_core::noise::ImageNoise;
use gesso_core::prompt::chunks;
use gesso_core::refiner::{RefinedPasses, Refiner};
use gesso_core::request::{Emphasis, GenerateRequest};
use gesso_core::sampler::{Plan, Register, Sampler};
use gesso_core::schedule::NoiseSchedule;
use gesso_engine::backend::{Backend, BackendError, Upscale, UpscaleBy};
use gesso_engine::{Drawing, JobError, RefinerUse, Resources, SecondPass, Share, Source};
use gesso_torch::{CLIP, Networks, Tokenizer};
use safetensors::tensor::Dtype;
use tch::{Kind, Tensor};

use crate::passes::{draw, drawing, engine, gradient, left_half, mask, over, submit, widened};
use crate::support::{Archive, agreement, backend, model_file};

const UNET: &str = "model.diffusion_model.out.2.weight";
const TEXT: &str = "cond_stage_model.transformer.text_model.final_layer_norm.weight";
const VAE: &str = "first_stage_model.decoder.conv_out.weight";

/// The tiny checkpoint with these tensors multiplied.
fn other(changed: &[&str]) -> Archive {
    let mut archive = Archive::tiny();
    for name in changed {
        let tensor = archive.tensor(name) * -1.5;
        archive.insert(name, Dtype::F16, &tensor);
    }
    archive
}

fn refiner(switch_at: f64, by_steps: bool) -> Refiner {
    Refiner { model: "other".into(), switch_at, by_steps, passes: RefinedPasses::default() }
}

/// The drawing, gone on with by this checkpoint.
fn refined(mut drawing: Drawing, by: &Path, switch_at: f64) -> Drawing {
    drawing.request.refiner = Some(refiner(switch_at, true));
    drawing.refiner = Some(RefinerUse { model: model_file(by), resources: Resources::default() });
    drawing
}

#[test]
fn going_over_to_the_same_checkpoint_is_not_going_over_to_the_bit() {
    let (_folder, path) = Archive::tiny().write();
    let engine = engine();
    for sampler in [
        Sampler::Euler,
        Sampler::EulerA,
        Sampler::Heun,
        Sampler::Dpmpp2m,
        Sampler::DpmppSde,
        Sampler::DpmAdaptive,
        Sampler::Ddim,
        Sampler::Plms,
        Sampler::UniPc,
        Sampler::Lcm,
    ] {
        let plain = || drawing(&path, |request| request.sampler = sampler);
        let want = draw(&engine, plain());
        for switch_at in [0.01, 0.4, 0.8] {
            assert!(draw(&engine, refined(plain(), &path, switch_at)) == want, "{sampler:?} {switch_at}");
        }
    }
}

/// The picture that Euler draws, by the arithmetic of its plan: the first networks up to a call, then the others.
fn by_hand(request: &GenerateRequest, paths: [&Path; 2], switch: u32) -> Vec<u8> {
    let _guard = tch::no_grad_guard();
    let networks = paths.map(|path| Networks::load(path, Kind::Float).unwrap());
    let tokenizer = Tokenizer::new();
    let encode = |networks: &Networks, text: &str| {
        let chunks = chunks(text, Emphasis::Original, &|text| tokenizer.encode(text), CLIP);
        assert_eq!(chunks.len(), 1);
        let tokens: Vec<i64> = chunks[0].tokens.iter().map(|id| i64::from(*id)).collect();
        networks.encode_text(&Tensor::from_slice(&tokens).unsqueeze(0), 1).unwrap()
    };
    let texts = [request.prompt.as_str(), request.negative_prompt.as_str()];
    let contexts = networks.each_ref().map(|networks| texts.map(|text| encode(networks, text)));
    let mut plan = Plan::new(&request.first_pass(), &NoiseSchedule::sd1()).unwrap();
    let first = ImageNoise::for_image(request, 0, request.width, request.height).first();
    let size = [1, 4, i64::from(request.height / 8), i64::from(request.width / 8)];
    let mut x = Tensor::from_slice(&first).reshape(size) * plan.start().noise;
    let mut calls = 0;
    while let Some(call) = plan.next_call(None) {
        let which = usize::from(calls >= switch);
        let timestep = Tensor::from_slice(&[call.timestep as f32]);
        let [positive, negative] = contexts[which]
            .each_ref()
            .map(|context| networks[which].predict_noise(&(&x * call.c_in), &timestep, context).unwrap());
        let guided = &negative + (positive - &negative) * request.cfg_scale;
        let denoised = &x * call.c_skip + guided * call.c_out;
        assert!(call.before.is_empty());
        for assign in &call.after {
            assert_eq!(assign.target, Register::X);
            let term = |(coefficient, register): &(f64, Register)| match register {
                Register::X => &x * *coefficient,
                Register::Denoised => &denoised * *coefficient,
                other => panic!("Euler does not name {other:?}"),
            };
            x = assign.terms.iter().map(term).reduce(|sum, term| sum + term).unwrap();
        }
        calls += 1;
    }
    let picture = networks[0].decode_latent(&(x / 0.18215)).unwrap().squeeze_dim(0).permute([1, 2, 0]);
    let levels = ((picture + 1.0) * 127.5).clamp(0.0, 255.0).to_kind(Kind::Uint8).contiguous();
    Vec::try_from(&levels.flatten(0, -1)).unwrap()
}

#[test]
fn going_over_to_another_checkpoint_is_what_both_draw_by_hand() {
    let (_folder, path) = Archive::tiny().write();
    let (_other_folder, second) = other(&[UNET, TEXT, VAE]).write();
    let engine = engine();
    let plain = |path: &Path| drawing(path, |request| request.negative_prompt = "a dog".into());
    let alone = [&path, &second].map(|path| draw(&engine, plain(path)).data);
    let mut drawn = Vec::new();
    for (switch_at, switch) in [(0.2, 1), (0.4, 2), (0.7, 4)] {
        let got = draw(&engine, refined(plain(&path), &second, switch_at));
        let want = by_hand(&plain(&path).request, [&path, &second], switch);
        let agreement = agreement(&got.data, &want);
        println!("from call {switch}: {:.3} %", agreement * 100.0);
        assert!(agreement >= 0.999, "from call {switch}: {agreement}");
        assert!(!alone.contains(&got.data), "{switch_at}");
        drawn.push(got.data);
    }
    assert!(drawn[0] != drawn[1] && drawn[1] != drawn[2]);
}

#[test]
fn the_first_checkpoint_decodes_and_the_refiners_texts_are_its_own() {
    let (_folder, path) = Archive::tiny().write();
    let engine = engine();
    let want = draw(&engine, drawing(&path, |_| ()));
    let by = |changed| {
        let (_folder, second) = other(&[changed]).write();
        draw(&engine, refined(drawing(&path, |_| ()), &second, 0.4))
    };
    assert!(by(VAE) == want, "the VAE is the first checkpoint's");
    assert!(by(TEXT) != want, "the texts are the refiner's");
}

#[test]
fn refined_batches_draw_what_their_pictures_draw_alone_beside_other_jobs() {
    let (_folder, path) = Archive::tiny().write();
    let (_other_folder, second) = other(&[UNET, TEXT]).write();
    let engine = engine();
    let batch = |seed, count| {
        let drawing = drawing(&path, |request| (request.seed, request.batch_size) = (seed, count));
        refined(drawing, &second, 0.4)
    };
    let plain = |path: &Path| drawing(path, |request| (request.seed, request.steps) = (9, 8));
    let alone = [3, 4].map(|seed| draw(&engine, batch(seed, 1)));
    let others = [&path, &second].map(|path| draw(&engine, plain(path)));
    let jobs = [plain(&path), batch(3, 2), plain(&second)].map(|drawing| submit(&engine, drawing));
    let [first, both, last] = jobs.map(|job| job.blocking_finish().unwrap());
    for (got, want) in [(&first[0], &others[0]), (&last[0], &others[1])] {
        assert!(agreement(&got.data, &want.data) >= 0.999);
    }
    for (got, want) in both.iter().zip(&alone) {
        assert!(agreement(&got.data, &want.data) >= 0.999);
    }
}

#[test]
fn checkpoints_that_read_pictures_go_on_with_others_pictures_and_the_other_way_round() {
    let (_folder, plain) = Archive::tiny().write();
    let engine = engine();
    for channels in [8, 9] {
        let (_blind_folder, blind) = widened(channels, 0.0).write();
        let (_seeing_folder, seeing) = widened(channels, 0.3).write();
        let from_text = |path: &Path| drawing(path, |request| request.batch_size = 2);
        let over_another = |path: &Path| {
            let mut drawing = drawing(path, |request| {
                request.img2img = Some(over(0.9, Some(mask())));
            });
            drawing.source = Some(Source { pictures: vec![gradient(64, 64)], mask: Some(left_half()) });
            drawing
        };
        let want = draw(&engine, over_another(&plain));
        let got = draw(&engine, refined(over_another(&plain), &seeing, 0.4));
        assert!(got != want, "{channels} channels: the refiner reads the picture");
        if channels == 9 {
            let got = draw(&engine, refined(over_another(&plain), &blind, 0.4));
            assert!(agreement(&got.data, &want.data) >= 0.999, "channels without weights change nothing");
            let got = draw(&engine, refined(over_another(&blind), &plain, 0.4));
            assert!(agreement(&got.data, &want.data) >= 0.999, "nor do those that are left behind");
        }
        let drawn = submit(&engine, refined(from_text(&plain), &seeing, 0.4)).blocking_finish().unwrap();
        assert_eq!(drawn.len(), 2, "{channels} channels");
    }
}

#[test]
fn a_second_pass_goes_over_to_its_own_refiner() {
    let (_folder, path) = Archive::tiny().write();
    let (_other_folder, second) = other(&[UNET]).write();
    let engine = engine();
    let size = HiresSize::Scale(1.5);
    let two_passes = |first: Option<&Path>, by: Option<&Path>| {
        let mut drawing = drawing(&path, |request| {
            request.hires = Some(Hires {
                size,
                upscaler: HiresUpscaler::Latent(LatentUpscaler::Bilinear),
                denoising_strength: 0.6,
                steps: None,
                sampler: None,
                scheduler: None,
                prompt: None,
                negative_prompt: None,
                model: None,
                from_picture: false,
            });
            request.refiner = Some(refiner(0.4, true));
        });
        let refiner = |path: Option<&Path>| {
            path.map(|path| RefinerUse { model: model_file(path), resources: Resources::default() })
        };
        drawing.refiner = refiner(first);
        let by_latent = UpscaleBy::Latent(LatentUpscaler::Bilinear);
        drawing.second = Some(SecondPass {
            model: drawing.model.clone(),
            resources: Resources::default(),
            refiner: refiner(by),
            upscale: Upscale { target: size.target(64, 64), by: by_latent },
            picture: None,
            share: None,
        });
        draw(&engine, drawing)
    };
    let plain = two_passes(None, None);
    assert!(two_passes(Some(&path), Some(&path)) == plain);
    let all = [
        plain,
        two_passes(Some(&second), None),
        two_passes(None, Some(&second)),
        two_passes(Some(&second), Some(&second)),
    ];
    for (index, picture) in all.iter().enumerate() {
        assert_eq!((picture.width, picture.height), (96, 96));
        assert!(all[..index].iter().all(|other| other != picture), "{index}");
    }
}

#[test]
fn a_refiner_of_other_noise_is_refused_by_name() {
    let (_folder, path) = Archive::tiny().write();
    let mut archive = Archive::tiny();
    archive.insert("v_pred", Dtype::F32, &Tensor::zeros([1], (Kind::Float, tch::Device::Cpu)));
    let (_other_folder, second) = archive.write();
    let job = submit(&engine(), refined(drawing(&path, |_| ()), &second, 0.4));
    let Err(JobError::Backend(BackendError::Request(why))) = job.blocking_finish() else {
        panic!("it cannot go on with the plan of another prediction")
    };
    assert!(why.contains("refiner_checkpoint"), "{why}");
}

/// Bytes of a checkpoint in memory.
fn bytes(path: &Path) -> u64 {
    let mut backend = backend();
    backend.load(&model_file(path)).unwrap();
    backend.residency().host.bytes
}

#[test]
fn a_share_of_the_memory_is_for_both_checkpoints_together() {
    let (_folder, path) = Archive::tiny().write();
    let (_other_folder, second) = other(&[UNET, TEXT]).write();
    // A picture of 64 x 64 takes 5 MiB in a call.
    let step = 5 << 20;
    let within = |by: Option<&Path>, bytes: u64| {
        let drawing = drawing(&path, |_| ());
        let mut drawing = match by {
            Some(by) => refined(drawing, by, 0.4),
            None => drawing,
        };
        drawing.share = Share { bytes_max: Some(bytes + step), ..Share::default() };
        submit(&engine(), drawing).blocking_finish()
    };
    let alone = bytes(&path);
    // What they share counts once.
    let more = tensor_bytes(&[UNET, TEXT]);
    let both = alone + more;
    assert!(within(None, alone).is_ok());
    assert!(within(Some(&second), both).is_ok());
    let Err(JobError::Backend(BackendError::Request(why))) = within(Some(&second), both - 1) else {
        panic!("both do not fit")
    };
    assert!(why.contains("64 x 64"), "{why}");
}

/// Of tensors of the tiny checkpoint, in f32.
fn tensor_bytes(names: &[&str]) -> u64 {
    let tiny = Archive::tiny();
    names.iter().map(|name| 4 * tiny.tensor(name).numel() as u64).sum()
}
