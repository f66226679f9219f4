//! Where every sampler ends on the tiny checkpoint, against k-diffusion and diffusers: each with its own schedule, two
//! of them with every schedule, from noise and over a picture, with eta, churn, v prediction and no terminal signal.
//! `tests/fixtures/make_sampler_fixtures.py` makes what is compared with.
//!
//! The latents of a picture under way are the backend's own. A last call asks it for their distance to the wanted ones
//! as a sampler would, so that they are compared before eight bits hide anything.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use gesso_core::img2img::{Img2Img, PictureOptions, ResizeMode};
use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_core::request::GenerateRequest;
use gesso_core::sampler::{
    Assign, Call, Churn, Draw, Guidance, Measure, Register, Sampler, SamplerOptions, UniPc, UniPcSkip,
    UniPcVariant,
};
use gesso_core::schedule::Scheduler;
use gesso_engine::Source;
use gesso_engine::backend::{Backend, Row};
use gesso_torch::{DtypeChoice, TorchBackend, TorchSettings};
use safetensors::tensor::Dtype;
use tch::{Kind, Tensor};

use crate::support::{Archive, Drawing, Wanted, fixture, model_file, step};

const BOUND: f64 = 1e-4;
/// "DPM adaptive" chooses its steps by the difference of two latents that are nearly equal, of which f32 keeps few
/// digits, and this random network goes on from there: a change of 3e-8 in what it reads moves k-diffusion's own result
/// by up to 2.6e-2. The measure adds up to a factor of 14. Another eta is off by more than 5; the formula is held to
/// 1e-9 in `gesso_core`.
const ADAPTIVE_BOUND: f64 = 0.3;

/// A request of the fixture. What it leaves out is as requests have it by default.
#[derive(serde::Deserialize)]
struct Asked {
    name: String,
    #[serde(flatten)]
    wanted: Wanted,
    strength: Option<f64>,
    #[serde(default)]
    exact_steps: bool,
    eta: Option<f64>,
    /// Amount, lowest level, highest level, noise.
    churn: Option<[f64; 4]>,
    #[serde(default)]
    seed_delta: u64,
    /// Variant, spacing, order.
    unipc: Option<(String, String, u32)>,
    /// The checkpoint predicts v.
    #[serde(default)]
    v: bool,
    #[serde(default)]
    zero_terminal_snr: bool,
}

impl Asked {
    fn all(fixture: &Archive) -> Vec<Self> {
        serde_json::from_str(&fixture.metadata["requests"]).unwrap()
    }

    fn request(&self, pictures: u32) -> GenerateRequest {
        let img2img = self.strength.map(|denoising_strength| Img2Img {
            denoising_strength,
            exact_steps: self.exact_steps,
            resize_mode: ResizeMode::Stretch,
            image_cfg_scale: 1.5,
            colour_correction: false,
            mask: None,
            pictures: PictureOptions::default(),
        });
        GenerateRequest {
            batch_size: pictures,
            eta_noise_seed_delta: self.seed_delta,
            zero_terminal_snr: self.zero_terminal_snr,
            img2img,
            options: self.options(),
            ..self.wanted.request()
        }
    }

    fn options(&self) -> SamplerOptions {
        let plain = SamplerOptions::default();
        let churn = self.churn.map_or(plain.churn, |[amount, min_sigma, max_sigma, noise]| Churn {
            amount,
            min_sigma,
            max_sigma,
            noise,
        });
        let unipc = self.unipc.as_ref().map_or(plain.unipc, |(variant, skip, order)| UniPc {
            variant: match variant.as_str() {
                "bh1" => UniPcVariant::Bh1,
                "bh2" => UniPcVariant::Bh2,
                other => panic!("no variant {other}"),
            },
            skip_type: match skip.as_str() {
                "logSNR" => UniPcSkip::LogSnr,
                "time_quadratic" => UniPcSkip::TimeQuadratic,
                other => panic!("no spacing {other}"),
            },
            order: *order,
            ..plain.unipc
        });
        SamplerOptions { eta: self.eta, churn, unipc, ..plain }
    }
}

/// On one thread: for tensors this small more only wait for each other.
fn backend() -> TorchBackend {
    let settings = TorchSettings { dtype: DtypeChoice::F32, threads: 1, ..TorchSettings::default() };
    TorchBackend::open(settings).unwrap()
}

/// How far the latent is from `want`: never less than max|a - b| / max|b|, and at most the root of the number of
/// elements above it. The backend tells the root mean square of the differences, which bounds the largest one.
fn distance(backend: &mut TorchBackend, drawing: &mut Drawing, want: &Tensor) -> f64 {
    let wanted = Register::Saved(0);
    let call = Call {
        before: Vec::new(),
        sigma: 1.0,
        timestep: 0.0,
        c_in: 1.0,
        c_skip: 1.0,
        c_out: 0.0,
        guidance: Guidance::default(),
        after: vec![Assign { target: wanted, terms: vec![(1.0, Register::Noise)] }],
        draw: Draw::Next,
        measure: Some(Measure {
            low: Register::X,
            high: wanted,
            previous: wanted,
            absolute: 1.0,
            relative: 0.0,
        }),
        step: 0,
    };
    let noise = Some(Vec::try_from(want.flatten(0, -1)).unwrap());
    let sample = &mut drawing.sample;
    let row = Row {
        sample,
        call: &call,
        calls_before: 0,
        blend_before: false,
        noise,
        picture: 0,
        seed: 0,
        is_second: false,
        hooks: &[],
    };
    let measured = backend.step(&mut [row]).unwrap().remove(0).unwrap().unwrap();
    let largest = f64::try_from(want.abs().max()).unwrap();
    measured * (want.numel() as f64).sqrt() / largest
}

/// The picture that is drawn over.
fn source(fixture: &Archive) -> Source {
    let (_, shape, data) = &fixture.tensors["picture"];
    let (height, width) = (shape[0] as u32, shape[1] as u32);
    let picture = Pixels::new(width, height, PixelFormat::Rgb8, data.clone()).unwrap();
    Source { pictures: vec![Arc::new(picture)], mask: None }
}

/// Draws the batch of a request and gives back how far each picture is from the fixture's.
fn distances(backend: &mut TorchBackend, path: &Path, asked: &Asked, fixture: &Archive) -> Vec<f64> {
    let want = fixture.tensor(&asked.name);
    let request = asked.request(want.size()[0] as u32);
    let source = request.img2img.as_ref().map(|_| source(fixture));
    let mut drawings = Drawing::batch(backend, &model_file(path), &request, source.as_ref());
    while step(backend, &mut drawings.iter_mut().collect::<Vec<_>>()) {}
    let mut far = |(index, drawing): (usize, &mut Drawing)| {
        distance(backend, drawing, &want.narrow(0, index as i64, 1))
    };
    drawings.iter_mut().enumerate().map(&mut far).collect()
}

#[test]
fn every_sampler_and_schedule_is_in_the_fixture() {
    let asked = Asked::all(&Archive::read(&fixture("samplers.safetensors")));
    let requests: Vec<_> = asked.iter().map(|asked| asked.request(1)).collect();
    let plain = |sampler| {
        asked.iter().zip(&requests).any(|(asked, request)| {
            request.sampler == sampler
                && request.scheduler == Scheduler::Automatic
                && request.options == SamplerOptions::default()
                && request.img2img.is_none()
                && !asked.v
        })
    };
    let missing: Vec<_> = Sampler::ALL.into_iter().filter(|sampler| !plain(*sampler)).collect();
    assert!(missing.is_empty(), "no reference for {missing:?}");
    for sampler in [Sampler::Euler, Sampler::Dpmpp2mSde] {
        let with = |scheduler| requests.iter().any(|r| r.sampler == sampler && r.scheduler == scheduler);
        let missing: Vec<_> = Scheduler::ALL.into_iter().filter(|scheduler| !with(*scheduler)).collect();
        assert!(missing.is_empty(), "no reference for {sampler:?} with {missing:?}");
    }
    let names: BTreeSet<_> = asked.iter().map(|asked| &asked.name).collect();
    assert_eq!(names.len(), asked.len(), "two requests share a name");
}

#[test]
fn every_sampler_ends_where_k_diffusion_and_diffusers_do() {
    let fixture = Archive::read(&fixture("samplers.safetensors"));
    let (_folder, noise) = Archive::tiny().write();
    let mut marked = Archive::tiny();
    marked.insert("v_pred", Dtype::F32, &Tensor::zeros([1], (Kind::Float, tch::Device::Cpu)));
    let (_marked_folder, v) = marked.write();
    let mut backend = backend();
    let mut failed = Vec::new();
    for asked in Asked::all(&fixture) {
        let path = if asked.v { &v } else { &noise };
        let distances = distances(&mut backend, path, &asked, &fixture);
        // NaN is larger than any number here.
        let furthest = distances.into_iter().max_by(f64::total_cmp).unwrap();
        println!("{}: {furthest:.1e}", asked.name);
        let adaptive = asked.wanted.request().sampler == Sampler::DpmAdaptive;
        if furthest.is_nan() || furthest >= if adaptive { ADAPTIVE_BOUND } else { BOUND } {
            failed.push(format!("{} differs by {furthest:.1e}", asked.name));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// What the test above rests on.
#[test]
fn the_distance_tells_one_picture_from_another() {
    let fixture = Archive::read(&fixture("samplers.safetensors"));
    let (_folder, path) = Archive::tiny().write();
    let mut backend = backend();
    let asked = Asked::all(&fixture).into_iter().find(|asked| asked.name == "Euler").unwrap();
    let want = fixture.tensor("Euler");
    let mut drawings = Drawing::batch(&mut backend, &model_file(&path), &asked.request(1), None);
    while step(&mut backend, &mut drawings.iter_mut().collect::<Vec<_>>()) {}
    let mut far = |want: &Tensor| distance(&mut backend, &mut drawings[0], want);
    let (own, other) = (want.narrow(0, 0, 1), want.narrow(0, 1, 1));
    assert!(far(&own) < BOUND && far(&other) > 1.0);
    // One element off by a hundredth of the largest is seen as that or more.
    let largest = f64::try_from(own.abs().max()).unwrap();
    let moved = own.copy();
    let _ = moved.get(0).get(0).get(0).get(0).g_add_scalar_(0.01 * largest);
    assert!(far(&moved) > 0.0099);
}
