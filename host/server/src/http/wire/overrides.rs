//! `override_settings`: the web UI's options that a request may change for itself. Every known option is read here, an
//! unknown one is refused by name; nothing outlives the request.

use gesso_core::hires::UpscaleTiles;
use gesso_core::request::{Emphasis, NoiseSource, PromptLengths, VaeChoice};
use gesso_core::sampler::{SamplerOptions, UniPcSkip, UniPcVariant};
use gesso_picture::convert::parse_colour;
use serde_json::{Map, Value};

use super::fields::{boolean, integer, number};
use super::options;
use super::problems::Problems;

/// Lowest and highest noise level of the first Karras schedules that web UIs had.
const OLD_ENDS: (f64, f64) = (0.1, 10.0);

/// The options of one request.
pub(super) struct Overrides<'a>(Option<&'a Map<String, Value>>);

impl<'a> Overrides<'a> {
    pub(super) fn new(body: &'a Map<String, Value>, problems: &mut Problems) -> Self {
        let map = body.get("override_settings").and_then(Value::as_object);
        if let Some(option) = map.and_then(|map| map.keys().find(|key| !options::is_known(key))) {
            problems.add(
                "override_settings",
                format!(
                    "override_settings.{option} is not an option here; known: {}",
                    options::acting().join(", ")
                ),
            );
        }
        Self(map)
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        self.0?.get(name).filter(|value| !value.is_null())
    }

    /// Anything that reads as text and is not empty.
    pub(super) fn text(&self, name: &str, problems: &mut Problems) -> Option<&'a str> {
        let value = self.get(name)?;
        if !value.is_string() {
            refuse(problems, name, "a string");
        }
        value.as_str().filter(|text| !text.is_empty())
    }

    /// A list of names.
    pub(super) fn texts(&self, name: &str, problems: &mut Problems) -> Option<Vec<&'a str>> {
        let list = self.get(name)?.as_array();
        let read = list.and_then(|list| list.iter().map(Value::as_str).collect());
        if read.is_none() {
            refuse(problems, name, "a list of names");
        }
        read
    }

    pub(super) fn count(&self, name: &str, problems: &mut Problems) -> Option<u32> {
        let value = self.get(name)?;
        let count = integer(value).and_then(|count| u32::try_from(count.as_i64()?).ok());
        if count.is_none() {
            refuse(problems, name, "a whole number of at least 0");
        }
        count
    }

    /// As [`Overrides::count`], below 0 too.
    pub(super) fn whole(&self, name: &str, problems: &mut Problems) -> Option<i64> {
        let read = integer(self.get(name)?).and_then(|number| number.as_i64());
        if read.is_none() {
            refuse(problems, name, "a whole number");
        }
        read
    }

    pub(super) fn number(&self, name: &str, problems: &mut Problems) -> Option<f64> {
        let read = number(self.get(name)?);
        if read.is_none() {
            refuse(problems, name, "a finite number");
        }
        read
    }

    pub(super) fn flag(&self, name: &str, problems: &mut Problems) -> Option<bool> {
        let read = boolean(self.get(name)?).and_then(|flag| flag.as_bool());
        if read.is_none() {
            refuse(problems, name, "true or false");
        }
        read
    }

    pub(super) fn choice<T: Copy>(
        &self,
        name: &str,
        known: &[(&str, T)],
        problems: &mut Problems,
    ) -> Option<T> {
        let text = self.text(name, problems)?;
        let found = known.iter().find(|(label, _)| label.eq_ignore_ascii_case(text));
        if found.is_none() {
            let known: Vec<_> = known.iter().map(|(label, _)| *label).collect();
            refuse(problems, name, &format!("one of {}; {text:?} is not", known.join(", ")));
        }
        found.map(|(_, value)| *value)
    }

    pub(super) fn colour(&self, name: &str, problems: &mut Problems) -> Option<[u8; 3]> {
        let read = parse_colour(self.text(name, problems)?);
        if read.is_none() {
            refuse(problems, name, "a colour such as #ffffff");
        }
        read
    }

    pub(super) fn emphasis(&self, problems: &mut Problems) -> Option<Emphasis> {
        let known = [
            ("None", Emphasis::None),
            ("Ignore", Emphasis::Ignore),
            ("Original", Emphasis::Original),
            ("No norm", Emphasis::NoNorm),
        ];
        self.choice("emphasis", &known, problems)
    }

    pub(super) fn noise_source(&self, problems: &mut Problems) -> Option<NoiseSource> {
        // A CUDA device draws with Philox, which NV emulates on any machine.
        let known = [("CPU", NoiseSource::Cpu), ("NV", NoiseSource::Nv), ("GPU", NoiseSource::Nv)];
        self.choice("randn_source", &known, problems)
    }

    /// "Zero Terminal SNR" or "Default".
    pub(super) fn zero_terminal_snr(&self, problems: &mut Problems) -> bool {
        let known = [("Default", false), ("Zero Terminal SNR", true)];
        self.choice("sd_noise_schedule", &known, problems).unwrap_or(false)
    }

    /// `pad_cond_uncond`, and `pad_cond_uncond_v0` before it.
    pub(super) fn prompt_lengths(&self, problems: &mut Problems) -> PromptLengths {
        let mut flag = |name: &str| self.flag(name, problems).unwrap_or(false);
        match (flag("pad_cond_uncond"), flag("pad_cond_uncond_v0")) {
            (_, true) => PromptLengths::Prompts,
            (true, false) => PromptLengths::Longer,
            (false, false) => PromptLengths::Own,
        }
    }

    /// Pictures become latents, and latents pictures, by a VAE alone.
    pub(super) fn check_vae_methods(&self, problems: &mut Problems) {
        for name in ["sd_vae_encode_method", "sd_vae_decode_method"] {
            if self.text(name, problems).is_some_and(|method| !method.eq_ignore_ascii_case("Full")) {
                refuse(problems, name, "Full: there is no TAESD here");
            }
        }
    }

    pub(super) fn vae(&self, problems: &mut Problems) -> VaeChoice {
        if let Some(module) = self.module(problems) {
            return VaeChoice::Named(module);
        }
        match self.text("sd_vae", problems) {
            None | Some("Automatic" | "auto") => VaeChoice::Automatic,
            Some("None") => VaeChoice::Own,
            Some(name) => VaeChoice::Named(name.to_owned()),
        }
    }

    /// The VAE among Forge's modules, by its name in the models folder. The web UI tells places on its own machine.
    fn module(&self, problems: &mut Problems) -> Option<String> {
        let modules = self.get(options::MODULES)?;
        let mut modules = modules.as_array().map(|list| list.iter().map(Value::as_str));
        let (first, second) = match &mut modules {
            Some(names) => (names.next(), names.next()),
            None => (Some(None), None),
        };
        match (first, second) {
            (None, _) => None,
            (Some(Some(name)), None) => {
                let is_place = name.starts_with('/') || name.contains('\\');
                let file = if is_place { name.rsplit(['/', '\\']).next() } else { None };
                Some(file.unwrap_or(name).to_owned())
            }
            _ => {
                let expected = "a list of one file, a VAE: checkpoints have their text encoders in them";
                refuse(problems, options::MODULES, expected);
                None
            }
        }
    }

    /// `ESRGAN_tile` and `ESRGAN_tile_overlap`.
    pub(super) fn upscale_tiles(&self, problems: &mut Problems) -> UpscaleTiles {
        let usual = UpscaleTiles::default();
        let (least, most, overlap_most) =
            (UpscaleTiles::SIDE_MIN, UpscaleTiles::SIDE_MAX, UpscaleTiles::OVERLAP_MAX);
        let side = self.count("ESRGAN_tile", problems).unwrap_or(usual.side);
        if side != 0 && !(least..=most).contains(&side) {
            refuse(problems, "ESRGAN_tile", &format!("0 or a number of pixels from {least} to {most}"));
        }
        let overlap = self.count("ESRGAN_tile_overlap", problems).unwrap_or(usual.overlap);
        if overlap > overlap_most {
            refuse(problems, "ESRGAN_tile_overlap", &format!("a number of pixels from 0 to {overlap_most}"));
        }
        UpscaleTiles { side, overlap }
    }

    /// The samplers' options; those with fields of their own in the body are the caller's to put over these.
    pub(super) fn sampler_options(&self, problems: &mut Problems) -> SamplerOptions {
        let mut options = SamplerOptions::default();
        let set = |to: &mut f64, name: &str, problems: &mut Problems| {
            if let Some(value) = self.number(name, problems) {
                *to = value;
            }
        };
        options.eta_ancestral = self.number("eta_ancestral", problems);
        options.eta_ddim = self.number("eta_ddim", problems);
        set(&mut options.churn.amount, "s_churn", problems);
        set(&mut options.churn.min_sigma, "s_tmin", problems);
        set(&mut options.churn.noise, "s_noise", problems);
        set(&mut options.ngms_sigma, "s_min_uncond", problems);
        set(&mut options.skip_early_cond, "skip_early_cond", problems);
        set(&mut options.beta_alpha, "beta_dist_alpha", problems);
        set(&mut options.beta_beta, "beta_dist_beta", problems);
        set(&mut options.extra_noise, "img2img_extra_noise", problems);
        set(&mut options.initial_noise_multiplier, "initial_noise_multiplier", problems);
        // 0 means "the default" for all of these.
        let own =
            |name: &str, problems: &mut Problems| self.number(name, problems).filter(|value| *value != 0.0);
        options.churn.max_sigma = own("s_tmax", problems).unwrap_or(f64::INFINITY);
        let flag = |name: &str, problems: &mut Problems| self.flag(name, problems).unwrap_or_default();
        let old_ends = flag("use_old_karras_scheduler_sigmas", problems);
        options.sigma_min = own("sigma_min", problems).or(old_ends.then_some(OLD_ENDS.0));
        options.sigma_max = own("sigma_max", problems).or(old_ends.then_some(OLD_ENDS.1));
        options.rho = own("rho", problems);
        options.ngms_all_steps = flag("s_min_uncond_all", problems);
        options.discard_penultimate = flag("always_discard_next_to_last_sigma", problems);
        options.sgm_noise_multiplier = flag("sgm_noise_multiplier", problems);
        self.unipc(&mut options, problems);
        options
    }

    fn unipc(&self, options: &mut SamplerOptions, problems: &mut Problems) {
        let variants =
            [("bh1", UniPcVariant::Bh1), ("bh2", UniPcVariant::Bh2), ("vary_coeff", UniPcVariant::VaryCoeff)];
        let skips = [
            ("time_uniform", UniPcSkip::TimeUniform),
            ("time_quadratic", UniPcSkip::TimeQuadratic),
            ("logSNR", UniPcSkip::LogSnr),
        ];
        let unipc = &mut options.unipc;
        unipc.variant = self.choice("uni_pc_variant", &variants, problems).unwrap_or(unipc.variant);
        unipc.skip_type = self.choice("uni_pc_skip_type", &skips, problems).unwrap_or(unipc.skip_type);
        unipc.order = self.count("uni_pc_order", problems).unwrap_or(unipc.order);
        unipc.lower_order_final =
            self.flag("uni_pc_lower_order_final", problems).unwrap_or(unipc.lower_order_final);
    }
}

pub(super) fn refuse(problems: &mut Problems, name: &str, expected: &str) {
    problems.add("override_settings", format!("override_settings.{name} must be {expected}"));
}
