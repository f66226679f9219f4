//! What is deleted of tasks that ended long ago: first their pictures, then they themselves. They get into the store before
//! the server starts, by a clock that was slow.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gesso_store::testing::ManualClock;
use gesso_store::testing::conformance::{new_task, outcome};
use gesso_store::{
    Clock, ObjectSettings, Objects, Release, SledSettings, SledTasks, SystemClock, TaskState, TaskStore,
};
use serde_json::{Value, json};

use crate::support::{Bench, Server, eventually, request};

const HOUR_MS: u64 = 3_600_000;

/// Two tasks of the past that were drawn, `plain` and `pinned`; when they ended.
fn put_old_tasks(data: &Path) -> u64 {
    let ended_ms = SystemClock.now_ms() - 2 * HOUR_MS;
    let settings = ObjectSettings {
        options: Default::default(),
        url_secrets: data.join("url-keys"),
        clock: Arc::new(SystemClock),
    };
    let objects = Objects::open(&data.join("objects").display().to_string(), settings).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let clock = Arc::new(ManualClock::new(ended_ms));
        let settings = SledSettings { reserve_bytes: Some(0), ..SledSettings::default() };
        let store = SledTasks::open(&data.join("tasks"), settings, clock).await.unwrap();
        for id in ["plain", "pinned"] {
            let id = store.submit(new_task(id)).await.unwrap().id;
            // The first attempt was cut off: nothing names its picture.
            let cut_off = store.lease("worker", Duration::from_secs(30)).await.unwrap().unwrap();
            objects.put(&outcome(&cut_off).images[0], b"another".to_vec().into()).await.unwrap();
            store.release(&cut_off, Release::Rest).await.unwrap();
            let lease = store.lease("worker", Duration::from_secs(30)).await.unwrap().unwrap();
            let outcome = outcome(&lease);
            let details =
                json!({"parameters": {}, "info": {"all_seeds": [1], "infotexts": ["sea"]}, "warnings": []});
            objects
                .put(outcome.details.as_ref().unwrap(), details.to_string().into_bytes().into())
                .await
                .unwrap();
            objects.put(&outcome.images[0], b"a picture".to_vec().into()).await.unwrap();
            store.finish(&lease, TaskState::Succeeded, outcome).await.unwrap();
            if id.as_str() == "pinned" {
                store.pin(&id, None).await.unwrap();
            }
        }
    });
    ended_ms
}

/// The names of a task's pictures, of every attempt.
fn pictures(bench: &Bench, id: &str) -> Vec<String> {
    let files = std::fs::read_dir(bench.data.path().join("objects/images/default")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(id)).collect()
}

fn result(server: &Server, id: &str) -> u16 {
    server.get(&format!("/tasks/{id}/result")).status
}

#[test]
fn old_pictures_go_before_their_task_and_whoever_asks_is_told_that_they_are_gone() {
    let bench = Bench::new().config("result_retention_hours = 1\n");
    let ended_ms = put_old_tasks(bench.data.path());
    let server = bench.start();
    eventually("the pictures are deleted", || result(&server, "plain") == 410);
    let told = server.get("/tasks/plain/result").json();
    assert_eq!((&told["code"], &told["status"]), (&json!("gone"), &json!(410)), "{told}");
    let task = server.get("/tasks/plain").ok();
    assert_eq!(
        (&task["status"], &task["images"], &task["ossUrl"]),
        (&json!("succeeded"), &json!([]), &json!([]))
    );
    assert_eq!((&task["resultExpiresMs"], &task["seeds"]), (&json!(ended_ms + HOUR_MS), &Value::Null));
    eventually("no file of it is left", || pictures(&bench, "plain").is_empty());
    assert_eq!(pictures(&bench, "pinned").len(), 2);
    let method =
        |method: &str, path: &str| request(method, &format!("{}{path}", server.url), &[], Vec::new());
    for (verb, path) in [("PUT", "/tasks/plain/pin"), ("POST", "/tasks/plain/retry")] {
        assert_eq!(method(verb, path).status, 410, "{path}");
    }
    assert_eq!(method("DELETE", "/tasks/plain/pin").ok()["pinned"], false, "it is not pinned as it is");
    assert_eq!(server.get("/agent-scheduler/v1/task/plain/results").status, 410);

    let kept = server.get("/tasks/pinned").ok();
    assert_eq!(
        (&kept["pinned"], &kept["resultExpiresMs"], &kept["seeds"]),
        (&json!(true), &Value::Null, &json!([1]))
    );
    assert_eq!(server.picture(&kept), b"a picture");
    let left = method("DELETE", "/tasks/pinned/pin").ok();
    assert_eq!((&left["pinned"], &left["resultExpiresMs"]), (&json!(false), &json!(ended_ms + HOUR_MS)));
    assert_eq!(method("PUT", "/tasks/none/pin").status, 404);
    // Each start looks at once.
    assert!(server.stop().success());
    let server = bench.start();
    eventually("it is left alone no longer", || result(&server, "pinned") == 410);
}

#[test]
fn a_pinned_task_outlives_retention_and_not_its_removal() {
    let bench = Bench::new().config("retention_hours = 1\n");
    put_old_tasks(bench.data.path());
    let server = bench.start();
    eventually("the task is forgotten", || result(&server, "plain") == 404);
    assert_eq!(
        (result(&server, "pinned"), &server.get("/tasks/pinned").ok()["expiresMs"]),
        (200, &Value::Null)
    );
    server.post("/agent-scheduler/v1/history/clear", &Value::Null).ok();
    assert_eq!(result(&server, "pinned"), 200);
    let removed = request("DELETE", &format!("{}/tasks/pinned", server.url), &[], Vec::new());
    assert_eq!((removed.status, result(&server, "pinned")), (200, 404));
    assert_eq!(pictures(&bench, ""), Vec::<String>::new());
}

#[test]
fn what_a_crash_left_half_written_is_swept_up() {
    let bench = Bench::new();
    let folder = bench.data.path().join("objects/images/default");
    std::fs::create_dir_all(&folder).unwrap();
    let [old, new] = ["a_1.png#1", "b_1.png#1"].map(|name| folder.join(name));
    for file in [&old, &new] {
        std::fs::write(file, "half").unwrap();
    }
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(2 * 3600);
    std::fs::File::options().write(true).open(&old).unwrap().set_modified(long_ago).unwrap();
    let _server = bench.start();
    eventually("it is swept up", || !old.exists());
    assert!(new.exists(), "it may be on its way");
}
