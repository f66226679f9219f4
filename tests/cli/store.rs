//! The way of the tasks through a backup: made by a server, restored while none runs, drawn by the next.

use std::path::Path;

use gesso_store::{Clock, ObjectKey, SystemClock};
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

fn restore(file: &Path, data: &Path) -> (i32, String, String) {
    let mut command = gesso(&["store", "restore"]);
    command.arg(file).arg("--data").arg(data);
    run(command)
}

#[test]
fn a_server_that_ends_leaves_a_backup_of_which_a_fresh_one_draws() {
    let bench = Bench::new();
    std::fs::write(bench.data.path().join("tasks-backup.new"), "what a process left that was killed")
        .unwrap();
    let server = bench.start();
    server.admin("POST", "/queue/pause", Vec::new()).ok();
    let ids = [server.submit(&quick()), server.submit(&quick_with(json!({"seed": 2})))];
    assert!(server.stop().success());
    let name = backups(bench.data.path()).pop().expect("a backup");
    let backup = bench.data.path().join("objects/backups").join(name);
    assert!(!bench.data.path().join("tasks-backup.new").exists(), "what it was written into");

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
    let file = |key: &ObjectKey| bench.data.path().join("objects").join(key.as_str());
    // Two of one hour, two days ago, and one of ten days ago.
    let hour_ms = (SystemClock.now_ms() / HOUR_MS - 48) * HOUR_MS;
    let times = [hour_ms, hour_ms + 1_000, hour_ms - 192 * HOUR_MS];
    let [first, last, ancient] = times.map(ObjectKey::backup);
    std::fs::create_dir_all(bench.data.path().join("objects/backups")).unwrap();
    for key in [&first, &last, &ancient] {
        std::fs::write(file(key), "an old one").unwrap();
    }
    let server = bench.start();
    server.admin("POST", "/queue/pause", Vec::new()).ok();
    server.submit(&quick());
    assert!(server.stop().success());
    assert!(!file(&first).exists() && file(&last).exists() && !file(&ancient).exists());
    let newest = bench.data.path().join("objects/backups").join(backups(bench.data.path()).pop().unwrap());
    assert_ne!(newest, file(&last));
    let (code, output, errors) = restore(&newest, &bench.data.path().join("fresh"));
    assert!(code == 0 && output.contains("/tasks: 1;"), "{output} {errors}");
}
