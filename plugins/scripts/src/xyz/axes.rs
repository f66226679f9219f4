//! What may differ along an axis of a plot: its names, how its values are read, and which field of a request each sets.

use gesso_plugin::{Fault, Params};
use serde_json::Value;

use super::values::{fields, joined, numbers, texts};
use crate::prompt_list::override_setting;

/// Words whose every order is drawn at most; 5 have 120.
const WORDS_MAX: usize = 5;

/// One thing that may differ, in the order in which web UIs count them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Axis {
    pub(crate) label: &'static str,
    reads: Reads,
    sets: Sets,
    offered: Offered,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Reads {
    Whole,
    Number,
    Text,
    Flag,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Sets {
    Nothing,
    Field(&'static str),
    Option(&'static str),
    /// The first value is looked for in the prompts and gives way to each.
    Words,
    /// The words are put into every order, at the places they stand.
    Order,
    /// One more of the saved styles.
    Style,
    /// Width by height.
    Size,
    /// A restorer, or none.
    Faces,
    /// A file, or one of two words.
    Vae,
    /// What this server does not have.
    Missing,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Offered {
    Both,
    Txt2Img,
    Img2Img,
}

const fn axis(label: &'static str, reads: Reads, sets: Sets) -> Axis {
    Axis { label, reads, sets, offered: Offered::Both }
}

const fn only(offered: Offered, label: &'static str, reads: Reads, sets: Sets) -> Axis {
    Axis { label, reads, sets, offered }
}

const AXES: &[Axis] = &[
    axis("Nothing", Reads::Text, Sets::Nothing),
    axis("Seed", Reads::Whole, Sets::Field("seed")),
    axis("Var. seed", Reads::Whole, Sets::Field("subseed")),
    axis("Var. strength", Reads::Number, Sets::Field("subseed_strength")),
    axis("Steps", Reads::Whole, Sets::Field("steps")),
    only(Offered::Txt2Img, "Hires steps", Reads::Whole, Sets::Field("hr_second_pass_steps")),
    axis("CFG Scale", Reads::Number, Sets::Field("cfg_scale")),
    only(Offered::Img2Img, "Image CFG Scale", Reads::Number, Sets::Field("image_cfg_scale")),
    axis("Prompt S/R", Reads::Text, Sets::Words),
    axis("Prompt order", Reads::Text, Sets::Order),
    axis("Sampler", Reads::Text, Sets::Field("sampler_name")),
    only(Offered::Txt2Img, "Hires sampler", Reads::Text, Sets::Field("hr_sampler_name")),
    axis("Checkpoint name", Reads::Text, Sets::Option("sd_model_checkpoint")),
    axis("Negative Guidance minimum sigma", Reads::Number, Sets::Field("s_min_uncond")),
    axis("Sigma Churn", Reads::Number, Sets::Field("s_churn")),
    axis("Sigma min", Reads::Number, Sets::Field("s_tmin")),
    axis("Sigma max", Reads::Number, Sets::Field("s_tmax")),
    axis("Sigma noise", Reads::Number, Sets::Field("s_noise")),
    axis("Schedule type", Reads::Text, Sets::Field("scheduler")),
    axis("Schedule min sigma", Reads::Number, Sets::Option("sigma_min")),
    axis("Schedule max sigma", Reads::Number, Sets::Option("sigma_max")),
    axis("Schedule rho", Reads::Number, Sets::Option("rho")),
    axis("Beta schedule alpha", Reads::Number, Sets::Option("beta_dist_alpha")),
    axis("Beta schedule beta", Reads::Number, Sets::Option("beta_dist_beta")),
    axis("Eta", Reads::Number, Sets::Field("eta")),
    axis("Clip skip", Reads::Whole, Sets::Option("CLIP_stop_at_last_layers")),
    axis("Denoising", Reads::Number, Sets::Field("denoising_strength")),
    axis("Initial noise multiplier", Reads::Number, Sets::Field("initial_noise_multiplier")),
    axis("Extra noise", Reads::Number, Sets::Option("img2img_extra_noise")),
    only(Offered::Txt2Img, "Hires upscaler", Reads::Text, Sets::Field("hr_upscaler")),
    only(Offered::Img2Img, "Cond. Image Mask Weight", Reads::Number, Sets::Option("inpainting_mask_weight")),
    axis("VAE", Reads::Text, Sets::Vae),
    axis("Styles", Reads::Text, Sets::Style),
    axis("UniPC Order", Reads::Whole, Sets::Option("uni_pc_order")),
    axis("Face restore", Reads::Text, Sets::Faces),
    axis("Token merging ratio", Reads::Number, Sets::Option("token_merging_ratio")),
    axis("Token merging ratio high-res", Reads::Number, Sets::Option("token_merging_ratio_hr")),
    axis("Always discard next-to-last sigma", Reads::Flag, Sets::Option("always_discard_next_to_last_sigma")),
    axis("SGM noise multiplier", Reads::Flag, Sets::Option("sgm_noise_multiplier")),
    axis("Refiner checkpoint", Reads::Text, Sets::Field("refiner_checkpoint")),
    axis("Refiner switch at", Reads::Number, Sets::Field("refiner_switch_at")),
    axis("RNG source", Reads::Text, Sets::Option("randn_source")),
    axis("FP8 mode", Reads::Text, Sets::Missing),
    axis("Size", Reads::Text, Sets::Size),
    // Newer than the releases that clients count by, which it would move; there it stands behind "Schedule rho".
    axis("Skip Early CFG", Reads::Number, Sets::Option("skip_early_cond")),
];

/// Axes whose values web UIs have people choose from a list, unless text is asked for.
const CHOSEN: [&str; 12] = [
    "Sampler",
    "Hires sampler",
    "Checkpoint name",
    "Schedule type",
    "Hires upscaler",
    "VAE",
    "Styles",
    "Always discard next-to-last sigma",
    "SGM noise multiplier",
    "Refiner checkpoint",
    "RNG source",
    "FP8 mode",
];

/// What a request gives for an axis.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Given {
    values: Vec<String>,
    /// As an infotext says it.
    pub(crate) shown: String,
}

impl Axis {
    /// By its label in any case, or by its place among those that this kind of drawing has.
    pub(crate) fn find(named: &Value, is_img2img: bool) -> Result<&'static Self, Fault> {
        let hidden = if is_img2img { Offered::Txt2Img } else { Offered::Img2Img };
        let mut offered = AXES.iter().filter(|axis| axis.offered != hidden);
        let label = named.as_str().unwrap_or_default().trim();
        // A whole number with a point is a place too.
        let counted = named.as_f64().filter(|place| *place >= 0.0 && place.fract() == 0.0);
        let place = counted.map(|place| place as u64).or_else(|| label.parse().ok());
        let found = match place {
            Some(place) => offered.nth(place as usize),
            None if named.is_null() || named.as_str().is_some_and(|_| label.is_empty()) => AXES.first(),
            None => offered.find(|axis| axis.label.eq_ignore_ascii_case(label)),
        };
        let known = || AXES.iter().filter(|axis| axis.offered != hidden && axis.sets != Sets::Missing);
        found.filter(|axis| axis.sets != Sets::Missing).ok_or_else(|| {
            let known: Vec<_> = known().map(|axis| axis.label).collect();
            Fault::InvalidInput(format!("There is no axis {named} here; there are {}.", known.join(", ")))
        })
    }

    /// The values between the commas of a text, or those of a list; where both are there, web UIs have the list count for axes
    /// that have one, unless `is_text` says otherwise.
    pub(crate) fn given(&self, text: &str, list: Vec<String>, is_text: bool) -> Given {
        let of_text = if self.sets == Sets::Words { fields(text) } else { texts(text) };
        let takes_list = of_text.is_empty() || (!is_text && CHOSEN.contains(&self.label) && !list.is_empty());
        if takes_list {
            return Given { shown: joined(&list), values: list };
        }
        Given { shown: text.trim().to_owned(), values: of_text }
    }

    /// What the legend says of a value.
    fn shown(&self, text: &str) -> String {
        match self.label {
            "Prompt S/R" | "Sampler" | "Face restore" => text.to_owned(),
            "Checkpoint name" | "Refiner checkpoint" => {
                text.rsplit(['/', '\\']).next().unwrap_or(text).to_owned()
            }
            label => format!("{label}: {text}"),
        }
    }

    /// The axis's values; one that says nothing for an axis without any.
    pub(crate) fn points(&self, given: &Given) -> Result<Vec<Point>, Fault> {
        let given = &given.values;
        let point = |shown: String, value: Value| Point { axis: *self, shown, value, words: Vec::new() };
        if self.sets == Sets::Nothing {
            return Ok(vec![point(String::new(), Value::Null)]);
        }
        if given.iter().all(String::is_empty) {
            return Err(Fault::InvalidInput(format!("The axis {:?} has no values; send some.", self.label)));
        }
        if self.sets == Sets::Order {
            return orders(given).map(|orders| {
                orders
                    .into_iter()
                    .map(|words| Point { words, ..point(String::new(), Value::Null) }.with_words_shown())
                    .collect()
            });
        }
        Ok(match self.reads {
            Reads::Whole | Reads::Number => {
                let is_whole = self.reads == Reads::Whole;
                let number =
                    |number: f64| if is_whole { Value::from(number as i64) } else { Value::from(number) };
                // A legend has no use for what is lost in decimal numbers.
                let shown = |value: f64| self.shown(&number((value * 1e8).round() / 1e8).to_string());
                let numbers = numbers(given, is_whole)?.into_iter();
                numbers.map(|value| point(shown(value), number(value))).collect()
            }
            Reads::Flag => {
                let flag = |text: &String| {
                    Value::from(["true", "1", "yes", "on"].contains(&text.to_lowercase().as_str()))
                };
                given.iter().map(|text| point(self.shown(text), flag(text))).collect()
            }
            Reads::Text => {
                let first = given[0].clone();
                if self.sets == Sets::Words && first.is_empty() {
                    return Err(Fault::InvalidInput(
                        "Prompt S/R begins with nothing; its first value is what is looked for.".into(),
                    ));
                }
                let words = if self.sets == Sets::Words { vec![first] } else { Vec::new() };
                given
                    .iter()
                    .map(|text| Point {
                        words: words.clone(),
                        ..point(self.shown(text), text.clone().into())
                    })
                    .collect()
            }
        })
    }
}

/// One place on an axis.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Point {
    axis: Axis,
    /// What the legend says.
    pub(crate) shown: String,
    value: Value,
    /// What is looked for in the prompts, or their words in order.
    words: Vec<String>,
}

impl Point {
    fn with_words_shown(self) -> Self {
        Self { shown: self.words.join(", "), ..self }
    }

    /// Puts a seed in the place of one of -1, which the host would choose anew for each picture.
    pub(crate) fn fix_seed(&mut self, seed: u32) {
        let is_seed = matches!(self.axis.sets, Sets::Field("seed" | "subseed"));
        if is_seed && self.value.as_i64().is_some_and(|seed| seed < 0) {
            self.value = seed.into();
            self.shown = self.axis.shown(&seed.to_string());
        }
    }

    /// The seed of a point of an axis that sets one.
    pub(crate) fn seed(&self) -> Option<String> {
        matches!(self.axis.sets, Sets::Field("seed" | "subseed")).then(|| self.value.to_string())
    }

    /// Lays the value over a request.
    pub(crate) fn apply(&self, params: &mut Params) -> Result<(), Fault> {
        let text = self.value.as_str().unwrap_or_default();
        match self.axis.sets {
            Sets::Nothing | Sets::Missing => {}
            Sets::Field(field) => params.set(field, self.value.clone()),
            Sets::Option(option) => override_setting(params, option, self.value.clone()),
            Sets::Words => replace(params, &self.words[0], text)?,
            Sets::Order => reorder(params, &self.words),
            Sets::Style => {
                let mut styles = params.get("styles").and_then(Value::as_array).cloned().unwrap_or_default();
                styles.extend(text.split(',').map(|style| Value::from(style.trim())));
                params.set("styles", styles);
            }
            Sets::Size => {
                let sides = text.split_once(['x', 'X', '×']);
                let sides = sides.and_then(|(width, height)| Some((side(width)?, side(height)?)));
                let Some((width, height)) = sides else {
                    return Err(Fault::InvalidInput(format!("{text:?} is no size such as 512x768.")));
                };
                params.set("width", width);
                params.set("height", height);
            }
            Sets::Faces => {
                let word = text.to_lowercase();
                let is_off = ["none", "false", "off", "no", "n", "0"].contains(&word.as_str());
                params.set("restore_faces", !is_off);
                if !is_off && !["true", "on", "yes", "y", "1"].contains(&word.as_str()) {
                    override_setting(params, "face_restoration_model", text);
                }
            }
            Sets::Vae => {
                let name = match text.to_lowercase().as_str() {
                    "auto" | "automatic" => "Automatic",
                    "none" => "None",
                    _ => text,
                };
                override_setting(params, "sd_vae", name);
            }
        }
        Ok(())
    }
}

fn side(text: &str) -> Option<u32> {
    text.trim().parse().ok()
}

fn replace(params: &mut Params, from: &str, to: &str) -> Result<(), Fault> {
    let (prompt, negative) = (params.prompt().to_owned(), params.negative_prompt().to_owned());
    if !prompt.contains(from) && !negative.contains(from) {
        return Err(Fault::InvalidInput(format!(
            "Prompt S/R looks for {from:?}, its first value, which is in neither prompt."
        )));
    }
    params.set_prompt(prompt.replace(from, to));
    params.set_negative_prompt(negative.replace(from, to));
    Ok(())
}

/// Every order of the words, that of the values first.
fn orders(words: &[String]) -> Result<Vec<Vec<String>>, Fault> {
    if words.len() > WORDS_MAX {
        return Err(Fault::InvalidInput(format!("Prompt order takes at most {WORDS_MAX} words.")));
    }
    // By place, for a word may stand there twice.
    let mut orders = vec![Vec::new()];
    for _ in words {
        let longer = |order: Vec<usize>| {
            let rest: Vec<_> = (0..words.len()).filter(|place| !order.contains(place)).collect();
            rest.into_iter().map(move |place| order.iter().copied().chain([place]).collect::<Vec<_>>())
        };
        orders = orders.into_iter().flat_map(longer).collect();
    }
    Ok(orders
        .into_iter()
        .map(|order| order.into_iter().map(|place| words[place].clone()).collect())
        .collect())
}

/// Puts the words, in their order, at the places where they stand now.
fn reorder(params: &mut Params, words: &[String]) {
    let prompt = params.prompt().to_owned();
    let mut places: Vec<_> =
        words.iter().filter_map(|word| Some((prompt.find(word.as_str())?, word.len()))).collect();
    places.sort_unstable();
    let mut there = words.iter().filter(|word| prompt.contains(word.as_str()));
    let (mut ordered, mut from) = (String::new(), 0);
    for (at, length) in places {
        // Words that overlap cannot all be moved.
        let (Some(before), Some(word)) = (prompt.get(from..at), there.next()) else { continue };
        ordered.push_str(before);
        ordered.push_str(word);
        from = at + length;
    }
    ordered.push_str(prompt.get(from..).unwrap_or_default());
    params.set_prompt(ordered);
}

#[cfg(test)]
mod tests;
