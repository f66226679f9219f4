//! Networks that plugins run: names to files of the models folder, and the device. Which of them a plugin may run is the
//! plugin host's.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use gesso_core::numbers::Numbers;
use gesso_engine::backend::{BackendError, ModelFile};
use gesso_engine::{CancelFlag, EngineHandle, JobError, JobSpec, NetworkRun, Work};
use gesso_plugin_host::{NetworkAnswer, NetworkError, Networks};
use tokio::runtime::Handle;

use crate::abort_on_drop::AbortOnDrop;
use crate::blocking::blocking;
use crate::catalogue::{Catalogue, CatalogueError, Kind, spelled};
use crate::error::AppError;

/// The networks of the models folder.
pub(crate) struct ServerNetworks {
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) engine: EngineHandle,
    /// Guests run on threads of their own; folders and waiting belong on the server's.
    pub(crate) runtime: Handle,
}

impl ServerNetworks {
    fn answer<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, NetworkError>> + Send + 'static,
    ) -> NetworkAnswer<T> {
        // The server's tokio workers: it waits for the pools and for the device. A guest that ends leaves nothing behind: the
        // job of a task that is gone is cancelled.
        let mut task = AbortOnDrop(self.runtime.spawn(work));
        Box::pin(async move {
            (&mut task.0).await.unwrap_or_else(|_| Err(NetworkError::Failed("the server ended early".into())))
        })
    }
}

impl Networks for ServerNetworks {
    fn list(&self) -> NetworkAnswer<Vec<String>> {
        let catalogue = self.catalogue.clone();
        self.answer(async move {
            // The blocking pool: folders.
            let files = blocking(move || catalogue.files(Kind::Network)).await.map_err(internal)?;
            let mut names: Vec<String> =
                files.map_err(not_found)?.into_iter().map(|file| file.stem).collect();
            names.sort_unstable();
            Ok(names)
        })
    }

    fn about(&self, network: String) -> NetworkAnswer<Option<String>> {
        let catalogue = self.catalogue.clone();
        self.answer(async move {
            // The blocking pool: folders and a file's head.
            let read = blocking(move || {
                let file = find(&catalogue, &network)?;
                gesso_torch::about_network(&file.path)
                    .map_err(|error| NetworkError::Failed(format!("{}: {}", file.name, error.problem)))
            });
            read.await.map_err(internal)?
        })
    }

    fn run(
        &self,
        network: String,
        inputs: Vec<Numbers>,
        cancelled: Arc<AtomicBool>,
    ) -> NetworkAnswer<Vec<Numbers>> {
        let (catalogue, engine) = (self.catalogue.clone(), self.engine.clone());
        self.answer(async move {
            // The blocking pool: folders.
            let network = blocking(move || find(&catalogue, &network)).await.map_err(internal)??;
            let run = NetworkRun { network, inputs: Arc::new(inputs) };
            let cancel = CancelFlag::from(cancelled);
            let spec = JobSpec { work: Work::RunNetwork(run), priority: 0, cancel };
            let job = engine.submit(spec).map_err(|error| NetworkError::Unavailable(error.to_string()))?;
            job.finish_numbers().await.map_err(|error| match error {
                JobError::Cancelled => NetworkError::Cancelled,
                JobError::Backend(BackendError::Request(why) | BackendError::Model(why)) => {
                    NetworkError::Invalid(why)
                }
                JobError::ShutDown | JobError::Backend(BackendError::Lost(_)) => {
                    NetworkError::Unavailable(error.to_string())
                }
                JobError::Backend(_) | JobError::Panicked(_) => NetworkError::Failed(error.to_string()),
            })
        })
    }
}

/// By its bare name, which is what is granted.
fn find(catalogue: &Catalogue, network: &str) -> Result<Arc<ModelFile>, NetworkError> {
    let files = catalogue.files(Kind::Network).map_err(not_found)?;
    match spelled(&files, network, |found| found.stem.as_str()) {
        Some(found) => catalogue.model_file(found).map_err(not_found),
        None => catalogue.find(Kind::Network, network).map_err(not_found).and_then(|found| {
            // A path or a file's name means a network too, but is none.
            Err(NetworkError::Invalid(format!(
                "there is no network {network:?}; its name is {:?}",
                found.name
            )))
        }),
    }
}

fn not_found(error: CatalogueError) -> NetworkError {
    match error {
        CatalogueError::Unknown { .. } | CatalogueError::Unusable { .. } | CatalogueError::Empty => {
            NetworkError::Invalid(error.to_string())
        }
        CatalogueError::Unreadable(_) => NetworkError::Unavailable(error.to_string()),
    }
}

fn internal(error: AppError) -> NetworkError {
    NetworkError::Failed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_found_by_its_bare_name_in_any_case_and_first_as_it_is_spelled() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("networks")).unwrap();
        for name in ["Depth", "depth"] {
            std::fs::write(folder.path().join(format!("networks/{name}.torchscript")), b"").unwrap();
        }
        let catalogue = Catalogue::new(folder.path().to_owned(), None, None);
        for (name, found) in [("depth", "depth"), ("Depth", "Depth"), ("DEPTH", "Depth")] {
            assert_eq!(find(&catalogue, name).unwrap().name, found, "{name}");
        }
        let refused = find(&catalogue, "depth.torchscript").unwrap_err();
        assert!(refused.to_string().contains("its name is \"depth\""), "{refused}");
    }
}
