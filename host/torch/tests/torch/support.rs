//! What the tests share: the fixture files, ways to draw and to compare.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use gesso_core::noise::ImageNoise;
use gesso_core::pixels::Pixels;
use gesso_core::prompt::{Clock, Conditioning};
use gesso_core::request::GenerateRequest;
use gesso_core::sampler::{Draw, Plan, Sampler, Start};
use gesso_core::schedule::Scheduler;
use gesso_core::step_hook::StepHook;
use gesso_engine::backend::{
    Backend, BackendError, BatchKey, ModelFile, OpenPass, Origin, PassSpec, Row, StartNoise,
};
use gesso_engine::{Resources, Share, Source};
use gesso_torch::{DtypeChoice, Sample, TorchBackend, TorchSettings};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use tch::{Kind, Tensor};

/// Largest difference of two tensors as a part of the largest value of the expected one.
#[track_caller]
pub(crate) fn relative_error(got: &Tensor, want: &Tensor) -> f64 {
    assert_eq!(got.size(), want.size());
    let largest = f64::try_from(want.abs().max()).unwrap();
    f64::try_from((got - want).abs().max()).unwrap() / largest
}

/// Part of the values of two pictures that differ by one grey level at most.
#[track_caller]
pub(crate) fn agreement(got: &[u8], want: &[u8]) -> f64 {
    assert_eq!(got.len(), want.len());
    let near = got.iter().zip(want).filter(|(got, want)| got.abs_diff(**want) <= 1).count();
    near as f64 / got.len() as f64
}

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

pub(crate) fn demo_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/demo-model")
}

/// A safetensors file whose contents can be changed and written again.
#[derive(Clone)]
pub(crate) struct Archive {
    pub(crate) tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
    pub(crate) metadata: BTreeMap<String, String>,
}

impl Archive {
    pub(crate) fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let entry = |(name, view): (String, TensorView<'_>)| {
            (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec()))
        };
        Self {
            tensors: file.tensors().into_iter().map(entry).collect(),
            metadata: header.metadata().clone().unwrap_or_default().into_iter().collect(),
        }
    }

    /// The tiny checkpoint with its token table spread out to CLIP's whole vocabulary.
    pub(crate) fn tiny() -> Self {
        static TINY: LazyLock<Archive> = LazyLock::new(|| {
            let mut archive = Archive::read(&fixture("tiny.safetensors"));
            let (_, _, tokens) = archive.tensors.remove("tokens").unwrap();
            let table = archive.tensors.get_mut(TOKEN_TABLE).unwrap();
            let row = table.1[1] * 2;
            let mut whole = vec![0; 49_408 * row];
            for (token, values) in tokens.chunks(8).zip(table.2.chunks(row)) {
                let token = i64::from_le_bytes(token.try_into().unwrap()) as usize;
                whole[token * row..][..row].copy_from_slice(values);
            }
            table.1[0] = 49_408;
            table.2 = whole;
            archive
        });
        TINY.clone()
    }

    pub(crate) fn tensor(&self, name: &str) -> Tensor {
        let (dtype, shape, bytes) = self.tensors.get(name).unwrap_or_else(|| panic!("no tensor {name}"));
        let shape: Vec<i64> = shape.iter().map(|size| *size as i64).collect();
        Tensor::f_from_data_size(bytes, &shape, kind(*dtype)).unwrap()
    }

    pub(crate) fn insert(&mut self, name: &str, dtype: Dtype, tensor: &Tensor) {
        let tensor = tensor.to_kind(kind(dtype)).contiguous();
        let mut bytes = vec![0u8; tensor.numel() * kind(dtype).elt_size_in_bytes()];
        tensor.copy_data_u8(&mut bytes, tensor.numel());
        let shape = tensor.size().iter().map(|size| *size as usize).collect();
        self.tensors.insert(name.to_owned(), (dtype, shape, bytes));
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut views = Vec::new();
        for (name, (dtype, shape, bytes)) in &self.tensors {
            views.push((name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
        }
        let metadata = self.metadata.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        safetensors::serialize(views, Some(metadata)).unwrap()
    }

    /// Writes the archive into a folder that goes with the returned guard.
    pub(crate) fn write(&self) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        std::fs::write(&path, self.bytes()).unwrap();
        (folder, path)
    }
}

pub(crate) const TOKEN_TABLE: &str =
    "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight";

fn kind(dtype: Dtype) -> Kind {
    match dtype {
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        Dtype::F32 => Kind::Float,
        Dtype::F64 => Kind::Double,
        Dtype::F8_E4M3 => Kind::Float8e4m3fn,
        Dtype::F8_E5M2 => Kind::Float8e5m2,
        Dtype::I64 => Kind::Int64,
        Dtype::U8 => Kind::Uint8,
        other => panic!("{other:?} is not used in fixtures"),
    }
}

pub(crate) fn model_file(path: &Path) -> Arc<ModelFile> {
    Arc::new(ModelFile { name: "test".into(), path: path.to_owned(), version: String::new() })
}

pub(crate) fn backend() -> TorchBackend {
    TorchBackend::open(TorchSettings { dtype: DtypeChoice::F32, ..TorchSettings::default() }).unwrap()
}

/// A request with nothing unusual in it; noise from PyTorch's CPU generator.
pub(crate) fn request(prompt: &str, seed: u64, width: u32, height: u32) -> GenerateRequest {
    GenerateRequest {
        prompt: prompt.to_owned(),
        width,
        height,
        cfg_scale: 5.0,
        seed,
        ..GenerateRequest::default()
    }
}

/// A request as the fixtures write it down.
#[derive(serde::Deserialize)]
pub(crate) struct Wanted {
    pub(crate) prompt: String,
    pub(crate) negative_prompt: String,
    #[serde(alias = "sampler_name")]
    pub(crate) sampler: String,
    #[serde(default)]
    pub(crate) scheduler: Option<String>,
    pub(crate) steps: u32,
    pub(crate) cfg_scale: f64,
    pub(crate) seed: u64,
    pub(crate) width: u32,
    pub(crate) height: u32,
    #[serde(default)]
    pub(crate) picture: String,
}

impl Wanted {
    pub(crate) fn request(&self) -> GenerateRequest {
        let scheduler = self.scheduler.as_deref().unwrap_or("automatic");
        GenerateRequest {
            negative_prompt: self.negative_prompt.clone(),
            sampler: Sampler::parse(&self.sampler).unwrap().0,
            scheduler: Scheduler::parse(scheduler).unwrap(),
            steps: self.steps,
            cfg_scale: self.cfg_scale,
            ..request(&self.prompt, self.seed, self.width, self.height)
        }
    }
}

/// A pass of a request that asks for nothing but text, and one picture of it from this noise.
pub(crate) fn begin(
    backend: &mut TorchBackend,
    model: &Arc<ModelFile>,
    request: &GenerateRequest,
    noise: Vec<f32>,
    scale: f64,
) -> Result<(Sample, BatchKey), BackendError> {
    let open = open_pass(backend, model, request, None)?;
    let start = Start { latent: 0.0, noise: scale };
    let sample = begin_picture(backend, &open, start, noise)?;
    Ok((sample, open.key))
}

type Open = OpenPass<<TorchBackend as Backend>::Pass>;

fn open_pass(
    backend: &mut TorchBackend,
    model: &Arc<ModelFile>,
    request: &GenerateRequest,
    source: Option<&Source>,
) -> Result<Open, BackendError> {
    let clock = Clock::new(request.steps);
    backend.open_pass(&PassSpec {
        model,
        resources: &Resources::default(),
        request,
        width: request.width,
        height: request.height,
        steps: request.steps,
        is_second: false,
        positive: &Conditioning::positive(&request.prompt, clock),
        negative: &Conditioning::negative(&request.negative_prompt, clock),
        source,
        refiner: None,
        share: Share::default(),
    })
}

fn begin_picture(
    backend: &mut TorchBackend,
    open: &Open,
    start: Start,
    noise: Vec<f32>,
) -> Result<Sample, BackendError> {
    let noise = StartNoise { noise, fill: None };
    backend.begin(&open.pass, Origin::Fresh { picture: 0 }, start, noise, &|| false)
}

/// A picture under way, as the engine would hold it.
pub(crate) struct Drawing {
    pub(crate) sample: Sample,
    plan: Plan,
    noise: ImageNoise,
    /// The answer to the last call's measure.
    measured: Option<f64>,
    pub(crate) hooks: Vec<Arc<dyn StepHook>>,
}

impl Drawing {
    pub(crate) fn begin(
        backend: &mut TorchBackend,
        model: &Arc<ModelFile>,
        request: &GenerateRequest,
    ) -> Self {
        Self::batch(backend, model, request, None).remove(0)
    }

    /// Every picture of a request's batch; over `source` where the request draws over one.
    pub(crate) fn batch(
        backend: &mut TorchBackend,
        model: &Arc<ModelFile>,
        request: &GenerateRequest,
        source: Option<&Source>,
    ) -> Vec<Self> {
        let open = open_pass(backend, model, request, source).unwrap();
        let plan = Plan::new(&request.first_pass(), &open.schedule).unwrap();
        let mut picture = |index| {
            let mut noise = ImageNoise::for_image(request, index, request.width, request.height);
            let first = noise.first();
            let sample = begin_picture(backend, &open, plan.start(), first).unwrap();
            Self { sample, plan: plan.clone(), noise, measured: None, hooks: Vec::new() }
        };
        (0..request.batch_size).map(&mut picture).collect()
    }
}

/// Moves every drawing that is not done by one call, all in one batch; `false` when there is none.
pub(crate) fn step(backend: &mut TorchBackend, drawings: &mut [&mut Drawing]) -> bool {
    let next = drawings.iter_mut().filter_map(|drawing| {
        let Drawing { sample, plan, noise, measured, hooks } = &mut **drawing;
        let call = plan.next_call(measured.take())?;
        let noise = match call.draw {
            Draw::None => None,
            Draw::Next => Some(noise.draw()),
            Draw::Brownian { from, to, lowest, highest } => Some(noise.brownian(from, to, (lowest, highest))),
        };
        let place = (plan.calls_done() - 1, plan.blends_before_call());
        Some((sample, measured, noise, call, (place, hooks)))
    });
    let mut next: Vec<_> = next.collect();
    let mut rows: Vec<_> = next
        .iter_mut()
        .map(|(sample, _, noise, call, ((calls_before, blend_before), hooks))| Row {
            sample: &mut **sample,
            call,
            calls_before: *calls_before,
            blend_before: *blend_before,
            noise: noise.take(),
            picture: 0,
            seed: 0,
            is_second: false,
            hooks,
        })
        .collect();
    if rows.is_empty() {
        return false;
    }
    let answers = backend.step(&mut rows).unwrap();
    drop(rows);
    for ((_, measured, ..), answer) in next.into_iter().zip(answers) {
        *measured = answer.unwrap();
    }
    true
}

pub(crate) fn draw(backend: &mut TorchBackend, model: &Arc<ModelFile>, request: &GenerateRequest) -> Pixels {
    let mut drawing = Drawing::begin(backend, model, request);
    while step(backend, &mut [&mut drawing]) {}
    backend.finish(drawing.sample, &|| false).unwrap()
}
