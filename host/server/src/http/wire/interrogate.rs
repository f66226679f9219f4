//! The bodies of `/sdapi/v1/interrogate` and of the tagger's route, and the options about the tags that come of the former. Which networks there are is not known
//! here: see [`crate::interrogate`].

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::fields::{Field, FieldProblem, Kind, field};
use super::overrides::{Overrides, refuse};
use super::problems::Problems;

/// As web UIs have it.
const THRESHOLD: f64 = 0.5;

pub(crate) const FIELDS: &[Field] = &[
    field("image", Kind::Text(""), "The picture, base64 or data URI."),
    field("model", Kind::Text("clip"), "clip for a caption, deepbooru or deepdanbooru for tags."),
];

/// Of the web UI's tagger extension.
pub(crate) const TAGGER_FIELDS: &[Field] = &[
    field("image", Kind::Text(""), "The picture, base64 or data URI."),
    field(
        "model",
        Kind::Text(""),
        "The network, see GET /tagger/v1/interrogators; empty is the last by name.",
    ),
    field("threshold", Kind::Float(0.35), "0..1, what a tag must score. Ratings are all told."),
    field("queue", Kind::Text(""), "Accepted for compatibility: the answer has the scores in any case."),
    field("name_in_queue", Kind::Text(""), "Accepted for compatibility."),
];

/// What is asked of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Words {
    Caption,
    Tags,
}

impl Words {
    /// By the names that clients and scripts have for models, in any case.
    pub(crate) fn named(model: &str) -> Option<Self> {
        match model.to_ascii_lowercase().as_str() {
            "clip" => Some(Self::Caption),
            "deepbooru" | "deepdanbooru" => Some(Self::Tags),
            _ => None,
        }
    }
}

/// Which tags are told, and how they are written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TagOptions {
    /// `interrogate_deepbooru_score_threshold`, 0..=1: what a tag must score.
    pub(crate) threshold: f64,
    /// `deepbooru_sort_alpha`: in the order of their names, and not the surest first.
    pub(crate) by_name: bool,
    /// `deepbooru_use_spaces`: in place of underscores.
    pub(crate) spaced: bool,
    /// `deepbooru_escape`: brackets are no emphasis.
    pub(crate) escaped: bool,
    /// `interrogate_return_ranks`: with their scores.
    pub(crate) ranked: bool,
    /// `deepbooru_filter_tags`, as networks name them.
    pub(crate) left_out: BTreeSet<String>,
}

impl TagOptions {
    /// As the options of a body say.
    ///
    /// # Errors
    /// Options of another type, or out of their range.
    pub(crate) fn of(body: &Map<String, Value>) -> Result<Self, Vec<FieldProblem>> {
        let mut problems = Problems::default();
        let overrides = Overrides::new(body, &mut problems);
        let option = "interrogate_deepbooru_score_threshold";
        let threshold = overrides.number(option, &mut problems).unwrap_or(THRESHOLD);
        if !(0.0..=1.0).contains(&threshold) {
            refuse(&mut problems, option, "a number between 0 and 1");
        }
        let flag = |name: &str, default: bool, problems: &mut Problems| {
            overrides.flag(name, problems).unwrap_or(default)
        };
        let left_out = overrides.text("deepbooru_filter_tags", &mut problems).unwrap_or_default();
        let left_out = left_out.split(',').map(|tag| tag.trim().replace(' ', "_"));
        let options = Self {
            threshold,
            by_name: flag("deepbooru_sort_alpha", true, &mut problems),
            spaced: flag("deepbooru_use_spaces", true, &mut problems),
            escaped: flag("deepbooru_escape", true, &mut problems),
            ranked: flag("interrogate_return_ranks", false, &mut problems),
            left_out: left_out.filter(|tag| !tag.is_empty()).collect(),
        };
        problems.into_result(options)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(options: Value) -> Result<TagOptions, Vec<FieldProblem>> {
        TagOptions::of(json!({"override_settings": options}).as_object().unwrap())
    }

    #[test]
    fn models_go_by_the_names_of_clients_and_of_scripts() {
        for (name, words) in [
            ("clip", Some(Words::Caption)),
            ("CLIP", Some(Words::Caption)),
            ("deepdanbooru", Some(Words::Tags)),
            ("DeepBooru", Some(Words::Tags)),
            ("blip", None),
            ("", None),
        ] {
            assert_eq!(Words::named(name), words, "{name}");
        }
    }

    #[test]
    fn what_is_left_out_is_named_as_networks_name_it() {
        let options = of(json!({"deepbooru_filter_tags": " red (warm), sea,, "})).unwrap();
        assert_eq!(options.left_out.into_iter().collect::<Vec<_>>(), ["red_(warm)", "sea"]);
        assert_eq!(of(json!({})).unwrap().left_out, BTreeSet::new());
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (options, word) in [
            (json!({"interrogate_deepbooru_score_threshold": 1.5}), "between 0 and 1"),
            (json!({"deepbooru_escape": "maybe"}), "deepbooru_escape"),
            (json!({"deepbooru_filter_tags": ["sea"]}), "a string"),
        ] {
            let problems = of(options.clone()).unwrap_err();
            assert!(problems[0].message.contains(word), "{options}: {problems:?}");
        }
    }
}
