//! Loading a build that has to be compiled first, which may take minutes: other changes go on meanwhile. Called where grants were
//! given and where a file of the folder has changed. What becomes of the load is the parent's.

use super::{Changes, StandIn};
use crate::compile_worker::sha256_hex;
use crate::grants;
use crate::host::Inner;
use crate::watch::FileStamp;
use tokio::sync::MutexGuard;

impl Inner {
    /// Loads the build in the folder with the grants that are stored. Where it is compiled first, it counts only if the plugin is
    /// still there then; one that was `seen` by the watch, if nobody has dealt with its file since.
    pub(super) async fn load_beside(
        &self,
        mut changes: MutexGuard<'_, Changes>,
        id: &str,
        stand_in: StandIn,
        seen: Option<FileStamp>,
    ) {
        let Some(bytes) = self.build_to_compile(&changes, id) else {
            return self.settle(&mut changes, id, stand_in).await;
        };
        let asker = changes.asker.clone();
        drop(changes);
        let compiled = self.loader.compile(&bytes, &sha256_hex(&bytes)).await;
        // What is stored is loaded by the next start of a host that has closed.
        let Ok(mut changes) = self.open_changes(&asker).await else { return };
        let is_wanted = match seen {
            Some(seen) => changes.watched.still_has(id, seen, &self.file_of(id)),
            None => self.table.load().get(id).is_some(),
        };
        if !is_wanted {
            return;
        }
        match compiled {
            // It would fail again, under the lock. By now another build may lie there, this one may have lost its grants, or whoever
            // gave some too may have had more luck with it.
            Err(error) if self.build_to_compile(&changes, id).as_ref() == Some(&bytes) => {
                self.take(&mut changes, id, Err((bytes, error.to_string())), stand_in).await;
            }
            _ => self.settle(&mut changes, id, stand_in).await,
        }
    }

    /// The build in the folder, where it has the grants that it needs, is not the one that is active and was never compiled.
    fn build_to_compile(&self, changes: &Changes, id: &str) -> Option<Vec<u8>> {
        let bytes = self.read_file(id).ok()?;
        let digest = sha256_hex(&bytes);
        let table = self.table.load();
        let active = table.get(id).and_then(|entry| entry.active.as_ref());
        if active.is_some_and(|loaded| loaded.version.digest == digest) || self.loader.compiler.has(&digest) {
            return None;
        }
        let (_, inspection) = self.inspected(&bytes).ok()?;
        let may_load =
            inspection.manifest.id == id && grants::check(&inspection, &self.grants_of(changes, id)).is_ok();
        may_load.then_some(bytes)
    }
}
