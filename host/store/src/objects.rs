//! Bytes under typed keys: a local folder or an S3-compatible store, chosen by URL. Called by the server's use cases.
//! It knows neither tasks nor pictures, and no path but those of `keys.rs`: object_store's local backend would
//! follow any other one out of its folder.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::TryStreamExt;
use gesso_core::hex::hex;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::buffered::BufWriter;
use object_store::local::LocalFileSystem;
use object_store::signer::{Method, Signer, Url};
use object_store::{
    Attribute, Attributes, BackoffConfig, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutOptions, RetryConfig,
};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use crate::clock::Clock;
use crate::keys::ObjectKey;
use crate::local_urls::{LocalSigner, MAX_URL_TTL};

/// Failed requests are repeated this often and this long, which a waiting client can bear.
const RETRIES: usize = 3;
const RETRY_FOR: Duration = Duration::from_secs(10);

/// A large object is read in parts, each of which is a request that may be repeated.
const PART_BYTES: u64 = 16 << 20;
/// A large file is sent in parts too, and so many of them are on their way.
const SENT_BYTES: usize = 16 << 20;
const SENT_AT_ONCE: usize = 2;
/// How much of a file is read at a time.
const READ_BYTES: usize = 1 << 20;

/// What [`Objects::open`] needs besides the URL.
#[derive(Clone)]
pub struct ObjectSettings {
    /// For S3: `endpoint`, `region`, `access_key_id`, `secret_access_key`, `allow_http` and the rest of
    /// object_store's names. Aliyun OSS needs three: `virtual_hosted_style_request = "true"` with the bucket in
    /// the endpoint's host, `disable_bulk_delete = "true"`, and `conditional_put = "disabled"`.
    pub options: BTreeMap<String, String>,
    /// Where the secrets of local signed URLs are kept; not inside the folder of the objects.
    pub url_secrets: PathBuf,
    pub clock: Arc<dyn Clock>,
}

/// An open object store. Cheap to clone.
#[derive(Clone)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    place: Place,
    clock: Arc<dyn Clock>,
}

#[derive(Clone)]
enum Place {
    Local { root: PathBuf, signer: Arc<LocalSigner> },
    S3 { signer: Arc<AmazonS3>, prefix: String },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Bytes.
    pub size: u64,
    /// Unix milliseconds.
    pub modified_ms: u64,
    pub etag: Option<String>,
    pub content_type: &'static str,
}

/// What went wrong, named by what the caller does next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectsError {
    #[error("there is no object {0}; it may have been removed by retention")]
    NotFound(ObjectKey),
    #[error("the disk of the object folder is full ({0}); free some space")]
    Full(String),
    #[error(
        "the object store refuses its credentials ({0}); check the key, its rights and this machine's clock"
    )]
    Denied(String),
    #[error("the object store's settings are wrong: {0}")]
    Settings(String),
    /// The file, and why not.
    #[error("the link secrets in {0} cannot be used: {1}")]
    LinkSecrets(String, String),
    #[error("a signed URL may be valid for 1 second to 7 days, not {0:?}")]
    UrlLifetime(Duration),
    /// Where to is in the log.
    #[error("the copy of an object cannot be written: {0}")]
    Copy(String),
    #[error("the object {0} was replaced meanwhile; begin again")]
    Changed(ObjectKey),
    #[error("the object store cannot answer now: {0}; try again shortly")]
    Unavailable(String),
}

impl Objects {
    /// Opens `file:///…`, a path, or `s3://bucket/prefix`. A folder is created; a bucket is not contacted yet. Does
    /// a little blocking work, so call it while starting.
    pub fn open(url: &str, settings: ObjectSettings) -> Result<Self, ObjectsError> {
        if url.starts_with("s3://") {
            return Self::open_s3(url, settings);
        }
        if let Some((scheme, _)) = url.split_once("://")
            && scheme != "file"
        {
            return Err(ObjectsError::Settings(format!(
                "{scheme:?} is no known kind of store; use a path, file:///path or s3://bucket/prefix"
            )));
        }
        let root = if url.starts_with("file:") {
            let parsed = Url::parse(url).ok().and_then(|url| url.to_file_path().ok());
            parsed.ok_or_else(|| {
                ObjectsError::Settings(format!("{url:?} names no folder; write file:///path"))
            })?
        } else {
            PathBuf::from(url)
        };
        Self::open_local(&root, settings)
    }

    fn open_local(root: &Path, settings: ObjectSettings) -> Result<Self, ObjectsError> {
        if let Some(option) = settings.options.keys().next() {
            return Err(ObjectsError::Settings(format!("{option:?} has no meaning for a local folder")));
        }
        let failed = |error: io::Error| {
            ObjectsError::Settings(format!("the folder {} cannot be used: {error}", root.display()))
        };
        fs::create_dir_all(root).map_err(failed)?;
        let root = root.canonicalize().map_err(failed)?;
        let signer = LocalSigner::open(&settings.url_secrets, settings.clock.now_ms()).map_err(|error| {
            ObjectsError::LinkSecrets(settings.url_secrets.display().to_string(), error.to_string())
        })?;
        // Without fsync a power cut could leave a finished task with an empty picture.
        let store = LocalFileSystem::new_with_prefix(&root).map_err(settings_error)?.with_fsync(true);
        let place = Place::Local { root, signer: Arc::new(signer) };
        Ok(Self { store: Arc::new(store), place, clock: settings.clock })
    }

    fn open_s3(url: &str, settings: ObjectSettings) -> Result<Self, ObjectsError> {
        let parsed = Url::parse(url).map_err(|error| ObjectsError::Settings(format!("{url:?}: {error}")))?;
        let bucket = parsed.host_str().filter(|bucket| !bucket.is_empty()).ok_or_else(|| {
            ObjectsError::Settings(format!("{url:?} names no bucket; write s3://bucket/prefix"))
        })?;
        // Nothing is read from the environment here: only the server does that.
        let mut builder = AmazonS3Builder::new().with_retry(RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: RETRIES,
            retry_timeout: RETRY_FOR,
        });
        for (name, value) in &settings.options {
            let key: AmazonS3ConfigKey = name.parse().map_err(|_| {
                ObjectsError::Settings(format!(
                    "{name:?} is no option of an S3 store; see object_store's list"
                ))
            })?;
            builder = builder.with_config(key, value);
        }
        let store = Arc::new(builder.with_bucket_name(bucket).build().map_err(settings_error)?);
        let prefix = parsed.path().trim_matches('/').to_owned();
        let place = Place::S3 { signer: store.clone(), prefix };
        Ok(Self { store, place, clock: settings.clock })
    }

    /// Stores `bytes`, replacing what was there. Durable when it returns.
    pub async fn put(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), ObjectsError> {
        let options = PutOptions { attributes: self.attributes(key), ..PutOptions::default() };
        let put = self.store.put_opts(&self.path(key), bytes.into(), options).await;
        put.map(|_| ()).map_err(|error| translate(key, error))
    }

    /// Stores what is in `file`, replacing what was there, without having all of it in memory. Durable when it returns.
    pub async fn put_file(&self, key: &ObjectKey, file: &Path) -> Result<(), ObjectsError> {
        let failed = |error: io::Error| match error.downcast::<object_store::Error>() {
            Ok(error) => translate(key, error),
            Err(error) if is_disk_full(&error) => ObjectsError::Full(error.to_string()),
            Err(error) => ObjectsError::Unavailable(error.to_string()),
        };
        let source = tokio::fs::File::open(file).await.map_err(failed)?;
        let mut source = tokio::io::BufReader::with_capacity(READ_BYTES, source);
        let mut writer = BufWriter::with_capacity(self.store.clone(), self.path(key), SENT_BYTES)
            .with_max_concurrency(SENT_AT_ONCE)
            .with_attributes(self.attributes(key));
        if let Err(error) = tokio::io::copy_buf(&mut source, &mut writer).await {
            // The first error is the one to tell; what was sent is no object yet.
            drop(writer.abort().await);
            return Err(failed(error));
        }
        writer.shutdown().await.map_err(failed)
    }

    pub async fn get(&self, key: &ObjectKey) -> Result<Bytes, ObjectsError> {
        let result = self.store.get(&self.path(key)).await.map_err(|error| translate(key, error))?;
        result.bytes().await.map_err(|error| translate(key, error))
    }

    /// The bytes of a range that lies within the object.
    pub async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, ObjectsError> {
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        let part = self.store.get_opts(&self.path(key), options).await;
        let part = part.map_err(|error| translate(key, error))?;
        part.bytes().await.map_err(|error| translate(key, error))
    }

    /// Writes the object to `file`, durably, and returns the SHA-256 of what it wrote, lower-case hex. `seen` is what
    /// [`Objects::head`] said: an object that was replaced since is refused. What was written before an error is left to the
    /// caller.
    pub async fn copy_to(
        &self,
        key: &ObjectKey,
        seen: &ObjectInfo,
        file: &Path,
    ) -> Result<String, ObjectsError> {
        let disk = |error: io::Error| match is_disk_full(&error) {
            true => ObjectsError::Full(error.to_string()),
            false => {
                tracing::error!(file = %file.display(), %error, "a copy of an object cannot be written");
                ObjectsError::Copy(error.to_string())
            }
        };
        let mut writer = tokio::fs::File::create(file).await.map_err(disk)?;
        let mut hasher = Sha256::new();
        let mut start = 0;
        while start < seen.size {
            let end = seen.size.min(start + PART_BYTES);
            let range = Some(GetRange::Bounded(start..end));
            let options = GetOptions { if_match: seen.etag.clone(), range, ..GetOptions::default() };
            let part = self.store.get_opts(&self.path(key), options).await;
            let part = part.map_err(|error| translate(key, error))?;
            // Not every store heeds the condition.
            if (&part.meta.e_tag, part.meta.size) != (&seen.etag, seen.size) {
                return Err(ObjectsError::Changed(key.clone()));
            }
            let part = part.bytes().await.map_err(|error| translate(key, error))?;
            hasher.update(&part);
            writer.write_all(&part).await.map_err(disk)?;
            start = end;
        }
        writer.sync_all().await.map_err(disk)?;
        Ok(hex(&hasher.finalize()))
    }

    pub async fn head(&self, key: &ObjectKey) -> Result<ObjectInfo, ObjectsError> {
        let meta = self.store.head(&self.path(key)).await.map_err(|error| translate(key, error))?;
        Ok(ObjectInfo {
            size: meta.size,
            modified_ms: u64::try_from(meta.last_modified.timestamp_millis()).unwrap_or(0),
            etag: meta.e_tag,
            content_type: key.content_type(),
        })
    }

    /// Every backup that is there, in no order.
    pub async fn backups(&self) -> Result<Vec<ObjectKey>, ObjectsError> {
        // As the store has it, which encodes some characters and leaves out empty parts.
        let prefix = match &self.place {
            Place::S3 { prefix, .. } => object_store::path::Path::from(prefix.as_str()),
            Place::Local { .. } => object_store::path::Path::default(),
        };
        let folder = prefix.clone().join("backups");
        let listed: Vec<ObjectMeta> = self.store.list(Some(&folder)).try_collect().await.map_err(unnamed)?;
        let prefix: &str = prefix.as_ref();
        let keys = listed.iter().filter_map(|meta| {
            let path: &str = meta.location.as_ref();
            ObjectKey::parse(path.strip_prefix(prefix)?.trim_start_matches('/')).ok()
        });
        Ok(keys.filter(|key| key.backup_ms().is_some()).collect())
    }

    /// Removes the object; one that is not there is no error.
    pub async fn delete(&self, key: &ObjectKey) -> Result<(), ObjectsError> {
        match self.store.delete(&self.path(key)).await {
            Err(error) if !matches!(error, object_store::Error::NotFound { .. }) => {
                Err(translate(key, error))
            }
            _ => Ok(()),
        }
    }

    /// A URL that reads the object for `ttl` (1 s to 7 days) without any other right: absolute for S3, a path of
    /// this server (`/files/…`) for a local folder. It does not look whether the object is there.
    pub async fn signed_url(&self, key: &ObjectKey, ttl: Duration) -> Result<String, ObjectsError> {
        if ttl < Duration::from_secs(1) || ttl > MAX_URL_TTL {
            return Err(ObjectsError::UrlLifetime(ttl));
        }
        match &self.place {
            Place::Local { signer, .. } => {
                let expires = self.clock.now_ms() / 1000 + ttl.as_secs();
                signer.sign(key, expires).map_err(|error| ObjectsError::Unavailable(error.to_string()))
            }
            Place::S3 { signer, .. } => {
                let url = signer.signed_url(Method::GET, &self.path(key), ttl).await;
                url.map(String::from).map_err(|error| translate(key, error))
            }
        }
    }

    /// What verifies this store's signed URLs; `None` if they lead elsewhere.
    pub fn local_signer(&self) -> Option<&LocalSigner> {
        match &self.place {
            Place::Local { signer, .. } => Some(signer),
            Place::S3 { .. } => None,
        }
    }

    /// Has another secret sign local URLs where that is due; whether it did. Blocks.
    pub fn rotate_url_secrets(&self) -> io::Result<bool> {
        self.local_signer().map_or(Ok(false), |signer| signer.rotate_when_due(self.clock.now_ms()))
    }

    /// Removes staged files (`name#1`) that a crash left in a local folder more than `age` ago, and returns how
    /// many. Listings do not show them and no key can name them.
    pub async fn sweep_staged(&self, age: Duration) -> Result<u64, ObjectsError> {
        let Place::Local { root, .. } = &self.place else { return Ok(0) };
        let root = root.clone();
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(self.clock.now_ms());
        let before = now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
        // The blocking pool: a walk through the folder.
        let swept = tokio::task::spawn_blocking(move || sweep(&root, before)).await;
        swept
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|error| ObjectsError::Unavailable(error.to_string()))
    }

    /// None for a local folder, whose backend refuses them; there the key tells the content type.
    fn attributes(&self, key: &ObjectKey) -> Attributes {
        match self.place {
            Place::Local { .. } => Attributes::default(),
            Place::S3 { .. } => Attributes::from_iter([(Attribute::ContentType, key.content_type())]),
        }
    }

    fn path(&self, key: &ObjectKey) -> object_store::path::Path {
        match &self.place {
            Place::S3 { prefix, .. } if !prefix.is_empty() => format!("{prefix}/{key}").into(),
            _ => key.as_str().into(),
        }
    }
}

/// Whether an error says that a disk or a quota is full.
pub(crate) fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn translate(key: &ObjectKey, error: object_store::Error) -> ObjectsError {
    match error {
        object_store::Error::NotFound { .. } => ObjectsError::NotFound(key.clone()),
        object_store::Error::Precondition { .. } => ObjectsError::Changed(key.clone()),
        other => unnamed(other),
    }
}

/// What is wrong whichever object is meant.
fn unnamed(error: object_store::Error) -> ObjectsError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(inner) = cause {
        if inner.downcast_ref::<io::Error>().is_some_and(is_disk_full) {
            return ObjectsError::Full(inner.to_string());
        }
        cause = inner.source();
    }
    match error {
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            ObjectsError::Denied(error.to_string())
        }
        other => ObjectsError::Unavailable(other.to_string()),
    }
}

fn settings_error(error: object_store::Error) -> ObjectsError {
    ObjectsError::Settings(error.to_string())
}

fn sweep(folder: &Path, before: SystemTime) -> io::Result<u64> {
    let mut swept = 0;
    for item in fs::read_dir(folder)? {
        let item = item?;
        let kind = item.file_type()?;
        if kind.is_dir() {
            swept += sweep(&item.path(), before)?;
        } else if kind.is_file() && is_staged(&item.file_name().to_string_lossy()) {
            // An upload that ended meanwhile has taken its file away.
            if item
                .metadata()
                .and_then(|metadata| metadata.modified())
                .is_ok_and(|modified| modified < before)
                && fs::remove_file(item.path()).is_ok()
            {
                swept += 1;
            }
        }
    }
    Ok(swept)
}

fn is_staged(name: &str) -> bool {
    name.rsplit_once('#')
        .is_some_and(|(_, number)| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}
