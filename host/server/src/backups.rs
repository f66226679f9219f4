//! Backups of the task store: one each hour and one at the end, in the object store. Called by `serve` and by what starts it.
//! It knows nothing of what is in one; `gesso store restore` makes a task store of it again.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gesso_store::volume::{Room, room_of};
use gesso_store::{Clock, ObjectKey, Objects, ObjectsError, SledTasks, SystemClock, TaskStore};
use tokio::sync::{Mutex, watch};

use crate::app::App;
use crate::blocking::blocking;
use crate::error::AppError;

const HOUR: Duration = Duration::from_secs(3600);
/// How long after a failure the next try is.
const RETRY: Duration = Duration::from_secs(600);
const HOUR_MS: u64 = 3_600_000;
/// So many of the newest hours, and of the newest days, keep the last backup that was made in them.
const KEPT: [(u64, usize); 2] = [(HOUR_MS, 24), (24 * HOUR_MS, 7)];
/// None is kept for longer, so that a deleted task is in none after it.
const AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long after the start backups of a store without tasks stay: its folder may be lost, which shows only now.
const GRACE: Duration = HOUR;
/// How many times the store's bytes a backup may take while it is made: it is written into a file and then stored, a third
/// longer than the records each time.
const ROOM_TIMES: u64 = 3;
/// In the data folder, while one is written.
const STAGED: &str = "tasks-backup.new";

/// Where backups come from and go to.
pub(crate) struct Backups {
    tasks: Arc<SledTasks>,
    objects: Objects,
    data: PathBuf,
    opened_ms: u64,
    /// Held while one is made: they are written into one file.
    making: Mutex<()>,
}

/// Makes one each hour until the server drains, the first once the newest that is there is an hour old.
pub(crate) async fn run(app: Arc<App>) {
    app.backups.make_until_drained(app.draining.clone()).await;
}

impl Backups {
    pub(crate) fn new(tasks: Arc<SledTasks>, objects: Objects, data: &Path) -> Self {
        let opened_ms = SystemClock.now_ms();
        Self { tasks, objects, data: data.to_owned(), opened_ms, making: Mutex::new(()) }
    }

    /// What is under way when the server drains is given up: the one at the end takes its place, with what ran.
    async fn make_until_drained(&self, mut draining: watch::Receiver<bool>) {
        tokio::select! {
            () = self.make_each_hour() => {}
            _ = draining.wait_for(|is_draining| *is_draining) => {}
        }
    }

    async fn make_each_hour(&self) {
        let mut wait = self.until_due().await;
        loop {
            tokio::time::sleep(wait).await;
            wait = if self.make().await { HOUR } else { RETRY };
        }
    }

    /// Makes one of what the store holds now, unless it is empty, and deletes those that are kept no longer. Returns
    /// whether it went well; the log says why not.
    pub(crate) async fn make(&self) -> bool {
        let _alone = self.making.lock().await;
        // Where they cannot be listed none is ever deleted, and each hour's would stay.
        let mut times = match self.times().await {
            Ok(times) => times,
            Err(error) => {
                tracing::warn!(
                    %error,
                    "the task store was not backed up: the backups of before cannot be listed; the keys of a bucket need the \
                     right s3:ListBucket"
                );
                return false;
            }
        };
        match self.make_alone().await {
            Ok(Some((key, tasks))) => {
                tracing::info!(%key, tasks, "the task store was backed up");
                times.extend(key.backup_ms());
            }
            Ok(None) if age(self.opened_ms, SystemClock.now_ms()) < GRACE => return true,
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "the task store was not backed up; the backups of before stay");
                return false;
            }
        }
        if let Err(error) = self.delete_outdated(times).await {
            tracing::warn!(%error, "old backups of the task store were not deleted");
        }
        true
    }

    /// `None` for a store without tasks: a backup of it is no help, and would in time take the place of those that are.
    async fn make_alone(&self) -> Result<Option<(ObjectKey, u64)>, AppError> {
        let stats = self.tasks.stats().await?;
        if stats.total() == 0 {
            return Ok(None);
        }
        // A process that ended while it made one left it, and it takes room.
        let staged = self.data.join(STAGED);
        remove(&staged).await;
        let data = self.data.clone();
        // The blocking pool: a network's volume may answer late.
        let room = blocking(move || room_of(&data)).await?;
        let unknown = |error: io::Error| {
            AppError::Internal(format!("the room of the data folder's volume is not known: {error}"))
        };
        check_room(room.map_err(unknown)?, stats.size_on_disk)?;
        let made = self.make_by(&staged).await;
        remove(&staged).await;
        made.map(Some)
    }

    async fn make_by(&self, staged: &Path) -> Result<(ObjectKey, u64), AppError> {
        let key = ObjectKey::backup(SystemClock.now_ms());
        let path = staged.to_owned();
        // A file of its own, whoever still writes one that was given up.
        let file = blocking(move || File::create_new(path)).await?;
        let failed = |error: io::Error| {
            AppError::Internal(format!("the file {} cannot be made: {error}", staged.display()))
        };
        let tasks = self.tasks.backup(file.map_err(failed)?).await?;
        self.objects.put_file(&key, staged).await?;
        Ok((key, tasks))
    }

    async fn delete_outdated(&self, times: Vec<u64>) -> Result<(), ObjectsError> {
        for made_ms in outdated(times, SystemClock.now_ms()) {
            self.objects.delete(&ObjectKey::backup(made_ms)).await?;
        }
        Ok(())
    }

    async fn until_due(&self) -> Duration {
        match self.times().await {
            Ok(times) => until_due(times.into_iter().max(), SystemClock.now_ms()),
            Err(error) => {
                tracing::warn!(
                    %error,
                    "the backups of the task store cannot be listed; the keys of a bucket need the right s3:ListBucket"
                );
                RETRY
            }
        }
    }

    /// When those that are there were made.
    async fn times(&self) -> Result<Vec<u64>, ObjectsError> {
        Ok(self.objects.backups().await?.iter().filter_map(ObjectKey::backup_ms).collect())
    }
}

/// An hour at most, also where the clock was ahead when the newest was made.
fn until_due(newest_ms: Option<u64>, now_ms: u64) -> Duration {
    newest_ms.map_or(Duration::ZERO, |newest_ms| HOUR.saturating_sub(age(newest_ms, now_ms)))
}

fn age(made_ms: u64, now_ms: u64) -> Duration {
    Duration::from_millis(now_ms.saturating_sub(made_ms))
}

async fn remove(staged: &Path) {
    if let Err(error) = tokio::fs::remove_file(staged).await
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(file = %staged.display(), %error, "the file of a backup was not removed");
    }
}

/// Refuses to take what running tasks need. Some systems say nothing of a volume.
fn check_room(room: Room, store_bytes: u64) -> Result<(), AppError> {
    let (free, reserve) = (room.free, room.reserve());
    let wanted = store_bytes.saturating_mul(ROOM_TIMES);
    if room.total > 0 && free < reserve.saturating_add(wanted) {
        return Err(AppError::Unavailable(format!(
            "{free} bytes are free in the data folder, where a backup takes up to {wanted} and {reserve} are kept for running tasks; free some space, or set retention_hours"
        )));
    }
    Ok(())
}

/// Those of these times that are too long ago, or of which neither their hour nor their day keeps the backup.
fn outdated(mut times: Vec<u64>, now_ms: u64) -> Vec<u64> {
    times.sort_unstable_by_key(|ms| Reverse(*ms));
    let mut kept = BTreeSet::new();
    for (length_ms, count) in KEPT {
        let mut newest = times.clone();
        newest.dedup_by_key(|ms| *ms / length_ms);
        kept.extend(newest.into_iter().take(count));
    }
    times.retain(|ms| !kept.contains(ms) || age(*ms, now_ms) > AGE_MAX);
    times
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use gesso_store::testing::conformance::new_task;
    use gesso_store::{ObjectSettings, SledSettings};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::mpsc;

    use super::*;
    use crate::silent_bucket::silent_bucket;

    /// The beginning of a day.
    const DAY: u64 = 20_000 * 24 * HOUR_MS;

    #[test]
    fn the_newest_of_each_of_the_last_hours_and_days_is_kept() {
        // Twelve days, two an hour.
        let times: Vec<u64> = (0..12 * 48).map(|half| DAY + half * HOUR_MS / 2).collect();
        let now_ms = DAY + 12 * 24 * HOUR_MS;
        let gone: BTreeSet<u64> = outdated(times.clone(), now_ms).into_iter().collect();
        let mut kept: Vec<_> = times.into_iter().filter(|ms| !gone.contains(ms)).collect();
        let hour = |day: u64, hour: u64| DAY + (24 * day + hour) * HOUR_MS + HOUR_MS / 2;
        let mut expected: Vec<_> = (5..11).map(|day| hour(day, 23)).collect();
        expected.extend((0..24).map(|of_day| hour(11, of_day)));
        kept.sort_unstable();
        assert_eq!(kept, expected);
        assert_eq!(outdated(Vec::new(), DAY), [0_u64; 0]);
    }

    #[test]
    fn none_is_kept_for_more_than_a_week() {
        let week_ms = 7 * 24 * HOUR_MS;
        assert_eq!(outdated(vec![DAY, DAY + week_ms], DAY + week_ms), [0_u64; 0]);
        assert_eq!(outdated(vec![DAY, DAY + week_ms], DAY + week_ms + 1), [DAY]);
        assert_eq!(outdated(vec![DAY], DAY + week_ms + 1), [DAY], "the store has become empty");
        assert_eq!(outdated(vec![DAY], DAY - 1), [0_u64; 0], "it was made by a clock that was ahead");
    }

    #[test]
    fn the_next_is_due_an_hour_after_the_newest_and_at_once_without_any() {
        assert_eq!(until_due(None, DAY), Duration::ZERO);
        assert_eq!(until_due(Some(DAY), DAY + HOUR_MS - 1_000), Duration::from_secs(1));
        assert_eq!(until_due(Some(DAY), DAY + 2 * HOUR_MS), Duration::ZERO);
        assert_eq!(until_due(Some(DAY + 9 * HOUR_MS), DAY), HOUR, "it was made by a clock that was ahead");
    }

    #[test]
    fn a_backup_takes_no_room_that_running_tasks_need() {
        assert!(check_room(Room { free: 50 + 30, total: 1_000 }, 10).is_ok());
        let refused = check_room(Room { free: 50 + 29, total: 1_000 }, 10).unwrap_err().to_string();
        for part in ["79 bytes are free", "up to 30", "50 are kept"] {
            assert!(refused.contains(part), "{refused}");
        }
        assert!(check_room(Room { free: 0, total: 0 }, 10).is_ok());
    }

    async fn empty_store(folder: &Path) -> Arc<SledTasks> {
        let (settings, clock) = (SledSettings::default(), Arc::new(SystemClock));
        Arc::new(SledTasks::open(&folder.join("tasks"), settings, clock).await.unwrap())
    }

    #[tokio::test]
    async fn backups_of_a_store_that_has_become_empty_go_after_a_week() {
        let folder = tempfile::tempdir().unwrap();
        let settings = ObjectSettings {
            options: BTreeMap::new(),
            url_secrets: folder.path().join("url-keys"),
            clock: Arc::new(SystemClock),
        };
        let objects = Objects::open(folder.path().join("objects").to_str().unwrap(), settings).unwrap();
        let days_ago = |days: u64| ObjectKey::backup(SystemClock.now_ms() - days * 24 * HOUR_MS);
        let (old, young) = (days_ago(8), days_ago(2));
        for key in [&old, &young] {
            objects.put(key, b"a backup".to_vec().into()).await.unwrap();
        }
        let mut backups = Backups::new(empty_store(folder.path()).await, objects, folder.path());
        assert!(backups.make().await);
        assert_eq!(backups.objects.backups().await.unwrap().len(), 2, "the folder may just have been lost");
        backups.opened_ms -= 2 * HOUR_MS;
        assert!(backups.make().await);
        assert_eq!(backups.objects.backups().await.unwrap(), [young]);
    }

    #[tokio::test]
    async fn nothing_is_stored_where_old_backups_cannot_be_listed() {
        let folder = tempfile::tempdir().unwrap();
        let (server, objects) = silent_bucket(folder.path()).await;
        let tasks = empty_store(folder.path()).await;
        tasks.submit(new_task("kept")).await.unwrap();
        let backups = Backups::new(tasks, objects, folder.path());
        let (asked, mut requests) = mpsc::unbounded_channel();
        // It refuses to be read and lets everything be stored.
        let answering = tokio::spawn(async move {
            loop {
                let (mut stream, _) = server.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                let status = if head.starts_with("GET ") { "403 Forbidden" } else { "200 OK\r\netag: \"x\"" };
                asked.send(head).unwrap();
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        assert!(!backups.make().await);
        let first = requests.recv().await.unwrap();
        assert!(first.starts_with("GET /pictures?list-type=2"), "{first}");
        assert!(requests.try_recv().is_err(), "nothing else is asked");
        answering.abort();
    }

    #[tokio::test]
    async fn a_drain_waits_for_no_object_store() {
        let folder = tempfile::tempdir().unwrap();
        let (server, objects) = silent_bucket(folder.path()).await;
        let backups = Backups::new(empty_store(folder.path()).await, objects, folder.path());
        let (drain, draining) = watch::channel(false);
        let running = tokio::spawn(async move { backups.make_until_drained(draining).await });
        let asked = tokio::time::timeout(Duration::from_secs(10), server.accept()).await;
        let _asked = asked.expect("the backups that are there are asked for").unwrap();
        drain.send_replace(true);
        tokio::time::timeout(Duration::from_secs(10), running).await.expect("it ends").unwrap();
    }
}
