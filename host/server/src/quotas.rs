//! What one owner may use up: requests in a minute, tasks at once, pictures in a day, pins. The bounds are the account's,
//! or the settings' where the account says nothing; 0 is none.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};

use gesso_core::ids::TaskId;
use gesso_store::tasks::LIST_LIMIT;
use gesso_store::{Clock, Documents, Task, TaskFilter, TaskState, TaskStore, TaskStoreError};
use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::RecvError;

use crate::accounts::{Allowance, Caller};
use crate::blocking::blocking;
use crate::error::AppError;
use crate::lock::lock;

const DOCUMENT: &str = "pictures-today";
const DAY_MS: u64 = 86_400_000;
/// Where nothing is said: retention never ends a pin, and each keeps its pictures.
pub(crate) const PINNED_TASKS_MAX: u32 = 1000;

type Rate = RateLimiter<NotKeyed, InMemoryState, DefaultClock, StateInformationMiddleware>;

/// Everybody's use.
pub(crate) struct Quotas {
    defaults: Allowance,
    clock: Arc<dyn Clock>,
    documents: Documents,
    /// By owner, with the bound each was made for.
    rates: Mutex<HashMap<String, (NonZeroU32, Arc<Rate>)>>,
    /// By owner.
    active: Mutex<HashMap<String, HashMap<TaskId, Counted>>>,
    day: Mutex<Day>,
}

/// A task that counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counted {
    /// Two requests with one id are counted, of which one is not stored.
    times: u32,
    /// Of these, requests whose task may not be stored yet.
    reserved: u32,
}

/// A task of an earlier run.
const STORED: Counted = Counted { times: 1, reserved: 0 };

/// Pictures asked for on one day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Day {
    /// Days since the Unix epoch.
    day: u64,
    pictures: HashMap<String, u32>,
}

/// What is left of a rate, for the reply's headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) limit: u32,
    pub(crate) remaining: u32,
    /// Until there is one more.
    pub(crate) reset_seconds: u64,
}

impl Quotas {
    /// Reads what was used today; blocks.
    pub(crate) fn open(
        defaults: Allowance,
        documents: Documents,
        clock: Arc<dyn Clock>,
    ) -> std::io::Result<Self> {
        let day = documents.read::<Day>(DOCUMENT)?.unwrap_or_default();
        let day = Mutex::new(day);
        let (rates, active) = (Mutex::default(), Mutex::default());
        Ok(Self { defaults, clock, documents, rates, active, day })
    }

    /// Takes one of the requests that are left this minute; `None` where there is no bound. `Err` holds the seconds
    /// until there is one.
    pub(crate) fn take_request(&self, caller: &Caller) -> Result<Option<Left>, Left> {
        let bound = caller.allowance.requests_per_minute.or(self.defaults.requests_per_minute);
        let Some(bound) = bound.and_then(NonZeroU32::new) else { return Ok(None) };
        let rate = {
            let mut rates = lock(&self.rates);
            let entry = rates.entry(caller.name.clone()).or_insert_with(|| (bound, rate(bound)));
            // An admin has changed it.
            if entry.0 != bound {
                *entry = (bound, rate(bound));
            }
            entry.1.clone()
        };
        let limit = bound.get();
        match rate.check() {
            Ok(left) => {
                let remaining = left.remaining_burst_capacity();
                Ok(Some(Left { limit, remaining, reset_seconds: u64::from(60_u32.div_ceil(limit)) }))
            }
            Err(until) => {
                let wait = until.wait_time_from(DefaultClock::default().now());
                Err(Left { limit, remaining: 0, reset_seconds: wait.as_secs() + 1 })
            }
        }
    }

    /// How many of the caller's tasks may be pinned; `None` where there is no bound.
    pub(crate) fn pinned_tasks_max(&self, caller: &Caller) -> Option<u64> {
        let said = caller.allowance.pinned_tasks.or(self.defaults.pinned_tasks);
        let most = u64::from(said.unwrap_or(PINNED_TASKS_MAX));
        (most > 0).then_some(most)
    }

    /// Counts a task that is about to be stored, and the pictures it asks for. Dropping the reservation without
    /// [`Reservation::keep`] gives both back.
    ///
    /// # Errors
    /// `Overloaded` where the owner has enough under way or has had enough today.
    pub(crate) async fn reserve(
        self: &Arc<Self>,
        caller: &Caller,
        id: &TaskId,
        pictures: u32,
    ) -> Result<Reservation, AppError> {
        let at_once = caller.allowance.tasks_at_once.or(self.defaults.tasks_at_once).unwrap_or_default();
        {
            let mut active = lock(&self.active);
            let mine = active.entry(caller.name.clone()).or_default();
            if at_once > 0 && mine.len() >= at_once as usize && !mine.contains_key(id) {
                let message = format!(
                    "{} of your tasks wait or run already; wait for one to end, or cancel one",
                    mine.len()
                );
                return Err(AppError::Overloaded(message));
            }
            let counted = mine.entry(id.clone()).or_default();
            counted.times += 1;
            counted.reserved += 1;
        }
        let (quotas, owner) = (self.clone(), caller.name.clone());
        let mut reservation = Reservation { quotas, owner, id: Some(id.clone()), pictures: 0 };
        let a_day = caller.allowance.pictures_per_day.or(self.defaults.pictures_per_day).unwrap_or_default();
        if a_day > 0 {
            self.take_pictures(&caller.name, pictures, a_day)?;
            reservation.pictures = pictures;
            self.save_day().await?;
        }
        Ok(reservation)
    }

    fn take_pictures(&self, owner: &str, pictures: u32, a_day: u32) -> Result<(), AppError> {
        let now_ms = self.clock.now_ms();
        let mut day = lock(&self.day);
        if day.day != now_ms / DAY_MS {
            *day = Day { day: now_ms / DAY_MS, pictures: HashMap::new() };
        }
        let used = day.pictures.entry(owner.to_owned()).or_default();
        if used.saturating_add(pictures) > a_day {
            let hours = (DAY_MS - now_ms % DAY_MS).div_ceil(3_600_000);
            let message = format!(
                "{used} of your {a_day} pictures of today are used, and this asks for {pictures}; the day ends in {hours} h (UTC)"
            );
            return Err(AppError::Overloaded(message));
        }
        *used += pictures;
        Ok(())
    }

    async fn save_day(self: &Arc<Self>) -> Result<(), AppError> {
        let quotas = self.clone();
        // The blocking pool: a file.
        blocking(move || quotas.write_day())
            .await?
            .map_err(|error| AppError::Internal(format!("the pictures of today cannot be counted: {error}")))
    }

    /// What is written is what holds then, so that the last writer is right.
    fn write_day(&self) -> std::io::Result<()> {
        let day = lock(&self.day);
        self.documents.write(DOCUMENT, &*day)
    }

    fn ended(&self, id: &TaskId) {
        self.let_go(id, |_| true);
    }

    fn let_go(&self, id: &TaskId, is_over: impl Fn(Counted) -> bool) {
        let mut active = lock(&self.active);
        active.retain(|_, tasks| {
            if tasks.get(id).copied().is_some_and(&is_over) {
                tasks.remove(id);
            }
            !tasks.is_empty()
        });
    }

    /// Takes in the tasks of an earlier run, then lets go of every task that ends; returns when the store closes.
    pub(crate) async fn follow(self: Arc<Self>, tasks: Arc<dyn TaskStore>) {
        let mut changes = tasks.subscribe();
        let states = vec![TaskState::Waiting, TaskState::Running];
        let mut filter = TaskFilter { states, limit: LIST_LIMIT, ..TaskFilter::default() };
        while let Ok(page) = tasks.list(filter.clone()).await {
            for task in page.tasks {
                lock(&self.active).entry(task.owner).or_default().entry(task.id).or_insert(STORED);
            }
            filter.after = page.next;
            if page.next.is_none() {
                break;
            }
        }
        loop {
            match changes.recv().await {
                Ok(change) if change.state.is_terminal() => self.ended(&change.id),
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => self.look_again(tasks.as_ref()).await,
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// Some ends were missed.
    async fn look_again(&self, tasks: &dyn TaskStore) {
        for (id, before) in self.counted() {
            self.compare(&id, before, tasks.get(&id).await);
        }
    }

    fn counted(&self) -> Vec<(TaskId, Counted)> {
        let active = lock(&self.active);
        active.values().flatten().map(|(id, counted)| (id.clone(), *counted)).collect()
    }

    /// Lets go of a task that is over as the store says. `before` is how it was counted when the store was not asked yet.
    fn compare(&self, id: &TaskId, before: Counted, stored: Result<Option<Task>, TaskStoreError>) {
        match stored {
            Ok(Some(task)) if !task.state.is_terminal() => {}
            // It ended and was removed; or it was about to be stored, and may be by now.
            Ok(None) => self.let_go(id, |now| before.reserved == 0 && now == before),
            // Who is not let go of here may be kept out for as long as the process lives.
            Ok(Some(_)) | Err(_) => self.ended(id),
        }
    }
}

/// A task that is counted, until it is known to be stored.
pub(crate) struct Reservation {
    quotas: Arc<Quotas>,
    owner: String,
    /// `None` once it is known to be stored.
    id: Option<TaskId>,
    pictures: u32,
}

impl Reservation {
    /// The task is stored: it counts until it ends, its pictures until the day does.
    pub(crate) fn keep(mut self) {
        self.settle(true);
        self.pictures = 0;
    }

    fn settle(&mut self, is_stored: bool) {
        let Some(id) = self.id.take() else { return };
        let mut active = lock(&self.quotas.active);
        // One that has ended by now is not counted any more.
        let Some(mine) = active.get_mut(&self.owner) else { return };
        let Some(counted) = mine.get_mut(&id) else { return };
        counted.reserved = counted.reserved.saturating_sub(1);
        if !is_stored {
            counted.times = counted.times.saturating_sub(1);
        }
        if counted.times == 0 {
            mine.remove(&id);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.settle(false);
        if self.pictures == 0 {
            return;
        }
        if let Some(used) = lock(&self.quotas.day).pictures.get_mut(&self.owner) {
            *used = used.saturating_sub(self.pictures);
        }
        let quotas = self.quotas.clone();
        // The blocking pool: a file.
        tokio::task::spawn_blocking(move || {
            if let Err(error) = quotas.write_day() {
                tracing::warn!(%error, "pictures that were given back stay counted");
            }
        });
    }
}

fn rate(bound: NonZeroU32) -> Arc<Rate> {
    let limiter = RateLimiter::direct(Quota::per_minute(bound));
    Arc::new(limiter.with_middleware::<StateInformationMiddleware>())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gesso_store::MemoryTasks;
    use gesso_store::testing::ManualClock;
    use gesso_store::testing::conformance::new_task;

    use super::*;
    use crate::accounts::Role;

    fn caller(allowance: Allowance) -> Caller {
        Caller { name: "ann".into(), role: Role::User, allowance }
    }

    fn id(text: &str) -> TaskId {
        TaskId::parse(text).unwrap()
    }

    fn quotas(folder: &tempfile::TempDir, clock: &ManualClock) -> Arc<Quotas> {
        let defaults = Allowance { tasks_at_once: Some(2), ..Allowance::default() };
        Arc::new(Quotas::open(defaults, Documents::new(folder.path()), Arc::new(clock.clone())).unwrap())
    }

    #[test]
    fn requests_run_out_and_the_reply_says_when_there_are_more() {
        let folder = tempfile::tempdir().unwrap();
        let quotas = quotas(&folder, &ManualClock::new(0));
        assert_eq!(quotas.take_request(&caller(Allowance::default())), Ok(None));
        let bounded = caller(Allowance { requests_per_minute: Some(3), ..Allowance::default() });
        let left: Vec<_> =
            (0..3).map(|_| quotas.take_request(&bounded).unwrap().unwrap().remaining).collect();
        assert_eq!(left, [2, 1, 0]);
        let refused = quotas.take_request(&bounded).unwrap_err();
        assert_eq!((refused.limit, refused.remaining), (3, 0));
        assert!((1..=21).contains(&refused.reset_seconds), "{refused:?}");
        // A new bound is in force at once.
        let more = caller(Allowance { requests_per_minute: Some(5), ..Allowance::default() });
        assert_eq!(quotas.take_request(&more).unwrap().unwrap().remaining, 4);
    }

    #[tokio::test]
    async fn tasks_at_once_are_bounded_until_one_ends_or_was_never_stored() {
        let folder = tempfile::tempdir().unwrap();
        let quotas = quotas(&folder, &ManualClock::new(0));
        let ann = caller(Allowance::default());
        quotas.reserve(&ann, &id("a"), 1).await.unwrap().keep();
        drop(quotas.reserve(&ann, &id("never"), 1).await.unwrap());
        quotas.reserve(&ann, &id("b"), 1).await.unwrap().keep();
        assert!(matches!(quotas.reserve(&ann, &id("c"), 1).await, Err(AppError::Overloaded(_))));
        let bob = Caller { name: "bob".into(), ..ann.clone() };
        quotas.reserve(&bob, &id("d"), 1).await.unwrap().keep();
        quotas.ended(&id("a"));
        // One that is counted already counts once, and giving the second back gives nothing back.
        drop(quotas.reserve(&ann, &id("b"), 1).await.unwrap());
        let late = quotas.reserve(&ann, &id("c"), 1).await.unwrap();
        quotas.reserve(&ann, &id("c"), 1).await.unwrap().keep();
        drop(late);
        assert!(quotas.reserve(&ann, &id("e"), 1).await.is_err());
    }

    #[tokio::test]
    async fn a_look_at_the_store_lets_go_of_what_is_over_and_not_of_what_is_about_to_be_stored() {
        let (folder, clock) = (tempfile::tempdir().unwrap(), ManualClock::new(0));
        let quotas = quotas(&folder, &clock);
        let tasks = MemoryTasks::new(Arc::new(clock));
        let ann = caller(Allowance::default());
        // Its end was missed, and it was removed.
        quotas.reserve(&ann, &id("gone"), 1).await.unwrap().keep();
        let about = quotas.reserve(&ann, &id("about"), 1).await.unwrap();
        quotas.look_again(&tasks).await;
        drop(quotas.reserve(&ann, &id("next"), 1).await.unwrap());
        tasks.submit(new_task("next")).await.unwrap();
        quotas.reserve(&ann, &id("next"), 1).await.unwrap().keep();
        assert!(quotas.reserve(&ann, &id("more"), 1).await.is_err(), "what is to be stored counts");
        about.keep();
        quotas.look_again(&tasks).await;
        quotas.reserve(&ann, &id("more"), 1).await.unwrap().keep();
        assert!(quotas.reserve(&ann, &id("too-many"), 1).await.is_err(), "what waits counts");
        tasks.cancel(&id("next")).await.unwrap();
        quotas.look_again(&tasks).await;
        quotas.reserve(&ann, &id("too-many"), 1).await.unwrap().keep();
    }

    #[tokio::test]
    async fn what_is_stored_while_the_store_is_looked_at_stays_counted() {
        let folder = tempfile::tempdir().unwrap();
        let quotas = quotas(&folder, &ManualClock::new(0));
        let ann = caller(Allowance::default());
        let counts = |text: &str| quotas.counted().iter().any(|(counted, _)| *counted == id(text));
        let now = || quotas.counted()[0].1;
        // Told not to be there, and stored before that is heard.
        let about = quotas.reserve(&ann, &id("about"), 1).await.unwrap();
        let before = now();
        about.keep();
        quotas.compare(&id("about"), before, Ok(None));
        assert!(counts("about"));
        // Over, and asked for anew meanwhile.
        let before = now();
        quotas.reserve(&ann, &id("about"), 1).await.unwrap().keep();
        quotas.compare(&id("about"), before, Ok(None));
        assert!(counts("about"));
        quotas.compare(&id("about"), now(), Ok(None));
        assert!(!counts("about"));
    }

    #[test]
    fn pins_are_bounded_unless_the_account_or_the_settings_say_that_they_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let bound = |pinned_tasks| Allowance { pinned_tasks, ..Allowance::default() };
        for (settings, account, most) in [
            (None, None, Some(1000)),
            (Some(5), None, Some(5)),
            (Some(5), Some(7), Some(7)),
            (Some(5), Some(0), None),
            (Some(0), None, None),
        ] {
            let documents = Documents::new(folder.path());
            let quotas = Quotas::open(bound(settings), documents, Arc::new(ManualClock::new(0))).unwrap();
            assert_eq!(quotas.pinned_tasks_max(&caller(bound(account))), most);
        }
    }

    #[tokio::test]
    async fn pictures_of_a_day_outlive_the_process_and_begin_anew_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::new(DAY_MS * 20_000 + 5);
        let ann = caller(Allowance { pictures_per_day: Some(10), ..Allowance::default() });
        let first = quotas(&folder, &clock);
        first.reserve(&ann, &id("a"), 8).await.unwrap().keep();
        drop(first.reserve(&ann, &id("given-back"), 2).await.unwrap());
        // What is given back is written by and by.
        while first.documents.read::<Day>(DOCUMENT).unwrap().unwrap().pictures["ann"] != 8 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let again = quotas(&folder, &clock);
        drop(again.reserve(&ann, &id("b"), 2).await.unwrap());
        let error = again.reserve(&ann, &id("b"), 3).await.err().unwrap();
        assert!(error.to_string().contains("of your 10 pictures"), "{error}");
        clock.advance(Duration::from_millis(DAY_MS));
        again.reserve(&ann, &id("b"), 10).await.unwrap().keep();
    }
}
