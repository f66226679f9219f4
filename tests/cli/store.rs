//! The way of the tasks through a backup: made by a server, restored while none runs, drawn by the next.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gesso_store::testing::conformance::new_task;
use gesso_store::{Clock, ObjectKey, SledSettings, SledTasks, SystemClock, TaskStore};
use serde_json::json;

use super::gesso;
use crate::support::{Bench, eventually, quick, quick_with, run};

const HOUR_MS: u64 = 3_600_000;

/// The files of backups, the oldest first.
fn backups(data: &Path) -> Vec<String> {
    let items = std::fs::read_dir(data.join("objects/backups")).into_iter().flatten();
    let mut names: Vec<_> = items.map(|item| item.unwrap().file_name().into_string().unwrap()).collect();
    // What is being written is none yet.
    names.retain(|name| name.ends_with(".jsonl"));
    names.sort();
    names
}

/// Puts a backup there that no store was in, as if made at that time; its path.
fn put_backup(data: &Path, made_ms: u64) -> PathBuf {
    let file = data.join("objects").join(ObjectKey::backup(made_ms).as_str());
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "an old one").unwrap();
    file
}

fn newest_backup(data: &Path) -> PathBuf {
    data.join("objects/backups").join(backups(data).pop().expect("a backup"))
}

/// A task store with one task, which is not to be drawn.
fn put_task(data: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let settings = SledSettings { reserve_bytes: Some(0), ..SledSettings::default() };
        let store = SledTasks::open(&data.join("tasks"), settings, Arc::new(SystemClock)).await.unwrap();
        let id = store.submit(new_task("canceled")).await.unwrap().id;
        store.cancel(&id).await.unwrap();
    });
}

fn restore(file: &Path, data: &Path) -> (i32, String, String) {
    let mut command = gesso(&["store", "restore"]);
    command.arg(file).arg("--data").arg(data);
    run(command)
}

#[test]
fn a_server_that_ends_leaves_a_backup_of_which_a_fresh_one_draws() {
    let bench = Bench::new();
    let left = bench.data.path().join("tasks-backup.new");
    std::fs::write(&left, "what a process left that was killed").unwrap();
    // None is due for an hour: what comes is made at the end.
    let recent = put_backup(bench.data.path(), SystemClock.now_ms());
    let server = bench.start();
    server.admin("POST", "/queue/pause", Vec::new()).ok();
    let ids = [server.submit(&quick()), server.submit(&quick_with(json!({"seed": 2})))];
    let mut server = Some(server);
    // The end of a server waits a few seconds for one, and a busy machine may take longer.
    eventually("a server that ends leaves a backup, and not what it was written into", || {
        assert!(server.take().unwrap_or_else(|| bench.start()).stop().success());
        newest_backup(bench.data.path()) != recent && !left.exists()
    });
    let backup = newest_backup(bench.data.path());

    let fresh = Bench::new();
    let cut = fresh.data.path().join("cut.jsonl");
    let text = std::fs::read_to_string(&backup).unwrap();
    std::fs::write(&cut, &text[..text.len() / 2]).unwrap();
    let (code, _, errors) = restore(&cut, fresh.data.path());
    assert!(code == 1 && errors.contains("nothing was changed"), "{errors}");
    let (code, output, errors) = restore(&backup, fresh.data.path());
    assert!(code == 0 && output.contains("/tasks: 2;"), "{output} {errors}");
    let (code, _, errors) = restore(&backup, fresh.data.path());
    assert!(code == 1 && errors.contains("there is a task store"), "{errors}");

    let server = fresh.start();
    for id in &ids {
        assert_eq!(server.result(id)["status"], "succeeded");
    }
    // Without one of its own a store is backed up at once.
    eventually("there is a backup", || !backups(fresh.data.path()).is_empty());
}

#[test]
fn a_new_backup_has_older_ones_deleted_but_for_the_last_of_their_hour_in_a_week() {
    let bench = Bench::new();
    put_task(bench.data.path());
    // Two of one hour, two days ago, and one of ten days ago.
    let hour_ms = (SystemClock.now_ms() / HOUR_MS - 48) * HOUR_MS;
    let times = [hour_ms, hour_ms + 1_000, hour_ms - 192 * HOUR_MS];
    let [first, last, ancient] = times.map(|made_ms| put_backup(bench.data.path(), made_ms));
    let _server = bench.start();
    eventually("what is outdated is deleted", || !first.exists() && !ancient.exists());
    assert!(last.exists());
    let newest = newest_backup(bench.data.path());
    assert_ne!(newest, last);
    let (code, output, errors) = restore(&newest, &bench.data.path().join("fresh"));
    assert!(code == 0 && output.contains("/tasks: 1;"), "{output} {errors}");
}
