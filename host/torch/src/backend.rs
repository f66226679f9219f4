//! The engine's [`Backend`] on libtorch. Loads models, runs the UNet for rows of several requests at once, and
//! turns latents into pictures. The numbers of each call come with it; none is decided here.

use std::rc::Rc;
use std::sync::Arc;

use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_core::request::GenerateRequest;
use gesso_core::sampler::{Call, Register};
use gesso_engine::backend::{Backend, BackendError, BatchKey, ModelFile, Row};
use tch::{Kind, TchError, Tensor};

use crate::checkpoint::{Checkpoint, Networks};
use crate::conditioning::{Conditioner, PROMPT_BYTES_MAX};
use crate::device;
use crate::error::{LoadError, Problem};
use crate::facts::Prediction;
use crate::latent::Latents;
use crate::lru::Lru;

/// What the VAE's latents are multiplied by to have about unit variance (Rombach et al. 2022).
const LATENT_SCALE: f64 = 0.18215;
/// What a UNet reads that draws from text alone.
const LATENT_CHANNELS: i64 = 4;
/// A latent is an eighth of its picture's size.
const PIXELS_PER_LATENT: u32 = 8;

/// One row of RGB for each latent channel: a linear fit of small pictures to Stable Diffusion 1.x latents.
const PREVIEW: [f32; 12] =
    [0.298, 0.207, 0.208, 0.187, 0.286, 0.173, -0.158, 0.189, 0.264, -0.184, -0.271, -0.473];

/// How the backend computes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TorchSettings {
    /// Threads for one operator; 0 lets libtorch choose (the physical cores).
    pub threads: usize,
    pub dtype: DtypeChoice,
    /// Models kept in memory; 0 is taken as 1.
    pub resident_models: usize,
}

impl Default for TorchSettings {
    fn default() -> Self {
        Self { threads: 0, dtype: DtypeChoice::Auto, resident_models: 1 }
    }
}

/// The kind of number the UNet computes in. Everything else is f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DtypeChoice {
    /// bf16 where a measurement finds it clearly faster, else f32.
    #[default]
    Auto,
    F32,
    Bf16,
}

/// libtorch on this machine's processor. Belongs to the thread that opened it.
pub struct TorchBackend {
    models: Lru<Arc<ModelFile>, Rc<Networks>>,
    conditioner: Conditioner,
    unet_kind: Kind,
}

/// One picture in flight.
pub struct Sample {
    networks: Rc<Networks>,
    positive: Rc<Tensor>,
    negative: Rc<Tensor>,
    cfg_scale: f64,
    latents: Latents,
    /// The sampler's step of the latest call, for messages.
    step: u32,
}

impl TorchBackend {
    /// Sets up libtorch; loads no model yet.
    ///
    /// # Errors
    /// [`BackendError::Device`] when libtorch cannot compute at all.
    pub fn open(settings: TorchSettings) -> Result<Self, BackendError> {
        device::set_threads(settings.threads);
        let unet_kind = device::unet_kind(settings.dtype).map_err(device_error)?;
        Ok(Self { models: Lru::new(settings.resident_models), conditioner: Conditioner::new(), unet_kind })
    }

    fn networks(&mut self, model: &Arc<ModelFile>) -> Result<Rc<Networks>, BackendError> {
        if let Some(networks) = self.models.get(model) {
            return Ok(networks);
        }
        let begin = std::time::Instant::now();
        // A bad file must not push a good model out, so it is judged before room is made.
        let checkpoint = Checkpoint::open(&model.path).map_err(load_error)?;
        let facts = checkpoint.facts();
        if facts.prediction != Prediction::Epsilon || facts.zero_terminal_snr || facts.input_channels != 4 {
            let path = model.path.display();
            return Err(BackendError::Model(format!(
                "{path}: it needs another sampling than is here: {facts:?}"
            )));
        }
        self.models.make_room();
        let networks = Rc::new(checkpoint.build(self.unet_kind).map_err(load_error)?);
        self.models.insert(model.clone(), networks.clone());
        let millis = begin.elapsed().as_millis() as u64;
        tracing::info!(model = model.name, millis, "loaded model");
        Ok(networks)
    }
}

impl Backend for TorchBackend {
    type Sample = Sample;

    fn begin(
        &mut self,
        model: &Arc<ModelFile>,
        request: &GenerateRequest,
        noise: Vec<f32>,
        initial_scale: f64,
    ) -> Result<(Sample, BatchKey), BackendError> {
        let _guard = tch::no_grad_guard();
        let networks = self.networks(model)?;
        check_request(request, &networks)?;
        let mut context = |text: &str| {
            let (skip, emphasis) = (request.clip_skip, request.emphasis);
            self.conditioner.context(&networks, model, text, skip, emphasis).map_err(device_error)
        };
        let (positive, negative) = (context(&request.prompt)?, context(&request.negative_prompt)?);
        let (rows, columns) = (request.height / PIXELS_PER_LATENT, request.width / PIXELS_PER_LATENT);
        let latents =
            Latents::new(&noise, rows.into(), columns.into(), initial_scale).map_err(device_error)?;
        let tokens = |context: &Tensor| context.size().get(1).map_or(0, |tokens| *tokens as u32);
        let key = BatchKey {
            model: model.clone(),
            latent_height: rows,
            latent_width: columns,
            context_lengths: (tokens(&positive), tokens(&negative)),
        };
        let cfg_scale = request.cfg_scale;
        Ok((Sample { networks, positive, negative, cfg_scale, latents, step: 0 }, key))
    }

    fn step(
        &mut self,
        rows: &mut [Row<'_, Sample>],
    ) -> Result<Vec<Result<Option<f64>, BackendError>>, BackendError> {
        let _guard = tch::no_grad_guard();
        // A row whose own call is wrong fails alone; the others go on without it.
        let mut prepared: Vec<Result<Option<Tensor>, BackendError>> =
            rows.iter_mut().map(|row| prepare(row).map_err(device_error)).collect();
        let good = rows.iter().zip(&prepared).filter(|(_, prepared)| prepared.is_ok());
        let calls: Vec<_> = good.map(|(row, _)| (&*row.sample, row.call)).collect();
        let outputs = match calls.first() {
            Some((sample, _)) => {
                let networks = sample.networks.clone();
                guided_noise(&networks, &calls).map_err(device_error)?
            }
            None => Vec::new(),
        };
        let mut outputs = outputs.into_iter();
        let finish = |(row, prepared): (&mut Row<'_, Sample>, Result<Option<Tensor>, BackendError>)| {
            let noise = prepared?;
            match outputs.next() {
                Some(output) => advance(row, &output, noise.as_ref()),
                None => Err(BackendError::Device("the UNet gave fewer rows than it took".into())),
            }
        };
        Ok(rows.iter_mut().zip(prepared.drain(..)).map(finish).collect())
    }

    fn preview(&mut self, sample: &Sample) -> Result<Pixels, BackendError> {
        let _guard = tch::no_grad_guard();
        let latent = sample.latents.denoised.as_ref().unwrap_or(&sample.latents.x);
        let project = || {
            let matrix = Tensor::f_from_slice(&PREVIEW)?.f_reshape([4, 3])?;
            let rgb = latent.f_nan_to_num(0.0, 0.0, 0.0)?.f_permute([0, 2, 3, 1])?.f_matmul(&matrix)?;
            pixels(&rgb.f_squeeze_dim(0)?)
        };
        project().map_err(device_error)
    }

    fn finish(&mut self, sample: Sample) -> Result<Pixels, BackendError> {
        let _guard = tch::no_grad_guard();
        let decode = || {
            let latent = sample.latents.x.f_div_scalar(LATENT_SCALE)?;
            sample.networks.decode_latent(&latent)?.f_squeeze_dim(0)?.f_permute([1, 2, 0])
        };
        let picture = decode().map_err(device_error)?;
        let finite = picture.f_isfinite().and_then(|finite| finite.f_all()).and_then(bool::try_from);
        if !finite.map_err(device_error)? {
            return Err(BackendError::NotANumber { step: sample.step });
        }
        pixels(&picture).map_err(device_error)
    }

    fn describe(&self) -> String {
        let kind = device::kind_name(self.unet_kind);
        format!("libtorch on CPU, {} threads, UNet in {kind}", tch::get_num_threads())
    }
}

fn check_request(request: &GenerateRequest, networks: &Networks) -> Result<(), BackendError> {
    let refuse = |why: String| Err(BackendError::Request(why));
    if request.prompt.len().max(request.negative_prompt.len()) > PROMPT_BYTES_MAX {
        return refuse(format!("a prompt is longer than {PROMPT_BYTES_MAX} bytes; shorten it"));
    }
    let layers = networks.text_layers();
    if request.clip_skip as usize > layers {
        return refuse(format!(
            "clip skip is {} but the text encoder has {layers} layers",
            request.clip_skip
        ));
    }
    if networks.input_channels() != LATENT_CHANNELS {
        let channels = networks.input_channels();
        return refuse(format!(
            "this checkpoint's UNet reads {channels} channels, a picture besides the latent; choose one for text alone"
        ));
    }
    let (width, height) = (request.width, request.height);
    if [width, height].iter().any(|side| *side == 0 || side % PIXELS_PER_LATENT != 0) {
        return refuse(format!("{width}x{height} is no size in multiples of 8"));
    }
    Ok(())
}

/// Does the row's assignments before the UNet; gives back its noise for those after.
fn prepare(row: &mut Row<'_, Sample>) -> Result<Option<Tensor>, TchError> {
    let noise = row.noise.as_deref().map(|noise| row.sample.latents.draw(noise)).transpose()?;
    row.sample.step = row.call.step;
    row.sample.latents.assign(&row.call.before, noise.as_ref())?;
    Ok(noise)
}

/// What the UNet predicts for a row, `[1, 4, rows, columns]` in f32.
struct Output {
    guided: Tensor,
    /// For the negative prompt alone, or what stands for it.
    unconditional: Tensor,
}

/// What the UNet predicts for each row, after guidance.
fn guided_noise(networks: &Networks, rows: &[(&Sample, &Call)]) -> Result<Vec<Output>, TchError> {
    let kind = networks.unet_kind();
    let scaled = |(sample, call): &(&Sample, &Call)| sample.latents.x.f_mul_scalar(call.c_in);
    let x = Tensor::f_cat(&rows.iter().map(scaled).collect::<Result<Vec<_>, _>>()?, 0)?.f_to_kind(kind)?;
    let timesteps: Vec<f32> = rows.iter().map(|(_, call)| call.timestep as f32).collect();
    let timesteps = Tensor::f_from_slice(&timesteps)?;
    let join = |side: fn(&Sample) -> &Rc<Tensor>| {
        Tensor::f_cat(&rows.iter().map(|(sample, _)| side(sample).as_ref()).collect::<Vec<_>>(), 0)
    };
    let (positive, negative) = (join(|sample| &sample.positive)?, join(|sample| &sample.negative)?);
    let (with, without) = if positive.size() == negative.size() {
        let twice = |tensor: &Tensor| Tensor::f_cat(&[tensor, tensor], 0);
        let context = Tensor::f_cat(&[&positive, &negative], 0)?;
        let both = networks.predict_noise(&twice(&x)?, &twice(&timesteps)?, &context)?;
        let both = both.f_to_kind(Kind::Float)?;
        let count = rows.len() as i64;
        (both.f_narrow(0, 0, count)?, both.f_narrow(0, count, count)?)
    } else {
        // Padding the shorter context would add keys to attention and change the picture; two calls do not.
        let with = networks.predict_noise(&x, &timesteps, &positive)?;
        let without = networks.predict_noise(&x, &timesteps, &negative)?;
        (with.f_to_kind(Kind::Float)?, without.f_to_kind(Kind::Float)?)
    };
    let guide = |(index, (sample, call)): (usize, &(&Sample, &Call))| {
        let (with, without) = (with.f_narrow(0, index as i64, 1)?, without.f_narrow(0, index as i64, 1)?);
        if call.guidance.skip_unconditional {
            return Ok(Output { unconditional: with.shallow_clone(), guided: with });
        }
        let scale = sample.cfg_scale * call.guidance.scale;
        let guided = without.f_add(&with.f_sub(&without)?.f_mul_scalar(scale)?)?;
        Ok(Output { guided, unconditional: without })
    };
    rows.iter().enumerate().map(guide).collect()
}

/// Turns the prediction into the estimate, does the row's assignments after the UNet and measures what is asked.
fn advance(
    row: &mut Row<'_, Sample>,
    output: &Output,
    noise: Option<&Tensor>,
) -> Result<Option<f64>, BackendError> {
    let (latents, call) = (&mut row.sample.latents, row.call);
    let estimate =
        |x: &Tensor, output: &Tensor| x.f_mul_scalar(call.c_skip)?.f_add(&output.f_mul_scalar(call.c_out)?);
    latents.denoised = Some(estimate(&latents.x, &output.guided).map_err(device_error)?);
    latents.unconditional = None;
    if call.reads(Register::Unconditional) {
        latents.unconditional = Some(estimate(&latents.x, &output.unconditional).map_err(device_error)?);
    }
    latents.assign(&call.after, noise).map_err(device_error)?;
    if !latents.is_finite().map_err(device_error)? {
        return Err(BackendError::NotANumber { step: call.step });
    }
    call.measure.map(|measure| latents.measure(&measure).map_err(device_error)).transpose()
}

/// `[height, width, 3]` in -1..1 to bytes, truncated as web UIs do.
fn pixels(picture: &Tensor) -> Result<Pixels, TchError> {
    let (height, width, _) = picture.size3()?;
    let bytes = picture.f_add_scalar(1.0)?.f_div_scalar(2.0)?.f_clamp(0.0, 1.0)?.f_mul_scalar(255.0)?;
    let bytes = bytes.f_to_kind(Kind::Uint8)?.f_contiguous()?;
    let mut data = vec![0u8; bytes.numel()];
    bytes.f_copy_data(&mut data, bytes.numel())?;
    Pixels::new(width as u32, height as u32, PixelFormat::Rgb8, data)
        .ok_or_else(|| TchError::Shape(format!("a picture has the shape {:?}", picture.size())))
}

fn load_error(error: LoadError) -> BackendError {
    match error.problem {
        Problem::Device(error) => device_error(error),
        _ => BackendError::Model(error.to_string()),
    }
}

/// libtorch tells running out of memory by its message alone.
fn device_error(error: TchError) -> BackendError {
    let text = error.to_string();
    // The rest of a C++ message is a stack trace.
    let first = text.lines().next().unwrap_or_default().to_owned();
    let out_of_memory = ["out of memory", "can't allocate memory", "DefaultCPUAllocator", "bad_alloc"];
    if out_of_memory.iter().any(|sign| text.contains(sign)) {
        BackendError::OutOfMemory(first)
    } else {
        BackendError::Device(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_out_of_memory_is_told_from_other_failures() {
        // Half an exabyte: refused by the allocator on any machine.
        let error = Tensor::f_empty([1 << 57], (Kind::Float, tch::Device::Cpu)).unwrap_err();
        assert!(matches!(device_error(error), BackendError::OutOfMemory(_)));
        let error = Tensor::from_slice(&[1.0f32, 2.0]).f_reshape([3]).unwrap_err();
        assert!(matches!(device_error(error), BackendError::Device(_)));
    }

    #[test]
    fn pixels_are_truncated_and_clamped() {
        let picture = Tensor::from_slice(&[-2.0f32, 0.999, 2.0]).reshape([1, 1, 3]);
        assert_eq!(pixels(&picture).unwrap().data, [0, 254, 255]);
    }
}
