//! The options about the grid of a request's pictures, and the mark of stored bodies whose answer has room for one.

use gesso_picture::mix::GridRows;
use serde_json::{Map, Value};

use super::fields::FieldProblem;
use super::file_format::FileFormat;
use super::overrides::{Overrides, refuse};
use super::problems::Problems;

/// Beside the fields of a stored body; no client's field ever has this name, for a body holds those of the table only.
const MARK: &str = "grid";
/// As web UIs have it.
const BACKGROUND: [u8; 3] = [255; 3];

/// As the options of a body say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GridOptions {
    /// `return_grid`: whether it stands before the pictures of the reply.
    pub(crate) is_returned: bool,
    /// `grid_save`: whether it is saved where `save_images` saves pictures.
    pub(crate) is_saved: bool,
    /// `grid_format`, of the file that is saved; the reply's is that of all pictures.
    pub(crate) format: FileFormat,
    /// `grid_extended_filename`: whether the file is named as pictures are.
    pub(crate) is_named: bool,
    /// `grid_save_to_dirs`
    pub(crate) in_folders: bool,
    /// The fewest pictures that have a grid: one less without `grid_only_if_multiple`.
    pub(crate) pictures_min: usize,
    /// `grid_background_color`
    pub(crate) background: [u8; 3],
    rows: Rows,
}

/// `n_rows` and `grid_prevent_empty_spots`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rows {
    Fixed(GridRows),
    AsManyAsABatch,
}

impl GridOptions {
    /// # Errors
    /// Options of another type, or out of their range.
    pub(crate) fn of(body: &Map<String, Value>) -> Result<Self, Vec<FieldProblem>> {
        let format = FileFormat::named_by("grid_format", body)?;
        let mut problems = Problems::default();
        let overrides = Overrides::new(body, &mut problems);
        let flag = |name: &str, default: bool, problems: &mut Problems| {
            overrides.flag(name, problems).unwrap_or(default)
        };
        let options = Self {
            is_returned: flag("return_grid", true, &mut problems),
            is_saved: flag("grid_save", true, &mut problems),
            format,
            is_named: flag("grid_extended_filename", false, &mut problems),
            in_folders: flag("grid_save_to_dirs", true, &mut problems),
            pictures_min: if flag("grid_only_if_multiple", true, &mut problems) { 2 } else { 1 },
            background: overrides.colour("grid_background_color", &mut problems).unwrap_or(BACKGROUND),
            rows: rows(&overrides, &mut problems),
        };
        problems.into_result(options)
    }

    pub(crate) fn rows(&self, batch_size: u32) -> GridRows {
        match self.rows {
            Rows::Fixed(rows) => rows,
            Rows::AsManyAsABatch => GridRows::Exactly(batch_size),
        }
    }
}

fn rows(overrides: &Overrides<'_>, problems: &mut Problems) -> Rows {
    let has_no_empty_cells = overrides.flag("grid_prevent_empty_spots", problems).unwrap_or(false);
    match overrides.whole("n_rows", problems).unwrap_or(-1) {
        -1 if has_no_empty_cells => Rows::Fixed(GridRows::NoEmptyCells),
        -1 => Rows::Fixed(GridRows::NearlySquare),
        0 => Rows::AsManyAsABatch,
        rows => {
            let rows = u32::try_from(rows).unwrap_or_else(|_| {
                refuse(problems, "n_rows", "-1 (nearly square), 0 (batch_size) or a number of rows");
                1
            });
            Rows::Fixed(GridRows::Exactly(rows))
        }
    }
}

/// Marks a body that is answered in the web UI's list of pictures.
pub(crate) fn mark(body: &mut Map<String, Value>) {
    body.insert(MARK.into(), true.into());
}

/// Takes the mark out of the body; whether it was there.
pub(crate) fn take_mark(body: &mut Map<String, Value>) -> bool {
    body.remove(MARK).is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(options: Value) -> Result<GridOptions, Vec<FieldProblem>> {
        GridOptions::of(json!({"override_settings": options}).as_object().unwrap())
    }

    #[test]
    fn rows_are_what_the_options_make_of_the_pictures_and_the_batch() {
        for (options, rows) in [
            (json!({}), GridRows::NearlySquare),
            (json!({"grid_prevent_empty_spots": true}), GridRows::NoEmptyCells),
            (json!({"n_rows": "0", "grid_prevent_empty_spots": true}), GridRows::Exactly(3)),
            (json!({"n_rows": 5}), GridRows::Exactly(5)),
        ] {
            assert_eq!(of(options.clone()).unwrap().rows(3), rows, "{options}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (options, word) in [
            (json!({"n_rows": -2}), "n_rows"),
            (json!({"n_rows": 4_294_967_296_u64}), "n_rows"),
            (json!({"grid_background_color": "white"}), "#ffffff"),
            (json!({"grid_format": "tiff"}), "grid_format"),
            (json!({"return_grid": "maybe"}), "return_grid"),
        ] {
            let problems = of(options.clone()).unwrap_err();
            assert!(problems[0].message.contains(word), "{options}: {problems:?}");
        }
    }
}
