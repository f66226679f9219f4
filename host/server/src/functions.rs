//! The serverless dialect's functions: what a checkpoint that was drawn with has of this server. The product ran one machine
//! for each; here they share the device, and a function is what was set for the tasks of its checkpoint.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gesso_core::hex::hex;
use gesso_engine::Share;
use gesso_store::Documents;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::blocking::blocking;
use crate::error::AppError;
use crate::lock::lock;

/// All of them, in one document.
const DOCUMENT: &str = "functions";

/// What was set for a function; `None` is as for any.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Resources {
    /// A task of the checkpoint fails that has not ended so long after its beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timeout_seconds: Option<u64>,
    /// Threads of the processor that pictures of the checkpoint are computed on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) threads: Option<u32>,
    /// MiB that the checkpoint and what is computed with it take of the memory that is drawn in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) device_mib_max: Option<u64>,
    /// Variables that plugins see in tasks of the checkpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) environment: Option<BTreeMap<String, String>>,
}

impl Resources {
    /// What is said takes the place of what was.
    fn take_in(&mut self, said: &Self) {
        self.timeout_seconds = said.timeout_seconds.or(self.timeout_seconds);
        self.threads = said.threads.or(self.threads);
        self.device_mib_max = said.device_mib_max.or(self.device_mib_max);
        if said.environment.is_some() {
            self.environment.clone_from(&said.environment);
        }
    }
}

/// By the file names of their checkpoints.
pub(crate) struct Functions {
    documents: Documents,
    all: Mutex<BTreeMap<String, Resources>>,
    /// Held while the document is written, so that it says what was known last.
    document: tokio::sync::Mutex<()>,
}

impl Functions {
    /// As they were when the server ended. Blocks.
    pub(crate) fn open(documents: Documents) -> io::Result<Self> {
        let all = Mutex::new(documents.read(DOCUMENT)?.unwrap_or_default());
        Ok(Self { documents, all, document: tokio::sync::Mutex::default() })
    }

    /// The checkpoint is drawn with: from then on it has a function.
    pub(crate) async fn used(self: &Arc<Self>, model: &str) {
        let is_new = {
            let mut all = lock(&self.all);
            // Under one lock, so that another task's first use takes back nothing that was set meanwhile.
            !all.contains_key(model) && all.insert(model.to_owned(), Resources::default()).is_none()
        };
        if !is_new {
            return;
        }
        // It is there as long as the server runs.
        if let Err(error) = self.write().await {
            tracing::warn!(%error, "a function could not be written down");
        }
    }

    /// Name and checkpoint of each, and what was set for it.
    pub(crate) fn all(&self) -> Vec<(String, String, Resources)> {
        let all = lock(&self.all);
        all.iter().map(|(model, set)| (name(model), model.clone(), set.clone())).collect()
    }

    /// How long a task of the checkpoint may run.
    pub(crate) fn timeout(&self, model: &str) -> Option<Duration> {
        lock(&self.all).get(model)?.timeout_seconds.map(Duration::from_secs)
    }

    /// What a drawing with the checkpoint may have of the machine.
    pub(crate) fn share(&self, model: &str) -> Share {
        let all = lock(&self.all);
        let Some(set) = all.get(model) else { return Share::default() };
        let bytes_max = set.device_mib_max.map(|mib| mib.saturating_mul(1 << 20));
        Share { threads: set.threads, bytes_max }
    }

    /// Variables for the plugins of the checkpoint's tasks.
    pub(crate) fn environment(&self, model: &str) -> Arc<BTreeMap<String, String>> {
        let environment = lock(&self.all).get(model).and_then(|set| set.environment.clone());
        Arc::new(environment.unwrap_or_default())
    }

    /// Sets what was said for the functions of these checkpoints, all of them where there is none; names those that have no
    /// function, and changes nothing then.
    pub(crate) async fn set(self: &Arc<Self>, models: &[String], set: &Resources) -> Result<(), AppError> {
        {
            let mut all = lock(&self.all);
            let unknown: Vec<_> = models.iter().filter(|model| !all.contains_key(*model)).cloned().collect();
            if !unknown.is_empty() {
                let message = format!("models: no function has drawn with {}", unknown.join(", "));
                return Err(AppError::invalid("models", message));
            }
            for (_, resources) in
                all.iter_mut().filter(|(model, _)| models.is_empty() || models.contains(model))
            {
                resources.take_in(set);
            }
        }
        self.write().await
    }

    /// Forgets functions by their names, with what was set; returns the names that are none.
    pub(crate) async fn remove(self: &Arc<Self>, names: &[String]) -> Result<Vec<String>, AppError> {
        let unknown = {
            let mut all = lock(&self.all);
            let known: Vec<_> = all.keys().map(|model| name(model)).collect();
            all.retain(|model, _| !names.contains(&name(model)));
            names.iter().filter(|name| !known.contains(name)).cloned().collect()
        };
        self.write().await?;
        Ok(unknown)
    }

    async fn write(self: &Arc<Self>) -> Result<(), AppError> {
        let _one_at_a_time = self.document.lock().await;
        let (documents, all) = (self.documents.clone(), lock(&self.all).clone());
        // The blocking pool: a file.
        let written = blocking(move || documents.write(DOCUMENT, &all)).await?;
        written.map_err(|error| AppError::Internal(format!("the functions cannot be written: {error}")))
    }
}

/// `sd_` and the beginning of the digest of the checkpoint's name.
fn name(model: &str) -> String {
    format!("sd_{}", hex(&Sha256::digest(model)[..16]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_function_is_there_from_its_first_use_until_it_is_removed_over_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Arc::new(Functions::open(Documents::new(folder.path())).unwrap());
        let functions = open();
        functions.used("a.safetensors").await;
        functions.used("b.safetensors").await;
        let a = ["a.safetensors".to_owned()];
        functions.set(&a, &Resources { timeout_seconds: Some(9), ..Resources::default() }).await.unwrap();
        let environment = Some(BTreeMap::from([("TONE".to_owned(), "warm".to_owned())]));
        let more =
            Resources { threads: Some(2), device_mib_max: Some(3), environment, ..Resources::default() };
        functions.set(&a, &more).await.unwrap();
        assert!(functions.set(&["c".into(), a[0].clone()], &Resources::default()).await.is_err());
        let functions = open();
        assert_eq!(functions.timeout("a.safetensors"), Some(Duration::from_secs(9)));
        assert_eq!(functions.timeout("b.safetensors"), None);
        let share = Share { threads: Some(2), bytes_max: Some(3 << 20) };
        assert_eq!((functions.share(&a[0]), functions.share("b.safetensors")), (share, Share::default()));
        assert_eq!(functions.environment(&a[0])["TONE"], "warm");
        let (first, model, _) = functions.all()[0].clone();
        assert_eq!((model.as_str(), first.len()), ("a.safetensors", 35));
        assert_eq!(functions.remove(&[first, "sd_x".into()]).await.unwrap(), ["sd_x"]);
        assert_eq!(open().all().len(), 1);
    }
}
