//! What of a request is printed, and that it reads back.

use proptest::prelude::*;

use super::super::tests::prompts;
use super::*;
use crate::fixture;
use crate::hires::{HiresUpscaler, LatentUpscaler, UpscaleTiles};
use crate::img2img::{Fill, PictureOptions, ResizeMode, SoftInpainting};
use crate::request::{TokenMerging, Variation};
use crate::sampler::{Churn, SamplerOptions};

fn text(request: &GenerateRequest, image: u32) -> String {
    let with = DrawnWith {
        model_name: "demo",
        model_hash: "0123456789",
        version: "gesso 0.1.0",
        ..DrawnWith::default()
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
fn merged_tokens_are_printed_for_the_passes_there_are() {
    let token_merging = TokenMerging { first: 0.5, second: 0.25 };
    let one = GenerateRequest { token_merging, ..fixture::request() };
    prints(&one, "Model: demo, Token merging ratio: 0.5, RNG: CPU", true);
    let two = GenerateRequest { hires: Some(second(None)), ..one };
    prints(&two, "Token merging ratio: 0.5, Token merging ratio hr: 0.25, RNG: CPU", true);
}

#[test]
fn a_refiner_is_printed_where_it_drew() {
    let refiner = |by_steps, passes| Refiner { model: "other".into(), switch_at: 0.75, by_steps, passes };
    let of = |request: &GenerateRequest, refiner: Option<&'static str>| {
        super::of(request, 0, &DrawnWith { refiner, version: "v", ..DrawnWith::default() })
    };
    let one = GenerateRequest { refiner: Some(refiner(false, RefinedPasses::Both)), ..fixture::request() };
    let title = Some("other [0123456789]");
    let text = of(&one, title);
    assert!(
        text.ends_with("RNG: CPU, Refiner: other [0123456789], Refiner switch at: 0.75, Version: v"),
        "{text}"
    );
    assert!(!of(&one, None).contains("Refiner"), "nothing took over");
    let two = |passes| GenerateRequest {
        hires: Some(second(None)),
        refiner: Some(refiner(true, passes)),
        ..fixture::request()
    };
    let text = of(&two(RefinedPasses::Second), title);
    assert!(
        !text.contains("Hires refiner") && text.contains("Refiner switch by sampling steps: True"),
        "{text}"
    );
    let text = of(&two(RefinedPasses::Both), title);
    assert!(text.contains("Hires upscaler: Latent, Hires refiner: both passes, Refiner: other"), "{text}");
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
        from_picture: false,
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
        soft: None,
        conditioning_weight: 1.0,
    };
    let img2img = Img2Img {
        denoising_strength: 0.75,
        exact_steps: false,
        resize_mode: ResizeMode::Stretch,
        image_cfg_scale: 1.5,
        colour_correction: false,
        mask: Some(mask),
        pictures: PictureOptions { overlay: false, ..PictureOptions::default() },
    };
    let request = GenerateRequest { img2img: Some(img2img), ..fixture::request() };
    let want = "Denoising strength: 0.75, RNG: CPU, Mask mode: Inpaint not masked, Mask blur: 4x8, \
                Inpaint area: Only masked, Masked area padding: 32, Masked content: latent noise, \
                Overlay inpaint: False, Version";
    assert!(text(&request, 0).contains(want), "{}", text(&request, 0));
}

#[test]
fn soft_inpainting_prints_every_setting_of_its_own() {
    let mask = Mask {
        blur: (4, 4),
        invert: false,
        fill: Fill::Original,
        only_masked: None,
        round: false,
        soft: Some(SoftInpainting { mask_influence: 0.25, ..SoftInpainting::default() }),
        conditioning_weight: 1.0,
    };
    let img2img = Img2Img {
        denoising_strength: 0.75,
        exact_steps: false,
        resize_mode: ResizeMode::Stretch,
        image_cfg_scale: 1.5,
        colour_correction: false,
        mask: Some(mask),
        pictures: PictureOptions::default(),
    };
    let request = GenerateRequest { img2img: Some(img2img), ..fixture::request() };
    let want = "Masked content: original, Soft inpainting enabled: True, Soft inpainting schedule bias: 1, \
                Soft inpainting preservation strength: 0.5, Soft inpainting transition contrast boost: 4, \
                Soft inpainting mask influence: 0.25, Soft inpainting difference threshold: 0.5, \
                Soft inpainting difference contrast: 2, Version";
    assert!(text(&request, 0).contains(want), "{}", text(&request, 0));
}

fn second(sampler: Option<Sampler>) -> Hires {
    Hires {
        size: HiresSize::Scale(2.0),
        upscaler: HiresUpscaler::Latent(LatentUpscaler::Bilinear),
        denoising_strength: 0.6,
        steps: None,
        sampler,
        scheduler: None,
        prompt: None,
        negative_prompt: None,
        model: None,
        from_picture: false,
    }
}

#[test]
fn the_text_says_nothing_of_a_picture_in_place_of_the_first_pass() {
    let of = |from_picture| {
        let hires = Hires { from_picture, ..second(Some(Sampler::Heun)) };
        text(&GenerateRequest { hires: Some(hires), ..fixture::request() }, 0)
    };
    assert_eq!(of(true), of(false));
}

#[track_caller]
fn prints(request: &GenerateRequest, want: &str, is: bool) {
    let text = text(request, 0);
    assert_eq!(text.contains(want), is, "{want} in {text}");
}

#[test]
fn what_acts_in_the_second_pass_alone_is_printed_too() {
    let churn = Churn { amount: 3.0, ..Churn::default() };
    let options = SamplerOptions {
        churn,
        eta_ancestral: Some(0.3),
        eta_ddim: Some(0.4),
        unipc: UniPc { order: 2, ..UniPc::default() },
        ..SamplerOptions::default()
    };
    let with = |first, sampler| GenerateRequest {
        sampler: first,
        hires: Some(second(sampler)),
        options: options.clone(),
        eta_noise_seed_delta: 5,
        ..fixture::request()
    };
    let plain = with(Sampler::Lms, None);
    for (sampler, fields) in [
        (Sampler::Heun, &["ENSD: 5", "Sigma churn: 3", "Eta: 0.3"][..]),
        (Sampler::Ddim, &["ENSD: 5", "Eta DDIM: 0.4"]),
        (Sampler::UniPc, &["UniPC order: 2"]),
    ] {
        for field in fields {
            prints(&with(Sampler::Lms, Some(sampler)), field, true);
            prints(&plain, field, *field == "Eta: 0.3");
        }
    }
}

#[test]
fn the_second_passs_schedule_is_printed_where_automatic_means_another() {
    let request = |sampler| GenerateRequest {
        sampler: Sampler::Dpmpp2m,
        hires: Some(second(sampler)),
        ..fixture::request()
    };
    prints(&request(None), "Hires schedule type", false);
    prints(&request(Some(Sampler::Heun)), "Hires schedule type: Automatic", true);
    prints(&request(Some(Sampler::Dpmpp2mSde)), "Hires schedule type: Exponential", true);
}

#[test]
fn emphasis_is_printed_where_any_prompt_has_something_for_it() {
    let request = |emphasis, prompt: &str| GenerateRequest {
        emphasis,
        hires: Some(Hires { prompt: Some(prompt.into()), ..second(None) }),
        ..fixture::request()
    };
    prints(&request(Emphasis::NoNorm, "a (b)"), "Emphasis: No norm", true);
    prints(&request(Emphasis::NoNorm, "a BREAK b"), "Emphasis", false);
    prints(&request(Emphasis::None, "a BREAK b"), "Emphasis: None", true);
    prints(&request(Emphasis::None, "a b"), "Emphasis", false);
}

#[test]
fn options_that_web_uis_leave_out_are_printed_where_they_are_not_as_usual() {
    let request = GenerateRequest {
        prompt: "a <lora:x:1> # b".into(),
        vae: VaeChoice::Own,
        comma_backtrack: 0,
        prompt_comments: false,
        prompt_lengths: PromptLengths::Longer,
        quantized_timesteps: true,
        half_alphas: true,
        upscale_tiles: UpscaleTiles { side: 64, overlap: 4 },
        extra_networks: false,
        img2img: Some(Img2Img {
            denoising_strength: 0.5,
            exact_steps: true,
            resize_mode: ResizeMode::Fill,
            image_cfg_scale: 1.5,
            colour_correction: true,
            mask: None,
            pictures: PictureOptions {
                background: [1, 2, 3],
                upscaler: Some("4x".into()),
                ..PictureOptions::default()
            },
        }),
        ..fixture::request()
    };
    for field in [
        "VAE: None",
        "Comma padding backtrack: 0",
        "Disable extra networks: True",
        "Resize mode: Resize and fill",
        "Img2img fix steps: True",
        "Img2img color correction: True",
        "Img2img background color: #010203",
        "Img2img upscaler: 4x",
        "Prompt comments: False",
        "Pad conds: True",
        "Quantization: True",
        "Downcast alphas_cumprod: True",
        "ESRGAN tile: 64",
        "ESRGAN tile overlap: 4",
    ] {
        prints(&request, field, true);
        prints(&fixture::request(), field, false);
    }
    let request = GenerateRequest { prompt_lengths: PromptLengths::Prompts, ..fixture::request() };
    prints(&request, "Pad conds v0: True", true);
    prints(&request, "Pad conds:", false);
}

#[test]
fn guidance_by_the_picture_is_printed_of_checkpoints_that_read_it() {
    let img2img = Img2Img {
        denoising_strength: 1.0,
        exact_steps: false,
        resize_mode: ResizeMode::Stretch,
        image_cfg_scale: 1.25,
        colour_correction: false,
        mask: None,
        pictures: PictureOptions::default(),
    };
    let request = GenerateRequest { img2img: Some(img2img), ..fixture::request() };
    let with = |edits_pictures| DrawnWith { edits_pictures, version: "v", ..DrawnWith::default() };
    assert!(of(&request, 0, &with(true)).contains("CFG scale: 7, Image CFG scale: 1.25, Seed"));
    assert!(!of(&request, 0, &with(false)).contains("Image CFG scale"));
}

#[test]
fn a_control_unit_is_one_field_of_pairs() {
    let unit = ControlUnit { model: "canny [d14c016b]".into(), weight: 0.5, ..ControlUnit::default() };
    let special = ControlUnit {
        hr_option: HighResOption::LowResOnly,
        advanced_weighting: Some(vec![1.0, 0.5]),
        ..unit.clone()
    };
    let unprintable = ControlUnit { model: "a, b".into(), ..unit.clone() };
    let units = [unit, special, unprintable];
    let text = of(&fixture::request(), 0, &DrawnWith { control: &units, ..DrawnWith::default() });
    let read = Infotext::parse(&text);
    insta::assert_snapshot!(read.get("ControlNet 0").unwrap(), @"Module: none, Model: canny [d14c016b], Weight: 0.5, Resize Mode: Crop and Resize, Processor Res: -1, Threshold A: -1, Threshold B: -1, Guidance Start: 0, Guidance End: 1, Pixel Perfect: False, Control Mode: Balanced");
    let pairs = Infotext::pairs(read.get("ControlNet 1").unwrap());
    assert_eq!(
        pairs[pairs.len() - 2..],
        [
            ("Hr Option".to_owned(), "Low res only".to_owned()),
            ("Advanced Weighting".to_owned(), "1 0.5".to_owned()),
        ]
    );
    assert_eq!(read.get("ControlNet 2"), None);
}

#[test]
fn networks_print_their_hashes_in_quoted_fields() {
    let hashes = [("a".to_owned(), "1234".to_owned()), ("b".to_owned(), "5678".to_owned())];
    let with = DrawnWith {
        vae_name: Some("bright"),
        vae_hash: Some("0123456789"),
        lora_hashes: &hashes,
        inversion_hashes: &hashes[..1],
        version: "v",
        ..DrawnWith::default()
    };
    let text = of(&fixture::request(), 0, &with);
    assert!(
        text.contains("VAE hash: 0123456789, VAE: bright")
            && text.contains("Lora hashes: \"a: 1234, b: 5678\", TI hashes: \"a: 1234\", "),
        "{text}"
    );
}

#[test]
fn the_user_stands_behind_the_version_and_either_may_be_left_out() {
    let text =
        |version, user| of(&fixture::request(), 0, &DrawnWith { version, user, ..DrawnWith::default() });
    assert!(text("v", Some("ann")).ends_with(", Version: v, User: ann"));
    let more = [("Hires steps".to_owned(), "3".to_owned())];
    let extended = Infotext::extended(&text("v", Some("ann")), &more);
    assert!(extended.ends_with(", Hires steps: 3, Version: v, User: ann"), "{extended}");
    let plain = text("", None);
    assert!(!plain.contains("Version") && !plain.contains("User"), "{plain}");
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
