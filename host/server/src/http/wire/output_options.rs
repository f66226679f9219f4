//! Where `save_images` puts pictures: the options about file names and folders.

use serde_json::{Map, Value};

use super::fields::FieldProblem;
use super::overrides::Overrides;
use super::problems::Problems;

/// As the options of a body say; patterns are those of `output_names.rs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OutputOptions {
    /// `samples_filename_pattern`, or the seed.
    pub(crate) name: String,
    /// `directories_filename_pattern`.
    pub(crate) folder: String,
    /// `save_to_dirs`: whether `folder` is used.
    pub(crate) in_folders: bool,
    /// `save_images_add_number`.
    pub(crate) is_numbered: bool,
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
        let options = Self {
            name: text("samples_filename_pattern", "[seed]", &mut problems),
            folder: text("directories_filename_pattern", "[date]", &mut problems),
            in_folders: overrides.flag("save_to_dirs", &mut problems).unwrap_or(true),
            is_numbered: overrides.flag("save_images_add_number", &mut problems).unwrap_or(true),
        };
        problems.into_result(options)
    }
}
