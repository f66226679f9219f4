//! Whole jobs through the engine and the real backend on the tiny checkpoint: control, sources for inpainting and
//! editing checkpoints, second passes, and that jobs which share the device draw what they draw alone.

use std::path::Path;
use std::sync::Arc;

use gesso_core::control::{ControlMode, ControlUnit, REFERENCE};
use gesso_core::hires::{Hires, HiresSize, HiresUpscaler, LatentUpscaler};
use gesso_core::img2img::{Fill, Img2Img, Mask, PictureOptions, ResizeMode, SoftInpainting};
use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_core::request::GenerateRequest;
use gesso_core::sampler::{Sampler, SamplerOptions};
use gesso_engine::backend::{PixelUpscaler, Upscale, UpscaleBy};
use gesso_engine::clock::MonotonicClock;
use gesso_engine::{
    CancelFlag, ControlUse, Drawing, Engine, EngineHandle, EngineSettings, JobHandle, JobSpec, ReferenceUse,
    SecondPass, Source, SourceMask, Work,
};
use gesso_torch::{DtypeChoice, TorchBackend, TorchSettings};
use safetensors::tensor::Dtype;
use tch::{Kind, Tensor};

use crate::control::{Spelling, control_archive};
use crate::support::{Archive, agreement, model_file, request};

pub(crate) fn engine() -> EngineHandle {
    let settings = TorchSettings { dtype: DtypeChoice::F32, resident_models: 2, ..TorchSettings::default() };
    let factory = Box::new(move || TorchBackend::open(settings));
    Engine::start(EngineSettings::default(), Arc::new(MonotonicClock::default()), factory).unwrap().1
}

pub(crate) fn submit(engine: &EngineHandle, drawing: Drawing) -> JobHandle {
    let work = Work::Draw(Box::new(drawing));
    engine.submit(JobSpec { work, priority: 0, cancel: CancelFlag::default() }).unwrap()
}

#[track_caller]
pub(crate) fn draw(engine: &EngineHandle, drawing: Drawing) -> Pixels {
    submit(engine, drawing).blocking_finish().unwrap().remove(0)
}

pub(crate) fn drawing(path: &Path, change: impl FnOnce(&mut GenerateRequest)) -> Drawing {
    let mut request = GenerateRequest { steps: 5, ..request("a cat", 3, 64, 64) };
    change(&mut request);
    Drawing::new(request, model_file(path))
}

/// Where the negative prompt is left out, parts of a prompt are joined by their weights alone.
#[test]
fn parts_are_not_led_away_from_each_other_where_the_negative_prompt_is_left_out() {
    let (_folder, path) = Archive::tiny().write();
    let engine = engine();
    let drawn = |prompt: &str, cfg_scale: f64| {
        draw(
            &engine,
            drawing(&path, |request| {
                request.prompt = prompt.into();
                request.cfg_scale = cfg_scale;
                request.options.skip_early_cond = 1.0;
            }),
        )
        .data
    };
    let both = drawn("a cat AND a dog :0.5", 7.0);
    assert_eq!(both, drawn("a cat AND a dog :0.5", 3.0));
    assert!(agreement(&drawn("a cat AND a dog", 7.0), &drawn("a dog", 7.0)) >= 0.999);
    assert!(agreement(&both, &drawn("a dog", 7.0)) < 0.999);
}

/// A picture with a gradient in each channel.
pub(crate) fn gradient(width: u32, height: u32) -> Arc<Pixels> {
    let paint = |place: u32| {
        let (x, y) = (place % width, place / width);
        [(x * 255 / width) as u8, (y * 255 / height) as u8, ((x + y) * 3) as u8]
    };
    let data = (0..width * height).flat_map(paint).collect();
    Arc::new(Pixels::new(width, height, PixelFormat::Rgb8, data).unwrap())
}

pub(crate) fn over(strength: f64, mask: Option<Mask>) -> Img2Img {
    Img2Img {
        denoising_strength: strength,
        exact_steps: false,
        resize_mode: ResizeMode::Stretch,
        image_cfg_scale: 1.5,
        colour_correction: false,
        mask,
        pictures: PictureOptions::default(),
    }
}

pub(crate) fn mask() -> Mask {
    Mask {
        blur: (0, 0),
        invert: false,
        fill: Fill::Original,
        only_masked: None,
        round: true,
        soft: None,
        conditioning_weight: 1.0,
    }
}

/// White on the left half.
pub(crate) fn left_half() -> SourceMask {
    let data = (0..64 * 64).map(|place| if place % 64 < 32 { 255 } else { 0 }).collect();
    let latent = (0..8 * 8).map(|place| if place % 8 < 4 { 1.0 } else { 0.0 }).collect();
    SourceMask {
        pixels: Arc::new(Pixels::new(64, 64, PixelFormat::Gray8, data).unwrap()),
        latent: Arc::new(latent),
    }
}

#[test]
fn control_steers_while_it_acts_and_leaves_jobs_beside_it_alone() {
    let (_folder, path) = Archive::tiny().write();
    let (_control_folder, control) = control_archive("control.safetensors", Spelling::Original).write();
    let engine = engine();
    let steered = |change: fn(&mut ControlUnit)| {
        let mut unit = ControlUnit { model: "control".into(), ..ControlUnit::default() };
        change(&mut unit);
        let mut drawing = drawing(&path, |_| ());
        let control = ControlUse {
            index: 0,
            file: model_file(&control),
            unit,
            hint: gradient(64, 64),
            hidden: None,
            region: None,
        };
        drawing.resources.control.push(control);
        drawing
    };
    let plain = draw(&engine, drawing(&path, |_| ()));
    let whole = draw(&engine, steered(|_| ()));
    assert_ne!(whole.data, plain.data);
    let same = |got: &Pixels, want: &Pixels| agreement(&got.data, &want.data) >= 0.999;
    assert!(same(&draw(&engine, steered(|unit| unit.weight = 0.0)), &plain));
    let late = draw(&engine, steered(|unit| (unit.guidance_start, unit.guidance_end) = (0.95, 1.0)));
    assert_eq!(late.data, plain.data, "a unit acts outside of its part");
    let preferred = draw(&engine, steered(|unit| unit.mode = ControlMode::Control));
    assert!(preferred.data != whole.data && preferred.data != plain.data);
    let early = draw(&engine, steered(|unit| unit.guidance_end = 0.3));
    assert!(early.data != whole.data && early.data != plain.data);
    // All at once: rows of different control never share a call, and each draws what it draws alone.
    let jobs = [
        (submit(&engine, drawing(&path, |_| ())), &plain),
        (submit(&engine, steered(|_| ())), &whole),
        (submit(&engine, steered(|unit| unit.mode = ControlMode::Control)), &preferred),
        (submit(&engine, steered(|unit| unit.guidance_end = 0.3)), &early),
    ];
    for (job, alone) in jobs {
        assert!(same(&job.blocking_finish().unwrap()[0], alone));
    }
}

#[test]
fn pictures_are_drawn_after_another_and_leave_jobs_beside_them_alone() {
    let engine = engine();
    for channels in [4, 8, 9] {
        let archive = if channels == 4 { Archive::tiny() } else { widened(channels, 0.2) };
        let (_folder, path) = archive.write();
        let after = |pictures: &[&Arc<Pixels>], change: fn(&mut ControlUnit)| {
            let mut unit = ControlUnit { module: REFERENCE.into(), ..ControlUnit::default() };
            change(&mut unit);
            let mut drawing = drawing(&path, |request| request.batch_size = 2);
            drawing.resources.references = pictures
                .iter()
                .map(|picture| ReferenceUse { unit: unit.clone(), picture: (*picture).clone() })
                .collect();
            drawing
        };
        let (one, other) = (gradient(64, 64), dark());
        let pictures = |drawing| submit(&engine, drawing).blocking_finish().unwrap();
        let [plain, first, second, both] = [&[][..], &[&one], &[&other], &[&one, &other]]
            .map(|references| pictures(after(references, |_| ())));
        let all = [&plain, &first, &second, &both];
        for (index, a) in all.iter().enumerate() {
            assert!(all[..index].iter().all(|b| a[0].data != b[0].data), "{channels} channels: {index}");
        }
        let none: [fn(&mut ControlUnit); 2] =
            [|unit| unit.weight = 0.0, |unit| (unit.guidance_start, unit.guidance_end) = (0.95, 1.0)];
        for change in none {
            assert_eq!(pictures(after(&[&one], change)), plain, "{channels} channels");
        }
        // All at once: rows of different references never share a call, and each draws what it draws alone.
        let jobs = [&[][..], &[&one], &[&other], &[&one, &other]]
            .map(|references| submit(&engine, after(references, |_| ())));
        for (job, alone) in jobs.into_iter().zip(all) {
            for (picture, alone) in job.blocking_finish().unwrap().iter().zip(alone) {
                assert!(agreement(&picture.data, &alone.data) >= 0.999, "{channels} channels");
            }
        }
        // A batch draws what its pictures draw one by one.
        let mut single = after(&[&one], |_| ());
        (single.request.batch_size, single.request.seed) = (1, single.request.seed + 1);
        assert!(agreement(&pictures(single)[0].data, &first[1].data) >= 0.999, "{channels} channels");
    }
}

/// A picture of one dark colour.
fn dark() -> Arc<Pixels> {
    Arc::new(Pixels::new(64, 64, PixelFormat::Rgb8, [30, 10, 50].repeat(64 * 64)).unwrap())
}

/// The tiny checkpoint with a first convolution of more channels, whose weights are `size` times a wave.
pub(crate) fn widened(channels: i64, size: f64) -> Archive {
    const FIRST: &str = "model.diffusion_model.input_blocks.0.0.weight";
    let mut archive = Archive::tiny();
    let first = archive.tensor(FIRST).to_kind(Kind::Float);
    let (outputs, inputs, rows, columns) = first.size4().unwrap();
    let more =
        Tensor::arange(outputs * (channels - inputs) * rows * columns, (Kind::Float, tch::Device::Cpu));
    let more = (more * 1.3).sin() * size;
    let more = more.reshape([outputs, channels - inputs, rows, columns]);
    archive.insert(FIRST, Dtype::F32, &Tensor::cat(&[first, more], 1));
    archive
}

#[test]
fn inpainting_and_editing_checkpoints_read_the_picture_they_are_given() {
    let engine = engine();
    let (_plain_folder, plain) = Archive::tiny().write();
    let drawn = |path: &Path, mask_settings: Option<Mask>, source: Source| {
        let mut drawing = drawing(path, |request| request.img2img = Some(over(0.8, mask_settings)));
        drawing.source = Some(source);
        draw(&engine, drawing)
    };
    let source = |mask: Option<SourceMask>| Source { pictures: vec![gradient(64, 64)], mask };
    let masked = |path: &Path| drawn(path, Some(mask()), source(Some(left_half())));
    let want = masked(&plain);
    let (_blind_folder, blind) = widened(9, 0.0).write();
    assert!(agreement(&masked(&blind).data, &want.data) >= 0.999, "channels without weights change nothing");
    let (_seeing_folder, seeing) = widened(9, 0.3).write();
    assert_ne!(masked(&seeing).data, want.data);
    assert_eq!(
        draw(&engine, drawing(&seeing, |_| ())).width,
        64,
        "a text alone repaints all of a grey picture"
    );
    let (_edit_folder, edit) = widened(8, 0.3).write();
    let edited = |scale: f64| {
        let mut drawing = drawing(&edit, |request| {
            request.img2img = Some(Img2Img { image_cfg_scale: scale, ..over(0.8, None) });
        });
        drawing.source = Some(source(None));
        draw(&engine, drawing)
    };
    assert_ne!(edited(1.0).data, edited(3.0).data);
}

#[test]
fn where_a_picture_guides_no_negative_prompt_is_left_out_at_low_noise() {
    let engine = engine();
    let (_folder, path) = widened(8, 0.3).write();
    let drawn = |scale: f64, change: fn(&mut SamplerOptions)| {
        let mut drawing = drawing(&path, |request| {
            request.img2img = Some(Img2Img { image_cfg_scale: scale, ..over(0.8, None) });
            change(&mut request.options);
        });
        drawing.source = Some(Source { pictures: vec![gradient(64, 64)], mask: None });
        draw(&engine, drawing).data
    };
    let plain: fn(&mut SamplerOptions) = |_| ();
    let low: fn(&mut SamplerOptions) = |options| (options.ngms_sigma, options.ngms_all_steps) = (100.0, true);
    assert_eq!(drawn(3.0, low), drawn(3.0, plain));
    assert_ne!(drawn(3.0, |options| options.skip_early_cond = 1.0), drawn(3.0, plain));
    assert_ne!(drawn(1.0, low), drawn(1.0, plain), "at 1 the picture guides nothing");
}

#[test]
fn a_picture_that_keeps_its_size_is_brought_to_the_latents() {
    let engine = engine();
    for channels in [4, 8, 9] {
        let archive = if channels == 4 { Archive::tiny() } else { widened(channels, 0.2) };
        let (_folder, path) = archive.write();
        let mut drawing = drawing(&path, |request| {
            request.img2img = Some(Img2Img { resize_mode: ResizeMode::Latent, ..over(0.5, None) });
        });
        drawing.source = Some(Source { pictures: vec![gradient(100, 76)], mask: None });
        let drawn = draw(&engine, drawing);
        assert_eq!((drawn.width, drawn.height), (64, 64), "{channels} channels");
    }
}

/// A mask that keeps everything or nothing.
fn everywhere(repaint: bool) -> SourceMask {
    let (pixel, place) = if repaint { (255, 1.0) } else { (0, 0.0) };
    SourceMask {
        pixels: Arc::new(Pixels::new(64, 64, PixelFormat::Gray8, vec![pixel; 64 * 64]).unwrap()),
        latent: Arc::new(vec![place; 8 * 8]),
    }
}

#[test]
fn a_mask_that_keeps_all_keeps_all_and_one_that_keeps_nothing_is_no_mask() {
    let (_folder, path) = Archive::tiny().write();
    let engine = engine();
    let drawn = |sampler, fill, strength, mask_of: Option<SourceMask>| {
        let settings = over(strength, mask_of.as_ref().map(|_| Mask { fill, ..mask() }));
        let mut drawing = drawing(&path, |request| {
            (request.sampler, request.img2img) = (sampler, Some(settings));
        });
        drawing.source = Some(Source { pictures: vec![gradient(64, 64)], mask: mask_of });
        draw(&engine, drawing).data
    };
    // What is kept is what the VAE makes of the source, so no setting of the pass shows in it.
    let untouched = drawn(Sampler::Euler, Fill::Original, 0.5, Some(everywhere(false)));
    for (sampler, fill) in [
        (Sampler::Euler, Fill::Original),
        (Sampler::EulerA, Fill::LatentNoise),
        (Sampler::Ddim, Fill::LatentNothing),
        (Sampler::DpmppSde, Fill::Blur),
    ] {
        let kept = drawn(sampler, fill, 0.9, Some(everywhere(false)));
        assert!(kept == untouched, "{sampler:?} {fill:?}: the pass shows in what is kept");
        let plain = drawn(sampler, fill, 0.9, None);
        assert!(plain != untouched, "{sampler:?}: the pass changes nothing");
        let free = drawn(sampler, Fill::Original, 0.9, Some(everywhere(true)));
        assert!(free == plain, "{sampler:?}: a mask that keeps nothing shows");
        let half = drawn(sampler, fill, 0.9, Some(left_half()));
        assert!(half != plain && half != untouched, "{sampler:?} {fill:?}");
    }
}

/// One level of grey everywhere.
fn even(level: u8) -> SourceMask {
    SourceMask {
        pixels: Arc::new(Pixels::new(64, 64, PixelFormat::Gray8, vec![level; 64 * 64]).unwrap()),
        latent: Arc::new(vec![f32::from(level) / 255.0; 8 * 8]),
    }
}

#[test]
fn soft_inpainting_mixes_half_covered_places_and_says_what_of_the_picture_is_seen() {
    let (_folder, path) = Archive::tiny().write();
    let engine = engine();
    let drawn = |sampler, soft: Option<SoftInpainting>, mask_of: SourceMask| {
        let settings = Mask { soft, round: false, ..mask() };
        let mut drawing = drawing(&path, |request| {
            (request.sampler, request.img2img) = (sampler, Some(over(0.8, Some(settings))));
        });
        drawing.source = Some(Source { pictures: vec![gradient(64, 64)], mask: Some(mask_of) });
        draw(&engine, drawing)
    };
    let parted = |picture: Pixels| {
        assert_eq!(picture.format, PixelFormat::Rgba8);
        let (pixels, _) = picture.data.as_chunks::<4>();
        let colours: Vec<u8> = pixels.iter().flat_map(|[r, g, b, _]| [*r, *g, *b]).collect();
        (colours, pixels.iter().map(|[.., alpha]| *alpha).collect::<Vec<u8>>())
    };
    let of =
        |preservation| Some(SoftInpainting { schedule_bias: 0.0, preservation, ..SoftInpainting::default() });
    for sampler in [Sampler::Euler, Sampler::EulerA, Sampler::Ddim] {
        let source = drawn(sampler, None, everywhere(false)).data;
        let plain = drawn(sampler, None, everywhere(true)).data;
        let (colours, alpha) = parted(drawn(sampler, of(0.5), everywhere(false)));
        assert!(
            agreement(&colours, &source) >= 0.999 && alpha.iter().all(|alpha| *alpha == 0),
            "{sampler:?}"
        );
        let (colours, alpha) = parted(drawn(sampler, of(0.5), everywhere(true)));
        assert!(agreement(&colours, &plain) >= 0.999, "{sampler:?}: white is drawn");
        assert!(alpha.iter().any(|alpha| *alpha > 0), "{sampler:?}: nothing of it is seen");
        // Nothing is preserved of what a half-covered mask keeps, then most of it.
        let free = parted(drawn(sampler, of(0.0), even(128))).0;
        assert!(agreement(&free, &plain) >= 0.999, "{sampler:?}");
        let strict = parted(drawn(sampler, of(4.0), even(128))).0;
        let far =
            |picture: &[u8]| picture.iter().zip(&source).map(|(a, b)| u64::from(a.abs_diff(*b))).sum::<u64>();
        assert!(strict != plain && strict != source, "{sampler:?}");
        // Timestep samplers put it back before a call, and what that draws is on top.
        let is_nearer = sampler == Sampler::Ddim || far(&strict) < far(&plain);
        assert!(is_nearer, "{sampler:?}: {} {}", far(&strict), far(&plain));
    }
}

/// Two passes, 64 x 64 and 96 x 96; `picture` stands in for the first.
pub(crate) fn two_passes(path: &Path, by: UpscaleBy, picture: Option<Arc<Pixels>>) -> Drawing {
    let size = HiresSize::Scale(1.5);
    let mut drawing = drawing(path, |request| {
        request.hires = Some(Hires {
            size,
            upscaler: HiresUpscaler::Latent(LatentUpscaler::Bilinear),
            denoising_strength: 0.6,
            steps: Some(4),
            sampler: Some(Sampler::EulerA),
            scheduler: None,
            prompt: Some("a dog".into()),
            negative_prompt: None,
            model: None,
            from_picture: picture.is_some(),
        });
    });
    drawing.second = Some(SecondPass {
        model: drawing.model.clone(),
        resources: drawing.resources.clone(),
        refiner: None,
        upscale: Upscale { target: size.target(64, 64), by },
        picture,
        share: None,
    });
    drawing
}

#[test]
fn second_passes_share_the_device_and_draw_what_they_draw_alone() {
    let (_folder, path) = Archive::tiny().write();
    let engine = engine();
    let two_passes = |by: UpscaleBy, seed: u64| {
        let mut drawing = two_passes(&path, by, None);
        drawing.request.seed = seed;
        drawing
    };
    let kinds = [UpscaleBy::Latent(LatentUpscaler::Bilinear), UpscaleBy::Pixels(PixelUpscaler::Lanczos)]
        .map(|by| (by, 5));
    let alone: Vec<_> = kinds.iter().map(|(by, seed)| draw(&engine, two_passes(by.clone(), *seed))).collect();
    assert_eq!((alone[0].width, alone[0].height), (96, 96));
    assert_ne!(alone[0].data, alone[1].data);
    let jobs: Vec<_> =
        kinds.iter().map(|(by, seed)| submit(&engine, two_passes(by.clone(), *seed))).collect();
    for (job, alone) in jobs.into_iter().zip(&alone) {
        assert!(agreement(&job.blocking_finish().unwrap()[0].data, &alone.data) >= 0.999);
    }
}
