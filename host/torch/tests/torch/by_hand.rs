//! Pictures of the engine and the real backend beside the arithmetic that web UIs publish, written out here step by step
//! over the same networks: how the parts of a prompt are joined, which text counts at which call, what a mask keeps and
//! when, what a second pass goes on from, what inpainting and edit checkpoints read, and when LoRAs and textual inversions
//! act on what. By Euler, Heun and DDIM; every sampler has goldens of its own. The tiny checkpoint knows few words.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use gesso_core::hires::LatentUpscaler;
use gesso_core::img2img::{Fill, Img2Img, Mask};
use gesso_core::noise::ImageNoise;
use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_core::prompt::chunks;
use gesso_core::request::{Emphasis, GenerateRequest};
use gesso_core::sampler::Sampler;
use gesso_core::schedule::{NoiseSchedule, Scheduler, Spacing, sigmas};
use gesso_engine::backend::UpscaleBy;
use gesso_engine::{Drawing, LoraUse, Source, SourceMask};
use gesso_torch::{CLIP, Networks, Tokenizer};
use safetensors::tensor::Dtype;
use tch::{Device, Kind, Tensor};

use crate::passes::{draw, drawing, engine, gradient, left_half, mask, over, two_passes, widened};
use crate::support::{Archive, TOKEN_TABLE, agreement, model_file};

/// What the VAE's latents are multiplied by.
const LATENT_SCALE: f64 = 0.18215;
/// Steps and pixels along a side of every drawing here, and its strength where it draws over a picture: levels from the
/// second on are run.
const STEPS: u32 = 5;
const SIDE: u32 = 64;
const STRENGTH: f64 = 0.6;
const RUN_FROM: usize = 1;

/// Two chunks.
static LONG: LazyLock<String> = LazyLock::new(|| "a cat, ".repeat(30));

/// The parts of a prompt with their weights, and the negative prompt where it is not left out.
type Said = (Vec<(&'static str, f64)>, Option<&'static str>);

/// A checkpoint's networks.
struct Hand {
    networks: Networks,
    tokenizer: Tokenizer,
    table: NoiseSchedule,
    cfg_scale: f64,
    clip_skip: u32,
}

impl Hand {
    fn of(path: &Path, request: &GenerateRequest) -> Self {
        Self {
            networks: Networks::load(path, Kind::Float).unwrap(),
            tokenizer: Tokenizer::new(),
            table: NoiseSchedule::sd1(),
            cfg_scale: request.cfg_scale,
            clip_skip: request.clip_skip,
        }
    }

    fn levels(&self, steps: u32) -> Vec<f64> {
        sigmas(Scheduler::Uniform, &self.table, steps, &Spacing::default())
    }

    /// The vectors of a text without weights, each of its chunks encoded alone.
    fn text(&self, text: &str) -> Tensor {
        let chunks = chunks(text, Emphasis::Original, &|text| self.tokenizer.encode(text), CLIP);
        let encoded: Vec<Tensor> = chunks
            .iter()
            .map(|chunk| {
                let tokens: Vec<i64> = chunk.tokens.iter().map(|id| i64::from(*id)).collect();
                self.networks.encode_text(&Tensor::from_slice(&tokens).unsqueeze(0), self.clip_skip).unwrap()
            })
            .collect();
        Tensor::cat(&encoded, 1)
    }

    /// What the UNet says of what it reads.
    fn noise(&self, x: &Tensor, timestep: f64, text: &Tensor) -> Tensor {
        self.networks.predict_noise(x, &Tensor::from_slice(&[timestep as f32]), text).unwrap()
    }

    /// `negative + sum(weight * scale * (part - negative))`. Shorter parts are brought to the longest by their last vector;
    /// where the negative prompt is left out, the first part stands for it and nothing is scaled.
    fn guided(&self, x: &Tensor, timestep: f64, (parts, negative): &Said) -> Tensor {
        let texts: Vec<Tensor> = parts.iter().map(|(text, _)| self.text(text)).collect();
        let longest = texts.iter().map(|text| text.size()[1]).max().unwrap();
        let answer = |text: &Tensor| {
            let missing = longest - text.size()[1];
            let last = text.slice(1, -1_i64, None, 1);
            let text = if missing > 0 {
                Tensor::cat(&[text, &last.repeat([1, missing, 1])], 1)
            } else {
                text.shallow_clone()
            };
            self.noise(x, timestep, &text)
        };
        let answers: Vec<Tensor> = texts.iter().map(answer).collect();
        let (base, scale) = match negative {
            Some(text) => (self.noise(x, timestep, &self.text(text)), self.cfg_scale),
            None => (answers[0].shallow_clone(), 1.0),
        };
        answers.iter().zip(parts).fold(base.shallow_clone(), |sum, (answer, (_, weight))| {
            sum + (answer - &base) * (weight * scale)
        })
    }

    /// Euler's steps. `noise` answers for the latent as the UNet reads it, the timestep and the number of the call;
    /// `settled` is what is made of each estimate.
    fn euler(
        &self,
        mut x: Tensor,
        levels: &[f64],
        noise: impl Fn(&Tensor, f64, usize) -> Tensor,
        settled: impl Fn(Tensor) -> Tensor,
    ) -> Tensor {
        for (number, pair) in levels.windows(2).enumerate() {
            let (sigma, next) = (pair[0], pair[1]);
            let seen = &x / (sigma * sigma + 1.0).sqrt();
            let estimate = settled(&x - noise(&seen, self.table.timestep_of(sigma), number) * sigma);
            x = &x + (&x - estimate) * ((next - sigma) / sigma);
        }
        x
    }

    /// Heun's steps: two calls each, but for the one to level 0.
    fn heun(&self, mut x: Tensor, levels: &[f64], noise: impl Fn(&Tensor, f64, usize) -> Tensor) -> Tensor {
        // The slope is the noise itself: (x - (x - sigma * noise)) / sigma.
        let slope = |x: &Tensor, sigma: f64, number: usize| {
            noise(&(x / (sigma * sigma + 1.0).sqrt()), self.table.timestep_of(sigma), number)
        };
        for (step, pair) in levels.windows(2).enumerate() {
            let (sigma, next) = (pair[0], pair[1]);
            let first = slope(&x, sigma, 2 * step);
            let there = &x + &first * (next - sigma);
            x = if next == 0.0 {
                there
            } else {
                &x + (first + slope(&there, next, 2 * step + 1)) * ((next - sigma) / 2.0)
            };
        }
        x
    }

    fn encoded(&self, picture: &Tensor) -> Tensor {
        self.networks.encode_picture(picture).unwrap() * LATENT_SCALE
    }

    fn picture(&self, latent: &Tensor) -> Vec<u8> {
        let decoded = self.networks.decode_latent(&(latent / LATENT_SCALE)).unwrap();
        let picture = decoded.squeeze_dim(0).permute([1, 2, 0]);
        let levels = ((picture + 1.0) * 127.5).clamp(0.0, 255.0).to_kind(Kind::Uint8).contiguous();
        Vec::try_from(&levels.flatten(0, -1)).unwrap()
    }
}

/// Of a square pass.
fn first_noise(request: &GenerateRequest, side: u32) -> Tensor {
    let places = i64::from(side / 8);
    Tensor::from_slice(&ImageNoise::for_image(request, 0, side, side).first()).reshape([1, 4, places, places])
}

/// In -1..1.
fn tensor(picture: &Pixels) -> Tensor {
    let shape = [1, i64::from(picture.height), i64::from(picture.width), 3];
    let bytes = Tensor::f_from_data_size(&picture.data, &shape, Kind::Uint8).unwrap();
    bytes.permute([0, 3, 1, 2]).to_kind(Kind::Float) / 127.5 - 1.0
}

#[track_caller]
fn check(what: &str, got: &[u8], want: &[u8]) {
    let agreement = agreement(got, want);
    println!("{what}: {:.3} %", agreement * 100.0);
    assert!(agreement >= 0.999, "{what}: {agreement}");
}

struct Case {
    prompt: String,
    negative: &'static str,
    change: fn(&mut GenerateRequest),
    /// By the number of the call, from 0.
    says: fn(usize) -> Said,
}

impl Case {
    fn new(prompt: &str, negative: &'static str, says: fn(usize) -> Said) -> Self {
        Self { prompt: prompt.to_owned(), negative, change: |_| (), says }
    }

    fn changed(self, change: fn(&mut GenerateRequest)) -> Self {
        Self { change, ..self }
    }
}

fn cases() -> Vec<Case> {
    let plain = || Case::new("a cat", "blurry", |_| (vec![("a cat", 1.0)], Some("blurry")));
    let long: fn(usize) -> Said = |_| (vec![(LONG.as_str(), 1.0)], Some("blurry"));
    let long_and_short: fn(usize) -> Said = |_| (vec![("a dog", 1.0), (LONG.as_str(), 0.5)], Some("blurry"));
    vec![
        Case::new("a cat AND a dog :0.5 AND a photo :-0.3", "blurry", |_| {
            (vec![("a cat", 1.0), ("a dog", 0.5), ("a photo", -0.3)], Some("blurry"))
        }),
        Case::new(&LONG, "blurry", long),
        Case::new(&format!("a dog AND {} :0.5", *LONG), "blurry", long_and_short),
        // A number with a point is a share of the steps; a change comes behind the call of its number.
        Case::new("[a cat:a dog:0.4]", "blurry", |call| {
            (vec![(if call <= 2 { "a cat" } else { "a dog" }, 1.0)], Some("blurry"))
        }),
        Case::new("[a cat|a dog]", "blurry", |call| {
            (vec![(if call == 2 || call == 4 { "a dog" } else { "a cat" }, 1.0)], Some("blurry"))
        }),
        Case::new("a cat", "[blurry:red:2]", |call| {
            (vec![("a cat", 1.0)], Some(if call <= 2 { "blurry" } else { "red" }))
        }),
        // Levels 14.6, 4.1, 1.6, 0.8 and 0.03: of the odd calls the second is below 2.
        Case::new("a cat AND a dog :0.5", "blurry", |call| {
            (vec![("a cat", 1.0), ("a dog", 0.5)], (call != 3).then_some("blurry"))
        })
        .changed(|request| request.options.ngms_sigma = 2.0),
        Case::new("a cat", "blurry", |call| (vec![("a cat", 1.0)], (call > 1).then_some("blurry")))
            .changed(|request| request.options.skip_early_cond = 0.2),
        plain().changed(|request| request.clip_skip = 2),
        plain().changed(|request| request.cfg_scale = 1.0),
    ]
}

#[test]
fn prompts_guide_as_they_are_published_to() {
    let _guard = tch::no_grad_guard();
    let (_folder, path) = Archive::tiny().write();
    let engine = engine();
    let plain = draw(&engine, drawing(&path, |_| ())).data;
    for Case { prompt, negative, change, says } in cases() {
        let drawing = drawing(&path, |request| {
            (request.prompt, request.negative_prompt) = (prompt.clone(), negative.to_owned());
            change(request);
        });
        let request = drawing.request.clone();
        assert_eq!((request.steps, request.sampler), (STEPS, Sampler::Euler));
        let hand = Hand::of(&path, &request);
        let levels = hand.levels(STEPS);
        let noise = |x: &Tensor, timestep: f64, call: usize| hand.guided(x, timestep, &says(call));
        let latent = hand.euler(first_noise(&request, SIDE) * levels[0], &levels, noise, |estimate| estimate);
        let got = draw(&engine, drawing).data;
        check(&prompt, &got, &hand.picture(&latent));
        assert!(agreement(&got, &plain) < 0.999, "{prompt} proves nothing");
    }
}

#[test]
fn of_steps_with_two_calls_a_prompt_changes_by_the_calls() {
    let _guard = tch::no_grad_guard();
    let (_folder, path) = Archive::tiny().write();
    let engine = engine();
    let heun = |prompt: &str| {
        drawing(&path, |request| {
            (request.prompt, request.sampler) = (prompt.to_owned(), Sampler::Heun);
            // So much that the random network's small answers to other texts are seen.
            request.cfg_scale = 30.0;
        })
    };
    let changing = heun("[a cat:a dog:0.5]");
    let request = changing.request.clone();
    let hand = Hand::of(&path, &request);
    let levels = hand.levels(STEPS);
    // Half of ten calls, of which the last is not made.
    let noise = |x: &Tensor, timestep: f64, call: usize| {
        let said: Said = (vec![(if call <= 5 { "a cat" } else { "a dog" }, 1.0)], Some(""));
        hand.guided(x, timestep, &said)
    };
    let latent = hand.heun(first_noise(&request, SIDE) * levels[0], &levels, noise);
    let got = draw(&engine, changing).data;
    check("Heun", &got, &hand.picture(&latent));
    for prompt in ["a cat", "a dog", "[a cat:a dog:3]"] {
        assert!(agreement(&got, &draw(&engine, heun(prompt)).data) < 0.999, "{prompt}");
    }
}

/// What of each place of the smaller goes into which of the larger, along one side: `[to, from]`.
fn spread(mode: LatentUpscaler, from: usize, to: usize) -> Tensor {
    // Keys' kernel, which the plain form takes at -0.75 and the one without aliases at -0.5.
    let cubic = |a: f64, x: f64| match x.abs() {
        x if x <= 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
        x if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * a,
        _ => 0.0,
    };
    let mut shares = vec![0.0f64; to * from];
    for (place, row) in shares.chunks_mut(from).enumerate() {
        // Where its middle lies between those of the smaller.
        let middle = (place as f64 + 0.5) * from as f64 / to as f64 - 0.5;
        let before = middle.floor() as i64;
        let inside = |at: i64| at.clamp(0, from as i64 - 1) as usize;
        match mode {
            LatentUpscaler::Nearest => row[place * from / to] = 1.0,
            LatentUpscaler::NearestExact => row[(2 * place + 1) * from / (2 * to)] = 1.0,
            LatentUpscaler::Bilinear | LatentUpscaler::BilinearAntialiased => {
                let share = middle - middle.floor();
                row[inside(before)] += 1.0 - share;
                row[inside(before + 1)] += share;
            }
            LatentUpscaler::Bicubic => {
                (before - 1..=before + 2).for_each(|at| row[inside(at)] += cubic(-0.75, middle - at as f64));
            }
            LatentUpscaler::BicubicAntialiased => {
                row.iter_mut().enumerate().for_each(|(at, share)| *share = cubic(-0.5, middle - at as f64));
                let sum: f64 = row.iter().sum();
                row.iter_mut().for_each(|share| *share /= sum);
            }
        }
    }
    Tensor::from_slice(&shares).reshape([to as i64, from as i64]).to_kind(Kind::Float)
}

#[test]
fn a_second_pass_goes_on_from_the_enlarged_latent_by_its_own_prompts_and_their_clock() {
    let _guard = tch::no_grad_guard();
    let (_folder, path) = Archive::tiny().write();
    let engine = engine();
    for mode in LatentUpscaler::ALL {
        let mut drawing = two_passes(&path, UpscaleBy::Latent(mode), None);
        let hires = drawing.request.hires.as_mut().unwrap();
        (hires.sampler, hires.steps) = (Some(Sampler::Euler), Some(4));
        (hires.prompt, hires.negative_prompt) = (Some("[a dog:a photo:1.5]".into()), Some("red".into()));
        assert_eq!(hires.denoising_strength, STRENGTH);
        let request = drawing.request.clone();
        let hand = Hand::of(&path, &request);
        let noise = |x: &Tensor, timestep: f64, _: usize| {
            let said: Said = (vec![("a cat", 1.0)], Some(""));
            hand.guided(x, timestep, &said)
        };
        let levels = hand.levels(STEPS);
        let first = hand.euler(first_noise(&request, SIDE) * levels[0], &levels, noise, |estimate| estimate);
        let spread = spread(mode, 8, 12);
        let enlarged = spread.matmul(&first).matmul(&spread.transpose(0, 1));
        // Four steps at that strength are the end of six, and 1.5 is half of the four.
        let noise = |x: &Tensor, timestep: f64, call: usize| {
            let said: Said = (vec![(if call <= 2 { "a dog" } else { "a photo" }, 1.0)], Some("red"));
            hand.guided(x, timestep, &said)
        };
        let levels = &hand.levels(6)[2..];
        let begun = enlarged + first_noise(&request, 96) * levels[0];
        let latent = hand.euler(begun, levels, noise, |estimate| estimate);
        check(mode.label(), &draw(&engine, drawing).data, &hand.picture(&latent));
    }
}

/// A drawing over a gradient.
fn drawing_over(path: &Path, sampler: Sampler, settings: Img2Img, mask: Option<SourceMask>) -> Drawing {
    let mut drawing = drawing(path, |request| {
        (request.sampler, request.img2img) = (sampler, Some(settings));
        request.negative_prompt = "blurry".into();
    });
    drawing.source = Some(Source { pictures: vec![gradient(64, 64)], mask });
    drawing
}

/// What is repainted and what is kept, `[1, 1, rows, columns]`.
fn shares(mask: &SourceMask) -> (Tensor, Tensor) {
    let repaint = Tensor::from_slice(mask.latent.as_slice()).reshape([1, 1, 8, 8]);
    let keep = repaint.ones_like() - &repaint;
    (repaint, keep)
}

fn said() -> Said {
    (vec![("a cat", 1.0)], Some("blurry"))
}

#[test]
fn what_a_mask_keeps_is_put_back_behind_eulers_estimates_and_before_ddims_calls() {
    let _guard = tch::no_grad_guard();
    let (_folder, path) = Archive::tiny().write();
    let engine = engine();
    let (repaint, keep) = shares(&left_half());
    for fill in [Fill::Original, Fill::LatentNoise, Fill::LatentNothing] {
        let over = || over(STRENGTH, Some(Mask { fill, ..mask() }));
        let euler = drawing_over(&path, Sampler::Euler, over(), Some(left_half()));
        let hand = Hand::of(&path, &euler.request);
        let first = first_noise(&euler.request, SIDE);
        let original = hand.encoded(&tensor(&gradient(64, 64)));
        let kept = match fill {
            Fill::LatentNoise => &original * &keep + &first * &repaint,
            Fill::LatentNothing => &original * &keep,
            Fill::Original | Fill::Blur => original,
        };
        let put_back = |latent: Tensor| latent * &repaint + &kept * &keep;
        let guided = |x: &Tensor, timestep: f64| hand.guided(x, timestep, &said());

        let levels = &hand.levels(STEPS)[RUN_FROM..];
        let begun = &kept + &first * levels[0];
        let latent = hand.euler(begun, levels, |x, timestep, _| guided(x, timestep), put_back);
        let got = draw(&engine, euler).data;
        check(&format!("Euler, {fill:?}"), &got, &hand.picture(&put_back(latent)));

        // Timesteps 1, 201, 401, 601 and 801: noised to the fourth, and the first three are gone through.
        let alpha = |timestep: usize| hand.table.alpha_cumprod(timestep);
        let mut x = &kept * alpha(601).sqrt() + &first * (1.0 - alpha(601)).sqrt();
        for (from, to) in [(401, 201), (201, 1)] {
            let noise = guided(&put_back(x.shallow_clone()), from as f64);
            let estimate = (x - &noise * (1.0 - alpha(from)).sqrt()) / alpha(from).sqrt();
            x = estimate * alpha(to).sqrt() + noise * (1.0 - alpha(to)).sqrt();
        }
        let ddim = drawing_over(&path, Sampler::Ddim, over(), Some(left_half()));
        check(&format!("DDIM, {fill:?}"), &draw(&engine, ddim).data, &hand.picture(&put_back(x)));
    }
}

#[test]
fn edit_checkpoints_are_guided_by_picture_and_text_on_scales_of_their_own() {
    let _guard = tch::no_grad_guard();
    let (_folder, path) = widened(8, 0.3).write();
    let engine = engine();
    for scale in [1.0, 1.5, 4.0] {
        let settings = Img2Img { image_cfg_scale: scale, ..over(STRENGTH, None) };
        let drawing = drawing_over(&path, Sampler::Euler, settings, None);
        let hand = Hand::of(&path, &drawing.request);
        let seen = hand.networks.encode_picture(&tensor(&gradient(64, 64))).unwrap();
        let noise = |x: &Tensor, timestep: f64, _: usize| {
            let of = |picture: &Tensor, text: &str| {
                hand.noise(&Tensor::cat(&[x, picture], 1), timestep, &hand.text(text))
            };
            let (both, picture) = (of(&seen, "a cat"), of(&seen, "blurry"));
            let none = of(&seen.zeros_like(), "blurry");
            &none + (both - &picture) * hand.cfg_scale + (picture - &none) * scale
        };
        let levels = &hand.levels(STEPS)[RUN_FROM..];
        let begun = &seen * LATENT_SCALE + first_noise(&drawing.request, SIDE) * levels[0];
        let latent = hand.euler(begun, levels, noise, |estimate| estimate);
        check(&format!("{scale}"), &draw(&engine, drawing).data, &hand.picture(&latent));
    }
}

/// White, grey and black columns.
fn graded(round: bool) -> SourceMask {
    const GREY: u8 = 160;
    let level = |column: u32| match column {
        0..24 => 255,
        24..40 => GREY,
        _ => 0,
    };
    let share = |column: u32| {
        let share = f32::from(level(column * 8)) / 255.0;
        if round { share.round() } else { share }
    };
    let data = (0..64 * 64).map(|place| level(place % 64)).collect();
    SourceMask {
        pixels: Arc::new(Pixels::new(64, 64, PixelFormat::Gray8, data).unwrap()),
        latent: Arc::new((0..8 * 8).map(|place| share(place % 8)).collect()),
    }
}

#[test]
fn inpainting_checkpoints_read_the_mask_as_it_is_used_and_the_picture_without_what_is_under_it() {
    let _guard = tch::no_grad_guard();
    let (_folder, path) = widened(9, 0.3).write();
    let engine = engine();
    for (round, weight) in [(true, 1.0), (true, 0.5), (false, 1.0)] {
        let settings = over(STRENGTH, Some(Mask { round, conditioning_weight: weight, ..mask() }));
        let source = graded(round);
        let (repaint, keep) = shares(&source);
        let drawing = drawing_over(&path, Sampler::Euler, settings, Some(source));
        let hand = Hand::of(&path, &drawing.request);
        let picture = tensor(&gradient(64, 64));
        // Every place of the mask is of one level.
        let mask =
            repaint.repeat_interleave_self_int(8, 2_i64, None).repeat_interleave_self_int(8, 3_i64, None);
        let shown = &picture - &picture * mask * weight;
        let channels = Tensor::cat(&[&repaint, &hand.encoded(&shown)], 1);
        let kept = hand.encoded(&picture);
        let put_back = |latent: Tensor| latent * &repaint + &kept * &keep;
        let noise = |x: &Tensor, timestep: f64, _: usize| {
            let of = |text: &str| hand.noise(&Tensor::cat(&[x, &channels], 1), timestep, &hand.text(text));
            let (positive, negative) = (of("a cat"), of("blurry"));
            &negative + (positive - &negative) * hand.cfg_scale
        };
        let levels = &hand.levels(STEPS)[RUN_FROM..];
        let begun = &kept + first_noise(&drawing.request, SIDE) * levels[0];
        let latent = hand.euler(begun, levels, noise, put_back);
        let got = draw(&engine, drawing).data;
        check(&format!("rounded: {round}, {weight}"), &got, &hand.picture(&put_back(latent)));
    }
}

/// Numbers of no file.
fn wave(rows: i64, columns: i64) -> Tensor {
    let numbers = Tensor::arange(rows * columns, (Kind::Float, Device::Cpu));
    ((numbers * 0.7).sin() * 0.5).reshape([rows, columns])
}

fn empty() -> Archive {
    Archive { tensors: BTreeMap::new(), metadata: BTreeMap::new() }
}

#[test]
fn a_lora_changes_texts_in_all_steps_and_the_unet_in_its_own() {
    let _guard = tch::no_grad_guard();
    let tiny = Archive::tiny();
    let module = |start: &str, end: &str| {
        let weights = tiny.tensors.keys().filter_map(|name| name.strip_suffix(".weight"));
        weights.filter(|name| name.starts_with(start)).find(|name| name.ends_with(end)).unwrap().to_owned()
    };
    let text = module("cond_stage_model.", "layers.1.mlp.fc1");
    let unet = module("model.diffusion_model.", "attn2.to_v");
    // What the file does to the checkpoint's texts, and all that it does, in checkpoints of their own.
    let (mut lora, mut texts, mut all) = (empty(), tiny.clone(), tiny.clone());
    let alpha = Tensor::from_slice(&[2.0f32]);
    for (module, strength) in [(&text, 0.5), (&unet, -0.8)] {
        let name = format!("{module}.weight");
        let weight = tiny.tensor(&name).to_kind(Kind::Float);
        let (rows, columns) = weight.size2().unwrap();
        let (up, down) = (wave(rows, 4), wave(4, columns));
        for (part, tensor) in [("lora_up.weight", &up), ("lora_down.weight", &down), ("alpha", &alpha)] {
            lora.insert(&format!("{module}.{part}"), Dtype::F32, tensor);
        }
        // Alpha over the rank is a half.
        let changed = weight + up.matmul(&down) * (strength * 0.5);
        all.insert(&name, Dtype::F32, &changed);
        if *module == text {
            texts.insert(&name, Dtype::F32, &changed);
        }
    }
    let (_folder, path) = tiny.write();
    let (_lora_folder, lora) = lora.write();
    let (_texts_folder, texts) = texts.write();
    let (_all_folder, all) = all.write();
    let engine = engine();
    for (start_step, stop_step) in [(0, None), (1, Some(3))] {
        let mut drawing = drawing(&path, |request| request.negative_prompt = "blurry".into());
        drawing.resources.loras.push(LoraUse {
            file: model_file(&lora),
            text: 0.5,
            unet: -0.8,
            rank: None,
            blocks: None,
            start_step,
            stop_step,
        });
        let request = drawing.request.clone();
        let (texts, all) = (Hand::of(&texts, &request), Hand::of(&all, &request));
        let levels = all.levels(STEPS);
        let noise = |x: &Tensor, timestep: f64, call: usize| {
            let acts = start_step <= call as u32 && stop_step.is_none_or(|stop| (call as u32) < stop);
            let hand = if acts { &all } else { &texts };
            hand.guided(x, timestep, &said())
        };
        let begun = first_noise(&request, SIDE) * levels[0];
        let latent = all.euler(begun, &levels, noise, |estimate| estimate);
        check(&format!("from step {start_step}"), &draw(&engine, drawing).data, &all.picture(&latent));
    }
}

#[test]
fn the_vectors_of_a_textual_inversion_stand_where_its_name_does_and_weigh_as_it_does() {
    // Two words that nothing here says.
    const WORDS: [i64; 2] = [40_000, 40_001];
    let _guard = tch::no_grad_guard();
    // Numbers that f16 holds.
    let vectors = (wave(2, 64) * 64.0).round() / 64.0;
    let mut file = empty();
    file.insert("emb_params", Dtype::F32, &vectors);
    let mut knowing = Archive::tiny();
    let table = knowing.tensor(TOKEN_TABLE);
    table.narrow(0, WORDS[0], 2).copy_(&vectors);
    knowing.insert(TOKEN_TABLE, Dtype::F16, &table);
    let (_folder, path) = Archive::tiny().write();
    let (_file_folder, file) = file.write();
    let (_knowing_folder, knowing) = knowing.write();
    let engine = engine();
    // A file is called "test" here, and so is what it holds.
    let of = |files: Vec<_>| {
        let mut drawing = drawing(&path, |request| {
            request.prompt = "a (test:1.5) cat".into();
            request.negative_prompt = "blurry".into();
        });
        drawing.resources.embeddings = Arc::new(files);
        drawing
    };
    let drawing = of(vec![model_file(&file)]);
    let request = drawing.request.clone();
    let hand = Hand::of(&knowing, &request);
    let word = |text: &str| i64::from(hand.tokenizer.encode(text)[0]);
    let mut tokens = vec![i64::from(CLIP.start), word("a"), WORDS[0], WORDS[1], word("cat")];
    tokens.resize(77, i64::from(CLIP.end));
    let plain = hand.networks.encode_text(&Tensor::from_slice(&tokens).unsqueeze(0), 1).unwrap();
    let mut weights = [1.0f32; 77];
    weights[2..4].fill(1.5);
    let heavy = &plain * Tensor::from_slice(&weights).reshape([1, 77, 1]);
    let positive = &heavy * (plain.mean(Kind::Float) / heavy.mean(Kind::Float));
    let negative = hand.text("blurry");
    let noise = |x: &Tensor, timestep: f64, _: usize| {
        let (towards, from) = (hand.noise(x, timestep, &positive), hand.noise(x, timestep, &negative));
        &from + (towards - &from) * hand.cfg_scale
    };
    let levels = hand.levels(STEPS);
    let begun = first_noise(&request, SIDE) * levels[0];
    let latent = hand.euler(begun, &levels, noise, |estimate| estimate);
    let got = draw(&engine, drawing).data;
    check("two vectors", &got, &hand.picture(&latent));
    assert!(agreement(&got, &draw(&engine, of(Vec::new())).data) < 0.999, "they change nothing");
}
