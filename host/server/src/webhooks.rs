//! Messages to URLs that tasks named, as Standard Webhooks has them: signed with a secret of their owner's, sent only to
//! hosts that the settings allow. What is told, and when, is `notices.rs`.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use gesso_plugin_host::Outward;
use gesso_store::Documents;
use hmac::{Hmac, KeyInit, Mac};
use rand::RngExt;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::lock::lock;

const DOCUMENT: &str = "webhooks";
/// How long messages are signed with the secret before a changed one too, so that receivers have time to take the new one.
const FORMER_MS: u64 = 86_400_000;
/// A receiver that has not answered by then has not.
const WHOLE: Duration = Duration::from_secs(20);

/// Who is told, and how it is signed.
pub(crate) struct Webhooks {
    documents: Documents,
    outward: Outward,
    /// Seconds from a failed attempt to the next.
    schedule: Vec<u64>,
    master: Vec<u8>,
    changes: RwLock<Changes>,
    /// Held while a change is written, so that changes come one after the other.
    changing: Mutex<()>,
}

/// The last change of each owner's secret, of those who have changed theirs.
type Changes = BTreeMap<String, Change>;

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Change {
    /// How many there were.
    count: u64,
    at_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    /// What all others are made of: 32 bytes in base64.
    secret: String,
    /// Absent in documents of before secrets could be changed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    changes: Changes,
}

/// What an owner verifies signatures with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Secret {
    /// `whsec_` and 32 bytes in base64.
    pub(crate) text: String,
    /// Until when messages are signed with the one before it too, Unix milliseconds; `None` where they are not.
    pub(crate) former_until_ms: Option<u64>,
}

impl Webhooks {
    /// Reads the secret that all others are made of, or makes it; blocks.
    pub(crate) fn open(documents: Documents, outward: Outward, schedule: Vec<u64>) -> std::io::Result<Self> {
        let kept = match documents.read::<Kept>(DOCUMENT)? {
            Some(kept) => kept,
            None => {
                let secret: [u8; 32] = rand::rng().random();
                let kept = Kept { secret: BASE64_STANDARD.encode(secret), changes: Changes::new() };
                documents.write(DOCUMENT, &kept)?;
                kept
            }
        };
        let master = BASE64_STANDARD.decode(kept.secret).map_err(std::io::Error::other)?;
        let (changes, changing) = (RwLock::new(kept.changes), Mutex::default());
        Ok(Self { documents, outward, schedule, master, changes, changing })
    }

    /// Whether a task may name this URL.
    pub(crate) fn allows(&self, url: &str) -> bool {
        self.outward.allows(url)
    }

    /// What an owner verifies signatures with. Each owner has their own.
    pub(crate) fn secret(&self, owner: &str, now_ms: u64) -> Secret {
        let change = self.changes().get(owner).copied();
        let key = self.key(owner, change.map_or(0, |change| change.count));
        let former_until_ms = change.map(Change::former_until_ms).filter(|until_ms| *until_ms > now_ms);
        Secret { text: format!("whsec_{}", BASE64_STANDARD.encode(key)), former_until_ms }
    }

    /// Gives an owner another secret; blocks. Of those before, only the last is still signed with, for a while: a second
    /// change ends the first at once.
    pub(crate) fn change_secret(&self, owner: &str, now_ms: u64) -> std::io::Result<()> {
        let _one_at_a_time = lock(&self.changing);
        let mut changes = self.changes().clone();
        let count = changes.get(owner).map_or(0, |change| change.count) + 1;
        changes.insert(owner.to_owned(), Change { count, at_ms: now_ms });
        let kept = Kept { secret: BASE64_STANDARD.encode(&self.master), changes };
        self.documents.write(DOCUMENT, &kept)?;
        *self.changes.write().unwrap_or_else(PoisonError::into_inner) = kept.changes;
        Ok(())
    }

    fn changes(&self) -> RwLockReadGuard<'_, Changes> {
        self.changes.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// An owner's key after so many changes.
    fn key(&self, owner: &str, changes: u64) -> Vec<u8> {
        let purpose = match changes {
            0 => format!("webhook secret of {owner}"),
            count => format!("webhook secret {count} of {owner}"),
        };
        mac(&self.master, &purpose)
    }

    /// What a message is signed with now, the newest first.
    fn keys(&self, owner: &str, now_ms: u64) -> Vec<Vec<u8>> {
        let Some(change) = self.changes().get(owner).copied() else { return vec![self.key(owner, 0)] };
        let is_former_valid = change.former_until_ms() > now_ms;
        let former = is_former_valid.then(|| self.key(owner, change.count.saturating_sub(1)));
        std::iter::once(self.key(owner, change.count)).chain(former).collect()
    }

    /// Sends a message of an owner's task and returns the status of the answer.
    ///
    /// # Errors
    /// A sentence: the address may not be asked, or nobody answers there in time.
    pub(crate) async fn send(
        &self,
        owner: &str,
        url: &str,
        id: &str,
        time_ms: u64,
        message: String,
    ) -> Result<u16, String> {
        let headers = self.headers(owner, id, time_ms, &message);
        let sent = self.outward.post_json(url, headers, message.into(), WHOLE).await;
        sent.map_err(|error| error.to_string())
    }

    /// The headers of a message.
    fn headers(&self, owner: &str, id: &str, time_ms: u64, body: &str) -> HeaderMap {
        let timestamp = time_ms / 1000;
        let content = format!("{id}.{timestamp}.{body}");
        let sign = |key: &Vec<u8>| format!("v1,{}", BASE64_STANDARD.encode(mac(key, &content)));
        let signatures: Vec<String> = self.keys(owner, time_ms).iter().map(sign).collect();
        let fields = [
            ("webhook-id", id.to_owned()),
            ("webhook-timestamp", timestamp.to_string()),
            ("webhook-signature", signatures.join(" ")),
        ];
        let field = |(name, value): (&'static str, String)| {
            Some((HeaderName::from_static(name), HeaderValue::from_str(&value).ok()?))
        };
        fields.into_iter().filter_map(field).collect()
    }

    /// Seconds to the attempt after `failed` ones, a tenth more or less so that receivers that were down are not all
    /// asked at once; `None` after the last.
    pub(crate) fn wait_ms(&self, failed: u32) -> Option<u64> {
        let seconds = *self.schedule.get(failed as usize)?;
        Some(rand::rng().random_range(seconds.saturating_mul(900)..=seconds.saturating_mul(1100)))
    }
}

impl Change {
    fn former_until_ms(self) -> u64 {
        self.at_ms.saturating_add(FORMER_MS)
    }
}

/// HMAC-SHA256 (RFC 2104); any length of key will do.
fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use gesso_store::{Clock, SystemClock};

    use super::*;
    use crate::settings::Settings;

    fn webhooks(folder: &std::path::Path) -> Webhooks {
        webhooks_with(folder, vec![5, 300])
    }

    fn webhooks_with(folder: &std::path::Path, schedule: Vec<u64>) -> Webhooks {
        let outward = Outward::new(&["https://*".into()], false).unwrap();
        Webhooks::open(Documents::new(folder), outward, schedule).unwrap()
    }

    fn verifies(secret: &str, body: &str, headers: &HeaderMap) -> bool {
        standardwebhooks::Webhook::new(secret).unwrap().verify(body.as_bytes(), headers).is_ok()
    }

    #[test]
    fn others_verify_what_is_signed_with_the_owners_secret_which_outlives_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let now_ms = SystemClock.now_ms();
        let secret = webhooks(folder.path()).secret("ann", now_ms).text;
        let again = webhooks(folder.path());
        let body = r#"{"type": "task.succeeded"}"#;
        let headers = again.headers("ann", "msg_a_3", now_ms, body);
        assert!(verifies(&secret, body, &headers));
        assert!(!verifies(&secret, "{}", &headers));
        assert!(!verifies(&again.secret("bob", now_ms).text, body, &headers));
    }

    #[test]
    fn a_changed_secret_holds_at_once_and_the_one_before_for_a_day_more() {
        let folder = tempfile::tempdir().unwrap();
        let (body, now_ms) = ("{}", SystemClock.now_ms());
        let first = webhooks(folder.path()).secret("ann", now_ms);
        assert_eq!(first.former_until_ms, None);
        webhooks(folder.path()).change_secret("ann", now_ms).unwrap();
        // Changes outlive the process too.
        let webhooks = webhooks(folder.path());
        let second = webhooks.secret("ann", now_ms);
        assert_eq!(second.former_until_ms, Some(now_ms + FORMER_MS));
        assert_ne!(first.text, second.text);
        let headers = webhooks.headers("ann", "msg_a_3", now_ms, body);
        assert_eq!(headers["webhook-signature"].to_str().unwrap().split(' ').count(), 2);
        assert!(verifies(&first.text, body, &headers) && verifies(&second.text, body, &headers));
        assert_eq!(webhooks.keys("bob", now_ms).len(), 1, "others keep theirs");
        assert_eq!(webhooks.keys("ann", now_ms + FORMER_MS - 1).len(), 2);
        let later = now_ms + FORMER_MS;
        assert_eq!(webhooks.keys("ann", later), [webhooks.key("ann", 1)]);
        assert_eq!(webhooks.secret("ann", later), Secret { former_until_ms: None, ..second.clone() });
        // A second change ends the first at once, which is what a leaked one needs.
        webhooks.change_secret("ann", now_ms).unwrap();
        let headers = webhooks.headers("ann", "msg_a_3", now_ms, body);
        assert!(!verifies(&first.text, body, &headers) && verifies(&second.text, body, &headers));
    }

    #[test]
    fn secrets_of_a_document_from_before_they_could_be_changed_stay_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let document = format!("{{\"secret\": \"{}\"}}", BASE64_STANDARD.encode([7; 32]));
        std::fs::write(folder.path().join("webhooks.json"), document).unwrap();
        let secret = webhooks(folder.path()).secret("ann", 0).text;
        let expected = BASE64_STANDARD.encode(mac(&[7; 32], "webhook secret of ann"));
        assert_eq!(secret, format!("whsec_{expected}"));
    }

    #[test]
    fn attempts_follow_the_schedule_with_some_play_and_end() {
        let folder = tempfile::tempdir().unwrap();
        let webhooks = webhooks(folder.path());
        for _ in 0..100 {
            assert!((4_500..=5_500).contains(&webhooks.wait_ms(0).unwrap()));
            assert!((270_000..=330_000).contains(&webhooks.wait_ms(1).unwrap()));
        }
        assert_eq!(webhooks.wait_ms(2), None);
    }

    /// The schedule of Standard Webhooks behind the attempt at once.
    #[test]
    fn unless_set_otherwise_ten_attempts_are_spread_over_three_days() {
        let folder = tempfile::tempdir().unwrap();
        let webhooks = webhooks_with(folder.path(), Settings::default().webhook_retry_seconds);
        let (minute, hour) = (60, 3_600);
        let expected =
            [5, 5 * minute, 30 * minute, 2 * hour, 5 * hour, 10 * hour, 14 * hour, 20 * hour, 24 * hour];
        for (failed, seconds) in (0..).zip(expected) {
            let wait_ms = webhooks.wait_ms(failed).unwrap();
            assert!((seconds * 900..=seconds * 1100).contains(&wait_ms), "{failed}: {wait_ms}");
        }
        assert_eq!(webhooks.wait_ms(9), None);
    }
}
