//! Messages to URLs that tasks named, as Standard Webhooks has them: signed with a secret of their owner's, sent only to
//! hosts that the settings allow. What is told, and when, is `notices.rs`.

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

const DOCUMENT: &str = "webhooks";
/// A receiver that has not answered by then has not.
const WHOLE: Duration = Duration::from_secs(20);

/// Who is told, and how it is signed.
pub(crate) struct Webhooks {
    outward: Outward,
    /// Seconds from a failed attempt to the next.
    schedule: Vec<u64>,
    master: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Master {
    secret: String,
}

impl Webhooks {
    /// Reads the secret that all others are made of, or makes it; blocks.
    pub(crate) fn open(documents: &Documents, outward: Outward, schedule: Vec<u64>) -> std::io::Result<Self> {
        let master = match documents.read::<Master>(DOCUMENT)? {
            Some(master) => master,
            None => {
                let secret: [u8; 32] = rand::rng().random();
                let master = Master { secret: BASE64_STANDARD.encode(secret) };
                documents.write(DOCUMENT, &master)?;
                master
            }
        };
        let master = BASE64_STANDARD.decode(master.secret).map_err(std::io::Error::other)?;
        Ok(Self { outward, schedule, master })
    }

    /// Whether a task may name this URL.
    pub(crate) fn allows(&self, url: &str) -> bool {
        self.outward.allows(url)
    }

    /// What an owner verifies signatures with: `whsec_` and 32 bytes in base64. Each owner has their own.
    pub(crate) fn secret(&self, owner: &str) -> String {
        format!("whsec_{}", BASE64_STANDARD.encode(self.key(owner)))
    }

    fn key(&self, owner: &str) -> Vec<u8> {
        mac(&self.master, &format!("webhook secret of {owner}"))
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
        let headers = self.headers(owner, id, time_ms / 1000, &message);
        let sent = self.outward.post_json(url, headers, message.into(), WHOLE).await;
        sent.map_err(|error| error.to_string())
    }

    /// The headers of a message.
    fn headers(&self, owner: &str, id: &str, timestamp: u64, body: &str) -> HeaderMap {
        let signature = BASE64_STANDARD.encode(mac(&self.key(owner), &format!("{id}.{timestamp}.{body}")));
        let fields = [
            ("webhook-id", id.to_owned()),
            ("webhook-timestamp", timestamp.to_string()),
            ("webhook-signature", format!("v1,{signature}")),
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

    fn webhooks(folder: &std::path::Path) -> Webhooks {
        let outward = Outward::new(&["https://*".into()], false).unwrap();
        Webhooks::open(&Documents::new(folder), outward, vec![5, 300]).unwrap()
    }

    #[test]
    fn others_verify_what_is_signed_with_the_owners_secret_which_outlives_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let secret = webhooks(folder.path()).secret("ann");
        let (again, now) = (webhooks(folder.path()), SystemClock.now_ms() / 1000);
        let body = r#"{"type": "task.succeeded"}"#;
        let headers = again.headers("ann", "msg_a_3", now, body);
        let verifier = standardwebhooks::Webhook::new(&secret).unwrap();
        verifier.verify(body.as_bytes(), &headers).unwrap();
        assert!(verifier.verify(b"{}", &headers).is_err());
        let others = standardwebhooks::Webhook::new(&again.secret("bob")).unwrap();
        assert!(others.verify(body.as_bytes(), &headers).is_err());
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
}
