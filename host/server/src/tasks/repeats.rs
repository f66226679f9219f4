//! Requests under an idempotency key: the task that an earlier one became, and the id that the task of the next one gets. The
//! key is in the id, so that a task is all that has to be remembered of it. Knows neither bodies nor what is drawn.

use gesso_core::hex::hex;
use gesso_core::ids::TaskId;
use gesso_store::{Task, TaskStore};
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, MutexGuard};

use super::Submitted;
use crate::accounts::Caller;
use crate::error::AppError;
use crate::http::wire::terms::{KEY_ID, KEY_ID_DIGITS, RequestTerms};

const DAY_MS: u64 = 86_400_000;
/// For so long, from when a task is made, a request with its key is that task.
const REMEMBERED_MS: u64 = DAY_MS;
/// Keys that share a turn wait for each other; 32 is what arrays have a default for.
const TURNS: usize = 32;

/// A request under an idempotency key.
pub(crate) struct Repeat {
    owner: String,
    /// Of the first task of this key.
    id: TaskId,
    turn: usize,
    pub(super) fingerprint: String,
}

impl Repeat {
    /// `None` for a request without a key. `scope` is what a key is one of: the same key elsewhere is another. `body` is what
    /// the client sent, which may be large: it is asked for only where there is a key.
    pub(crate) fn new<T: AsRef<str>>(
        caller: &Caller,
        scope: &str,
        body: impl FnOnce() -> T,
        terms: &RequestTerms,
    ) -> Option<Self> {
        let key = terms.idempotency_key.as_ref()?;
        let print = |parts: &[&str]| {
            let mut hasher = Sha256::new();
            for part in parts {
                hasher.update((part.len() as u64).to_le_bytes());
                hasher.update(part);
            }
            hex(&hasher.finalize())
        };
        let digest = print(&[&caller.name, scope, key]);
        Some(Self {
            owner: caller.name.clone(),
            id: id_of(&format!("{KEY_ID}{}", &digest[..KEY_ID_DIGITS])),
            turn: usize::from_str_radix(&digest[..2], 16).unwrap_or_default() % TURNS,
            fingerprint: print(&[body().as_ref()]),
        })
    }

    /// The task of an earlier request with this key, as long as it is remembered.
    ///
    /// # Errors
    /// `Unprocessable` where that request had another body.
    pub(super) async fn earlier(
        &self,
        tasks: &dyn TaskStore,
        now_ms: u64,
    ) -> Result<Option<Submitted>, AppError> {
        let today = now_ms / DAY_MS;
        let remembered = |task: &Task| task.created_ms.saturating_add(REMEMBERED_MS) > now_ms;
        // Whatever is remembered was made under the first id, today or yesterday.
        for id in [self.id.clone(), self.id_of_day(today), self.id_of_day(today.saturating_sub(1))] {
            if let Some(task) = tasks.get(&id).await?.filter(remembered) {
                return self.of(task).map(Some);
            }
        }
        Ok(None)
    }

    /// The id of a task that is made now, when nothing [`earlier`](Self::earlier) is remembered: the first one, or where that is
    /// an old task's, one with the number of the day.
    pub(super) async fn free_id(&self, tasks: &dyn TaskStore, now_ms: u64) -> Result<TaskId, AppError> {
        let is_taken = tasks.get(&self.id).await?.is_some();
        Ok(if is_taken { self.id_of_day(now_ms / DAY_MS) } else { self.id.clone() })
    }

    /// The task that was found in this one's place, if this one asks for the same.
    pub(super) fn of(&self, task: Task) -> Result<Submitted, AppError> {
        if task.owner == self.owner && task.terms.fingerprint.as_ref() == Some(&self.fingerprint) {
            return Ok(Submitted { task, is_replay: true });
        }
        let message = "Idempotency-Key: it was used with another body; use a new one for a new request";
        Err(AppError::Unprocessable(message.into()))
    }

    fn id_of_day(&self, day: u64) -> TaskId {
        id_of(&format!("{}-{day}", self.id))
    }
}

/// Of letters, digits and hyphens, 57 at most: an id, as all that is made here.
fn id_of(text: &str) -> TaskId {
    TaskId::parse(text).unwrap_or_else(|error| unreachable!("{text} is no id: {error}"))
}

/// Requests with one key take turns, so that the second finds the task of the first.
#[derive(Debug, Default)]
pub(crate) struct Turns([Mutex<()>; TURNS]);

impl Turns {
    pub(super) async fn of(&self, repeat: &Repeat) -> MutexGuard<'_, ()> {
        self.0[repeat.turn].lock().await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use gesso_store::testing::ManualClock;
    use gesso_store::testing::conformance::new_task;
    use gesso_store::{Clock, MemoryTasks, NewTask, Terms};

    use super::*;
    use crate::accounts::Role;
    use crate::http::wire::terms::is_of_a_key;

    fn ann() -> Caller {
        Caller { name: "ann".into(), role: Role::User, allowance: Default::default() }
    }

    fn repeat(body: &str) -> Repeat {
        let terms = RequestTerms { idempotency_key: Some("order-4711".into()), ..RequestTerms::default() };
        Repeat::new(&ann(), "txt2img", || body, &terms).unwrap()
    }

    #[test]
    fn a_body_without_a_key_is_not_even_written_out() {
        let body = || -> String { panic!("nobody needs it") };
        assert!(Repeat::new(&ann(), "txt2img", body, &RequestTerms::default()).is_none());
    }

    /// As `store` does with what is new.
    async fn asked(tasks: &MemoryTasks, clock: &ManualClock, body: &str) -> Result<(TaskId, bool), AppError> {
        let repeat = repeat(body);
        if let Some(Submitted { task, is_replay }) = repeat.earlier(tasks, clock.now_ms()).await? {
            return Ok((task.id, is_replay));
        }
        let id = repeat.free_id(tasks, clock.now_ms()).await?;
        let terms = Terms { fingerprint: Some(repeat.fingerprint.clone()), ..Terms::default() };
        let new = NewTask { id: id.clone(), owner: "ann".into(), terms, ..new_task("any") };
        tasks.submit(new).await?;
        Ok((id, false))
    }

    #[tokio::test]
    async fn a_key_stands_for_its_task_for_a_day_and_then_for_another() {
        // An hour before midnight.
        let clock = ManualClock::new(20_000 * DAY_MS - 3_600_000);
        let tasks = MemoryTasks::new(Arc::new(clock.clone()));
        let (first, is_replay) = asked(&tasks, &clock, "a").await.unwrap();
        assert!(!is_replay);
        clock.advance(Duration::from_millis(REMEMBERED_MS - 1));
        assert_eq!(asked(&tasks, &clock, "a").await.unwrap(), (first.clone(), true));
        assert!(matches!(asked(&tasks, &clock, "b").await, Err(AppError::Unprocessable(_))));
        clock.advance(Duration::from_millis(1));
        // What is not remembered has no say in the body either.
        let (second, is_replay) = asked(&tasks, &clock, "b").await.unwrap();
        assert!(second != first && !is_replay);
        assert!(is_of_a_key(&first) && is_of_a_key(&second), "{first} and {second} are nobody's to choose");
        // The first task may go meanwhile.
        tasks.cancel(&first).await.unwrap();
        tasks.remove(&first).await.unwrap();
        clock.advance(Duration::from_millis(REMEMBERED_MS - 1));
        assert_eq!(asked(&tasks, &clock, "b").await.unwrap(), (second.clone(), true), "on the next day too");
        clock.advance(Duration::from_millis(1));
        assert_eq!(asked(&tasks, &clock, "b").await.unwrap(), (first, false), "its id is free again");
    }
}
