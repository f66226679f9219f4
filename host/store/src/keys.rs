//! Every name an object may have: path and content type together. Called by whoever stores or reads an object.
//! A key is built from checked ids and numbers or parsed strictly, so no text of a request ever becomes a path.

use std::fmt;

use gesso_core::ids::TaskId;

/// The most names behind `models/` in the path of a model.
pub const MODEL_DEPTH: usize = 4;

/// The longest name of a file or folder of models.
pub const MODEL_NAME_LIMIT: usize = 200;

/// The longest owner, kind or worker name.
pub const SLUG_LIMIT: usize = 64;

/// The name of an object, relative to the store's root: `/` between parts, no dots-only parts, no escapes.
///
/// | Constructor | Path |
/// |---|---|
/// | [`ObjectKey::image`], attempt 1 | `images/{owner}/{task}_{n}.{ext}` |
/// | [`ObjectKey::image`], attempt a > 1 | `images/{owner}/{task}.{a}_{n}.{ext}` |
/// | [`ObjectKey::details`] | `tasks/{task}/details_{attempt}.json` |
/// | [`ObjectKey::payload`] | `tasks/{task}/payload_{nonce}.json` |
/// | [`ObjectKey::input`] | `tasks/{task}/input_{nonce}_{n}.{ext}` |
/// | [`ObjectKey::backup`] | `backups/tasks_{milliseconds}.jsonl` |
/// | [`ObjectKey::model`] | `models/{folders}/{file}` |
/// | [`ObjectKey::blob`] | `plugins/{plugin}/{nonce}.blob` |
///
/// Images follow the serverless contract, whose clients build `images/{owner}/{task}_{n}.png` themselves. Nearly
/// every task ends in its first attempt, so that attempt has exactly those names. A later attempt adds its number:
/// a worker that lost its lease may still be writing, and must not overwrite what the newer attempt reported. The
/// number stands after a dot because a task id cannot hold one; `_` could not tell attempt 2 of `a` from task `a_2`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ImageFormat {
    Png,
    Jpeg,
    Webp,
}

/// The text is not the name of an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("an owner must be 1 to {SLUG_LIMIT} characters of a-z, A-Z, 0-9, '_' and '-', not {0:?}")]
    Owner(String),
    #[error("{0:?} is not the name of an object of this server")]
    Unknown(String),
    #[error("images and attempts are counted from 1")]
    Zero,
    #[error(
        "a model's path is models/ and up to {MODEL_DEPTH} names of letters, digits and ' ._-+()', none of which begins \
         with a dot, not {0:?}"
    )]
    Model(String),
}

impl ImageFormat {
    pub const ALL: [ImageFormat; 3] = [Self::Png, Self::Jpeg, Self::Webp];

    pub fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpg",
            Self::Webp => "webp",
        }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Webp => "image/webp",
        }
    }

    fn from_extension(extension: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.extension() == extension)
    }
}

impl ObjectKey {
    /// Picture `index` (from 1) that `attempt` (from 1) of a task made.
    pub fn image(
        owner: &str,
        task: &TaskId,
        attempt: u32,
        index: u32,
        format: ImageFormat,
    ) -> Result<Self, KeyError> {
        check_owner(owner)?;
        let extension = format.extension();
        match (attempt, index) {
            (0, _) | (_, 0) => Err(KeyError::Zero),
            (1, _) => Ok(Self(format!("images/{owner}/{task}_{index}.{extension}"))),
            _ => Ok(Self(format!("images/{owner}/{task}.{attempt}_{index}.{extension}"))),
        }
    }

    /// The result JSON of an attempt.
    pub fn details(task: &TaskId, attempt: u32) -> Self {
        Self(format!("tasks/{task}/details_{attempt}.json"))
    }

    /// A request too long for its record. It is stored before the task's id is known to be free, so `nonce`, a
    /// random number, keeps a request with somebody else's task id from overwriting that task's payload.
    pub fn payload(task: &TaskId, nonce: u64) -> Self {
        Self(format!("tasks/{task}/payload_{nonce:016x}.json"))
    }

    /// Picture `index` (from 1) of a request; `nonce` as for [`ObjectKey::payload`].
    pub fn input(task: &TaskId, nonce: u64, index: u32, format: ImageFormat) -> Self {
        Self(format!("tasks/{task}/input_{nonce:016x}_{index}.{}", format.extension()))
    }

    /// An export of the task store, named by its time in Unix milliseconds (14 digits, so that names sort by age).
    pub fn backup(created_ms: u64) -> Self {
        Self(format!("backups/tasks_{created_ms:014}.jsonl"))
    }

    /// A model file that somebody put into the store: the one kind of object that this server does not name itself.
    pub fn model(path: &str) -> Result<Self, KeyError> {
        let path = path.trim_start_matches('/');
        let names: Vec<_> = path.split('/').collect();
        match names.as_slice() {
            ["models", names @ ..] if are_model_names(names) => Ok(Self(path.to_owned())),
            _ => Err(KeyError::Model(path.chars().take(200).collect())),
        }
    }

    /// What a plugin keeps. Its own name for it stays in a record; `nonce`, a random number, is another one for each time
    /// that it is put, so that a reader never gets half of the old and half of the new.
    pub fn blob(plugin: &str, nonce: u64) -> Result<Self, KeyError> {
        check_owner(plugin)?;
        Ok(Self(format!("plugins/{plugin}/{nonce:016x}.blob")))
    }

    /// Reads a key back from a record or a URL. Only what a constructor could have built is accepted, and no
    /// [`ObjectKey::blob`]: neither a request nor a URL may name what a plugin keeps.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let parts: Vec<&str> = text.split('/').collect();
        let known = match parts.as_slice() {
            ["images", owner, file] => is_slug(owner) && is_image_file(file),
            ["tasks", task, file] => TaskId::parse(task).is_ok() && is_task_file(file),
            ["backups", file] => is_backup_file(file),
            ["models", names @ ..] => are_model_names(names),
            _ => false,
        };
        if known {
            Ok(Self(text.to_owned()))
        } else {
            Err(KeyError::Unknown(text.chars().take(200).collect()))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// When it was made, Unix milliseconds, where it is a backup.
    pub fn backup_ms(&self) -> Option<u64> {
        self.0.strip_prefix("backups/tasks_")?.strip_suffix(".jsonl")?.parse().ok()
    }

    /// Whose picture it is, where it is one that a task made.
    pub fn image_owner(&self) -> Option<&str> {
        self.0.strip_prefix("images/")?.split('/').next()
    }

    /// The last part: a file name fit for a download.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The media type, decided by the key alone because a local folder stores none.
    pub fn content_type(&self) -> &'static str {
        match self.0.rsplit('.').next() {
            Some("json") => "application/json",
            Some("jsonl") => "application/x-ndjson",
            Some(extension) => ImageFormat::from_extension(extension)
                .map_or("application/octet-stream", ImageFormat::content_type),
            None => "application/octet-stream",
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// An owner's name is a part of public paths, so it is a slug: 1 to 64 of `a-z`, `A-Z`, `0-9`, `_`, `-`.
pub fn check_owner(owner: &str) -> Result<(), KeyError> {
    if is_slug(owner) { Ok(()) } else { Err(KeyError::Owner(owner.chars().take(200).collect())) }
}

pub(crate) fn is_slug(text: &str) -> bool {
    (1..=SLUG_LIMIT).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// `{task}_{n}.{ext}` or `{task}.{a}_{n}.{ext}` with a > 1.
fn is_image_file(file: &str) -> bool {
    let Some((stem, extension)) = file.rsplit_once('.') else { return false };
    let Some((name, index)) = stem.rsplit_once('_') else { return false };
    let (task, attempt) = name.split_once('.').unwrap_or((name, "2"));
    ImageFormat::from_extension(extension).is_some()
        && is_count(index)
        && is_count(attempt)
        && attempt != "1"
        && TaskId::parse(task).is_ok()
}

fn is_task_file(file: &str) -> bool {
    let Some((stem, extension)) = file.rsplit_once('.') else { return false };
    let parts: Vec<&str> = stem.split('_').collect();
    match (parts.as_slice(), extension) {
        (["details", attempt], "json") => is_count(attempt),
        (["payload", nonce], "json") => is_nonce(nonce),
        (["input", nonce, index], _) => {
            is_nonce(nonce) && is_count(index) && ImageFormat::from_extension(extension).is_some()
        }
        _ => false,
    }
}

fn is_backup_file(file: &str) -> bool {
    file.strip_prefix("tasks_")
        .and_then(|rest| rest.strip_suffix(".jsonl"))
        .is_some_and(|time| (14..=20).contains(&time.len()) && time.bytes().all(|byte| byte.is_ascii_digit()))
}

fn are_model_names(names: &[&str]) -> bool {
    (1..=MODEL_DEPTH).contains(&names.len()) && names.iter().all(|name| is_model_name(name))
}

/// A name of a model's file or folder that leads nowhere else, on any file system.
pub fn is_model_name(name: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b" ._-+()".contains(&byte);
    (1..=MODEL_NAME_LIMIT).contains(&name.len())
        && !name.starts_with(['.', ' '])
        && !name.ends_with(['.', ' '])
        && name.bytes().all(known)
}

/// A decimal number from 1 to `u32::MAX`, written the one way a constructor writes it.
fn is_count(text: &str) -> bool {
    !text.starts_with(['0', '+']) && text.parse::<u32>().is_ok()
}

fn is_nonce(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(text: &str) -> TaskId {
        TaskId::parse(text).expect("a task id")
    }

    #[test]
    fn the_first_attempt_follows_the_serverless_contract_and_later_ones_carry_their_number() {
        let image =
            |attempt| ObjectKey::image("default", &id("aB3_x"), attempt, 2, ImageFormat::Png).unwrap();
        assert_eq!(image(1).as_str(), "images/default/aB3_x_2.png");
        assert_eq!(image(2).as_str(), "images/default/aB3_x.2_2.png");
        assert_eq!(image(1).content_type(), "image/png");
        assert_eq!(image(2).file_name(), "aB3_x.2_2.png");
    }

    #[test]
    fn refuses_owners_that_could_leave_their_folder() {
        for owner in ["", "..", "a/b", "a.b", "ä", "a b", "a\0", &"x".repeat(65)] {
            assert_eq!(
                ObjectKey::image(owner, &id("t1"), 1, 1, ImageFormat::Png),
                Err(KeyError::Owner(owner.to_owned())),
            );
        }
    }

    #[test]
    fn a_blob_lies_below_its_plugin() {
        let key = ObjectKey::blob("my-plugin", 0x1f).unwrap();
        assert_eq!(key.as_str(), "plugins/my-plugin/000000000000001f.blob");
        assert_eq!((key.content_type(), key.image_owner()), ("application/octet-stream", None));
        assert!(ObjectKey::blob("../images", 1).is_err());
    }

    #[test]
    fn a_backup_says_when_it_was_made_and_nothing_else_does() {
        for ms in [0, 1_800_000_000_000, u64::MAX] {
            assert_eq!(ObjectKey::backup(ms).backup_ms(), Some(ms));
        }
        assert_eq!(ObjectKey::payload(&id("t1"), 7).backup_ms(), None);
    }

    #[test]
    fn a_model_lies_below_models_and_nowhere_else() {
        for path in ["models/a.safetensors", "/models/Lora/My style (v2).safetensors"] {
            let key = ObjectKey::model(path).unwrap();
            assert_eq!(key.as_str(), path.trim_start_matches('/'));
            assert_eq!((key.image_owner(), ObjectKey::parse(key.as_str())), (None, Ok(key.clone())));
        }
        for path in [
            "models",
            "models/",
            "a.ckpt",
            "tasks/t/details_1.json",
            "models/../tasks/t",
            "models//a.ckpt",
            "models/.a",
            "models/a/b/c/d/e.ckpt",
            "models/a\\b",
            "models/a%2e",
            "models/ä.ckpt",
            "models/a#1",
            "models/a.",
        ] {
            assert!(ObjectKey::model(path).is_err(), "{path}");
        }
    }

    #[test]
    fn refuses_image_and_attempt_zero() {
        assert_eq!(ObjectKey::image("o", &id("t1"), 0, 1, ImageFormat::Png), Err(KeyError::Zero));
        assert_eq!(ObjectKey::image("o", &id("t1"), 1, 0, ImageFormat::Png), Err(KeyError::Zero));
    }

    #[test]
    fn refuses_to_parse_what_no_constructor_builds() {
        for text in [
            "",
            "/images/o/t_1.png",
            "images/o/../o/t_1.png",
            "images//t_1.png",
            "images/o/t_1.png/",
            "images/o/t_1.exe",
            "images/o/t_01.png",
            "images/o/t_+1.png",
            "images/o/t_0.png",
            "images/o/t.1_1.png",
            "images/o/t_1.png#1",
            "images/o/t_1.png%00",
            "images\\o\\t_1.png",
            "tasks/t/../../etc/passwd",
            "tasks/t/payload_1.json",
            "tasks/t/payload_000000000000000G.json",
            "tasks/t/details_1.png",
            "backups/tasks_x.jsonl",
            "keys/file-urls.json",
            "plugins/p/0000000000000001.blob",
        ] {
            assert!(ObjectKey::parse(text).is_err(), "{text:?} was accepted");
        }
    }

    proptest! {
        #[test]
        fn every_key_parses_back_to_itself(
            owner in "[a-zA-Z0-9_-]{1,64}", task in "[a-zA-Z0-9][a-zA-Z0-9_-]{0,30}",
            attempt in 1u32.., index in 1u32.., nonce: u64, time in 0u64..,
        ) {
            let task = id(&task);
            let keys = [
                ObjectKey::image(&owner, &task, attempt, index, ImageFormat::Webp).unwrap(),
                ObjectKey::details(&task, attempt),
                ObjectKey::payload(&task, nonce),
                ObjectKey::input(&task, nonce, index, ImageFormat::Jpeg),
                ObjectKey::backup(time),
            ];
            for key in keys {
                prop_assert_eq!(ObjectKey::parse(key.as_str()), Ok(key));
            }
        }

        #[test]
        fn different_images_have_different_names(
            (a, b) in ("[a-z_0-9][a-z_0-9-]{0,4}", "[a-z_0-9][a-z_0-9-]{0,4}"),
            (attempt_a, attempt_b) in (1u32..4, 1u32..4), (index_a, index_b) in (1u32..4, 1u32..4),
        ) {
            let (Ok(a), Ok(b)) = (TaskId::parse(&a), TaskId::parse(&b)) else { return Ok(()) };
            let first = ObjectKey::image("o", &a, attempt_a, index_a, ImageFormat::Png).unwrap();
            let second = ObjectKey::image("o", &b, attempt_b, index_b, ImageFormat::Png).unwrap();
            prop_assert_eq!(first == second, (a, attempt_a, index_a) == (b, attempt_b, index_b));
        }

        #[test]
        fn parsing_never_panics(text in any::<String>()) {
            let _ = ObjectKey::parse(&text);
        }
    }
}
