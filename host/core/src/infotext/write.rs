//! A request as infotext: every field that is needed to draw the picture again, in the web UIs' order.

use super::Infotext;
use crate::control::{ControlUnit, HighResOption};
use crate::hex::hex;
use crate::hires::{Hires, HiresSize, HiresUpscaler, UpscaleTiles};
use crate::img2img::{Img2Img, Mask, ResizeMode, SOFT_ENABLED, SOFT_SETTINGS};
use crate::refiner::{RefinedPasses, Refiner};
use crate::request::{Emphasis, GenerateRequest, NoiseSource, PromptLengths, VaeChoice};
use crate::sampler::{Pass, Sampler, UniPc, UniPcSkip, UniPcVariant};
use crate::schedule::Scheduler;

/// What web UIs show behind transparent pictures unless told otherwise.
const WHITE: [u8; 3] = [255; 3];

/// What the request's names turned out to be.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct DrawnWith<'a> {
    pub model_name: &'a str,
    /// First ten hex digits of the file's SHA-256; empty when it is not known.
    pub model_hash: &'a str,
    /// The checkpoint edits pictures by instruction, and so is guided by the picture too.
    pub edits_pictures: bool,
    /// The VAE in place of the checkpoint's own.
    pub vae_name: Option<&'a str>,
    /// As the model's.
    pub vae_hash: Option<&'a str>,
    /// Name and hash of each LoRA.
    pub lora_hashes: &'a [(String, String)],
    /// The same of each textual inversion.
    pub inversion_hashes: &'a [(String, String)],
    /// The checkpoint that drew the end of a pass, as `name [hash]`.
    pub refiner: Option<&'a str>,
    pub control: &'a [ControlUnit],
    /// The network that restored the faces.
    pub face_restoration: Option<&'a str>,
    /// CodeFormer's fidelity, where it is not what an infotext without it means.
    pub face_fidelity: Option<f64>,
    /// Names the program; empty where that is not told.
    pub version: &'a str,
    /// Who asked, where that is told.
    pub user: Option<&'a str>,
}

/// The text of picture `image` of a request.
///
/// Numbers that are whole are printed without a fraction ("CFG scale: 7"): that is how the pictures in circulation
/// have it, though a web UI called over HTTP prints "7.0". Readers take both. What web UIs leave out and a picture
/// cannot be drawn again without is printed where it is not as usual, under the name of its option.
pub fn of(request: &GenerateRequest, image: u32, with: &DrawnWith<'_>) -> String {
    let (seed, subseed) = request.seeds_of(image);
    let varied = request.variation.strength != 0.0;
    let is_given = |text: &str| !text.is_empty();
    let passes = Passes::of(request);
    let strength = match (&request.hires, &request.img2img) {
        (Some(hires), _) => Some(hires.denoising_strength),
        (None, Some(img2img)) => Some(img2img.denoising_strength),
        (None, None) => None,
    };
    let edited = request.img2img.as_ref().filter(|_| with.edits_pictures);
    // Said even where the checkpoint has no VAE beside it: another day it may have.
    let own_vae = (request.vae == VaeChoice::Own).then_some("None");
    let conditioning = request.img2img.as_ref().and_then(|img2img| img2img.mask.as_ref());
    let conditioning = conditioning.map(|mask| mask.conditioning_weight).filter(|weight| *weight != 1.0);
    let delta = request.eta_noise_seed_delta;
    let uses_delta = delta != 0 && passes.any(Pass::draws_again);
    let text = Infotext::new(&request.prompt, &request.negative_prompt)
        .field("Steps", request.steps)
        .field("Sampler", request.sampler.label())
        .field("Schedule type", schedule_type(&passes.first).label())
        .field("CFG scale", request.cfg_scale)
        .optional_field("Image CFG scale", edited.map(|img2img| img2img.image_cfg_scale))
        .field("Seed", seed)
        .optional_field("Face restoration", with.face_restoration)
        .optional_field("CodeFormer weight", with.face_fidelity)
        .field("Size", format!("{}x{}", request.width, request.height))
        .optional_field("Model hash", is_given(with.model_hash).then_some(with.model_hash))
        .optional_field("Model", is_given(with.model_name).then_some(with.model_name))
        .optional_field("VAE hash", with.vae_hash)
        .optional_field("VAE", with.vae_name.or(own_vae))
        .optional_field("Variation seed", varied.then_some(subseed))
        .optional_field("Variation seed strength", varied.then_some(request.variation.strength))
        .optional_field("Seed resize from", request.seed_resize_from.map(|(w, h)| format!("{w}x{h}")))
        .optional_field("Denoising strength", strength)
        .optional_field("Conditional mask weight", conditioning)
        .optional_field("Clip skip", (request.clip_skip > 1).then_some(request.clip_skip))
        .optional_field("ENSD", uses_delta.then_some(delta))
        .optional_field("Token merging ratio", merging(request.token_merging.first, true))
        .optional_field(
            "Token merging ratio hr",
            merging(request.token_merging.second, request.hires.is_some()),
        )
        .field("RNG", noise_source_name(request.noise_source))
        .optional_field("Tiling", flag(request.tiling));
    let text = img2img_fields(text, request.img2img.as_ref());
    let refiner = with.refiner.zip(request.refiner.as_ref());
    let text = hires_fields(text, request, &passes);
    let text = tile_fields(text, request);
    let text = text
        .optional_field("Hires refiner", refiner.and_then(|(_, refiner)| hires_refiner(request, refiner)));
    let text = text
        .optional_field("Lora hashes", hashes(with.lora_hashes))
        .optional_field("TI hashes", hashes(with.inversion_hashes));
    let text = prompt_fields(text, request);
    let text = sampling_fields(text, request, &passes);
    let text = text
        .optional_field("Refiner", refiner.map(|(title, _)| title))
        .optional_field("Refiner switch at", refiner.map(|(_, refiner)| refiner.switch_at))
        .optional_field(
            "Refiner switch by sampling steps",
            flag(refiner.is_some_and(|(_, refiner)| refiner.by_steps)),
        );
    let text = with.control.iter().enumerate().fold(text, |text, (index, unit)| {
        text.optional_field(&format!("ControlNet {index}"), control_field(unit))
    });
    text.optional_field(super::VERSION, is_given(with.version).then_some(with.version))
        .optional_field(super::USER, with.user)
        .to_string()
}

/// What the request's passes are asked for: a field is printed when it acts in either.
struct Passes {
    first: Pass,
    second: Option<Pass>,
}

impl Passes {
    fn of(request: &GenerateRequest) -> Self {
        let second = request.hires.as_ref().map(|hires| request.hires_pass(hires));
        Self { first: request.first_pass(), second }
    }

    fn iter(&self) -> impl Iterator<Item = &Pass> {
        std::iter::once(&self.first).chain(&self.second)
    }

    fn any(&self, is: impl Fn(&Pass) -> bool) -> bool {
        self.iter().any(is)
    }

    /// The amount of ancestral noise of the samplers of one kind, where it is not their default.
    fn eta(&self, of_timestep_samplers: bool) -> Option<f64> {
        let mut of_kind =
            self.iter().filter(|pass| pass.sampler.is_timestep_sampler() == of_timestep_samplers);
        of_kind.next().filter(|pass| pass.eta() != pass.sampler.default_eta()).map(Pass::eta)
    }
}

fn merging(share: f64, acts: bool) -> Option<f64> {
    (acts && share != 0.0).then_some(share)
}

fn flag(flag: bool) -> Option<&'static str> {
    flag.then_some("True")
}

fn img2img_fields(text: Infotext, img2img: Option<&Img2Img>) -> Infotext {
    let Some(Img2Img { exact_steps, resize_mode, colour_correction, mask, pictures, .. }) = img2img else {
        return text;
    };
    let text = mask.iter().fold(text, mask_fields);
    let background = pictures.background;
    let background = (background != WHITE).then(|| format!("#{}", hex(&background)));
    text.optional_field("Resize mode", (*resize_mode != ResizeMode::default()).then_some(resize_mode.label()))
        .optional_field("Img2img fix steps", flag(*exact_steps))
        .optional_field("Img2img color correction", flag(*colour_correction))
        .optional_field("Img2img background color", background)
        .optional_field("Img2img upscaler", pictures.upscaler.as_ref())
        .optional_field("Overlay inpaint", (mask.is_some() && !pictures.overlay).then_some("False"))
}

fn mask_fields(text: Infotext, mask: &Mask) -> Infotext {
    let Mask { blur, invert, fill, only_masked, round, soft, .. } = mask;
    let blur = if blur.0 == blur.1 { blur.0.to_string() } else { format!("{}x{}", blur.0, blur.1) };
    let text = text
        .field("Mask mode", if *invert { "Inpaint not masked" } else { "Inpaint masked" })
        .field("Mask blur", blur)
        .field("Inpaint area", if only_masked.is_some() { "Only masked" } else { "Whole picture" })
        .optional_field("Masked area padding", *only_masked)
        .field("Masked content", fill.label())
        // A soft one never is, and web UIs' texts do not say it.
        .optional_field("Mask round", (!round && soft.is_none()).then_some("False"));
    let Some(soft) = soft else { return text };
    let settings = SOFT_SETTINGS.iter().zip(soft.values());
    settings.fold(text.field(SOFT_ENABLED, "True"), |text, (setting, value)| text.field(setting.field, value))
}

fn hires_fields(text: Infotext, request: &GenerateRequest, passes: &Passes) -> Infotext {
    let (Some(hires), Some(second)) = (&request.hires, &passes.second) else { return text };
    let Hires { size, upscaler, steps, sampler, scheduler, prompt, negative_prompt, model, .. } = hires;
    let other = |theirs: &Option<String>, first: &str| theirs.clone().filter(|theirs| theirs != first);
    let (scale, resize) = match size {
        HiresSize::Scale(scale) => (Some(scale), None),
        HiresSize::Resize { width, height } => (None, Some(format!("{width}x{height}"))),
    };
    // The first pass's is printed as what "Automatic" stands for there, which need not be what it is here.
    let schedule = schedule_type(second);
    let schedule = (scheduler.is_some() || schedule != schedule_type(&passes.first)).then_some(schedule);
    text.optional_field("Hires checkpoint", model.as_ref())
        .optional_field("Hires sampler", sampler.map(Sampler::label))
        .optional_field("Hires prompt", other(prompt, &request.prompt))
        .optional_field("Hires negative prompt", other(negative_prompt, &request.negative_prompt))
        .optional_field("Hires schedule type", schedule.map(Scheduler::label))
        .optional_field("Hires upscale", scale)
        .optional_field("Hires resize", resize)
        .optional_field("Hires steps", *steps)
        .field("Hires upscaler", upscaler.label())
}

/// How networks enlarge pictures, where one may.
fn tile_fields(text: Infotext, request: &GenerateRequest) -> Infotext {
    let between =
        request.hires.as_ref().is_some_and(|hires| matches!(hires.upscaler, HiresUpscaler::Pixels(_)));
    let before = request.img2img.as_ref().is_some_and(|img2img| img2img.pictures.upscaler.is_some());
    let UpscaleTiles { side, overlap } = request.upscale_tiles;
    let not = |value: u32, usual: u32| (value != usual && (between || before)).then_some(value);
    let usual = UpscaleTiles::default();
    text.optional_field("ESRGAN tile", not(side, usual.side))
        .optional_field("ESRGAN tile overlap", not(overlap, usual.overlap))
}

/// Which passes were refined, where it is not the second alone.
fn hires_refiner(request: &GenerateRequest, refiner: &Refiner) -> Option<&'static str> {
    let is_said = request.hires.is_some() && refiner.passes != RefinedPasses::default();
    is_said.then(|| refiner.passes.label())
}

/// What is done to the prompts beyond reading them.
fn prompt_fields(text: Infotext, request: &GenerateRequest) -> Infotext {
    let hires = request.hires.iter().flat_map(|hires| [&hires.prompt, &hires.negative_prompt]).flatten();
    let prompts: Vec<&String> =
        [&request.prompt, &request.negative_prompt].into_iter().chain(hires).collect();
    let have = |marks: &[&str]| prompts.iter().any(|prompt| marks.iter().any(|mark| prompt.contains(mark)));
    // Only where it differs from the default and there is something for it to act on.
    let emphasis = match request.emphasis {
        Emphasis::None => have(&["(", "[", ")", "]", "\\", "BREAK"]).then_some("None"),
        Emphasis::Ignore => have(&["(", "["]).then_some("Ignore"),
        Emphasis::NoNorm => have(&["(", "["]).then_some("No norm"),
        Emphasis::Original => None,
    };
    let backtrack = request.comma_backtrack;
    text.optional_field("Emphasis", emphasis)
        .optional_field(
            "Comma padding backtrack",
            (backtrack != GenerateRequest::COMMA_BACKTRACK).then_some(backtrack),
        )
        .optional_field("Disable extra networks", flag(!request.extra_networks && have(&["<"])))
        .optional_field("Pad conds", flag(request.prompt_lengths == PromptLengths::Longer))
        .optional_field("Pad conds v0", flag(request.prompt_lengths == PromptLengths::Prompts))
        .optional_field("Prompt comments", (!request.prompt_comments && have(&["#"])).then_some("False"))
}

fn sampling_fields(text: Infotext, request: &GenerateRequest, passes: &Passes) -> Infotext {
    let options = &request.options;
    let churn = &options.churn;
    let churns = passes.any(|pass| pass.sampler.churns());
    let scales_noise = passes.any(|pass| pass.sampler.scales_noise());
    let uses_picture = request.img2img.is_some();
    let tells_levels = passes.any(|pass| !pass.sampler.is_timestep_sampler());
    let not = |value: f64, default: f64| (value != default).then_some(value);
    let text = text
        .optional_field(
            "Noise multiplier",
            not(options.initial_noise_multiplier, 1.0).filter(|_| uses_picture),
        )
        .optional_field("Extra noise", not(options.extra_noise, 0.0))
        .optional_field("Eta", passes.eta(false))
        .optional_field("Eta DDIM", passes.eta(true))
        .optional_field("Sigma churn", not(churn.amount, 0.0).filter(|_| churns))
        .optional_field("Sigma tmin", not(churn.min_sigma, 0.0).filter(|_| churns))
        .optional_field("Sigma tmax", Some(churn.max_sigma).filter(|most| churns && most.is_finite()))
        .optional_field("Sigma noise", not(churn.noise, 1.0).filter(|_| scales_noise))
        .optional_field("Schedule min sigma", options.sigma_min)
        .optional_field("Schedule max sigma", options.sigma_max)
        .optional_field("Schedule rho", options.rho)
        .optional_field("Beta schedule alpha", not(options.beta_alpha, 0.6))
        .optional_field("Beta schedule beta", not(options.beta_beta, 0.6))
        .optional_field("Discard penultimate sigma", flag(options.discard_penultimate))
        .optional_field("SGM noise multiplier", flag(options.sgm_noise_multiplier))
        .optional_field("Quantization", flag(request.quantized_timesteps && tells_levels))
        .optional_field("Downcast alphas_cumprod", flag(request.half_alphas))
        .optional_field("Noise Schedule", request.zero_terminal_snr.then_some("Zero Terminal SNR"))
        .optional_field("NGMS", not(options.ngms_sigma, 0.0))
        .optional_field("NGMS all steps", flag(options.ngms_all_steps))
        .optional_field("Skip Early CFG", not(options.skip_early_cond, 0.0))
        .optional_field("Old prompt editing timelines", flag(request.old_scheduling));
    if passes.any(|pass| pass.sampler == Sampler::UniPc) { unipc_fields(text, &options.unipc) } else { text }
}

fn unipc_fields(text: Infotext, unipc: &UniPc) -> Infotext {
    let default = UniPc::default();
    let variant = match unipc.variant {
        UniPcVariant::Bh1 => "bh1",
        UniPcVariant::Bh2 => "bh2",
        UniPcVariant::VaryCoeff => "vary_coeff",
    };
    let skip = match unipc.skip_type {
        UniPcSkip::TimeUniform => "time_uniform",
        UniPcSkip::TimeQuadratic => "time_quadratic",
        UniPcSkip::LogSnr => "logSNR",
    };
    text.optional_field("UniPC variant", (unipc.variant != default.variant).then_some(variant))
        .optional_field("UniPC skip type", (unipc.skip_type != default.skip_type).then_some(skip))
        .optional_field("UniPC order", (unipc.order != default.order).then_some(unipc.order))
        .optional_field("UniPC lower order final", (!unipc.lower_order_final).then_some("False"))
}

/// A unit in one field, in the order web UIs print it; `None` where a value would read as two. The last two are printed
/// only where they are not as usual: not every version of ControlNet has them.
fn control_field(unit: &ControlUnit) -> Option<String> {
    let slider = |value: Option<f64>| value.map_or_else(|| "-1".to_owned(), |value| value.to_string());
    let mut fields = vec![
        ("Module", unit.module.clone()),
        ("Model", unit.model.clone()),
        ("Weight", unit.weight.to_string()),
        ("Resize Mode", unit.resize_mode.label().to_owned()),
        ("Processor Res", slider(unit.processor_res.map(f64::from))),
        ("Threshold A", slider(unit.threshold_a)),
        ("Threshold B", slider(unit.threshold_b)),
        ("Guidance Start", unit.guidance_start.to_string()),
        ("Guidance End", unit.guidance_end.to_string()),
        ("Pixel Perfect", if unit.pixel_perfect { "True" } else { "False" }.to_owned()),
        ("Control Mode", unit.mode.label().to_owned()),
    ];
    if unit.hr_option != HighResOption::default() {
        fields.push(("Hr Option", unit.hr_option.label().to_owned()));
    }
    if let Some(factors) = &unit.advanced_weighting {
        let factors: Vec<_> = factors.iter().map(f64::to_string).collect();
        fields.push(("Advanced Weighting", factors.join(" ")));
    }
    let printable = fields.iter().all(|(_, value)| !value.contains([',', ':']));
    let pairs: Vec<_> = fields.iter().map(|(key, value)| format!("{key}: {value}")).collect();
    printable.then(|| pairs.join(", "))
}

/// "Automatic" is printed as what it stands for only where the sampler publishes a default.
fn schedule_type(pass: &Pass) -> Scheduler {
    let published = pass.sampler.options().iter().any(|(key, _)| *key == "scheduler");
    if published { pass.resolved_scheduler() } else { pass.scheduler }
}

/// Web UIs leave the source out when it is the GPU's own, which Gesso does not use.
fn noise_source_name(source: NoiseSource) -> &'static str {
    match source {
        NoiseSource::Cpu => "CPU",
        NoiseSource::Nv => "NV",
    }
}

fn hashes(hashes: &[(String, String)]) -> Option<String> {
    let list: Vec<_> = hashes.iter().map(|(name, hash)| format!("{name}: {hash}")).collect();
    (!list.is_empty()).then(|| list.join(", "))
}

#[cfg(test)]
mod tests;
