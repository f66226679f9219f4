//! Restoring the faces of pictures: which of the installed files do it, and one job for one picture. Called for the
//! extras routes and for drawings; what is asked of a face is the caller's.

use std::collections::BTreeMap;
use std::sync::Arc;

use gesso_core::pixels::Pixels;
use gesso_engine::backend::{FaceRestorer, ModelFile};
use gesso_engine::{CancelFlag, FaceRestoration, JobSpec, Work};
use gesso_torch::FaceRole;

use crate::app::App;
use crate::catalogue::{Catalogue, CatalogueError, Found, Kind};
use crate::engine_errors::{engine_failed, engine_refused};
use crate::error::AppError;
use crate::http::wire::extras::Restorer;
use crate::http::wire::faces::{FIDELITY, FIELD, FacesWanted};
use crate::http::wire::fields::FieldProblem;
use crate::running::RunningGuard;

/// The files that are there. Where several do the same, the last by name is taken: the newest version.
#[derive(Debug)]
pub(crate) struct Installed(BTreeMap<FaceRole, Found>);

impl Installed {
    /// Reads the heads of files; call it where blocking is allowed.
    pub(crate) fn read(catalogue: &Catalogue) -> Result<Self, CatalogueError> {
        let role = |found: Found| match FaceRole::of(&found.path) {
            Ok(role) => Some((role, found)),
            Err(error) => {
                tracing::warn!(%error, "skipping an unusable face model");
                None
            }
        };
        Ok(Self(catalogue.files(Kind::Face)?.into_iter().filter_map(role).collect()))
    }

    pub(crate) fn has(&self, restorer: Restorer) -> bool {
        self.0.contains_key(&role(restorer))
    }

    /// Everything a restorer needs; `field` is what asked for it. `fidelity` is 0..=1.
    ///
    /// # Errors
    /// A problem for each file that is missing, with its name and where it belongs.
    pub(crate) fn restorer(
        &self,
        catalogue: &Catalogue,
        restorer: Restorer,
        fidelity: f64,
        field: &str,
    ) -> Result<FaceRestorer, AppError> {
        let mut problems = Vec::new();
        let mut file = |role: FaceRole| -> Result<Option<Arc<ModelFile>>, CatalogueError> {
            if let Some(found) = self.0.get(&role) {
                return catalogue.model_file(found).map(Some);
            }
            problems.push(FieldProblem { field: field.into(), message: missing(field, restorer, role) });
            Ok(None)
        };
        let files = (file(role(restorer))?, file(FaceRole::Detector)?, file(FaceRole::Parser)?);
        match files {
            (Some(network), Some(detector), Some(parser)) => {
                Ok(FaceRestorer { network, detector, parser, fidelity })
            }
            _ => Err(AppError::Invalid(problems)),
        }
    }
}

fn role(restorer: Restorer) -> FaceRole {
    match restorer {
        Restorer::CodeFormer => FaceRole::CodeFormer,
        Restorer::Gfpgan => FaceRole::Gfpgan,
    }
}

fn missing(field: &str, restorer: Restorer, role: FaceRole) -> String {
    let (folder, purpose) = match role {
        FaceRole::Gfpgan => ("GFPGAN", "GFPGAN"),
        FaceRole::CodeFormer => ("Codeformer", "CodeFormer"),
        FaceRole::Detector => ("GFPGAN", "the network that finds faces"),
        FaceRole::Parser => ("GFPGAN", "the network that tells a face from its hair and background"),
    };
    format!(
        "{field}: {purpose} is missing, which restoring faces with {} needs; put {} into the folder {folder} inside \
         the models folder, or leave {field} out",
        restorer.name(),
        role.published_file(),
    )
}

/// What restores the faces of a drawing.
#[derive(Debug, Clone)]
pub(crate) struct DrawnFaces {
    restorer: Restorer,
    by: FaceRestorer,
}

impl DrawnFaces {
    /// `None` where they are not wanted. Where the restorer is not chosen it is CodeFormer, as in web UIs, or GFPGAN where
    /// only that is there. Reads the heads of files: call it where blocking is allowed.
    pub(crate) fn find(catalogue: &Catalogue, wanted: Option<FacesWanted>) -> Result<Option<Self>, AppError> {
        let Some(wanted) = wanted else { return Ok(None) };
        let installed = Installed::read(catalogue)?;
        let there = || Restorer::ALL.into_iter().find(|restorer| installed.has(*restorer));
        let restorer = wanted.restorer.or_else(there).unwrap_or(Restorer::CodeFormer);
        let by = installed.restorer(catalogue, restorer, wanted.fidelity, FIELD)?;
        Ok(Some(Self { restorer, by }))
    }

    /// For infotexts: the fidelity, where it acts and is not what a text without it means.
    pub(crate) fn fidelity(&self) -> Option<f64> {
        let acts = self.restorer == Restorer::CodeFormer && self.by.fidelity != FIDELITY;
        acts.then_some(self.by.fidelity)
    }

    /// For infotexts.
    pub(crate) fn name(&self) -> &'static str {
        self.restorer.name()
    }

    /// The pictures with their faces restored. Their progress is not shown: it would begin anew for each.
    pub(crate) async fn restore(
        &self,
        app: &App,
        cancel: &CancelFlag,
        priority: i32,
        pictures: Vec<Pixels>,
    ) -> Result<Vec<Pixels>, AppError> {
        let mut restored = Vec::with_capacity(pictures.len());
        for picture in pictures {
            if cancel.is_interrupted() {
                restored.push(picture);
                continue;
            }
            restored.push(restore(app, None, cancel, priority, Arc::new(picture), &self.by).await?);
        }
        Ok(restored)
    }
}

/// The picture with its faces restored; unchanged when there is none.
pub(crate) async fn restore(
    app: &App,
    running: Option<&RunningGuard<'_>>,
    cancel: &CancelFlag,
    priority: i32,
    picture: Arc<Pixels>,
    by: &FaceRestorer,
) -> Result<Pixels, AppError> {
    let work = Work::RestoreFaces(FaceRestoration { picture, by: by.clone() });
    let spec = JobSpec { work, priority, cancel: cancel.clone() };
    let job = app.engine.submit(spec).map_err(engine_refused)?;
    if let Some(running) = running {
        running.show(job.progress());
    }
    let restored = job.finish().await.map_err(engine_failed)?.pop();
    restored.ok_or_else(|| AppError::Internal("the engine restored a picture to none".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_missing_file_is_named_with_the_folder_it_belongs_in() {
        let models = tempfile::tempdir().unwrap();
        std::fs::create_dir(models.path().join("GFPGAN")).unwrap();
        std::fs::write(models.path().join("GFPGAN/GFPGANv1.4.pth"), "no weights").unwrap();
        let catalogue = Catalogue::new(models.path().to_owned(), None, None);
        let installed = Installed::read(&catalogue).unwrap();
        assert!(Restorer::ALL.iter().all(|restorer| !installed.has(*restorer)));
        let error = installed.restorer(&catalogue, Restorer::CodeFormer, 0.5, "codeformer_visibility");
        let Err(AppError::Invalid(problems)) = error else { panic!("{error:?}") };
        let messages: Vec<_> = problems.iter().map(|problem| problem.message.as_str()).collect();
        assert_eq!(problems.iter().filter(|problem| problem.field == "codeformer_visibility").count(), 3);
        for (message, file) in messages.iter().zip([
            "put codeformer.pth into the folder Codeformer",
            "put detection_Resnet50_Final.pth into the folder GFPGAN",
            "put parsing_parsenet.pth into the folder GFPGAN",
        ]) {
            assert!(message.contains(file), "{message}");
        }
    }
}
