//! Whether waiting tasks begin: an operator may have the queue rest, such as while the device is needed elsewhere. What
//! runs goes on, and what comes in is stored and waits. A restart changes nothing about it.

use std::sync::Arc;

use gesso_store::Documents;
use tokio::sync::{Mutex, watch};

use crate::blocking::blocking;
use crate::error::AppError;

/// There is a document of this name as long as the queue rests.
const DOCUMENT: &str = "paused";

pub(crate) struct Pause {
    documents: Documents,
    is_paused: watch::Sender<bool>,
    /// Held while the document is changed, so that it says what was asked for last.
    file: Mutex<()>,
}

impl Pause {
    /// As it was when the server ended. Blocks.
    pub(crate) fn open(documents: Documents) -> std::io::Result<Self> {
        let is_paused = documents.read::<bool>(DOCUMENT)?.unwrap_or_default();
        Ok(Self { documents, is_paused: watch::Sender::new(is_paused), file: Mutex::default() })
    }

    pub(crate) fn is_on(&self) -> bool {
        *self.is_paused.borrow()
    }

    /// For those who wait for its end.
    pub(crate) fn watch(&self) -> watch::Receiver<bool> {
        self.is_paused.subscribe()
    }

    /// Durable when it returns.
    pub(crate) async fn set(self: &Arc<Self>, is_paused: bool) -> Result<(), AppError> {
        let _one_at_a_time = self.file.lock().await;
        let documents = self.documents.clone();
        // The blocking pool: a file.
        let written = blocking(move || match is_paused {
            true => documents.write(DOCUMENT, &true),
            false => documents.remove(DOCUMENT).map(drop),
        });
        written
            .await?
            .map_err(|error| AppError::Internal(format!("the pause cannot be written: {error}")))?;
        self.is_paused.send_replace(is_paused);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pause_outlives_the_server() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Arc::new(Pause::open(Documents::new(folder.path())).unwrap());
        let pause = open();
        assert!(!pause.is_on());
        pause.set(true).await.unwrap();
        assert!(pause.is_on() && open().is_on());
        pause.set(false).await.unwrap();
        pause.set(false).await.unwrap();
        assert!(!pause.is_on() && !open().is_on());
    }
}
