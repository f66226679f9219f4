//! Models that were registered out of the object store: each is copied into the models folder, checked, and then found
//! there like any other. Knows nothing of what models are for but the folder they belong into.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gesso_store::{Documents, ObjectInfo, ObjectKey, Objects, ObjectsError, is_model_name};
use serde::{Deserialize, Serialize};
use tokio::task::AbortHandle;

use crate::blocking::blocking;
use crate::catalogue::Kind;
use crate::error::AppError;
use crate::http::wire::fields::FieldProblem;

/// All of them, in one document.
const DOCUMENT: &str = "models";

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
}

/// How far its file is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", content = "reason", rename_all = "lowercase")]
pub(crate) enum FileState {
    Registering,
    There,
    /// Why; the file is as it was before.
    Failed(String),
}

pub(crate) struct RegisteredModels {
    documents: Documents,
    objects: Objects,
    /// The models folder.
    folder: PathBuf,
    all: Mutex<BTreeMap<String, Registered>>,
    copies: Mutex<BTreeMap<String, AbortHandle>>,
    /// Held while the document is written, so that it says what was known last.
    document: tokio::sync::Mutex<()>,
}

impl RegisteredModels {
    /// As they were when the server ended. Blocks.
    pub(crate) fn open(documents: Documents, objects: Objects, folder: PathBuf) -> io::Result<Self> {
        let all = Mutex::new(documents.read(DOCUMENT)?.unwrap_or_default());
        let (copies, document) = (Mutex::default(), tokio::sync::Mutex::default());
        Ok(Self { documents, objects, folder, all, copies, document })
    }

    /// Begins again what the end of the server broke off.
    pub(crate) fn resume(self: &Arc<Self>) {
        let all = lock(&self.all).clone();
        for model in all.into_values().filter(|model| model.file == FileState::Registering) {
            self.begin(model.attributes);
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<Registered> {
        lock(&self.all).get(name).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Registered> {
        lock(&self.all).values().cloned().collect()
    }

    /// Takes the model in, durably; its file comes after the answer.
    ///
    /// # Errors
    /// `Conflict` where there is a model of that name, `Invalid` for every attribute that is wrong.
    pub(crate) async fn register(self: &Arc<Self>, attributes: Attributes) -> Result<(), AppError> {
        self.check(&attributes).await?;
        let path = self.path(&attributes).await?;
        let is_taken = tokio::fs::try_exists(&path).await.unwrap_or(true);
        let name = attributes.name.clone();
        {
            let mut all = lock(&self.all);
            if is_taken || all.contains_key(&name) {
                return Err(AppError::Conflict(format!("there is a model {name} already")));
            }
            all.insert(name, Registered { attributes: attributes.clone(), file: FileState::Registering });
        }
        self.write().await?;
        self.begin(attributes);
        Ok(())
    }

    /// Has a registered model be copied anew, from where `attributes` say; its file stays until then.
    pub(crate) async fn change(self: &Arc<Self>, attributes: Attributes) -> Result<(), AppError> {
        let name = attributes.name.clone();
        let before = self.get(&name).ok_or_else(|| not_registered(&name))?;
        if before.attributes.kind != attributes.kind {
            let message = "type: a registered model stays of its type; delete it and register it again";
            return Err(AppError::invalid("type", message));
        }
        self.check(&attributes).await?;
        lock(&self.all)
            .insert(name, Registered { attributes: attributes.clone(), file: FileState::Registering });
        self.write().await?;
        self.begin(attributes);
        Ok(())
    }

    /// Forgets a registered model and removes its file.
    pub(crate) async fn remove(self: &Arc<Self>, name: &str) -> Result<(), AppError> {
        let model = self.get(name).ok_or_else(|| not_registered(name))?;
        if let Some(copy) = lock(&self.copies).remove(name) {
            copy.abort();
        }
        let path = self.path(&model.attributes).await?;
        for file in [staged(&path), path] {
            match tokio::fs::remove_file(&file).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::error!(file = %file.display(), %error, "a model's file cannot be removed");
                    return Err(AppError::Internal("the model's file cannot be removed".into()));
                }
                _ => {}
            }
        }
        lock(&self.all).remove(name);
        self.write().await
    }

    async fn check(&self, attributes: &Attributes) -> Result<(), AppError> {
        let mut problems = Vec::new();
        let mut wrong = |field: &str, message: String| {
            problems.push(FieldProblem { field: field.into(), message: format!("{field}: {message}") });
        };
        let extensions = attributes.kind.extensions();
        let extension = attributes.name.rsplit_once('.').map_or("", |(_, extension)| extension);
        if !is_model_name(&attributes.name) {
            let message = "a file's name of letters, digits and ' ._-+()' that does not begin with a dot";
            wrong("name", message.into());
        } else if !extensions.iter().any(|known| known.eq_ignore_ascii_case(extension)) {
            wrong("name", format!("it has to end in one of .{}", extensions.join(", .")));
        }
        let key = ObjectKey::model(&attributes.oss_path);
        let found = match &key {
            Err(error) => {
                wrong("ossPath", error.to_string());
                None
            }
            Ok(key) => match self.objects.head(key).await {
                Ok(found) => Some(found),
                Err(ObjectsError::NotFound(key)) => {
                    wrong("ossPath", format!("there is no object {key} in the object store"));
                    None
                }
                Err(error) => return Err(error.into()),
            },
        };
        if let Some(found) = found
            && !is_sha256(&attributes.etag)
            && !is_same(&attributes.etag, &found)
        {
            let there = found.etag.as_deref().unwrap_or("unknown");
            wrong("etag", format!("the object's is {there}; leave it out, or give the file's SHA-256"));
        }
        if problems.is_empty() { Ok(()) } else { Err(AppError::Invalid(problems)) }
    }

    /// Copies in the background, in place of an earlier copy of the name.
    fn begin(self: &Arc<Self>, attributes: Attributes) {
        let (registered, name) = (self.clone(), attributes.name.clone());
        let mut copies = lock(&self.copies);
        if let Some(before) = copies.remove(&name) {
            before.abort();
        }
        // A tokio worker: it waits for the store and the disk.
        let copy = tokio::spawn(async move {
            let copied = registered.copy(&attributes).await;
            let state = match copied {
                Ok(()) => {
                    tracing::info!(model = attributes.name, "a registered model is there");
                    FileState::There
                }
                Err(error) => {
                    tracing::error!(model = attributes.name, %error, "a model could not be registered");
                    FileState::Failed(error.to_string())
                }
            };
            lock(&registered.copies).remove(&attributes.name);
            if let Some(model) = lock(&registered.all).get_mut(&attributes.name) {
                model.file = state;
            }
            if let Err(error) = registered.write().await {
                tracing::error!(%error, "the registered models cannot be written");
            }
        });
        copies.insert(name, copy.abort_handle());
    }

    async fn copy(&self, attributes: &Attributes) -> Result<(), AppError> {
        let key = ObjectKey::model(&attributes.oss_path)
            .map_err(|error| AppError::invalid("ossPath", error.to_string()))?;
        let found = self.objects.head(&key).await?;
        let path = self.path(attributes).await?;
        if let Some(folder) = path.parent() {
            tokio::fs::create_dir_all(folder).await.map_err(|error| disk(folder, &error))?;
        }
        let staged = staged(&path);
        let copied = self.objects.copy_to(&key, &found, &staged).await.map_err(AppError::from);
        let checked = copied.and_then(|sha256| {
            let is_it = match is_sha256(&attributes.etag) {
                true => attributes.etag.eq_ignore_ascii_case(&sha256),
                false => is_same(&attributes.etag, &found),
            };
            if is_it { Ok(()) } else { Err(AppError::Conflict(format!("the file's SHA-256 is {sha256}"))) }
        });
        let moved = match checked {
            Ok(()) => tokio::fs::rename(&staged, &path).await.map_err(|error| disk(&path, &error)),
            Err(error) => Err(error),
        };
        if moved.is_err() {
            drop(tokio::fs::remove_file(&staged).await);
        }
        moved
    }

    /// Where the file belongs: in the folder of its kind, by the name that folder has already.
    async fn path(&self, attributes: &Attributes) -> Result<PathBuf, AppError> {
        let (folder, known) = (self.folder.clone(), attributes.kind.folders()[0]);
        // The blocking pool: a folder.
        let there = blocking(move || {
            let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
            let mut names = entries.filter_map(|entry| entry.file_name().into_string().ok());
            names.find(|name| known.eq_ignore_ascii_case(name))
        });
        let there = there.await?;
        Ok(self.folder.join(there.as_deref().unwrap_or(known)).join(&attributes.name))
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

/// Names that begin with a dot are no models.
fn staged(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.registering"))
}

fn is_sha256(etag: &str) -> bool {
    etag.len() == 64 && etag.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// Stores write an ETag in quotes, their consoles without.
fn is_same(etag: &str, found: &ObjectInfo) -> bool {
    let bare = |etag: &str| etag.trim().trim_matches('"').to_owned();
    bare(etag).is_empty() || found.etag.as_deref().is_some_and(|there| bare(there) == bare(etag))
}

fn not_registered(name: &str) -> AppError {
    AppError::NotFound(format!("there is no registered model {name:.200}"))
}

fn disk(path: &Path, error: &io::Error) -> AppError {
    tracing::error!(path = %path.display(), %error, "the models folder cannot be written");
    AppError::Internal(format!("the models folder cannot be written: {error}"))
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
