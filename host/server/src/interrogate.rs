//! Words for pictures, by networks of the models folder: a caption, or tags. Which network does it goes by its file's name, how
//! it is fed by what the file says of itself. Called for the route and for plugins; nothing is stored, and who stops waiting
//! ends the job.

mod about;
mod tags;

use std::sync::{Arc, LazyLock};

use gesso_core::pixels::Pixels;
use gesso_engine::backend::{BackendError, ModelFile};
use gesso_engine::{CancelFlag, JobError, JobSpec, NetworkRun, Work};
use gesso_picture::fit::FitMode;
use gesso_torch::Tokenizer;

use crate::app::App;
use crate::blocking::blocking;
use crate::catalogue::{Catalogue, Found, Kind, spelled};
use crate::engine_errors::{engine_failed, engine_refused};
use crate::error::AppError;
use crate::http::wire::interrogate::{TagOptions, Words};
use crate::running::RunningGuard;
use about::About;
pub(crate) use tags::Scores;

/// Making it takes longer than any caption.
static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(Tokenizer::new);

/// A network that has words for pictures.
pub(crate) struct Interrogator {
    words: Words,
    network: Arc<ModelFile>,
    about: Arc<About>,
}

impl Interrogator {
    /// The network for such words; where several are, the last by name. Reads folders and the head of a file: call it where
    /// blocking is allowed.
    pub(crate) fn find(catalogue: &Catalogue, words: Words) -> Result<Self, AppError> {
        let found = networks(catalogue, words)?.pop();
        Self::read(catalogue, &found.ok_or_else(|| AppError::NotFound(missing(words)))?, words)
    }

    /// The network for tags of that name, in any case. Blocks like [`Interrogator::find`].
    pub(crate) fn tagger(catalogue: &Catalogue, name: &str) -> Result<Self, AppError> {
        let all = networks(catalogue, Words::Tags)?;
        if all.is_empty() {
            return Err(AppError::NotFound(missing(Words::Tags)));
        }
        let Some(found) = spelled(&all, name, |found| found.stem.as_str()) else {
            let names: Vec<_> = all.iter().map(|found| found.stem.as_str()).collect();
            let message = format!("Model not found: {name:.100} is none of {}", names.join(", "));
            return Err(AppError::NotFound(message));
        };
        Self::read(catalogue, found, Words::Tags)
    }

    /// Names of the networks for tags. Reads folders.
    pub(crate) fn taggers(catalogue: &Catalogue) -> Result<Vec<String>, AppError> {
        Ok(networks(catalogue, Words::Tags)?.into_iter().map(|found| found.stem).collect())
    }

    fn read(catalogue: &Catalogue, found: &Found, words: Words) -> Result<Self, AppError> {
        let network = catalogue.model_file(found)?;
        let text = gesso_torch::about_network(&found.path)
            .map_err(|error| unfit(&network, &error.problem.to_string()))?;
        let about = About::read(text.as_deref()).map_err(|problem| unfit(&network, &problem))?;
        if words == Words::Tags && about.names.is_empty() {
            return Err(unfit(&network, "its config.txt has no names; list its tags there, in order"));
        }
        Ok(Self { words, network, about: Arc::new(about) })
    }

    /// What it says of a picture. Dropping the future cancels what is under way.
    pub(crate) async fn words(
        &self,
        app: &App,
        running: Option<&RunningGuard<'_>>,
        picture: Pixels,
        options: &TagOptions,
        by: (&CancelFlag, i32),
    ) -> Result<String, AppError> {
        let values = self.output(app, running, picture, by).await?;
        match self.words {
            Words::Tags => tags::listed(&self.about.names, &values, options)
                .ok_or_else(|| self.has_other_names(values.len())),
            Words::Caption => {
                // The blocking pool: the first caption waits for the vocabulary.
                let caption = blocking(move || caption(&values)).await?;
                caption.ok_or_else(|| {
                    unfit(&self.network, "it gives numbers that are no tokens of CLIP's vocabulary")
                })
            }
        }
    }

    /// What every tag scores in a picture, the surest first. Dropping the future cancels what is under way.
    pub(crate) async fn scores(
        &self,
        app: &App,
        running: Option<&RunningGuard<'_>>,
        picture: Pixels,
        by: (&CancelFlag, i32),
    ) -> Result<Scores, AppError> {
        let values = self.output(app, running, picture, by).await?;
        Scores::of(&self.about.names, &values).ok_or_else(|| self.has_other_names(values.len()))
    }

    fn has_other_names(&self, scores: usize) -> AppError {
        let names = self.about.names.len();
        unfit(&self.network, &format!("it gives {scores} scores for the {names} names of its config.txt"))
    }

    /// The numbers that the network gives for a picture.
    async fn output(
        &self,
        app: &App,
        running: Option<&RunningGuard<'_>>,
        picture: Pixels,
        (cancel, priority): (&CancelFlag, i32),
    ) -> Result<Vec<f32>, AppError> {
        let about = self.about.clone();
        // As web UIs bring pictures to each.
        let mode = match self.words {
            Words::Caption => FitMode::Stretch,
            Words::Tags => FitMode::Contain,
        };
        // The blocking pool: resampling.
        let input = blocking(move || about.fed(&picture, mode)).await?;
        let input = input.map_err(|error| AppError::invalid("image", error.to_string()))?;
        let run = NetworkRun { network: self.network.clone(), inputs: Arc::new(vec![input]) };
        let spec = JobSpec { work: Work::RunNetwork(run), priority, cancel: cancel.clone() };
        let job = app.engine.submit(spec).map_err(engine_refused)?;
        if let Some(running) = running {
            running.show(job.progress());
        }
        let outputs = job.finish_numbers().await.map_err(|error| match error {
            // It was fed as its own file says, and no client chose that.
            JobError::Backend(BackendError::Request(why) | BackendError::Model(why)) => {
                unfit(&self.network, &why)
            }
            other => engine_failed(other),
        })?;
        let output = outputs.into_iter().next();
        output.map(|output| output.values).ok_or_else(|| unfit(&self.network, "it gives no tensor"))
    }
}

/// The networks for such words, by name.
fn networks(catalogue: &Catalogue, words: Words) -> Result<Vec<Found>, AppError> {
    let mut all = catalogue.files(Kind::Network)?;
    all.retain(|found| {
        let stem = found.stem.to_lowercase();
        stems(words).iter().any(|begin| stem.starts_with(*begin))
    });
    Ok(all)
}

/// What the names of files begin with, lower case.
fn stems(words: Words) -> &'static [&'static str] {
    match words {
        Words::Caption => &["interrogate-clip"],
        Words::Tags => &["deepbooru", "deepdanbooru", "wd14"],
    }
}

fn missing(words: Words) -> String {
    let what = match words {
        Words::Caption => "writes captions",
        Words::Tags => "knows tags",
    };
    let files: Vec<_> = stems(words).iter().map(|begin| format!("{begin}*.torchscript")).collect();
    format!(
        "Model not found: there is no network here that {what}; put {} into the folder {} inside the models folder \
         (docs/http-api.md says what such a file holds)",
        files.join(" or "),
        Kind::Network.folders()[0],
    )
}

/// What is wrong with a file is its operator's to mend, not the client's.
fn unfit(network: &ModelFile, problem: &str) -> AppError {
    AppError::Internal(format!("the network {} cannot be asked: {problem}", network.name))
}

/// The text of token ids; `None` where a number is none.
fn caption(ids: &[f32]) -> Option<String> {
    // Not-a-number would be the first token.
    let id = |&id: &f32| {
        if id.is_nan() { u32::MAX } else { u32::try_from(id.round() as i64).unwrap_or(u32::MAX) }
    };
    TOKENIZER.decode(ids.iter().map(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captions_end_with_their_mark_and_other_numbers_are_none() {
        assert_eq!(
            caption(&[49_406.0, 320.0, 736.0, 7117.0, 49_407.0, 0.0]).as_deref(),
            Some("a red circle")
        );
        assert_eq!(caption(&[-1.0]), None);
        assert_eq!(caption(&[1e9]), None);
        assert_eq!(caption(&[f32::NAN]), None);
    }

    #[test]
    fn what_is_missing_is_named_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::new(folder.path().to_owned(), None, None);
        for (words, file) in
            [(Words::Caption, "interrogate-clip*.torchscript"), (Words::Tags, "wd14*.torchscript")]
        {
            let Err(AppError::NotFound(message)) = Interrogator::find(&catalogue, words) else { panic!() };
            assert!(message.contains(file) && message.contains("the folder networks"), "{message}");
        }
    }
}
