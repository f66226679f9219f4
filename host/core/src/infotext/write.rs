//! A request as infotext: every field that is needed to draw the picture again, in the web UIs' order.

use super::Infotext;
use crate::control::ControlUnit;
use crate::hires::{Hires, HiresSize};
use crate::img2img::{Img2Img, Mask};
use crate::request::{Emphasis, GenerateRequest, NoiseSource};
use crate::sampler::{Sampler, UniPc, UniPcSkip, UniPcVariant};
use crate::schedule::Scheduler;

/// What the request's names turned out to be.
#[derive(Debug, Clone, Copy)]
pub struct DrawnWith<'a> {
    pub model_name: &'a str,
    /// First ten hex digits of the file's SHA-256; empty when it is not known.
    pub model_hash: &'a str,
    /// The VAE in place of the checkpoint's own.
    pub vae_name: Option<&'a str>,
    /// Name and hash of each LoRA.
    pub lora_hashes: &'a [(String, String)],
    pub control: &'a [ControlUnit],
    /// Names the program.
    pub version: &'a str,
}

/// The text of picture `image` of a request.
///
/// Numbers that are whole are printed without a fraction ("CFG scale: 7"): that is how the pictures in circulation
/// have it, though a web UI called over HTTP prints "7.0". Readers take both.
pub fn of(request: &GenerateRequest, image: u32, with: &DrawnWith<'_>) -> String {
    let (seed, subseed) = request.seeds_of(image);
    let varied = request.variation.strength != 0.0;
    let is_given = |text: &str| !text.is_empty();
    let strength = match (&request.hires, &request.img2img) {
        (Some(hires), _) => Some(hires.denoising_strength),
        (None, Some(img2img)) => Some(img2img.denoising_strength),
        (None, None) => None,
    };
    let delta = request.eta_noise_seed_delta;
    let uses_delta = request.sampler.uses_ensd() && request.options.eta != Some(0.0) && delta != 0;
    let text = Infotext::new(&request.prompt, &request.negative_prompt)
        .field("Steps", request.steps)
        .field("Sampler", request.sampler.label())
        .field("Schedule type", schedule_type(request.sampler, request.scheduler).label())
        .field("CFG scale", request.cfg_scale)
        .field("Seed", seed)
        .field("Size", format!("{}x{}", request.width, request.height))
        .optional_field("Model hash", is_given(with.model_hash).then_some(with.model_hash))
        .optional_field("Model", is_given(with.model_name).then_some(with.model_name))
        .optional_field("VAE", with.vae_name)
        .optional_field("Variation seed", varied.then_some(subseed))
        .optional_field("Variation seed strength", varied.then_some(request.variation.strength))
        .optional_field("Seed resize from", request.seed_resize_from.map(|(w, h)| format!("{w}x{h}")))
        .optional_field("Denoising strength", strength)
        .optional_field("Clip skip", (request.clip_skip > 1).then_some(request.clip_skip))
        .optional_field("ENSD", uses_delta.then_some(delta))
        .field("RNG", noise_source_name(request.noise_source))
        .optional_field("Tiling", request.tiling.then_some("True"));
    let text = img2img_fields(text, request.img2img.as_ref());
    let text = hires_fields(text, request);
    let text = text
        .optional_field("Lora hashes", lora_hashes(with.lora_hashes))
        .optional_field("Emphasis", emphasis_name(request));
    let text = with.control.iter().enumerate().fold(sampling_fields(text, request), |text, (index, unit)| {
        text.optional_field(&format!("ControlNet {index}"), control_field(unit))
    });
    text.field("Version", with.version).to_string()
}

fn img2img_fields(text: Infotext, img2img: Option<&Img2Img>) -> Infotext {
    let Some(Mask { blur, invert, fill, only_masked, conditioning_weight, .. }) =
        img2img.and_then(|img2img| img2img.mask.as_ref())
    else {
        return text;
    };
    let blur = if blur.0 == blur.1 { blur.0.to_string() } else { format!("{}x{}", blur.0, blur.1) };
    text.optional_field(
        "Conditional mask weight",
        (*conditioning_weight != 1.0).then_some(conditioning_weight),
    )
    .field("Mask mode", if *invert { "Inpaint not masked" } else { "Inpaint masked" })
    .field("Mask blur", blur)
    .field("Inpaint area", if only_masked.is_some() { "Only masked" } else { "Whole picture" })
    .optional_field("Masked area padding", *only_masked)
    .field("Masked content", fill.label())
}

fn hires_fields(text: Infotext, request: &GenerateRequest) -> Infotext {
    let Some(hires) = &request.hires else { return text };
    let Hires { size, upscaler, steps, sampler, scheduler, prompt, negative_prompt, model, .. } = hires;
    let other = |theirs: &Option<String>, first: &str| theirs.clone().filter(|theirs| theirs != first);
    let (scale, resize) = match size {
        HiresSize::Scale(scale) => (Some(scale), None),
        HiresSize::Resize { width, height } => (None, Some(format!("{width}x{height}"))),
    };
    text.optional_field("Hires checkpoint", model.as_ref())
        .optional_field("Hires sampler", sampler.map(Sampler::label))
        .optional_field("Hires prompt", other(prompt, &request.prompt))
        .optional_field("Hires negative prompt", other(negative_prompt, &request.negative_prompt))
        .optional_field("Hires schedule type", scheduler.map(Scheduler::label))
        .optional_field("Hires upscale", scale)
        .optional_field("Hires resize", resize)
        .optional_field("Hires steps", *steps)
        .field("Hires upscaler", upscaler.label())
}

fn sampling_fields(text: Infotext, request: &GenerateRequest) -> Infotext {
    let (options, sampler) = (&request.options, request.sampler);
    let churn = &options.churn;
    let churns = sampler.churns();
    let uses_picture = request.img2img.is_some();
    let not = |value: f64, default: f64| (value != default).then_some(value);
    let flag = |flag: bool| flag.then_some("True");
    let eta = options.eta.filter(|eta| *eta != sampler.default_eta());
    let text = text
        .optional_field(
            "Noise multiplier",
            not(options.initial_noise_multiplier, 1.0).filter(|_| uses_picture),
        )
        .optional_field("Extra noise", not(options.extra_noise, 0.0))
        .optional_field(if sampler.is_timestep_sampler() { "Eta DDIM" } else { "Eta" }, eta)
        .optional_field("Sigma churn", not(churn.amount, 0.0).filter(|_| churns))
        .optional_field("Sigma tmin", not(churn.min_sigma, 0.0).filter(|_| churns))
        .optional_field("Sigma tmax", Some(churn.max_sigma).filter(|most| churns && most.is_finite()))
        .optional_field("Sigma noise", not(churn.noise, 1.0).filter(|_| churns))
        .optional_field("Schedule min sigma", options.sigma_min)
        .optional_field("Schedule max sigma", options.sigma_max)
        .optional_field("Schedule rho", options.rho)
        .optional_field("Beta schedule alpha", not(options.beta_alpha, 0.6))
        .optional_field("Beta schedule beta", not(options.beta_beta, 0.6))
        .optional_field("Discard penultimate sigma", flag(options.discard_penultimate))
        .optional_field("SGM noise multiplier", flag(options.sgm_noise_multiplier))
        .optional_field("Noise Schedule", request.zero_terminal_snr.then_some("Zero Terminal SNR"))
        .optional_field("NGMS", not(options.ngms_sigma, 0.0))
        .optional_field("NGMS all steps", flag(options.ngms_all_steps))
        .optional_field("Skip Early CFG", not(options.skip_early_cond, 0.0))
        .optional_field("Old prompt editing timelines", flag(request.old_scheduling));
    if sampler == Sampler::UniPc { unipc_fields(text, &options.unipc) } else { text }
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

/// A unit in one field, in the order web UIs print it; `None` where a value would read as two.
fn control_field(unit: &ControlUnit) -> Option<String> {
    let slider = |value: Option<f64>| value.map_or_else(|| "-1".to_owned(), |value| value.to_string());
    let fields = [
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
    let printable = fields.iter().all(|(_, value)| !value.contains([',', ':']));
    let pairs: Vec<_> = fields.iter().map(|(key, value)| format!("{key}: {value}")).collect();
    printable.then(|| pairs.join(", "))
}

/// "Automatic" is printed as what it stands for only where the sampler publishes a default.
fn schedule_type(sampler: Sampler, scheduler: Scheduler) -> Scheduler {
    let published = sampler.options().iter().any(|(key, _)| *key == "scheduler");
    match scheduler {
        Scheduler::Automatic if published => sampler.default_scheduler(),
        named => named,
    }
}

/// Web UIs leave the source out when it is the GPU's own, which Gesso does not use.
fn noise_source_name(source: NoiseSource) -> &'static str {
    match source {
        NoiseSource::Cpu => "CPU",
        NoiseSource::Nv => "NV",
    }
}

/// Only where it differs from the default and there is a bracket for it to act on.
fn emphasis_name(request: &GenerateRequest) -> Option<&'static str> {
    let has_brackets =
        [&request.prompt, &request.negative_prompt].iter().any(|prompt| prompt.contains(['(', '[']));
    match request.emphasis {
        Emphasis::None => has_brackets.then_some("None"),
        Emphasis::Ignore => has_brackets.then_some("Ignore"),
        Emphasis::NoNorm => has_brackets.then_some("No norm"),
        Emphasis::Original => None,
    }
}

fn lora_hashes(hashes: &[(String, String)]) -> Option<String> {
    let list: Vec<_> = hashes.iter().map(|(name, hash)| format!("{name}: {hash}")).collect();
    (!list.is_empty()).then(|| list.join(", "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::prompts;
    use super::*;
    use crate::fixture;
    use crate::hires::{HiresUpscaler, LatentUpscaler};
    use crate::img2img::{Fill, ResizeMode};
    use crate::request::Variation;
    use crate::sampler::{Churn, SamplerOptions};

    fn text(request: &GenerateRequest, image: u32) -> String {
        let with = DrawnWith {
            model_name: "demo",
            model_hash: "0123456789",
            vae_name: None,
            lora_hashes: &[],
            control: &[],
            version: "gesso 0.1.0",
        };
        of(request, image, &with)
    }

    #[test]
    fn a_plain_request_prints_only_what_there_is() {
        insta::assert_snapshot!(text(&fixture::request(), 0), @r"
        mountain landscape during sunset
        Steps: 20, Sampler: Euler, Schedule type: Automatic, CFG scale: 7, Seed: 1, Size: 512x512, Model hash: 0123456789, Model: demo, RNG: CPU, Version: gesso 0.1.0
        ");
    }

    #[test]
    fn everything_set_prints_in_the_published_order() {
        let request = GenerateRequest {
            prompt: "a (red) circle\non white".into(),
            negative_prompt: "blurry, dark".into(),
            sampler: Sampler::EulerA,
            scheduler: Scheduler::Karras,
            cfg_scale: 6.5,
            variation: Variation { subseed: 5, strength: 0.25 },
            seed_resize_from: Some((640, 448)),
            clip_skip: 2,
            noise_source: NoiseSource::Nv,
            options: SamplerOptions { eta: Some(0.5), ..SamplerOptions::default() },
            eta_noise_seed_delta: 31337,
            tiling: true,
            emphasis: Emphasis::NoNorm,
            ..fixture::request()
        };
        insta::assert_snapshot!(text(&request, 3), @r"
        a (red) circle
        on white
        Negative prompt: blurry, dark
        Steps: 20, Sampler: Euler a, Schedule type: Karras, CFG scale: 6.5, Seed: 1, Size: 512x512, Model hash: 0123456789, Model: demo, Variation seed: 8, Variation seed strength: 0.25, Seed resize from: 640x448, Clip skip: 2, ENSD: 31337, RNG: NV, Tiling: True, Emphasis: No norm, Eta: 0.5, Version: gesso 0.1.0
        ");
    }

    #[test]
    fn churn_is_printed_where_the_sampler_looks_at_it() {
        let churn = Churn { amount: 3.0, min_sigma: 0.4, max_sigma: 10.0, noise: 1.01 };
        let options = SamplerOptions { churn, ..SamplerOptions::default() };
        let request = GenerateRequest { options, sampler: Sampler::Heun, ..fixture::request() };
        let want = "Sigma churn: 3, Sigma tmin: 0.4, Sigma tmax: 10, Sigma noise: 1.01, Version";
        assert!(text(&request, 0).contains(want), "{}", text(&request, 0));
        assert!(!text(&GenerateRequest { sampler: Sampler::EulerA, ..request }, 0).contains("Sigma"));
    }

    #[test]
    fn automatic_is_printed_as_a_published_default() {
        let request = GenerateRequest { sampler: Sampler::Dpmpp2m, ..fixture::request() };
        assert!(text(&request, 0).contains("Schedule type: Karras"));
    }

    #[test]
    fn the_seed_delta_is_left_out_where_it_does_nothing() {
        let delta = GenerateRequest { eta_noise_seed_delta: 31337, ..fixture::request() };
        let ancestral = GenerateRequest { sampler: Sampler::EulerA, ..delta.clone() };
        let options = SamplerOptions { eta: Some(0.0), ..SamplerOptions::default() };
        let no_eta = GenerateRequest { options, ..ancestral.clone() };
        let printed = [&delta, &ancestral, &no_eta].map(|request| text(request, 0).contains("ENSD"));
        assert_eq!(printed, [false, true, false]);
    }

    #[test]
    fn pictures_without_a_variation_count_their_seeds_up() {
        assert!(text(&fixture::request(), 3).contains("Seed: 4,"));
    }

    #[test]
    fn a_second_pass_prints_what_differs_from_the_first() {
        let hires = Hires {
            size: HiresSize::Scale(1.5),
            upscaler: HiresUpscaler::Latent(LatentUpscaler::Bicubic),
            denoising_strength: 0.6,
            steps: Some(7),
            sampler: Some(Sampler::Heun),
            scheduler: None,
            prompt: Some("another, one".into()),
            negative_prompt: Some(String::new()),
            model: None,
        };
        let request = GenerateRequest { hires: Some(hires), ..fixture::request() };
        let want = "Denoising strength: 0.6, RNG: CPU, Hires sampler: Heun, Hires prompt: \"another, one\", \
                    Hires upscale: 1.5, Hires steps: 7, Hires upscaler: Latent (bicubic), Version";
        assert!(text(&request, 0).contains(want), "{}", text(&request, 0));
    }

    #[test]
    fn a_mask_prints_its_settings() {
        let mask = Mask {
            blur: (4, 8),
            invert: true,
            fill: Fill::LatentNoise,
            only_masked: Some(32),
            round: true,
            conditioning_weight: 1.0,
        };
        let img2img = Img2Img {
            denoising_strength: 0.75,
            exact_steps: false,
            resize_mode: ResizeMode::Stretch,
            image_cfg_scale: 1.5,
            colour_correction: false,
            mask: Some(mask),
        };
        let request = GenerateRequest { img2img: Some(img2img), ..fixture::request() };
        let want = "Denoising strength: 0.75, RNG: CPU, Mask mode: Inpaint not masked, Mask blur: 4x8, \
                    Inpaint area: Only masked, Masked area padding: 32, Masked content: latent noise, Version";
        assert!(text(&request, 0).contains(want), "{}", text(&request, 0));
    }

    #[test]
    fn loras_print_their_hashes_in_one_quoted_field() {
        let hashes = [("a".to_owned(), "1234".to_owned()), ("b".to_owned(), "5678".to_owned())];
        let with = DrawnWith {
            model_name: "",
            model_hash: "",
            vae_name: Some("bright"),
            lora_hashes: &hashes,
            control: &[],
            version: "v",
        };
        let text = of(&fixture::request(), 0, &with);
        assert!(text.contains("VAE: bright") && text.contains("Lora hashes: \"a: 1234, b: 5678\""), "{text}");
    }

    proptest! {
        #[test]
        fn a_request_reads_back_with_its_numbers(
            prompt in prompts(), steps in 1u32..200, cfg_scale in 0.0f64..100.0, seed: u64, image in 0u32..9,
        ) {
            let request = GenerateRequest { prompt, steps, cfg_scale, seed, ..fixture::request() };
            let read = Infotext::parse(&text(&request, image));
            prop_assert_eq!(&read.prompt, &request.prompt);
            prop_assert_eq!(read.get("Steps").and_then(|text| text.parse().ok()), Some(steps));
            prop_assert_eq!(read.get("CFG scale").and_then(|text| text.parse().ok()), Some(cfg_scale));
            let seed = request.seeds_of(image).0;
            prop_assert_eq!(read.get("Seed").and_then(|text| text.parse().ok()), Some(seed));
        }
    }
}
