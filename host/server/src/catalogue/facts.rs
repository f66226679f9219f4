//! What checkpoints are made for, read once for each state of a file from its head.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use gesso_torch::Problem;

use super::hashes::Stamp;

/// What of a checkpoint shows in the answers to those who draw with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ModelFacts {
    /// Its UNet reads a mask and the masked picture.
    pub(crate) inpaints: bool,
    /// Its UNet reads the picture that an instruction is about.
    pub(crate) edits_pictures: bool,
    /// Numbers in the vector of a token.
    pub(crate) text_width: i64,
}

/// The facts, or why the file cannot be drawn with: a sentence with the remedy, which names neither file nor folder.
pub(super) type Judged = Result<ModelFacts, Arc<str>>;

/// The state that a checkpoint was judged in: its own version, and the state of the `.yaml` beside it, which says what it
/// predicts.
type State = (String, Option<Stamp>);

/// The cache.
#[derive(Debug, Default)]
pub(super) struct Facts(Mutex<HashMap<PathBuf, (State, Judged)>>);

impl Facts {
    pub(super) fn of(&self, path: &Path) -> Judged {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let state = state(path).map_err(|error| sentence(&Problem::from(error)))?;
        if let Some((known, judged)) = lock().get(path)
            && *known == state
        {
            return judged.clone();
        }
        let judged = match gesso_torch::inspect_model(path) {
            Ok((layout, facts)) => Ok(ModelFacts {
                inpaints: facts.inpaints(),
                edits_pictures: facts.edits_pictures(),
                text_width: layout.text.width,
            }),
            // Both pass, and leave no trace in the file's state by which to know.
            Err(error) if matches!(error.problem, Problem::Unreadable(_) | Problem::Changed) => {
                return Err(sentence(&error.problem));
            }
            Err(error) => Err(sentence(&error.problem)),
        };
        lock().insert(path.to_owned(), (state, judged.clone()));
        judged
    }
}

fn state(path: &Path) -> io::Result<State> {
    Ok((gesso_torch::version_of(path)?, Stamp::of(&path.with_extension("yaml")).ok()))
}

fn sentence(problem: &Problem) -> Arc<str> {
    problem.to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_judged_anew_when_it_or_what_stands_beside_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let (model, beside) = (folder.path().join("a.safetensors"), folder.path().join("a.yaml"));
        let facts = Facts::default();
        let why = || facts.of(&model).unwrap_err().to_string();
        assert!(why().contains("cannot be read"), "{}", why());
        std::fs::write(&model, b"").unwrap();
        assert!(why().contains("shorter than eight bytes"), "{}", why());
        let demo = "../../examples/demo-model/demo-v3.safetensors";
        std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join(demo), &model).unwrap();
        assert!(!facts.of(&model).unwrap().inpaints);
        std::fs::write(&beside, "parameterization: x0").unwrap();
        assert!(why().contains("\"x0\"") && !why().contains(folder.path().to_str().unwrap()), "{}", why());
        std::fs::remove_file(&beside).unwrap();
        assert!(facts.of(&model).is_ok());
    }
}
