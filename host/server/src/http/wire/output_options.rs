//! What `save_images` puts where: the options about file names and folders, and about texts in and beside pictures.

use serde_json::{Map, Value};

use super::fields::FieldProblem;
use super::overrides::{Overrides, refuse};
use super::problems::Problems;
use crate::output_names::WORDS;

/// Of a pattern. Each of its words may stand for a whole prompt.
const PATTERN_BYTES_MAX: usize = 1024;

/// As the options of a body say; patterns are those of `output_names.rs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OutputOptions {
    /// `samples_filename_pattern`, or the seed, with the prompt where all files lie in one folder.
    pub(crate) name: String,
    /// `directories_filename_pattern`.
    pub(crate) folder: String,
    /// `save_to_dirs`: whether `folder` is used.
    pub(crate) in_folders: bool,
    /// `save_images_add_number`.
    pub(crate) is_numbered: bool,
    /// `samples_save`: whether the pictures are saved, and not a grid of them alone.
    pub(crate) saves_pictures: bool,
    /// `save_txt`: whether a picture's infotext is saved beside it too.
    pub(crate) saves_texts: bool,
    /// `directories_max_prompt_words`: words of `[prompt_words]` unless it says how many.
    pub(crate) prompt_words: usize,
    /// `live_previews_enable`: whether the picture is shown while it is drawn.
    pub(crate) shows_previews: bool,
    /// `enable_pnginfo`: whether pictures hold their infotext, those of the reply too.
    pub(crate) tells_in_pictures: bool,
}

impl OutputOptions {
    /// # Errors
    /// Options of another type, and patterns that are too long.
    pub(crate) fn of(body: &Map<String, Value>) -> Result<Self, Vec<FieldProblem>> {
        let mut problems = Problems::default();
        let overrides = Overrides::new(body, &mut problems);
        let pattern = |name: &str, default: &str, problems: &mut Problems| {
            let pattern = overrides.text(name, problems).unwrap_or(default);
            if pattern.len() > PATTERN_BYTES_MAX {
                refuse(problems, name, &format!("a text of at most {PATTERN_BYTES_MAX} bytes"));
            }
            pattern.to_owned()
        };
        let flag = |name: &str, default: bool, problems: &mut Problems| {
            overrides.flag(name, problems).unwrap_or(default)
        };
        let in_folders = flag("save_to_dirs", true, &mut problems);
        let usual = if in_folders { "[seed]" } else { "[seed]-[prompt_spaces]" };
        let options = Self {
            name: pattern("samples_filename_pattern", usual, &mut problems),
            folder: pattern("directories_filename_pattern", "[date]", &mut problems),
            in_folders,
            is_numbered: flag("save_images_add_number", true, &mut problems),
            saves_pictures: flag("samples_save", true, &mut problems),
            saves_texts: flag("save_txt", false, &mut problems),
            prompt_words: overrides
                .count("directories_max_prompt_words", &mut problems)
                .map_or(WORDS, |words| words as usize),
            shows_previews: flag("live_previews_enable", true, &mut problems),
            tells_in_pictures: flag("enable_pnginfo", true, &mut problems),
        };
        problems.into_result(options)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pattern_of_more_than_a_kibibyte_is_refused_by_its_option() {
        let of = |option: &str, bytes: usize| {
            let body = json!({"override_settings": {option: "x".repeat(bytes)}});
            OutputOptions::of(body.as_object().unwrap())
        };
        for option in ["samples_filename_pattern", "directories_filename_pattern"] {
            assert!(of(option, 1024).is_ok(), "{option}");
            let message = of(option, 1025).unwrap_err().remove(0).message;
            assert_eq!(message, format!("override_settings.{option} must be a text of at most 1024 bytes"));
        }
    }
}
