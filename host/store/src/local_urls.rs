//! Signed, expiring URLs for objects in a local folder, in the shape of presigned ones. Called by `Objects` to sign
//! and by the server's `/files/` route to verify. It knows keys and time, not files or HTTP.
//!
//! `/files/{key}?exp={unix seconds}&kid={key number}&sig={HMAC-SHA256, base64url}`. Two secrets are active, so that
//! URLs outlive one rotation; the newer one signs, for as long as the longest URL is valid. The MAC covers method, key,
//! expiry and secret number.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::keys::ObjectKey;
use crate::small_file;

/// How long a URL is valid when nobody says otherwise.
pub const DEFAULT_URL_TTL: Duration = Duration::from_secs(3600);
/// The longest a URL may be valid: the ceiling of S3's presigned URLs, kept for local ones too.
pub const MAX_URL_TTL: Duration = Duration::from_secs(604_800);
/// Where signed paths begin.
pub const FILES_PREFIX: &str = "/files/";

/// GET, and therefore HEAD, is all that is ever signed.
const METHOD: &str = "GET";

/// Signs and verifies the URLs of one data folder.
pub struct LocalSigner {
    file: PathBuf,
    secrets: RwLock<Vec<Secret>>,
}

/// Why a URL opens nothing. To the outside all of these are one refusal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("the link is incomplete; fetch the task again for a fresh one")]
    Malformed,
    #[error("the link has expired; fetch the task again for a fresh one")]
    Expired,
    #[error("the link was not signed by this server; fetch the task again for a fresh one")]
    BadSignature,
}

#[derive(Clone, Serialize, Deserialize)]
struct Secret {
    kid: u32,
    /// 32 random bytes in base64url.
    secret: String,
    /// Unix milliseconds; 0 in files of before, whose secrets were never replaced.
    #[serde(default)]
    made_ms: u64,
}

impl LocalSigner {
    /// Reads the secrets from `file`, or creates it with two new ones, readable by its owner only. `now_ms` is in Unix
    /// milliseconds.
    pub fn open(file: &Path, now_ms: u64) -> io::Result<Self> {
        let secrets = match small_file::open(file) {
            Ok(opened) => read_secrets(opened)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let secrets = vec![Secret::new(1, now_ms)?, Secret::new(2, now_ms)?];
                write_secrets(file, &secrets)?;
                secrets
            }
            Err(error) => return Err(error),
        };
        Ok(Self { file: file.to_owned(), secrets: RwLock::new(secrets) })
    }

    /// Replaces the older secret where the newer one is as old as a URL may become, so that none stops working before
    /// its time. Returns whether it did.
    pub fn rotate_when_due(&self, now_ms: u64) -> io::Result<bool> {
        let newest = self.newest();
        let age_ms = now_ms.saturating_sub(newest.as_ref().map_or(0, |secret| secret.made_ms));
        if u128::from(age_ms) < MAX_URL_TTL.as_millis() {
            return Ok(false);
        }
        let next = Secret::new(newest.as_ref().map_or(1, |secret| secret.kid.wrapping_add(1)), now_ms)?;
        let rotated: Vec<Secret> = newest.into_iter().chain([next]).collect();
        // Those who sign and verify do not wait for the disk.
        write_secrets(&self.file, &rotated)?;
        *self.secrets.write().unwrap_or_else(PoisonError::into_inner) = rotated;
        Ok(true)
    }

    fn newest(&self) -> Option<Secret> {
        let secrets = self.secrets.read().unwrap_or_else(PoisonError::into_inner);
        secrets.iter().max_by_key(|secret| secret.kid).cloned()
    }

    /// The path and query under which the object can be read until `expires_unix` (seconds).
    pub fn sign(&self, key: &ObjectKey, expires_unix: u64) -> Result<String, UrlError> {
        let secrets = self.secrets.read().unwrap_or_else(PoisonError::into_inner);
        let secret = secrets.iter().max_by_key(|secret| secret.kid).ok_or(UrlError::BadSignature)?;
        let signature = URL_SAFE_NO_PAD.encode(secret.mac(key.as_str(), expires_unix)?);
        Ok(format!("{FILES_PREFIX}{key}?exp={expires_unix}&kid={}&sig={signature}", secret.kid))
    }

    /// The key that a signed URL opens at `now_ms` (Unix milliseconds). `path` is percent-decoded, with or without
    /// its `/files/`; unknown parameters of `query` are ignored, repeated ones refused.
    pub fn verify(&self, path: &str, query: &str, now_ms: u64) -> Result<ObjectKey, UrlError> {
        let name = path.strip_prefix(FILES_PREFIX).unwrap_or(path);
        let expires: u64 = parameter(query, "exp")?.parse().map_err(|_| UrlError::Malformed)?;
        let kid: u32 = parameter(query, "kid")?.parse().map_err(|_| UrlError::Malformed)?;
        let signature = URL_SAFE_NO_PAD.decode(parameter(query, "sig")?).map_err(|_| UrlError::Malformed)?;
        let expected = {
            let secrets = self.secrets.read().unwrap_or_else(PoisonError::into_inner);
            let secret = secrets.iter().find(|secret| secret.kid == kid).ok_or(UrlError::BadSignature)?;
            secret.mac(name, expires)?
        };
        if !bool::from(expected.as_slice().ct_eq(&signature)) {
            return Err(UrlError::BadSignature);
        }
        if now_ms / 1000 >= expires {
            return Err(UrlError::Expired);
        }
        // Signed names are keys already; parsing keeps that true whatever was signed by an older version.
        ObjectKey::parse(name).map_err(|_| UrlError::Malformed)
    }
}

impl Secret {
    fn new(kid: u32, made_ms: u64) -> io::Result<Self> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        Ok(Self { kid, secret: URL_SAFE_NO_PAD.encode(bytes), made_ms })
    }

    fn mac(&self, name: &str, expires_unix: u64) -> Result<Vec<u8>, UrlError> {
        let bytes = URL_SAFE_NO_PAD.decode(&self.secret).map_err(|_| UrlError::BadSignature)?;
        let mut mac = Hmac::<Sha256>::new_from_slice(&bytes).map_err(|_| UrlError::BadSignature)?;
        mac.update(format!("{METHOD}|{name}|{expires_unix}|{}", self.kid).as_bytes());
        Ok(mac.finalize().into_bytes().to_vec())
    }
}

fn parameter<'a>(query: &'a str, name: &str) -> Result<&'a str, UrlError> {
    let mut values = query.split('&').filter_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        _ => Err(UrlError::Malformed),
    }
}

fn read_secrets(mut file: File) -> io::Result<Vec<Secret>> {
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let damaged = |what: &str| {
        let remedy = "delete the file to have a new one made, which ends the links that are signed so far";
        io::Error::new(io::ErrorKind::InvalidData, format!("{what}; {remedy}"))
    };
    let secrets: Vec<Secret> = serde_json::from_str(&text).map_err(|error| damaged(&error.to_string()))?;
    if secrets.is_empty() {
        return Err(damaged("there are none in it"));
    }
    Ok(secrets)
}

fn write_secrets(file: &Path, secrets: &[Secret]) -> io::Result<()> {
    small_file::replace(file, &serde_json::to_vec(secrets)?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use gesso_core::ids::TaskId;

    use super::*;
    use crate::keys::ImageFormat;

    const NOW: u64 = 1_800_000_000;

    fn signer() -> (tempfile::TempDir, LocalSigner) {
        let folder = tempfile::tempdir().unwrap();
        let signer = open(&folder);
        (folder, signer)
    }

    fn open(folder: &tempfile::TempDir) -> LocalSigner {
        LocalSigner::open(&folder.path().join("keys/urls.json"), NOW * 1000).unwrap()
    }

    fn image() -> ObjectKey {
        ObjectKey::image("default", &TaskId::parse("abc").unwrap(), 1, 1, ImageFormat::Png).unwrap()
    }

    fn split(url: &str) -> (&str, &str) {
        url.split_once('?').unwrap()
    }

    #[test]
    fn a_damaged_file_of_secrets_says_what_helps() {
        let (folder, signer) = signer();
        drop(signer);
        for damaged in ["", "[]", "[{"] {
            fs::write(folder.path().join("keys/urls.json"), damaged).unwrap();
            let Err(error) = LocalSigner::open(&folder.path().join("keys/urls.json"), NOW) else {
                panic!("{damaged:?}")
            };
            assert!(error.to_string().contains("delete the file"), "{error}");
        }
    }

    #[test]
    fn a_signed_url_opens_its_object_until_it_expires() {
        let (_folder, signer) = signer();
        let url = signer.sign(&image(), NOW + 60).unwrap();
        let (path, query) = split(&url);
        assert_eq!(signer.verify(path, query, (NOW + 59) * 1000), Ok(image()));
        assert_eq!(signer.verify(path, query, (NOW + 60) * 1000), Err(UrlError::Expired));
    }

    #[test]
    fn refuses_every_change_of_a_signed_url() {
        let (_folder, signer) = signer();
        let url = signer.sign(&image(), NOW + 60).unwrap();
        let (path, query) = split(&url);
        let check = |path: &str, query: &str| signer.verify(path, query, NOW * 1000).unwrap_err();
        assert_eq!(check("/files/images/default/abc_2.png", query), UrlError::BadSignature);
        assert_eq!(check(path, &query.replace("exp=18", "exp=19")), UrlError::BadSignature);
        assert_eq!(check(path, &query.replace("kid=2", "kid=1")), UrlError::BadSignature);
        assert_eq!(check(path, &query.replace("kid=2", "kid=7")), UrlError::BadSignature);
        assert_eq!(check(path, &format!("{}AAAA", &query[..query.len() - 4])), UrlError::BadSignature);
        assert_eq!(check(path, &format!("{query}&exp=1")), UrlError::Malformed);
        assert_eq!(check(path, "exp=1&kid=2"), UrlError::Malformed);
        assert_eq!(check(path, ""), UrlError::Malformed);
    }

    #[test]
    fn another_server_does_not_accept_the_url() {
        let (_folder, signer) = signer();
        let (_other_folder, other) = super::tests::signer();
        let url = signer.sign(&image(), NOW + 60).unwrap();
        let (path, query) = split(&url);
        assert_eq!(other.verify(path, query, NOW * 1000), Err(UrlError::BadSignature));
    }

    #[test]
    fn secrets_are_replaced_once_no_url_can_need_them() {
        let (folder, signer) = signer();
        let week = MAX_URL_TTL.as_secs();
        assert!(!signer.rotate_when_due((NOW + week) * 1000 - 1).unwrap());
        // The last that this secret signs, for as long as may be.
        let url = signer.sign(&image(), NOW + 2 * week).unwrap();
        let (path, query) = split(&url);
        let again = open(&folder);
        assert_eq!(again.verify(path, query, NOW * 1000), Ok(image()));
        assert!(again.rotate_when_due((NOW + week) * 1000).unwrap());
        assert!(again.sign(&image(), NOW + 2 * week).unwrap().contains("&kid=3&"));
        // Also after a restart.
        let again = open(&folder);
        assert!(!again.rotate_when_due((NOW + 2 * week) * 1000 - 1).unwrap());
        assert_eq!(again.verify(path, query, (NOW + 2 * week) * 1000 - 1), Ok(image()));
        assert!(again.rotate_when_due((NOW + 2 * week) * 1000).unwrap());
        for signer in [again, open(&folder)] {
            assert_eq!(signer.verify(path, query, NOW * 1000), Err(UrlError::BadSignature));
        }
    }

    #[test]
    fn secrets_of_before_are_due_and_open_what_they_signed() {
        let folder = tempfile::tempdir().unwrap();
        let secret = |kid: u32| format!(r#"{{"kid":{kid},"secret":"{}"}}"#, "A".repeat(43));
        fs::create_dir(folder.path().join("keys")).unwrap();
        fs::write(folder.path().join("keys/urls.json"), format!("[{},{}]", secret(1), secret(2))).unwrap();
        let signer = open(&folder);
        let url = signer.sign(&image(), NOW + 60).unwrap();
        let (path, query) = split(&url);
        assert!(signer.rotate_when_due(NOW * 1000).unwrap());
        assert!(!signer.rotate_when_due(NOW * 1000).unwrap());
        assert_eq!(signer.verify(path, query, NOW * 1000), Ok(image()));
    }

    #[test]
    fn only_the_owner_can_read_the_secrets_and_wider_rights_are_narrowed() {
        let (folder, _signer) = signer();
        let file = folder.path().join("keys/urls.json");
        let mode = || fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        open(&folder);
        assert_eq!(mode(), 0o600);
    }
}
