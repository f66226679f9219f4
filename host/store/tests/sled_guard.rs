//! What the sled store does when its folder is shared, damaged, emptied, copied or full.

#![expect(clippy::unwrap_used, reason = "a test may end at its first surprise")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use gesso_store::testing::ManualClock;
use gesso_store::testing::conformance::{new_task, outcome};
use gesso_store::{
    MoveTo, NewTask, Payload, SledSettings, SledTasks, SystemClock, Task, TaskFilter, TaskState, TaskStore,
    TaskStoreError,
};

const TTL: Duration = Duration::from_secs(30);

async fn try_open(folder: &Path) -> Result<SledTasks, TaskStoreError> {
    let settings = SledSettings { reserve_bytes: Some(0), ..SledSettings::default() };
    SledTasks::open(folder, settings, Arc::new(ManualClock::new(1_800_000_000_000))).await
}

async fn open(folder: &Path) -> SledTasks {
    try_open(folder).await.expect("the store opens")
}

async fn all(store: &SledTasks) -> Vec<Task> {
    store.list(TaskFilter { limit: 1000, ..TaskFilter::default() }).await.expect("the store answers").tasks
}

/// A folder with 30 tasks, opened a second time so that sled has written a snapshot.
async fn filled() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    for number in 0..30 {
        let payload = Payload::Inline("x".repeat(10_000));
        store.submit(NewTask { payload, ..new_task(&format!("t{number}")) }).await.unwrap();
    }
    drop(store);
    drop(open(folder.path()).await);
    folder
}

fn sled_files(folder: &Path, part: &str) -> Vec<PathBuf> {
    let items = fs::read_dir(folder.join("sled")).unwrap();
    items.map(|item| item.unwrap().path()).filter(|path| path.to_string_lossy().contains(part)).collect()
}

#[tokio::test]
async fn a_second_store_on_the_same_folder_is_refused_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path()).await;
    let refused = try_open(folder.path()).await.map(|_| ()).unwrap_err();
    assert!(matches!(refused, TaskStoreError::InUse(_)), "{refused:?}");
    assert!(refused.to_string().starts_with("another process uses this data folder"));
    drop(first);
    open(folder.path()).await;
}

#[tokio::test]
async fn a_running_task_waits_again_after_a_restart_and_three_restarts_fail_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let task = store.submit(new_task("deadly")).await.unwrap();
    drop(store);
    let mut stale = Vec::new();
    for attempt in 1..=3 {
        let store = open(folder.path()).await;
        for lease in &stale {
            assert_eq!(store.extend(lease, TTL).await, Err(TaskStoreError::Fenced));
        }
        let lease = store.lease("worker", TTL).await.unwrap().expect("it waits");
        assert_eq!(lease.attempt, attempt);
        stale.push(lease);
    }
    let store = open(folder.path()).await;
    let task = store.get(&task.id).await.unwrap().expect("it is there");
    assert_eq!((task.state, task.attempt), (TaskState::Failed, 3));
    assert_eq!(task.outcome.and_then(|outcome| outcome.error).expect("a reason").code, "crashed");
}

#[tokio::test]
async fn an_unfinished_snapshot_is_moved_aside_and_nothing_is_lost() {
    let folder = filled().await;
    for text in ["", "an unfinished snapshot, cut by the death of its process"] {
        fs::write(folder.path().join("sled/snap.FFFFFFFFFFFFFFF0.generating"), text).unwrap();
        let store = open(folder.path()).await;
        assert_eq!(all(&store).await.len(), 30);
        assert!(folder.path().join("set-aside/snap.FFFFFFFFFFFFFFF0.generating").exists());
    }
}

#[tokio::test]
async fn a_deleted_snapshot_is_a_loud_error_and_not_an_empty_store() {
    let folder = filled().await;
    let snapshots = sled_files(folder.path(), "snap.");
    assert!(!snapshots.is_empty());
    for snapshot in snapshots {
        fs::remove_file(snapshot).unwrap();
    }
    for _ in 0..2 {
        match try_open(folder.path()).await {
            Err(TaskStoreError::Corrupt(_)) => {}
            Err(other) => panic!("{other:?} is not the expected error"),
            // sled can rebuild everything from its log as long as no part of it was used again.
            Ok(store) => assert_eq!(all(&store).await.len(), 30),
        }
    }
}

#[tokio::test]
async fn a_deleted_database_is_a_loud_error_and_not_an_empty_store() {
    let folder = filled().await;
    fs::remove_dir_all(folder.path().join("sled")).unwrap();
    let refused = try_open(folder.path()).await.map(|_| ()).unwrap_err();
    assert!(matches!(refused, TaskStoreError::Corrupt(_)), "{refused:?}");
    assert!(refused.to_string().contains("restore the newest backup"));
}

#[tokio::test]
async fn a_changed_byte_is_found_at_start_or_changes_nothing() {
    let whole = filled().await;
    let database = fs::read(whole.path().join("sled/db")).unwrap();
    let mut refused = 0;
    for place in (0..database.len()).step_by(database.len() / 24) {
        let folder = tempfile::tempdir().unwrap();
        copy(&whole.path().join("sled"), &folder.path().join("sled"));
        fs::copy(whole.path().join("store.json"), folder.path().join("store.json")).unwrap();
        let mut changed = database.clone();
        changed[place] ^= 0x10;
        fs::write(folder.path().join("sled/db"), changed).unwrap();
        match try_open(folder.path()).await {
            Err(error) => {
                assert!(matches!(error, TaskStoreError::Corrupt(_)), "byte {place} gave {error:?}");
                refused += 1;
            }
            Ok(store) => {
                let tasks = all(&store).await;
                assert_eq!(tasks.len(), 30, "byte {place}");
                assert!(tasks.iter().all(|task| task.payload == Payload::Inline("x".repeat(10_000))));
            }
        }
    }
    assert!(refused > 0, "no change hit live data");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.join("blobs")).unwrap();
    for item in fs::read_dir(from).unwrap().map(Result::unwrap).filter(|item| item.path().is_file()) {
        fs::copy(item.path(), to.join(item.file_name())).unwrap();
    }
}

#[tokio::test]
async fn a_backup_restores_every_task_and_running_ones_wait_again() {
    let folder = filled().await;
    let store = open(folder.path()).await;
    let done = store.lease("worker", TTL).await.unwrap().expect("one waits");
    store.finish(&done, TaskState::Succeeded, outcome(&done)).await.unwrap();
    let running = store.lease("worker", TTL).await.unwrap().expect("one waits");
    let file = folder.path().join("backup.jsonl");
    assert_eq!(store.backup(fs::File::create(&file).unwrap()).await, Ok(30));
    let mut expected = all(&store).await;

    let target = tempfile::tempdir().unwrap();
    let restored = target.path().join("tasks");
    let clock = Arc::new(ManualClock::new(1_800_000_000_000));
    assert_eq!(SledTasks::restore(&restored, fs::File::open(&file).unwrap(), clock.clone()).await, Ok(30));
    let again = SledTasks::restore(&restored, fs::File::open(&file).unwrap(), clock).await;
    assert_eq!(again, Err(TaskStoreError::Exists));

    let again = open(&restored).await;
    let mut found = all(&again).await;
    let returned = found.iter_mut().find(|task| task.id == running.task.id).expect("it is there");
    assert_eq!((returned.state, returned.attempt), (TaskState::Waiting, 1));
    expected.retain(|task| task.id != running.task.id);
    found.retain(|task| task.id != running.task.id);
    assert_eq!(found, expected);
    assert_eq!(again.lease("worker", TTL).await.unwrap().expect("one waits").attempt, 2);
}

#[tokio::test]
async fn a_moved_task_keeps_its_place_over_a_backup_whatever_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let [first, last] = ["first", "last"].map(new_task);
    let (first, last) = (store.submit(first).await.unwrap().id, store.submit(last).await.unwrap().id);
    store.reorder(&first, &MoveTo::Last).await.unwrap();
    // What had the place that the other one has now.
    store.cancel(&last).await.unwrap();
    store.remove(&last).await.unwrap();
    let file = folder.path().join("backup.jsonl");
    assert_eq!(store.backup(fs::File::create(&file).unwrap()).await, Ok(1));

    let restored = folder.path().join("restored");
    let clock = Arc::new(ManualClock::new(1_800_000_000_000));
    assert_eq!(SledTasks::restore(&restored, fs::File::open(&file).unwrap(), clock).await, Ok(1));
    let store = open(&restored).await;
    let next = store.submit(new_task("next")).await.unwrap().id;
    drop(store);
    let store = open(&restored).await;
    for wanted in [first, next] {
        assert_eq!(store.lease("worker", TTL).await.unwrap().map(|lease| lease.task.id), Some(wanted));
    }
}

/// Runs the test below on a tmpfs of 32 MB in a mount namespace of its own, where the machine allows that.
#[test]
fn a_real_full_disk_loses_nothing_and_the_store_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"mount -t tmpfs -o size=32m tmpfs "$1" || exit 77; exec "$2" --exact a_full_disk_refuses_new_tasks --nocapture"#;
    let child = Command::new("unshare")
        .args(["--mount", "--map-root-user", "sh", "-c", script, "sh"])
        .arg(folder.path())
        .arg(std::env::current_exe().unwrap())
        .env("GESSO_SMALL_DISK", folder.path())
        .output();
    let output = match child {
        Ok(output) if output.status.code() != Some(77) && !is_unshare_refused(&output) => output,
        _ => {
            println!("skipped: this machine does not allow mounting a small disk");
            return;
        }
    };
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("recovered"), "{text}");
}

fn is_unshare_refused(output: &std::process::Output) -> bool {
    String::from_utf8_lossy(&output.stderr).starts_with("unshare:")
}

/// Fills the disk it is given; without one, a folder whose reserve makes it as good as full.
#[tokio::test]
async fn a_full_disk_refuses_new_tasks() {
    let given = std::env::var_os("GESSO_SMALL_DISK").map(PathBuf::from);
    let temporary = tempfile::tempdir().unwrap();
    let disk = given.as_deref().unwrap_or(temporary.path());
    // With a disk of its own there is no reserve, so that the database itself meets the end of the disk.
    let reserve_bytes = Some(if given.is_some() { 0 } else { u64::MAX });
    let folder = disk.join("tasks");
    let settings = SledSettings { reserve_bytes, cache_bytes: 8 << 20 };
    let store = SledTasks::open(&folder, settings, Arc::new(SystemClock)).await.unwrap();
    if given.is_some() {
        let ballast = vec![0; 24 << 20];
        fs::write(disk.join("ballast"), ballast).unwrap();
    }
    let mut acknowledged = Vec::new();
    let refused = loop {
        let payload = Payload::Inline("x".repeat(12_000));
        let new = NewTask { payload, ..new_task(&format!("t{}", acknowledged.len())) };
        match store.submit(new).await {
            Ok(task) => acknowledged.push(task),
            Err(error) => break error,
        }
        assert!(acknowledged.len() < 5_000, "the disk never filled up");
    };
    assert!(matches!(refused, TaskStoreError::Full(_)), "{refused:?}");
    if given.is_none() {
        return;
    }
    fs::remove_file(disk.join("ballast")).unwrap();
    let mut recovered = None;
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        if let Ok(task) = store.submit(new_task("after")).await {
            recovered = Some(task);
            break;
        }
    }
    acknowledged.push(recovered.expect("the store recovers by itself"));
    for task in &acknowledged {
        assert_eq!(store.get(&task.id).await.as_ref(), Ok(&Some(task.clone())));
    }
    drop(store);
    let store = SledTasks::open(&folder, SledSettings::default(), Arc::new(SystemClock)).await.unwrap();
    for task in &acknowledged {
        assert_eq!(store.get(&task.id).await.as_ref(), Ok(&Some(task.clone())));
    }
    println!("recovered with {} acknowledged tasks", acknowledged.len());
}
