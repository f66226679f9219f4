//! What a client asked for, after the wire's laxity is gone: every field typed, in range and explicit.

use crate::hires::{Hires, UpscaleTiles};
use crate::img2img::Img2Img;
use crate::prompt::{ExtraNetwork, extract_networks, split_networks};
use crate::refiner::Refiner;
use crate::sampler::{Denoise, Pass, Sampler, SamplerOptions};
use crate::schedule::Scheduler;

/// One or more pictures that differ in their seeds, from text or from a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateRequest {
    pub prompt: String,
    pub negative_prompt: String,
    /// The checkpoint as the client named it (title, file name, stem or hash); `None` is the server's default.
    pub model: Option<String>,
    pub vae: VaeChoice,
    /// Pixels; multiples of 8.
    pub width: u32,
    /// Pixels; multiples of 8.
    pub height: u32,
    pub steps: u32,
    /// Classifier-free guidance scale; 1 leaves the negative prompt without effect.
    pub cfg_scale: f64,
    pub sampler: Sampler,
    pub scheduler: Scheduler,
    /// Seed of the first picture. Never "random": whoever accepts a request draws the seed first.
    pub seed: u64,
    pub variation: Variation,
    /// Draw the noise at this size (width, height in pixels) and centre it in the picture's own.
    pub seed_resize_from: Option<(u32, u32)>,
    /// Pictures per batch.
    pub batch_size: u32,
    /// Batches; the request makes `batch_size * n_iter` pictures.
    pub n_iter: u32,
    /// 1 uses the text encoder's last layer, 2 the one before it, and so on.
    pub clip_skip: u32,
    pub emphasis: Emphasis,
    /// How many tokens back from the end of a chunk a comma may lie for the text behind it to move to the next chunk.
    pub comma_backtrack: u32,
    pub noise_source: NoiseSource,
    pub options: SamplerOptions,
    /// ENSD: added to the seed of the generators after the first draw.
    pub eta_noise_seed_delta: u64,
    /// Rescale the model's noise table so that its last level has no signal.
    pub zero_terminal_snr: bool,
    /// That table is computed in half precision, as web UIs once had it.
    pub half_alphas: bool,
    /// Prompt schedules as web UIs before 1.6 read them: a number below 1 is a fraction in either pass.
    pub old_scheduling: bool,
    /// What stands behind a `#` in a prompt is not read; otherwise it is text like any other.
    pub prompt_comments: bool,
    /// The UNet is told the nearest timestep of its table, and not one between two.
    pub quantized_timesteps: bool,
    pub prompt_lengths: PromptLengths,
    /// How networks enlarge pictures.
    pub upscale_tiles: UpscaleTiles,
    /// Opposite edges of the picture join, so that it can be laid side by side with itself.
    pub tiling: bool,
    pub token_merging: TokenMerging,
    /// Apply the LoRAs and hypernetworks that the prompt names.
    pub extra_networks: bool,
    pub hires: Option<Hires>,
    /// Another checkpoint that draws the end of a pass.
    pub refiner: Option<Refiner>,
    /// Present when a picture is drawn over, which goes beside the request.
    pub img2img: Option<Img2Img>,
}

/// Share of the tokens, 0..=1, that the UNet's widest self-attentions go without, each merged into one like it (Bolya &
/// Hoffman 2023): faster, with less detail. 0 merges none.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TokenMerging {
    /// In the first pass, or the only one.
    pub first: f64,
    pub second: f64,
}

impl TokenMerging {
    pub fn of(self, is_second: bool) -> f64 {
        if is_second { self.second } else { self.first }
    }
}

/// Which VAE decodes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum VaeChoice {
    /// The one that goes with the checkpoint by its name, else the checkpoint's own.
    #[default]
    Automatic,
    /// The checkpoint's own.
    Own,
    /// As the client named it.
    Named(String),
}

/// A second seed mixed into the first by spherical interpolation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Variation {
    pub subseed: u64,
    /// 0 is the seed's own noise, 1 the subseed's.
    pub strength: f64,
}

/// What attention weights in a prompt do to the encoded text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Emphasis {
    /// The syntax is text like any other.
    None,
    /// The syntax is read and its weights dropped.
    Ignore,
    /// Vectors are multiplied by their weight, then scaled so that the chunk's mean is what it was.
    #[default]
    Original,
    /// Vectors are multiplied by their weight.
    NoNorm,
}

/// What becomes of prompts of more or fewer chunks than the other side's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum PromptLengths {
    /// Both sides stay as they are, and are asked in calls of the UNet of their own.
    #[default]
    Own,
    /// The shorter side gets empty chunks, so that both share a call.
    Longer,
    /// The negative prompt's vectors are as many as the prompt's: its last one over and over behind them, or else none of those
    /// that are too many. What web UIs before 1.6 did with DDIM and PLMS.
    Prompts,
}

/// Where random numbers come from. Both are implemented here, so a seed draws the same picture on any device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum NoiseSource {
    /// PyTorch's CPU generator (mt19937).
    #[default]
    Cpu,
    /// CUDA's Philox generator, as web UIs emulate it.
    Nv,
}

impl Default for GenerateRequest {
    /// An empty prompt at 512x512 with 20 steps of Euler, seed 0.
    fn default() -> Self {
        Self {
            prompt: String::new(),
            negative_prompt: String::new(),
            model: None,
            vae: VaeChoice::default(),
            width: 512,
            height: 512,
            steps: 20,
            cfg_scale: 7.0,
            sampler: Sampler::Euler,
            scheduler: Scheduler::Automatic,
            seed: 0,
            variation: Variation { subseed: 0, strength: 0.0 },
            seed_resize_from: None,
            batch_size: 1,
            n_iter: 1,
            clip_skip: 1,
            emphasis: Emphasis::default(),
            comma_backtrack: Self::COMMA_BACKTRACK,
            noise_source: NoiseSource::default(),
            options: SamplerOptions::default(),
            eta_noise_seed_delta: 0,
            zero_terminal_snr: false,
            half_alphas: false,
            old_scheduling: false,
            prompt_comments: true,
            quantized_timesteps: false,
            prompt_lengths: PromptLengths::default(),
            upscale_tiles: UpscaleTiles::default(),
            tiling: false,
            token_merging: TokenMerging::default(),
            extra_networks: true,
            hires: None,
            refiner: None,
            img2img: None,
        }
    }
}

impl GenerateRequest {
    /// The web UIs' default for [`GenerateRequest::comma_backtrack`].
    pub const COMMA_BACKTRACK: u32 = 20;

    /// How many pictures this request makes.
    pub fn image_count(&self) -> u32 {
        self.batch_size * self.n_iter
    }

    /// What one of its prompts says to the text encoder, and the extra networks that it names.
    pub fn split(&self, prompt: &str) -> (String, Vec<ExtraNetwork>) {
        if self.prompt_comments { split_networks(prompt) } else { extract_networks(prompt) }
    }

    /// What the first pass of sampling is asked for.
    pub fn first_pass(&self) -> Pass {
        let Self { sampler, scheduler, steps, .. } = *self;
        let denoise = self.img2img.as_ref().map(|img2img| Denoise {
            strength: img2img.denoising_strength,
            exact_steps: img2img.exact_steps,
        });
        Pass { sampler, scheduler, steps, denoise, options: self.options.clone() }
    }

    /// What the second pass is asked for; what it does not say is the first pass's.
    pub fn hires_pass(&self, hires: &Hires) -> Pass {
        Pass {
            sampler: hires.sampler.unwrap_or(self.sampler),
            scheduler: hires.scheduler.unwrap_or(self.scheduler),
            steps: hires.steps.unwrap_or(self.steps),
            denoise: Some(Denoise { strength: hires.denoising_strength, exact_steps: true }),
            options: SamplerOptions { initial_noise_multiplier: 1.0, ..self.options.clone() },
        }
    }

    /// Whether its pictures go through a first pass, and none stands in for what that would draw.
    pub fn draws_first_pass(&self) -> bool {
        self.hires.as_ref().is_none_or(|hires| !hires.from_picture)
    }

    /// What the pass that its pictures begin in is asked for.
    pub fn opening_pass(&self) -> Pass {
        match &self.hires {
            Some(hires) if hires.from_picture => self.hires_pass(hires),
            _ => self.first_pass(),
        }
    }

    /// Seed and subseed of picture `index`: subseeds always count up, seeds only without a variation.
    pub fn seeds_of(&self, index: u32) -> (u64, u64) {
        let step = u64::from(index);
        let seed = if self.variation.strength == 0.0 { self.seed.wrapping_add(step) } else { self.seed };
        (seed, self.variation.subseed.wrapping_add(step))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hires::{HiresSize, HiresUpscaler, LatentUpscaler};

    #[test]
    fn comments_are_text_where_they_are_not_read() {
        let split = |prompt_comments| {
            let request = GenerateRequest { prompt_comments, ..GenerateRequest::default() };
            let (text, networks) = request.split("sea # at night <lora:style:1>");
            (text.contains("at night"), networks.len())
        };
        assert_eq!((split(true), split(false)), ((false, 0), (true, 1)));
    }

    #[test]
    fn pictures_begin_in_the_second_pass_where_one_stands_in_for_the_first() {
        let hires = |from_picture| Hires {
            size: HiresSize::Scale(2.0),
            upscaler: HiresUpscaler::Latent(LatentUpscaler::Bilinear),
            denoising_strength: 0.5,
            steps: Some(7),
            sampler: Some(Sampler::Heun),
            scheduler: None,
            prompt: None,
            negative_prompt: None,
            model: None,
            from_picture,
        };
        let opening = |hires: Option<Hires>| {
            let request = GenerateRequest { hires, ..GenerateRequest::default() };
            let pass = request.opening_pass();
            (request.draws_first_pass(), pass.sampler, pass.steps, pass.denoise.is_some())
        };
        let first = (true, Sampler::Euler, 20, false);
        assert_eq!((opening(None), opening(Some(hires(false)))), (first, first));
        assert_eq!(opening(Some(hires(true))), (false, Sampler::Heun, 7, true));
    }
}
