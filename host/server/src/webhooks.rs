//! Telling the URL that a task named that it has ended, as Standard Webhooks has it: signed, tried again for days, and
//! only to hosts that the settings allow. What is owed is the task store's to remember, so that no end is missed.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use gesso_core::ids::TaskId;
use gesso_plugin_host::Outward;
use gesso_store::{Clock, Documents, SystemClock, Task, TaskStoreError};
use hmac::{Hmac, KeyInit, Mac};
use rand::RngExt;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::Sha256;
use tokio::task::JoinSet;

use crate::app::App;
use crate::http::task_view;

const DOCUMENT: &str = "webhooks";
/// A receiver that has not answered by then has not.
const WHOLE: Duration = Duration::from_secs(20);
/// How often to look for what is due.
const TICK: Duration = Duration::from_secs(1);
/// Told at the same time, of all owners and of one.
const AT_ONCE: usize = 64;
const OF_ONE: usize = 4;
/// `410 Gone`: the receiver wants no more.
const GONE: u16 = 410;

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
    fn wait_ms(&self, failed: u32) -> Option<u64> {
        let seconds = *self.schedule.get(failed as usize)?;
        Some(rand::rng().random_range(seconds * 900..=seconds * 1100))
    }
}

/// HMAC-SHA256 (RFC 2104); any length of key will do.
fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// Tells what is due until the server drains. Receivers that answer slowly keep only their own owner waiting.
pub(crate) async fn run(app: Arc<App>) {
    let mut draining = app.draining.clone();
    let mut telling: JoinSet<()> = JoinSet::new();
    let busy: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    // Being told at present; what is due is listed until it is settled.
    let told: Arc<Mutex<HashSet<TaskId>>> = Arc::default();
    while !app.is_draining() {
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            _ = draining.changed() => continue,
        }
        while telling.try_join_next().is_some() {}
        let full: Vec<String> = lock(&busy)
            .iter()
            .filter(|(_, count)| **count >= OF_ONE)
            .map(|(owner, _)| owner.clone())
            .collect();
        let due = match app.tasks.due_notices(AT_ONCE + OF_ONE, &full).await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(%error, "webhooks that are due could not be listed");
                continue;
            }
        };
        for task in due {
            let has_room = lock(&busy).get(&task.owner).is_none_or(|count| *count < OF_ONE);
            if telling.len() >= AT_ONCE || !has_room || !lock(&told).insert(task.id.clone()) {
                continue;
            }
            *lock(&busy).entry(task.owner.clone()).or_default() += 1;
            let (app, busy, told) = (app.clone(), busy.clone(), told.clone());
            // A tokio worker: waiting for somebody else's server.
            telling.spawn(async move {
                let (owner, id) = (task.owner.clone(), task.id.clone());
                tell(&app, task).await;
                lock(&told).remove(&id);
                let mut busy = lock(&busy);
                if let Some(count) = busy.get_mut(&owner) {
                    *count -= 1;
                    if *count == 0 {
                        busy.remove(&owner);
                    }
                }
            });
        }
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn tell(app: &App, task: Task) {
    let (Some(url), Some(notice)) = (&task.terms.webhook, task.notice) else { return };
    let now_ms = SystemClock.now_ms();
    let view = match task_view::ended(app, &task, None).await {
        Ok(view) => view,
        Err(error) => {
            tracing::warn!(task = %task.id, %error, "the message of a webhook could not be written");
            json!({"taskId": task.id.as_str(), "status": task.state.as_str()})
        }
    };
    let time = jiff::Timestamp::from_millisecond(now_ms as i64).unwrap_or_default().to_string();
    let message =
        json!({"type": format!("task.{}", task.state), "timestamp": time, "data": view}).to_string();
    // The same for every attempt, so that a receiver can tell a repeat.
    let id = format!("msg_{}_{}", task.id, task.revision);
    let headers = app.webhooks.headers(&task.owner, &id, now_ms / 1000, &message);
    let told = app.webhooks.outward.post_json(url, headers, message.into(), WHOLE).await;
    let next_ms = match told {
        Ok(200..=299) => None,
        Ok(GONE) => {
            tracing::info!(task = %task.id, "the webhook wants no more messages");
            None
        }
        ref failed => {
            let next = app.webhooks.wait_ms(notice.attempts).map(|wait| SystemClock.now_ms() + wait);
            let (attempt, last) = (notice.attempts + 1, next.is_none());
            tracing::warn!(task = %task.id, ?failed, attempt, last, "a webhook was not told");
            next
        }
    };
    metrics::counter!("gesso_webhook_attempts_total", "told" => next_ms.is_none().to_string()).increment(1);
    match app.tasks.settle_notice(&task.id, task.revision, next_ms).await {
        // It was removed or is tried again meanwhile.
        Ok(_) | Err(TaskStoreError::NotFound | TaskStoreError::State(_)) => {}
        Err(error) => tracing::warn!(task = %task.id, %error, "a webhook may be told twice"),
    }
}

#[cfg(test)]
mod tests {
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
