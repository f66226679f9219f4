//! Models that were registered out of the object store: each is copied into the models folder, checked, and then found
//! there like any other. Knows nothing of what models are for but the folder they belong into.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use gesso_store::{Documents, ObjectInfo, ObjectKey, Objects, ObjectsError, is_model_name};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use crate::blocking::blocking;
use crate::catalogue::{Catalogue, Kind, Stamp};
use crate::error::AppError;
use crate::http::wire::fields::FieldProblem;
use crate::lock::lock;

mod deleted;

use deleted::Deleted;

/// All of them, in one document.
const DOCUMENT: &str = "models";
/// How the names of files end that are on their way; they begin with a dot, so that no scan takes them for models.
const STAGED: &str = ".registering";

/// What is to be registered, as clients say it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Attributes {
    pub(crate) kind: Kind,
    /// The name of the file in the models folder.
    pub(crate) name: String,
    pub(crate) oss_path: String,
    /// The object's ETag, or the file's SHA-256; empty where nobody knows it.
    pub(crate) etag: String,
}

/// A model that was registered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Registered {
    #[serde(flatten)]
    pub(crate) attributes: Attributes,
    pub(crate) file: FileState,
    /// The file that was put in place last. One that is another by now is somebody else's.
    installed: Option<Stamp>,
}

/// How far its file is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", content = "reason", rename_all = "lowercase")]
pub(crate) enum FileState {
    Registering,
    There,
    /// Why; what was there before is still there.
    Failed(String),
}

pub(crate) struct RegisteredModels {
    documents: Documents,
    objects: Objects,
    catalogue: Arc<Catalogue>,
    /// The models folder.
    folder: PathBuf,
    all: Mutex<BTreeMap<String, Registered>>,
    deleted: Deleted,
    /// Held by whoever registers, changes or removes: one at a time, and each after the copy before it has ended.
    changes: tokio::sync::Mutex<BTreeMap<String, JoinHandle<()>>>,
    /// Held while the document is written, so that it says what was known last.
    document: tokio::sync::Mutex<()>,
    /// So that no two copies write into one file.
    copies: AtomicU64,
}

impl RegisteredModels {
    /// As they were when the server ended. Blocks.
    pub(crate) fn open(
        documents: Documents,
        objects: Objects,
        catalogue: Arc<Catalogue>,
        folder: PathBuf,
    ) -> io::Result<Self> {
        let all = Mutex::new(documents.read(DOCUMENT)?.unwrap_or_default());
        let (deleted, changes, document, copies) = Default::default();
        Ok(Self { documents, objects, catalogue, folder, all, deleted, changes, document, copies })
    }

    /// Begins again what the end of the server broke off.
    pub(crate) async fn resume(self: &Arc<Self>) {
        let mut changes = self.changes.lock().await;
        for model in self.all().into_iter().filter(|model| model.file == FileState::Registering) {
            self.begin(&mut changes, model.attributes);
        }
    }

    pub(crate) fn all(&self) -> Vec<Registered> {
        lock(&self.all).values().cloned().collect()
    }

    /// What was registered under the name and was removed a while ago at most.
    pub(crate) fn deleted(&self, name: &str) -> Option<Attributes> {
        self.deleted.get(name, Instant::now())
    }

    /// Takes the model in, durably; its file comes after the answer.
    ///
    /// # Errors
    /// `Conflict` where there is a model of that name, `Invalid` for every attribute that is wrong.
    pub(crate) async fn register(self: &Arc<Self>, attributes: Attributes) -> Result<(), AppError> {
        let mut changes = self.changes.lock().await;
        self.check(&attributes).await?;
        let (catalogue, kind, name) = (self.catalogue.clone(), attributes.kind, attributes.name.clone());
        // The blocking pool: a folder.
        let files = blocking(move || catalogue.files(kind)).await??;
        let is_name = |known: &str| known.eq_ignore_ascii_case(&name);
        let is_there = files.iter().any(|file| file.file_name.rsplit('/').next().is_some_and(is_name));
        if is_there || lock(&self.all).keys().any(|known| is_name(known)) {
            return Err(AppError::Conflict(format!("there is a model {name} already")));
        }
        let new = Registered { attributes, file: FileState::Registering, installed: None };
        self.begin_with(&mut changes, new).await
    }

    /// Has a registered model be copied anew, from where `attributes` say; its file stays until then.
    pub(crate) async fn change(self: &Arc<Self>, attributes: Attributes) -> Result<(), AppError> {
        let mut changes = self.changes.lock().await;
        let before = self.get(&attributes.name).ok_or_else(|| not_registered(&attributes.name))?;
        if before.attributes.kind != attributes.kind {
            let message = "type: a registered model stays of its type; delete it and register it again";
            return Err(AppError::invalid("type", message));
        }
        self.check(&attributes).await?;
        stop(&mut changes, &attributes.name).await;
        // The copy before may have come to its end meanwhile.
        let installed = self.get(&attributes.name).and_then(|model| model.installed);
        let new = Registered { attributes, file: FileState::Registering, installed };
        self.begin_with(&mut changes, new).await
    }

    /// Forgets a registered model and removes the file that was put in place for it.
    pub(crate) async fn remove(self: &Arc<Self>, name: &str) -> Result<(), AppError> {
        let mut changes = self.changes.lock().await;
        self.get(name).ok_or_else(|| not_registered(name))?;
        stop(&mut changes, name).await;
        let Some(model) = self.get(name) else { return Ok(()) };
        let path = self.path(&model.attributes).await?;
        // The blocking pool: files.
        let removed = blocking(move || {
            sweep(&path);
            match Stamp::of(&path) {
                Ok(there) if Some(there) == model.installed => std::fs::remove_file(&path),
                // Somebody else's, or gone.
                _ => Ok(()),
            }
        });
        if let Err(error) = removed.await? {
            let reason = "the model's file cannot be removed; see the server's log";
            tracing::error!(model = name, %error, "a model's file cannot be removed");
            if let Some(model) = lock(&self.all).get_mut(name) {
                model.file = FileState::Failed(reason.into());
            }
            return Err(AppError::Internal(reason.into()));
        }
        lock(&self.all).remove(name);
        self.deleted.note(model.attributes, Instant::now());
        self.write().await
    }

    fn get(&self, name: &str) -> Option<Registered> {
        lock(&self.all).get(name).cloned()
    }

    async fn check(&self, attributes: &Attributes) -> Result<(), AppError> {
        let mut problems = Vec::new();
        let mut wrong = |field: &str, message: String| {
            problems.push(FieldProblem { field: field.into(), message: format!("{field}: {message}") });
        };
        let extensions = attributes.kind.extensions();
        let (stem, extension) = attributes.name.rsplit_once('.').unwrap_or((&attributes.name, ""));
        if !is_model_name(&attributes.name) {
            let message = "a file's name of letters, digits and ' ._-+()' that does not begin with a dot";
            wrong("name", message.into());
        } else if !extensions.iter().any(|known| known.eq_ignore_ascii_case(extension)) {
            wrong("name", format!("it has to end in one of .{}", extensions.join(", .")));
        } else if attributes.kind == Kind::Checkpoint && stem.to_ascii_lowercase().ends_with(".vae") {
            wrong("name", "a name with .vae is a VAE's; leave that out, or register it as sdVae".into());
        }
        match ObjectKey::model(&attributes.oss_path) {
            Err(error) => wrong("ossPath", error.to_string()),
            Ok(key) => match self.objects.head(&key).await {
                Ok(found) => {
                    if let Err(reason) = check_etag(&attributes.etag, &found) {
                        wrong("etag", reason);
                    }
                }
                Err(ObjectsError::NotFound(key)) => {
                    wrong("ossPath", format!("there is no object {key} in the object store"));
                }
                Err(error) => return Err(error.into()),
            },
        }
        if problems.is_empty() { Ok(()) } else { Err(AppError::Invalid(problems)) }
    }

    /// Writes down that the model is on its way, and sends it there. What cannot be written down is as it was.
    async fn begin_with(
        self: &Arc<Self>,
        changes: &mut BTreeMap<String, JoinHandle<()>>,
        model: Registered,
    ) -> Result<(), AppError> {
        let attributes = model.attributes.clone();
        let before = lock(&self.all).insert(attributes.name.clone(), model);
        if let Err(error) = self.write().await {
            let mut all = lock(&self.all);
            all.remove(&attributes.name);
            all.extend(before.map(|before| (attributes.name, before)));
            return Err(error);
        }
        self.begin(changes, attributes);
        Ok(())
    }

    /// Copies in the background.
    fn begin(self: &Arc<Self>, changes: &mut BTreeMap<String, JoinHandle<()>>, attributes: Attributes) {
        let (registered, name) = (self.clone(), attributes.name.clone());
        // A tokio worker: it waits for the store and the disk.
        let copy = tokio::spawn(async move {
            let name = &attributes.name;
            let copied = registered.copy(&attributes).await;
            if let Some(model) = lock(&registered.all).get_mut(name) {
                match copied {
                    Ok(installed) => {
                        tracing::info!(model = name, "a registered model is there");
                        (model.file, model.installed) = (FileState::There, Some(installed));
                    }
                    Err(error) => {
                        tracing::error!(model = name, %error, "a model could not be registered");
                        model.file = FileState::Failed(error.to_string());
                    }
                }
            }
            if let Err(error) = registered.write().await {
                tracing::error!(%error, "the registered models cannot be written");
            }
        });
        changes.insert(name, copy);
    }

    /// Puts the model's file in place, durably.
    async fn copy(&self, attributes: &Attributes) -> Result<Stamp, AppError> {
        let key = ObjectKey::model(&attributes.oss_path)
            .map_err(|error| AppError::invalid("ossPath", error.to_string()))?;
        let found = self.objects.head(&key).await?;
        check_etag(&attributes.etag, &found).map_err(AppError::Conflict)?;
        let path = self.path(attributes).await?;
        let number = self.copies.fetch_add(1, Ordering::Relaxed);
        let staged = path.with_file_name(format!(".{}.{number}{STAGED}", attributes.name));
        let place = path.clone();
        // The blocking pool: folders.
        let made = blocking(move || {
            let folder = place.parent().unwrap_or(Path::new("."));
            std::fs::create_dir_all(folder).inspect(|()| sweep(&place))
        });
        made.await?.map_err(|error| disk(&error))?;
        let sha256 = self.objects.copy_to(&key, &found, &staged).await.inspect_err(|_| forget(&staged))?;
        if is_sha256(&attributes.etag) && !attributes.etag.eq_ignore_ascii_case(&sha256) {
            forget(&staged);
            return Err(AppError::Conflict(format!("the file's SHA-256 is {sha256}")));
        }
        let (kind, judged) = (attributes.kind, staged.clone());
        // The blocking pool: a file's head.
        if let Err(reason) = blocking(move || judge(kind, &judged)).await? {
            forget(&staged);
            return Err(AppError::Unprocessable(reason));
        }
        // The blocking pool: files.
        let moved = blocking(move || {
            std::fs::rename(&staged, &path)?;
            std::fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
            Stamp::of(&path)
        });
        moved.await?.map_err(|error| disk(&error))
    }

    /// Where the file belongs, or lies already.
    async fn path(&self, attributes: &Attributes) -> Result<PathBuf, AppError> {
        let (folder, kind, name) = (self.folder.clone(), attributes.kind, attributes.name.clone());
        // The blocking pool: folders.
        blocking(move || place(&folder, kind, &name)).await
    }

    async fn write(self: &Arc<Self>) -> Result<(), AppError> {
        let _one_at_a_time = self.document.lock().await;
        let (documents, all) = (self.documents.clone(), lock(&self.all).clone());
        // The blocking pool: a file.
        let written = blocking(move || documents.write(DOCUMENT, &all)).await?;
        written
            .map_err(|error| AppError::Internal(format!("the registered models cannot be written: {error}")))
    }
}

/// In the folder of its kind, by the name that folder has already. A checkpoint lies in the models folder itself where there is
/// no such folder, which once made would hide those in folders of other names, and where it was put there before there was one.
fn place(models: &Path, kind: Kind, name: &str) -> PathBuf {
    let known = kind.folders()[0];
    let entries = std::fs::read_dir(models).into_iter().flatten().flatten();
    let mut names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let there = names.find(|name| known.eq_ignore_ascii_case(name));
    let in_folder = models.join(there.as_deref().unwrap_or(known)).join(name);
    let loose = models.join(name);
    let is_loose = there.is_none() || (loose.exists() && !in_folder.exists());
    if kind == Kind::Checkpoint && is_loose { loose } else { in_folder }
}

/// Ends the copy of a name, and waits until it has ended.
async fn stop(changes: &mut BTreeMap<String, JoinHandle<()>>, name: &str) {
    if let Some(copy) = changes.remove(name) {
        copy.abort();
        // An error says that it was.
        drop(copy.await);
    }
}

/// Removes what copies that were broken off have left beside the model.
fn sweep(path: &Path) {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let entries = path.parent().and_then(|folder| std::fs::read_dir(folder).ok()).into_iter().flatten();
    for entry in entries.flatten() {
        let found = entry.file_name();
        let found = found.to_string_lossy();
        let number = found.strip_prefix(&format!(".{name}.")).and_then(|rest| rest.strip_suffix(STAGED));
        if number.is_some_and(|number| number.bytes().all(|digit| digit.is_ascii_digit())) {
            forget(&entry.path());
        }
    }
}

fn forget(staged: &Path) {
    if let Err(error) = std::fs::remove_file(staged)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(file = %staged.display(), %error, "what a copy left cannot be removed");
    }
}

/// Why a file is not what it was registered as, so far as its head tells: it must not take the place of one that is.
fn judge(kind: Kind, file: &Path) -> Result<(), String> {
    let judged = match kind {
        Kind::Checkpoint => gesso_torch::inspect_model(file).map(drop),
        // What else is registered is loaded beside a checkpoint, and judged with it.
        _ => gesso_torch::Tensors::read_metadata(file).map(drop),
    };
    // Not where it lies, which is no client's business.
    judged.map_err(|error| format!("the object is no {} that can be used: {}", kind.noun(), error.problem))
}

fn is_sha256(etag: &str) -> bool {
    etag.len() == 64 && etag.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// Stores write an ETag in quotes, their consoles without. A SHA-256 can be compared only with what was copied.
fn check_etag(etag: &str, found: &ObjectInfo) -> Result<(), String> {
    let bare = |etag: &str| etag.trim().trim_matches('"').to_owned();
    let there = found.etag.as_deref().map(bare);
    if bare(etag).is_empty() || is_sha256(etag) || there.as_ref() == Some(&bare(etag)) {
        return Ok(());
    }
    let there = there.unwrap_or_else(|| "unknown".into());
    Err(format!("the object's is {there}; leave it out, or give the file's SHA-256"))
}

fn not_registered(name: &str) -> AppError {
    AppError::NotFound(format!("there is no registered model {name:.200}"))
}

/// Where it lies is in the log: it is no client's business.
fn disk(error: &io::Error) -> AppError {
    tracing::error!(%error, "the models folder cannot be written");
    AppError::Internal(format!("the models folder cannot be written: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_makes_no_folder_that_would_hide_others_and_is_found_where_it_was_put() {
        let models = tempfile::tempdir().unwrap();
        let models = models.path();
        let place = |kind| place(models, kind, "a.safetensors");
        assert_eq!(place(Kind::Checkpoint), models.join("a.safetensors"));
        assert_eq!(place(Kind::Lora), models.join("Lora/a.safetensors"));
        std::fs::write(models.join("a.safetensors"), b"").unwrap();
        std::fs::create_dir(models.join("stable-diffusion")).unwrap();
        std::fs::create_dir(models.join("lora")).unwrap();
        assert_eq!(place(Kind::Checkpoint), models.join("a.safetensors"), "it lies there already");
        assert_eq!(place(Kind::Lora), models.join("lora/a.safetensors"));
        std::fs::write(models.join("stable-diffusion/a.safetensors"), b"").unwrap();
        assert_eq!(place(Kind::Checkpoint), models.join("stable-diffusion/a.safetensors"));
        std::fs::remove_file(models.join("stable-diffusion/a.safetensors")).unwrap();
        std::fs::remove_file(models.join("a.safetensors")).unwrap();
        assert_eq!(place(Kind::Checkpoint), models.join("stable-diffusion/a.safetensors"));
    }
}
