//! What `save_images` puts where: the options about file names and folders, and about texts in and beside pictures.

use serde_json::{Map, Value};

use super::fields::FieldProblem;
use super::overrides::Overrides;
use super::problems::Problems;
use crate::output_names::WORDS;

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
    /// Options of another type.
    pub(crate) fn of(body: &Map<String, Value>) -> Result<Self, Vec<FieldProblem>> {
        let mut problems = Problems::default();
        let overrides = Overrides::new(body, &mut problems);
        let text = |name: &str, default: &str, problems: &mut Problems| {
            overrides.text(name, problems).unwrap_or(default).to_owned()
        };
        let flag = |name: &str, default: bool, problems: &mut Problems| {
            overrides.flag(name, problems).unwrap_or(default)
        };
        let in_folders = flag("save_to_dirs", true, &mut problems);
        let usual = if in_folders { "[seed]" } else { "[seed]-[prompt_spaces]" };
        let options = Self {
            name: text("samples_filename_pattern", usual, &mut problems),
            folder: text("directories_filename_pattern", "[date]", &mut problems),
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
