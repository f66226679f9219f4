//! The list of tags that a network's scores come to, as web UIs write it: which are told, in which order, in which spelling.

use crate::http::wire::interrogate::TagOptions;

/// What these begin with is said of a picture as a whole, and is no word of a prompt.
const RATING: &str = "rating:";

/// What a network says of a picture, tag by tag.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scores {
    /// As the network names them, the surest first.
    pub(crate) tags: Vec<(String, f32)>,
    /// The same of what is said of the picture as a whole, without what their names begin with.
    pub(crate) ratings: Vec<(String, f32)>,
}

impl Scores {
    /// `None` where there is not a score for each name.
    pub(super) fn of(names: &[String], scores: &[f32]) -> Option<Self> {
        if names.len() != scores.len() {
            return None;
        }
        let mut all: Vec<_> = names.iter().zip(scores.iter().copied()).collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        let mut told = Self { tags: Vec::new(), ratings: Vec::new() };
        for (name, score) in all {
            match name.strip_prefix(RATING) {
                Some(rating) => told.ratings.push((rating.to_owned(), score)),
                None => told.tags.push((name.clone(), score)),
            }
        }
        Some(told)
    }
}

/// `None` where there is not a score for each name.
pub(super) fn listed(names: &[String], scores: &[f32], options: &TagOptions) -> Option<String> {
    if names.len() != scores.len() {
        return None;
    }
    let is_told = |(name, score): &(&str, f32)| {
        *score >= options.threshold as f32 && !name.starts_with(RATING) && !options.left_out.contains(*name)
    };
    let all = names.iter().map(String::as_str).zip(scores.iter().copied());
    let mut told: Vec<(&str, f32)> = all.filter(is_told).collect();
    if options.by_name {
        told.sort_by(|a, b| a.0.cmp(b.0));
    } else {
        told.sort_by(|a, b| b.1.total_cmp(&a.1));
    }
    let written: Vec<_> = told.into_iter().map(|(name, score)| written(name, score, options)).collect();
    Some(written.join(", "))
}

fn written(name: &str, score: f32, options: &TagOptions) -> String {
    let mut text = String::with_capacity(name.len());
    for letter in name.chars() {
        match letter {
            '_' if options.spaced => text.push(' '),
            '\\' | '(' | ')' if options.escaped => text.extend(['\\', letter]),
            other => text.push(other),
        }
    }
    if options.ranked { format!("({text}:{score:.3})") } else { text }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn list(options: Value) -> String {
        let body = json!({"override_settings": options});
        let options = TagOptions::of(body.as_object().unwrap()).unwrap();
        let names = ["sea", "red_(warm)", "night", "rating:safe", "boat"].map(str::to_owned);
        listed(&names, &[0.5, 0.93, 0.75, 0.99, 0.1], &options).unwrap()
    }

    #[test]
    fn tags_are_those_above_the_threshold_by_name_in_a_prompts_spelling() {
        assert_eq!(list(json!({})), r"night, red \(warm\), sea");
        assert_eq!(list(json!({"interrogate_deepbooru_score_threshold": 0.6})), r"night, red \(warm\)");
        assert_eq!(list(json!({"interrogate_deepbooru_score_threshold": 1})), "");
        assert_eq!(list(json!({"deepbooru_filter_tags": "red (warm), sea"})), "night");
    }

    #[test]
    fn options_change_their_order_and_spelling() {
        let plain =
            json!({"deepbooru_sort_alpha": false, "deepbooru_use_spaces": false, "deepbooru_escape": false});
        assert_eq!(list(plain), "red_(warm), night, sea");
        assert_eq!(
            list(json!({"interrogate_return_ranks": true})),
            r"(night:0.750), (red \(warm\):0.930), (sea:0.500)"
        );
    }

    #[test]
    fn scores_are_told_by_tag_and_by_rating() {
        let names = ["sea", "rating:safe", "night"].map(str::to_owned);
        let Scores { tags, ratings } = Scores::of(&names, &[0.25, 0.5, 0.75]).unwrap();
        assert_eq!(tags, [("night".to_owned(), 0.75), ("sea".to_owned(), 0.25)]);
        assert_eq!(ratings, [("safe".to_owned(), 0.5)]);
        assert_eq!(Scores::of(&names, &[0.5]), None);
    }

    #[test]
    fn a_score_for_each_name_is_needed() {
        let options = TagOptions::of(&serde_json::Map::new()).unwrap();
        assert_eq!(listed(&["a".to_owned()], &[0.9, 0.9], &options), None);
    }
}
