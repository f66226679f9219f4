//! Gets a pass ready: the networks it runs through and when, its texts encoded and projected, its control networks with
//! their maps, the pictures it draws after, what lies under its noise, its source. Called once for all pictures of a pass.

use std::cell::OnceCell;
use std::rc::Rc;

use gesso_core::control::ControlPass;
use gesso_core::prompt::{Clock, Conditioning};
use gesso_core::request::PromptLengths;
use gesso_core::schedule::{NoiseSchedule, NoiseTable, Prediction};
use gesso_engine::LoraUse;
use gesso_engine::backend::{BackendError, PassSpec};
use tch::{TchError, Tensor};

use crate::compute::send;
use crate::conditioning::{Conditioner, PROMPT_BYTES_MAX};
use crate::convert;
use crate::encoder::Encoder;
use crate::facts::{self, ModelFacts};
use crate::failure::device_error;
use crate::model_cache::bytes;
use crate::models::unet::context::{Context, ContextMap};
use crate::networks::Networks;
use crate::padding::{to_length_of, to_one_length};
use crate::pass::{Contexts, PIXELS_PER_LATENT, Pass, Stretch, Unit};
use crate::reference::Referred;
use crate::resident::{Resident, patches};
use crate::share::Limits;
use crate::source::{self, EncodedSource};
use crate::underlay::Underlay;

/// What stands for a pixel of a map that an inpainting network must not see.
const HIDDEN: f64 = -1.0;
/// Stretches of steps with LoRAs of their own. Each holds what they change: up to a UNet.
const STRETCHES_MAX: usize = 4;

/// Whose pictures a pass draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pictures {
    /// Those that are begun in it.
    Own,
    /// Those that come over from the pass that it refines, with their latents and what of them is kept.
    Another,
}

/// The pass, the model's noise levels, and a text that is equal for passes whose rows may share calls. What it encodes
/// is held to `limits`, beside its own networks and those of another pass.
pub(crate) fn open(
    resident: &mut Resident,
    conditioner: &mut Conditioner,
    spec: &PassSpec<'_>,
    pictures: Pictures,
    limits: Limits,
    beside: Option<&Pass>,
) -> Result<(Pass, NoiseSchedule, String), BackendError> {
    let resources = spec.resources;
    let vae = resources.vae.as_ref();
    let all: Vec<&LoraUse> = resources.loras.iter().collect();
    let windows = windows(&resources.loras, spec.steps);
    if windows.len() > STRETCHES_MAX {
        let count = windows.len();
        return Err(BackendError::Request(format!(
            "the LoRAs' steps part the picture into {count} stretches; use at most {STRETCHES_MAX}"
        )));
    }
    let seamless = spec.request.tiling;
    let mut stretches = Vec::with_capacity(windows.len());
    for (until, loras) in &windows {
        stretches.push((*until, resident.networks(spec.model, vae, loras, seamless)?));
    }
    // Texts are encoded once: a LoRA acts on them whatever its steps.
    let text_networks = match stretches.as_slice() {
        [(_, only)] if windows[0].1.len() == all.len() => only.clone(),
        _ => {
            let text_only: Vec<LoraUse> =
                all.iter().map(|lora| LoraUse { unet: 0.0, ..(*lora).clone() }).collect();
            resident.networks(spec.model, vae, &text_only.iter().collect::<Vec<_>>(), seamless)?
        }
    };
    check(spec, &text_networks)?;
    let warnings = warnings(&text_networks, &stretches);
    let text_patches = patches(vae, &all);
    let mut encode = |conditioning: &Conditioning| {
        conditioner.encode(resident, &text_networks, spec, &text_patches, conditioning)
    };
    let (mut positive, mut negative) = (encode(spec.positive)?, encode(spec.negative)?);
    match spec.request.prompt_lengths {
        PromptLengths::Own => {}
        PromptLengths::Longer => {
            if let [empty] = encode(&Conditioning::negative("", Clock::new(1)))?.as_slice() {
                [positive, negative] = to_one_length([positive, negative], empty)?;
            }
        }
        PromptLengths::Prompts => negative = to_length_of(&positive, &negative)?,
    }
    let map = resident.context_map(resources)?;
    let context_map = map.as_deref().map(|map| map as &dyn ContextMap);
    let contexts = |project: &dyn Fn(&Tensor) -> Result<Context, TchError>| {
        let side = |texts: &[Tensor]| {
            texts.iter().map(|text| project(text).map(Rc::new)).collect::<Result<Vec<_>, _>>()
        };
        Ok(Contexts { positive: side(&positive)?, negative: side(&negative)? })
    };
    let stretches: Vec<Stretch> = stretches
        .into_iter()
        .map(|(until, networks)| {
            let contexts = contexts(&|text| networks.context(text, context_map))?;
            Ok(Stretch { until, networks, contexts })
        })
        .collect::<Result<_, TchError>>()
        .map_err(device_error)?;
    let units = units(resident, spec, &|model| {
        contexts(&|text| model.context(text, context_map)).map_err(device_error)
    })?;
    let in_memory = beside.into_iter().flat_map(|pass| &pass.stretches).chain(&stretches);
    let computing_bytes = limits.beside(bytes(in_memory.map(|stretch| &stretch.networks)));
    let mut encoder = Encoder::new(resident, &text_networks, computing_bytes);
    let references = resources.references.iter();
    let references =
        references.map(|reference| Referred::new(&mut encoder, &reference.unit, &reference.picture));
    let references = references.collect::<Result<Vec<_>, _>>().map_err(device_error)?;
    let schedule = noise_schedule(spec, &text_networks.facts());
    let underlay = resources.underlay.as_ref();
    let underlay = underlay.map(|picture| Underlay::new(&mut encoder, picture, &schedule));
    let underlay = underlay.transpose().map_err(device_error)?;
    let size = (i64::from(spec.height / PIXELS_PER_LATENT), i64::from(spec.width / PIXELS_PER_LATENT));
    let (source, channels) = sources(&mut encoder, spec, size, pictures).map_err(device_error)?;
    let hypernetworks: Vec<_> = resources
        .hypernetworks
        .iter()
        .map(|(file, strength)| format!("{} {strength}", file.path.display()))
        .collect();
    let merging = spec.request.token_merging.of(spec.is_second);
    let key = format!(
        "{text_patches}\n{}\n{:?}\n{seamless} {merging}",
        hypernetworks.join(" "),
        windows.iter().map(|(until, _)| until).collect::<Vec<_>>()
    );
    let pass = Pass {
        positive: spec.positive.clone(),
        negative: spec.negative.clone(),
        stretches,
        map,
        merging,
        units,
        references,
        underlay,
        cfg_scale: spec.request.cfg_scale,
        image_cfg_scale: spec.request.img2img.as_ref().map_or(1.0, |img2img| img2img.image_cfg_scale),
        source,
        channels,
        given: OnceCell::new(),
        size,
        device: text_networks.device(),
        steps: spec.steps,
        threads: spec.share.threads,
        decodes_whole: true,
        computing_bytes,
        rows_max: usize::MAX,
        warnings,
    };
    Ok((pass, schedule, key))
}

/// Stretches of steps and the LoRAs that act in each: one, for all steps, unless a LoRA has steps of its own.
fn windows(loras: &[LoraUse], steps: u32) -> Vec<(Option<u32>, Vec<&LoraUse>)> {
    let mut ends: Vec<u32> = loras
        .iter()
        .flat_map(|lora| [Some(lora.start_step), lora.stop_step])
        .flatten()
        .filter(|step| (1..steps).contains(step))
        .collect();
    ends.sort_unstable();
    ends.dedup();
    let mut windows = Vec::with_capacity(ends.len() + 1);
    let mut begin = 0;
    for until in ends.into_iter().map(Some).chain([None]) {
        let acts =
            |lora: &&LoraUse| lora.start_step <= begin && lora.stop_step.is_none_or(|stop| begin < stop);
        windows.push((until, loras.iter().filter(acts).collect()));
        begin = until.unwrap_or(begin);
    }
    windows
}

/// What of the LoRAs has no effect. All of them act on the texts; one that does not fit the UNet shows in its own stretches
/// alone.
fn warnings(text: &Networks, stretches: &[(Option<u32>, Rc<Networks>)]) -> Vec<String> {
    let mut warnings = text.warnings().to_vec();
    for warning in stretches.iter().flat_map(|(_, networks)| networks.warnings()) {
        if !warnings.contains(warning) {
            warnings.push(warning.clone());
        }
    }
    warnings
}

fn units(
    resident: &mut Resident,
    spec: &PassSpec<'_>,
    contexts: &dyn Fn(&crate::control::ControlModel) -> Result<Contexts, BackendError>,
) -> Result<Vec<Unit>, BackendError> {
    let mut units = Vec::with_capacity(spec.resources.control.len());
    for control in &spec.resources.control {
        let model = resident.control(&control.file, spec.model)?;
        let pass = ControlPass { kind: model.kind(), layers: model.layers(), high_res: spec.is_second };
        let scales = control.unit.scales(pass).map_err(|problem| {
            let (index, message) = (control.index, problem.message);
            BackendError::Control { index, message }
        })?;
        let hint = || {
            let unit = convert::to_tensor(&control.hint)?.f_add_scalar(1.0)?.f_div_scalar(2.0)?;
            let Some(hidden) = &control.hidden else { return model.hint(&unit) };
            let hidden = convert::grey_to_tensor(hidden)?.f_gt(0.5)?;
            model.hint(&unit.f_masked_fill(&hidden, HIDDEN)?)
        };
        let hint = hint().map_err(device_error)?;
        let region = |region| send(&convert::grey_to_tensor(region)?, model.device());
        let region = control.region.as_ref().map(|grey| region(grey)).transpose().map_err(device_error)?;
        let contexts = contexts(&model)?;
        units.push(Unit { model, unit: control.unit.clone(), scales, hint, region, contexts });
    }
    Ok(units)
}

fn sources(
    encoder: &mut Encoder<'_>,
    spec: &PassSpec<'_>,
    size: (i64, i64),
    pictures: Pictures,
) -> Result<(Option<EncodedSource>, Option<Tensor>), TchError> {
    // Pictures that come over have all of their source with them but what this network reads beside the latent.
    if pictures == Pictures::Another && encoder.networks().input_channels() == source::LATENT {
        return Ok((None, None));
    }
    match (spec.source, &spec.request.img2img) {
        (Some(source), Some(settings)) => {
            Ok((Some(EncodedSource::new(encoder, settings, source, size)?), None))
        }
        _ => Ok((None, source::channels_of_nothing(encoder, size)?)),
    }
}

/// What the model was trained with, and what the request makes of it.
fn noise_schedule(spec: &PassSpec<'_>, facts: &ModelFacts) -> NoiseSchedule {
    let prediction = match facts.prediction {
        facts::Prediction::Epsilon => Prediction::Epsilon,
        facts::Prediction::V => Prediction::V,
    };
    let table = if facts.zero_terminal_snr || spec.request.zero_terminal_snr {
        NoiseTable::ZeroTerminalSnr
    } else {
        NoiseTable::ScaledLinear
    };
    let make = if spec.request.half_alphas { NoiseSchedule::in_halves } else { NoiseSchedule::new };
    make(prediction, table).quantized(spec.request.quantized_timesteps)
}

fn check(spec: &PassSpec<'_>, networks: &Networks) -> Result<(), BackendError> {
    let refuse = |why: String| Err(BackendError::Request(why));
    if spec.positive.texts.iter().chain(&spec.negative.texts).any(|text| text.text.len() > PROMPT_BYTES_MAX) {
        return refuse(format!("a prompt is longer than {PROMPT_BYTES_MAX} bytes; shorten it"));
    }
    let (layers, skip) = (networks.text_layers(), spec.request.clip_skip);
    if skip as usize > layers {
        let field = "CLIP_stop_at_last_layers";
        let why = format!(
            "{field} is {skip}, and the checkpoint's text encoder has {layers} layers; ask for {layers} or fewer"
        );
        return Err(BackendError::Field { field, why });
    }
    let (width, height) = (spec.width, spec.height);
    if [width, height].iter().any(|side| *side == 0 || side % PIXELS_PER_LATENT != 0) {
        return refuse(format!("{width}x{height} is no size in multiples of 8"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use gesso_engine::backend::ModelFile;

    use super::*;

    fn lora(name: &str, start_step: u32, stop_step: Option<u32>) -> LoraUse {
        let file = ModelFile { name: name.into(), path: PathBuf::from(name), version: String::new() };
        LoraUse {
            file: Arc::new(file),
            text: 1.0,
            unet: 1.0,
            rank: None,
            blocks: None,
            start_step,
            stop_step,
        }
    }

    #[test]
    fn loras_act_in_their_own_steps() {
        let loras = [lora("a", 0, None), lora("b", 5, Some(10)), lora("c", 0, Some(5))];
        let windows: Vec<_> = windows(&loras, 20)
            .into_iter()
            .map(|(until, loras)| {
                (until, loras.iter().map(|lora| lora.file.name.as_str()).collect::<String>())
            })
            .collect();
        let want = [(Some(5), "ac".to_owned()), (Some(10), "ab".to_owned()), (None, "a".to_owned())];
        assert_eq!(windows, want);
    }

    #[test]
    fn steps_that_are_not_run_part_nothing() {
        let names = |loras: &[LoraUse]| {
            let windows = windows(loras, 20);
            let of = |loras: &[&LoraUse]| loras.iter().map(|lora| lora.file.name.clone()).collect::<String>();
            windows.iter().map(|(until, loras)| (*until, of(loras))).collect::<Vec<_>>()
        };
        assert_eq!(names(&[lora("a", 0, Some(20)), lora("b", 50, None)]), [(None, "a".to_owned())]);
        assert_eq!(names(&[lora("never", 0, Some(0))]), [(None, String::new())]);
    }

    #[test]
    fn without_steps_of_their_own_there_is_one_stretch() {
        assert_eq!(windows(&[], 20), [(None, Vec::new())]);
        assert_eq!(windows(&[lora("a", 0, None)], 20).len(), 1);
    }
}
