//! The pictures that `gesso plugin test` compares with: those that an earlier run wrote into a plugin's folder `golden`. Knows
//! cases by their names alone.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use gesso_core::pixels::Pixels;

use crate::png_file;

/// Pictures of an earlier run, to compare with.
pub(super) struct Goldens {
    pub(super) folder: PathBuf,
    pub(super) bless: bool,
}

impl Goldens {
    /// Holds what a case made against its pictures, or takes it as right.
    ///
    /// # Errors
    /// A sentence: a picture is another one, too many or missing, or none can be read or written.
    pub(super) fn compare(&self, case: &str, made: &[Pixels]) -> anyhow::Result<String> {
        let count = format!("{} pictures", made.len());
        if !self.bless && !self.folder.is_dir() {
            return Ok(count);
        }
        let name: String =
            case.chars().map(|letter| if letter.is_alphanumeric() { letter } else { '-' }).collect();
        let path_of = |index: usize| self.folder.join(format!("{name}-{index}.png"));
        let beyond = path_of(made.len());
        if self.bless {
            let older = (made.len()..).map(path_of).take_while(|path| path.exists());
            older.for_each(|path| drop(std::fs::remove_file(path)));
        }
        ensure!(
            !beyond.exists(),
            "it made {count}, and {} is one more; --bless takes it as right",
            beyond.display()
        );
        for (index, picture) in made.iter().enumerate() {
            let path = path_of(index);
            let png = png_file::encode(picture, "")?;
            if self.bless {
                std::fs::create_dir_all(&self.folder)?;
                std::fs::write(&path, &png)
                    .with_context(|| format!("{} cannot be written", path.display()))?;
                continue;
            }
            let golden = std::fs::read(&path).with_context(|| {
                format!("{} cannot be read; --bless writes what the plugin makes now", path.display())
            })?;
            ensure!(
                golden == png,
                "it made another picture than {}; --bless takes it as right",
                path.display()
            );
        }
        Ok(format!("{count}{}", if self.bless { " written" } else { " as before" }))
    }

    /// The same for a case that ended without a picture, with `told`.
    ///
    /// # Errors
    /// As [`Self::compare`], where it made some before.
    pub(super) fn compare_none(&self, case: &str, told: String) -> anyhow::Result<String> {
        match self.compare(case, &[]) {
            Ok(_) => Ok(told),
            Err(error) => Err(error.context(told)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made_up_device::gradient;

    #[test]
    fn a_case_that_made_pictures_and_now_refuses_has_failed_until_that_is_taken_as_right() {
        let home = tempfile::tempdir().unwrap();
        let goldens = |bless| Goldens { folder: home.path().join("golden"), bless };
        let refused = |bless| goldens(bless).compare_none("maps, a picture", "refused: no".into());
        assert_eq!(refused(false).unwrap(), "refused: no", "nothing to compare with");
        goldens(true).compare("maps, a picture", &[gradient(2, 2)]).unwrap();
        let error = format!("{:#}", refused(false).unwrap_err());
        assert!(error.contains("refused: no") && error.contains("is one more; --bless"), "{error}");
        assert_eq!(refused(true).unwrap(), "refused: no");
        assert_eq!(refused(false).unwrap(), "refused: no");
    }
}
