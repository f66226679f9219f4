//! Telling webhooks that tasks have ended, until they answer or are given up. What is owed is the task store's to remember,
//! so that no end is missed; how a message is signed and sent is `webhooks.rs`.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gesso_core::ids::TaskId;
use gesso_store::{Clock, SystemClock, Task, TaskStoreError};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::app::App;
use crate::http::task_view;
use crate::lock::lock;

/// How often to look for what is due.
const TICK: Duration = Duration::from_secs(1);
/// Told at the same time, of all owners and of one.
const AT_ONCE: usize = 64;
const OF_ONE: usize = 4;
/// `410 Gone`: the receiver wants no more.
const GONE: u16 = 410;
/// Standard Webhooks has messages below 20 KB, and receivers refuse longer ones.
const MESSAGE_BYTES_MAX: usize = 20_000;
/// What a longer one goes without, in this order; `GET /tasks/{id}` has it.
const MAY_BE_LEFT_OUT: [&str; 6] = ["infotexts", "warnings", "plugins", "seeds", "ossUrl", "images"];

/// Tells what is due until the server drains. Receivers that answer slowly keep only their own owner waiting.
pub(crate) async fn run(app: Arc<App>) {
    let mut draining = app.draining.clone();
    let mut telling: JoinSet<()> = JoinSet::new();
    let busy = Busy::default();
    // Being told at present; what is due is listed until it is settled.
    let told = Told::default();
    while !app.is_draining() {
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            // Whoever answers makes room for the next.
            Some(_) = telling.join_next() => {}
            _ = draining.changed() => continue,
        }
        while telling.try_join_next().is_some() {}
        // Owners that have as many as they may are left out of the next look, so that it comes to others'.
        while begin(&app, &mut telling, &busy, &told).await {}
    }
}

type Busy = Arc<Mutex<HashMap<String, usize>>>;
type Told = Arc<Mutex<HashSet<TaskId>>>;

/// Begins to tell what is due and has room; whether anything was begun.
async fn begin(app: &Arc<App>, telling: &mut JoinSet<()>, busy: &Busy, told: &Told) -> bool {
    let is_full = |(_, count): &(&String, &usize)| **count >= OF_ONE;
    let full: Vec<String> = lock(busy).iter().filter(is_full).map(|(owner, _)| owner.clone()).collect();
    let due = match room(telling) {
        0 => return false,
        // Of those, some may be told already.
        room => app.tasks.due_notices(room + AT_ONCE, &full).await,
    };
    let due = match due {
        Ok(due) => due,
        Err(error) => {
            tracing::warn!(%error, "webhooks that are due could not be listed");
            return false;
        }
    };
    let mut any = false;
    for task in due {
        let has_room = lock(busy).get(&task.owner).is_none_or(|count| *count < OF_ONE);
        if room(telling) == 0 || !has_room || !lock(told).insert(task.id.clone()) {
            continue;
        }
        any = true;
        *lock(busy).entry(task.owner.clone()).or_default() += 1;
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
    any
}

fn room(telling: &JoinSet<()>) -> usize {
    AT_ONCE.saturating_sub(telling.len())
}

async fn tell(app: &App, task: Task) {
    let (Some(url), Some(notice)) = (&task.terms.webhook, task.notice) else { return };
    let now_ms = SystemClock.now_ms();
    let view = match task_view::ended(app, &task, None).await {
        Ok(view) => json!(view),
        Err(error) => {
            tracing::warn!(task = %task.id, %error, "the message of a webhook could not be written");
            json!({"taskId": task.id.as_str(), "status": task.state.as_str()})
        }
    };
    let time = jiff::Timestamp::from_millisecond(now_ms as i64).unwrap_or_default().to_string();
    let message = message(&format!("task.{}", task.state), &time, view);
    // The same for every attempt, so that a receiver can tell a repeat.
    let id = format!("msg_{}_{}", task.id, task.revision);
    let told = app.webhooks.send(&task.owner, url, &id, now_ms, message).await;
    let next_ms = match told {
        Ok(200..=299) => None,
        Ok(GONE) => {
            tracing::info!(task = %task.id, "the webhook wants no more messages");
            None
        }
        ref failed => {
            let next =
                app.webhooks.wait_ms(notice.attempts).map(|wait| SystemClock.now_ms().saturating_add(wait));
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

/// The message of an end, which says what it goes without.
fn message(kind: &str, time: &str, data: Value) -> String {
    let mut message = json!({"type": kind, "timestamp": time, "data": data});
    let mut left_out = Vec::new();
    for part in MAY_BE_LEFT_OUT {
        let text = message.to_string();
        if text.len() <= MESSAGE_BYTES_MAX {
            return text;
        }
        if message["data"].as_object_mut().and_then(|data| data.shift_remove(part)).is_some() {
            left_out.push(part);
            message["leftOut"] = json!(left_out);
        }
    }
    message.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_goes_without_its_longest_parts_before_it_is_too_long_and_says_so() {
        let written = |infotexts: usize, urls: usize| {
            let data = json!({
                "taskId": "a", "infotexts": vec!["x".repeat(1000); infotexts], "seeds": [1],
                "ossUrl": vec!["y".repeat(200); urls], "images": ["images/ann/a_1.png"],
            });
            let text = message("task.succeeded", "2026-01-01T00:00:00Z", data);
            assert!(text.len() <= MESSAGE_BYTES_MAX, "{}", text.len());
            serde_json::from_str::<Value>(&text).unwrap()
        };
        let whole = written(2, 2);
        assert_eq!(
            (&whole["leftOut"], whole["data"]["infotexts"].as_array().unwrap().len()),
            (&Value::Null, 2)
        );
        let short = written(50, 2);
        assert_eq!((&short["leftOut"], &short["data"]["infotexts"]), (&json!(["infotexts"]), &Value::Null));
        assert_eq!(short["data"]["ossUrl"].as_array().unwrap().len(), 2);
        let shorter = written(50, 500);
        assert_eq!(shorter["leftOut"], json!(["infotexts", "seeds", "ossUrl"]));
        assert_eq!((&shorter["data"]["taskId"], &shorter["type"]), (&json!("a"), &json!("task.succeeded")));
    }
}
