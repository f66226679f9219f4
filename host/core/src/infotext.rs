//! The text that describes a picture and travels inside it, in the layout that web UIs write and image browsers
//! read: prompt, negative prompt, one line of `Key: value`. Called where pictures are encoded and where they are
//! read back. Knows nothing of image files.

mod quote;
mod read;

use crate::request::{Emphasis, GenerateRequest, NoiseSource};
use crate::schedule::Scheduler;

/// A picture's text in parts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Infotext {
    pub prompt: String,
    pub negative_prompt: String,
    /// In the order they are printed.
    pub fields: Vec<(String, String)>,
}

impl Infotext {
    pub fn new(prompt: &str, negative_prompt: &str) -> Self {
        Self { prompt: prompt.to_owned(), negative_prompt: negative_prompt.to_owned(), fields: Vec::new() }
    }

    /// Appends a field. A key printed before keeps its place and takes the new value.
    pub fn field(mut self, key: &str, value: impl ToString) -> Self {
        let value = value.to_string();
        match self.fields.iter_mut().find(|(known, _)| known == key) {
            Some(known) => known.1 = value,
            None => self.fields.push((key.to_owned(), value)),
        }
        self
    }

    /// Appends a field that may be absent.
    pub fn optional_field(self, key: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.field(key, value),
            None => self,
        }
    }

    /// The value of a field.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// Reads the parts back, from any text: what is no field is prompt. Never fails.
    ///
    /// Lines lose the blanks at their ends, and a field equal to its key (printed as the key alone) is not found
    /// again; both are losses of the layout.
    pub fn parse(text: &str) -> Self {
        read::parse(text)
    }

    /// The parts as web UIs hand them to clients: `Prompt` and `Negative prompt` first, a `WxH` value as two fields
    /// `Key-1` and `Key-2`, then what older texts leave unsaid. Order is as printed.
    pub fn web_ui_parameters(&self) -> Vec<(String, String)> {
        read::web_ui_parameters(self)
    }
}

impl std::fmt::Display for Infotext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = self.prompt.clone();
        if !self.negative_prompt.is_empty() {
            text.push_str("\nNegative prompt: ");
            text.push_str(&self.negative_prompt);
        }
        text.push('\n');
        for (i, (key, value)) in self.fields.iter().enumerate() {
            text.push_str(if i == 0 { "" } else { ", " });
            text.push_str(key);
            if key != value {
                text.push_str(": ");
                text.push_str(&quote::quote(value));
            }
        }
        f.write_str(text.trim())
    }
}

/// The text of picture `image` of a request.
///
/// `prompts` are the positive and negative prompt as drawn, which hooks may have changed. `model_hash` is the first
/// ten hex digits of the file's SHA-256, or empty when it is not known yet. `version` names the program.
///
/// Numbers that are whole are printed without a fraction ("CFG scale: 7"): that is how the pictures in circulation
/// have it, though a web UI called over HTTP prints "7.0". Readers take both.
pub fn of(
    request: &GenerateRequest,
    image: u32,
    model_name: &str,
    model_hash: &str,
    prompts: (&str, &str),
    version: &str,
) -> String {
    let (seed, subseed) = request.seeds_of(image);
    let sampler = request.sampler;
    let options = &request.options;
    let churn = &options.churn;
    let varied = request.variation.strength != 0.0;
    let churns = sampler.churns();
    let eta = options.eta.filter(|eta| *eta != sampler.default_eta());
    let uses_delta = sampler.uses_ensd() && options.eta != Some(0.0) && request.eta_noise_seed_delta != 0;
    Infotext::new(prompts.0, prompts.1)
        .field("Steps", request.steps)
        .field("Sampler", sampler.label())
        .field("Schedule type", schedule_type(request).label())
        .field("CFG scale", request.cfg_scale)
        .field("Seed", seed)
        .field("Size", format!("{}x{}", request.width, request.height))
        .optional_field("Model hash", (!model_hash.is_empty()).then_some(model_hash))
        .optional_field("Model", (!model_name.is_empty()).then_some(model_name))
        .optional_field("Variation seed", varied.then_some(subseed))
        .optional_field("Variation seed strength", varied.then_some(request.variation.strength))
        .optional_field("Seed resize from", request.seed_resize_from.map(|(w, h)| format!("{w}x{h}")))
        .optional_field("Clip skip", (request.clip_skip > 1).then_some(request.clip_skip))
        .optional_field("ENSD", uses_delta.then_some(request.eta_noise_seed_delta))
        .field("RNG", noise_source_name(request.noise_source))
        .optional_field("Emphasis", emphasis_name(request.emphasis, prompts))
        .optional_field(if sampler.is_timestep_sampler() { "Eta DDIM" } else { "Eta" }, eta)
        .optional_field("Sigma churn", (churns && churn.amount != 0.0).then_some(churn.amount))
        .optional_field("Sigma tmin", (churns && churn.min_sigma != 0.0).then_some(churn.min_sigma))
        .optional_field("Sigma tmax", (churns && churn.max_sigma.is_finite()).then_some(churn.max_sigma))
        .optional_field("Sigma noise", (churns && churn.noise != 1.0).then_some(churn.noise))
        .field("Version", version)
        .to_string()
}

/// "Automatic" is printed as what it stands for only where the sampler publishes a default.
fn schedule_type(request: &GenerateRequest) -> Scheduler {
    let published = request.sampler.options().iter().any(|(key, _)| *key == "scheduler");
    match request.scheduler {
        Scheduler::Automatic if published => request.sampler.default_scheduler(),
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
fn emphasis_name(emphasis: Emphasis, prompts: (&str, &str)) -> Option<&'static str> {
    let has_brackets = [prompts.0, prompts.1].iter().any(|prompt| prompt.contains(['(', '[']));
    match emphasis {
        Emphasis::None => has_brackets.then_some("None"),
        Emphasis::Ignore => has_brackets.then_some("Ignore"),
        Emphasis::NoNorm => has_brackets.then_some("No norm"),
        Emphasis::Original => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixture;
    use crate::request::Variation;
    use crate::sampler::{Churn, Sampler, SamplerOptions};

    fn text(request: &GenerateRequest, image: u32) -> String {
        let prompts = (request.prompt.as_str(), request.negative_prompt.as_str());
        of(request, image, "demo", "0123456789", prompts, "gesso 0.1.0")
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
            emphasis: Emphasis::NoNorm,
            ..fixture::request()
        };
        insta::assert_snapshot!(text(&request, 3), @r"
        a (red) circle
        on white
        Negative prompt: blurry, dark
        Steps: 20, Sampler: Euler a, Schedule type: Karras, CFG scale: 6.5, Seed: 1, Size: 512x512, Model hash: 0123456789, Model: demo, Variation seed: 8, Variation seed strength: 0.25, Seed resize from: 640x448, Clip skip: 2, ENSD: 31337, RNG: NV, Emphasis: No norm, Eta: 0.5, Version: gesso 0.1.0
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
    fn a_key_set_twice_keeps_its_place() {
        let text = Infotext::new("p", "").field("A1", 1).field("B1", 2).field("A1", 3).to_string();
        assert_eq!(text, "p\nA1: 3, B1: 2");
    }

    /// Prompts as the layout can hold them: no blanks at the ends of a line, no line that reads as a negative prompt.
    fn prompts() -> impl Strategy<Value = String> {
        prop::collection::vec("[!-~é]([ -~é]{0,20}[!-~é])?", 0..4)
            .prop_filter("a line of its own meaning", |lines| {
                !lines.iter().any(|line| line.starts_with("Negative prompt:"))
            })
            .prop_map(|lines| lines.join("\n"))
    }

    /// Values with what must be quoted, what looks quoted, and other scripts.
    fn values() -> impl Strategy<Value = String> {
        prop_oneof!["[ -~\n\t\u{1}é😀]{0,20}", "\"[a-z]{0,5}\"", "[0-9]{1,4}x[0-9]{1,4}", any::<String>()]
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_the_same(
            prompt in prompts(),
            negative_prompt in prompts(),
            fields in prop::collection::btree_map("[A-Z][a-z0-9 /-]{1,12}[a-z]", values(), 3..8),
        ) {
            prop_assume!(fields.iter().all(|(key, value)| key != value));
            let infotext = Infotext { prompt, negative_prompt, fields: fields.into_iter().collect() };
            prop_assert_eq!(Infotext::parse(&infotext.to_string()), infotext);
        }

        #[test]
        fn reading_never_panics(text: String, line in "[A-Za-z:,\"\\\\ \n1-9x]{0,200}") {
            Infotext::parse(&text).web_ui_parameters();
            Infotext::parse(&line).web_ui_parameters();
        }

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
