//! The operator's saved styles: the file `styles.csv` in the data folder, read again whenever it changes. What is in it
//! is `gesso-core`'s to read; what a request makes of it is `http/wire/styles.rs`. Called for what clients send and for
//! what scripts ask for.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use gesso_core::limits::Limits;
use gesso_core::prompt::StyleSheet;
use serde_json::{Map, Value};

use crate::blocking::blocking;
use crate::catalogue::Stamp;
use crate::error::AppError;
use crate::http::wire;

/// As web UIs name it, so that theirs can be copied.
const FILE: &str = "styles.csv";

/// The file, and what it held when it was last read.
#[derive(Debug)]
pub(crate) struct SavedStyles {
    path: PathBuf,
    known: Mutex<Option<(Stamp, Arc<StyleSheet>)>>,
}

impl SavedStyles {
    pub(crate) fn in_folder(data: &Path) -> Self {
        Self { path: data.join(FILE), known: Mutex::default() }
    }

    /// What the file holds now; nothing without one. Problems are logged once for each state of the file. Reads it when it
    /// is new: call it where blocking is allowed.
    pub(crate) fn sheet(&self) -> Arc<StyleSheet> {
        // Held while the file is read, so that requests that come together read it once.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = match Stamp::of(&self.path) {
            Ok(stamp) => stamp,
            Err(error) if error.kind() == ErrorKind::NotFound => return Arc::default(),
            Err(error) => return Arc::new(unreadable(&error)),
        };
        if let Some((of, sheet)) = &*known
            && *of == stamp
        {
            return sheet.clone();
        }
        let sheet = match std::fs::read(&self.path).map(String::from_utf8) {
            Ok(Ok(text)) => StyleSheet::parse(&text),
            Ok(Err(_)) => StyleSheet::unreadable("it is not in UTF-8; save it again as UTF-8".into()),
            Err(error) => unreadable(&error),
        };
        for problem in &sheet.problems {
            tracing::warn!(path = %self.path.display(), problem, "styles.csv cannot be read in full");
        }
        let sheet = Arc::new(sheet);
        *known = Some((stamp, sheet.clone()));
        sheet
    }
}

/// Lays the saved styles that a body names into its prompts.
///
/// # Errors
/// As `http::wire::styles::apply`.
pub(crate) async fn lay_into(
    body: &mut Map<String, Value>,
    saved: &Arc<SavedStyles>,
    limits: &Limits,
) -> Result<(), AppError> {
    if !wire::styles::are_named(body) {
        return Ok(());
    }
    let saved = saved.clone();
    // The blocking pool: the file of styles.
    let sheet = blocking(move || saved.sheet()).await?;
    wire::styles::apply(body, &sheet, limits.max_prompt_bytes)
        .map_err(|problem| AppError::Invalid(vec![problem]))
}

fn unreadable(error: &std::io::Error) -> StyleSheet {
    StyleSheet::unreadable(format!("it cannot be read ({error}); check its rights"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(styles: &SavedStyles) -> Vec<String> {
        styles.sheet().styles.iter().map(|style| style.name.clone()).collect()
    }

    #[test]
    fn a_file_is_read_again_when_it_changes_and_may_come_and_go() {
        let folder = tempfile::tempdir().unwrap();
        let (styles, file) = (SavedStyles::in_folder(folder.path()), folder.path().join(FILE));
        assert_eq!((names(&styles), styles.sheet().problems.len()), (vec![], 0));
        std::fs::write(&file, "name,prompt,negative_prompt\nInk,ink,\n").unwrap();
        assert_eq!(names(&styles), ["Ink"]);
        assert!(Arc::ptr_eq(&styles.sheet(), &styles.sheet()));
        std::fs::write(&file, "name,prompt,negative_prompt\nInk,ink,\nOil,oil,\n").unwrap();
        assert_eq!(names(&styles), ["Ink", "Oil"]);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(names(&styles), Vec::<String>::new());
    }

    #[test]
    fn a_file_that_is_no_text_and_a_folder_of_its_name_are_problems_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let (styles, file) = (SavedStyles::in_folder(folder.path()), folder.path().join(FILE));
        std::fs::write(&file, b"name,prompt\nInk,\xff\xfe\n").unwrap();
        assert!(styles.sheet().problems[0].contains("UTF-8"), "{:?}", styles.sheet());
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        assert!(styles.sheet().problems[0].contains("cannot be read"), "{:?}", styles.sheet());
    }
}
