//! The server dies, drains, loses its device, runs out of disk: nothing acknowledged is lost.

use std::io::ErrorKind;
use std::process::Command;
use std::time::Duration;

use crate::support::{Bench, decode, eventually, quick, quick_with, try_request};
use serde_json::json;

#[test]
fn tasks_acknowledged_before_a_kill_are_drawn_after_the_restart() {
    let bench = Bench::new().config("concurrent_tasks = 2\n");
    let server = bench.start();
    let ids: Vec<String> =
        (0..6).map(|seed| server.submit(&quick_with(json!({"seed": seed, "steps": 20})))).collect();
    let done_before = server.result(&ids[0]);
    let picture_before = server.picture(&done_before);
    server.kill();

    let server = bench.start();
    for id in &ids {
        assert_eq!(server.result(id)["status"], "succeeded");
        decode(&server.picture(&server.result(id)));
    }
    assert_eq!(server.picture(&server.result(&ids[0])), picture_before, "a reported picture changed");
}

#[test]
fn a_task_that_is_to_begin_once_fails_when_the_server_dies_or_ends_under_it() {
    let bench = Bench::new().config("drain_seconds = 0\n");
    let mut server = bench.start();
    for (end, code) in [("KILL", "crashed"), ("TERM", "unavailable")] {
        let headers = [("request-type", "async"), ("task-no-retry", "true")];
        let body = quick_with(json!({"steps": 150, "width": 512, "height": 512}));
        let id = server.post_with("/txt2img", &headers, &body).ok()["taskId"].as_str().unwrap().to_owned();
        eventually("the task runs", || server.get(&format!("/tasks/{id}")).ok()["status"] == "running");
        server.signal(end);
        server.wait();
        server = bench.start();
        let task = server.get(&format!("/tasks/{id}")).ok();
        assert_eq!(
            (&task["status"], &task["code"], &task["attempt"]),
            (&json!("failed"), &json!(code), &json!(1)),
            "{end}: {task}"
        );
    }
}

#[test]
fn repeated_kills_under_load_lose_nothing() {
    let bench = Bench::new();
    let mut acknowledged: Vec<String> = Vec::new();
    for round in 0..5_u64 {
        let server = bench.start();
        let url = format!("{}/txt2img", server.url);
        let headers = [("content-type", "application/json"), ("request-type", "async")];
        for seed in 0..4 {
            let body = quick_with(json!({"seed": seed, "steps": 2})).to_string().into_bytes();
            let reply = try_request("POST", &url, &headers, body).unwrap();
            acknowledged.push(reply.ok()["taskId"].as_str().unwrap().to_owned());
        }
        std::thread::sleep(Duration::from_millis(37 * round));
        server.kill();
    }
    let server = bench.start();
    for id in &acknowledged {
        let result = server.result(id);
        // Three attempts lost to kills end a task, with its reason.
        let crashed = result["status"] == "failed" && result["code"] == "crashed";
        assert!(result["status"] == "succeeded" || crashed, "{result}");
        if !crashed {
            decode(&server.picture(&result));
        }
    }
}

#[test]
fn sigterm_finishes_what_runs_and_keeps_what_waits() {
    let bench = Bench::new().config("concurrent_tasks = 1\n");
    let server = bench.start();
    let running = server.submit(&quick_with(json!({"steps": 30})));
    let waiting = server.submit(&quick());
    while server.get(&format!("/tasks/{running}/progress")).ok()["status"] != "running" {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(server.stop().success());
    let server = bench.start();
    assert_eq!(server.result(&running)["status"], "succeeded");
    assert_eq!(server.result(&waiting)["status"], "succeeded");
}

#[test]
fn a_drain_that_takes_too_long_hands_running_tasks_back_to_be_drawn_after_the_restart() {
    let bench = Bench::new().config("drain_seconds = 0\n");
    let server = bench.start();
    let long = server.submit(&quick_with(json!({"steps": 80, "width": 128, "height": 128})));
    while server.get(&format!("/tasks/{long}/progress")).ok()["progress"] == 0.0 {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(server.stop().success());
    let server = bench.start();
    let state = server.get(&format!("/tasks/{long}/result")).ok()["status"].as_str().unwrap().to_owned();
    assert!(["waiting", "running", "succeeded"].contains(&state.as_str()), "{state}");
    assert_eq!(server.result(&long)["status"], "succeeded");
}

#[test]
fn a_sync_client_under_way_gets_its_picture_while_the_server_drains() {
    let bench = Bench::new();
    let server = bench.start();
    std::thread::scope(|scope| {
        let drawing = scope.spawn(|| server.post("/txt2img", &quick_with(json!({"steps": 40}))));
        while server.get("/sdapi/v1/progress").ok()["progress"].as_f64() == Some(0.0) {
            std::thread::sleep(Duration::from_millis(10));
        }
        server.signal("TERM");
        assert_eq!(drawing.join().unwrap().ok()["status"], "succeeded");
    });
}

/// Whether a task is waiting, and another one running.
fn wait_for_a_queue(server: &crate::support::Server, waiting: u64) {
    eventually("a task runs and others wait", || {
        let queue = server.get("/queue").ok();
        queue["running"] == 1 && queue["waiting"] == waiting
    });
}

#[test]
fn what_a_client_waits_for_is_drawn_before_the_end_and_what_nobody_waits_for_after_it() {
    let bench = Bench::new().config("concurrent_tasks = 1\n");
    let server = bench.start();
    let first = server.submit(&quick());
    let picture = server.result(&first)["images"][0].clone();
    let extras = json!({"image": picture, "upscaler_1": "Lanczos", "upscaling_resize": 2});
    let long = quick_with(json!({"steps": 40, "width": 128, "height": 128}));
    server.submit(&long);
    wait_for_a_queue(&server, 0);
    let (enlarged, drawn, kept) = std::thread::scope(|scope| {
        let enlarged = scope.spawn(|| server.post("/extra_images", &extras));
        wait_for_a_queue(&server, 1);
        let drawn = scope.spawn(|| server.post("/txt2img", &quick()));
        wait_for_a_queue(&server, 2);
        let kept = server.submit(&long);
        server.signal("TERM");
        (enlarged.join().unwrap(), drawn.join().unwrap(), kept)
    });
    assert_eq!(
        (enlarged.ok()["status"].clone(), drawn.ok()["status"].clone()),
        ("succeeded".into(), "succeeded".into())
    );
    drop(server);
    let ended = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let server = bench.start();
    assert_eq!(server.result(&kept)["status"], "succeeded");
    let began = server.get(&format!("/tasks/{kept}")).ok()["startedMs"].as_u64().unwrap();
    assert!(u128::from(began) >= ended, "it began before the end");
}

#[test]
fn who_waits_for_a_queue_that_rests_or_longer_than_a_drain_is_told_and_loses_nothing() {
    for (config, is_paused) in
        [("concurrent_tasks = 1\n", true), ("concurrent_tasks = 1\ndrain_seconds = 1\n", false)]
    {
        let bench = Bench::new().config(config);
        let mut server = bench.start();
        if is_paused {
            server.admin("POST", "/queue/pause", Vec::new()).ok();
        } else {
            server.submit(&quick_with(json!({"steps": 150, "width": 512, "height": 512})));
            wait_for_a_queue(&server, 0);
        }
        let url = format!("{}/txt2img", server.url);
        let waiter = std::thread::spawn(move || {
            let headers =
                [("content-type", "application/json"), ("taskid", "patient"), ("task-flag", "true")];
            try_request("POST", &url, &headers, quick().to_string().into_bytes()).unwrap()
        });
        eventually("it waits", || server.get("/tasks/patient").status == 200);
        server.signal("TERM");
        let told = waiter.join().unwrap();
        assert_eq!((told.status, told.header("retry-after").is_empty()), (503, false), "{}", told.json());
        assert!(server.wait().success());
        let server = bench.start();
        server.admin("POST", "/queue/resume", Vec::new()).ok();
        // What was handed back goes first, and is long.
        let tasks = server.get("/tasks").ok();
        let ids = tasks["tasks"].as_array().unwrap().iter().map(|task| task["taskId"].as_str().unwrap());
        for id in ids.filter(|id| *id != "patient") {
            server.post(&format!("/tasks/{id}/cancellation"), &json!(null));
        }
        assert_eq!(server.result("patient")["status"], "succeeded");
    }
}

#[test]
fn a_server_that_loses_its_device_ends_with_code_1_and_draws_after_the_next_start() {
    let bench = Bench::new();
    let mut command = bench.command();
    // Three calls for the first picture, and two of the second's three.
    command.args(["--made-up-pictures", "--made-up-calls", "5"]);
    let mut server = bench.start_with(command);
    assert_eq!(server.post("/txt2img", &quick()).ok()["status"], "succeeded");
    let headers = [("taskid", "patient"), ("task-flag", "true")];
    let told = server.post_with("/txt2img", &headers, &quick());
    assert_eq!((told.status, &told.json()["code"]), (503, &json!("unavailable")), "{}", told.json());
    assert_eq!(server.wait().code(), Some(1));
    let server = bench.start();
    assert_eq!(server.result("patient")["status"], "succeeded");
}

/// Clients that ask on and on, while the server is ended again and again. Each request is answered with its picture, told to
/// come back, or finds nobody; none is accepted and then left without an answer.
fn drain_under_load(rounds: u64) -> String {
    let bench = Bench::new();
    let (mut drawn, mut told) = (0, 0);
    for round in 0..rounds {
        let server = bench.start();
        let url = format!("{}/txt2img", server.url);
        let ask = |client: u64| {
            let mut counts = (0, 0);
            for number in 0.. {
                let body = quick_with(json!({"steps": 1, "seed": client * 1_000 + number})).to_string();
                let headers = [("content-type", "application/json")];
                match try_request("POST", &url, &headers, body.into_bytes()) {
                    Ok(reply) if reply.status == 200 => counts.0 += 1,
                    Ok(reply) if reply.status == 503 && !reply.header("retry-after").is_empty() => {
                        counts.1 += 1;
                        std::thread::sleep(Duration::from_millis(20));
                    }
                    Ok(reply) => panic!("{}: {}", reply.status, String::from_utf8_lossy(&reply.body)),
                    Err(ureq::Error::Io(error)) if error.kind() == ErrorKind::ConnectionRefused => break,
                    Err(error) => panic!("round {round}: {error:?}"),
                }
            }
            counts
        };
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..4).map(|client| scope.spawn(move || ask(client))).collect();
            std::thread::sleep(Duration::from_millis(150 + 37 * round % 400));
            assert!(server.stop().success());
            for client in clients {
                let (pictures, refusals) = client.join().unwrap();
                drawn += pictures;
                told += refusals;
            }
        });
    }
    assert!(drawn >= rounds, "{drawn} pictures in {rounds} rounds are no load");
    format!("{rounds} rounds: {drawn} pictures, {told} told to come back")
}

/// `cargo xtask test` has it as often as the store is killed (`--rounds`); plain cargo, which says nothing, a few times.
#[test]
fn no_request_fails_when_the_server_is_ended_under_load() {
    let rounds = std::env::var("GESSO_KILL_ROUNDS").map_or(3, |text| text.parse().unwrap());
    println!("{}", drain_under_load(rounds));
}

#[test]
fn a_server_that_drains_is_not_ready_while_it_still_draws() {
    let bench = Bench::new();
    let mut server = bench.start();
    let drawing = quick_with(json!({"steps": 150, "width": 128, "height": 128}));
    let id = server.submit(&drawing);
    eventually("the task runs", || server.get(&format!("/tasks/{id}")).ok()["status"] == "running");
    // 503 to those who had connected, and nobody there for others.
    let ready = format!("{}/health/ready", server.url);
    let is_ready = || try_request("GET", &ready, &[], Vec::new()).is_ok_and(|reply| reply.status == 200);
    assert!(is_ready());
    server.signal("TERM");
    eventually("it is not ready", || !is_ready());
    assert!((0..20).all(|_| !is_ready()));
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    assert!(!status.contains("State:\tZ"), "it was over already");
    assert!(server.wait().success());
    let server = bench.start();
    let task = server.get(&format!("/tasks/{id}")).ok();
    assert_eq!((&task["status"], &task["attempt"]), (&json!("succeeded"), &json!(1)), "{task}");
}

#[test]
fn a_client_that_goes_away_cancels_its_sync_task() {
    let bench = Bench::new();
    let server = bench.start();
    let body = quick_with(json!({"steps": 150, "width": 256, "height": 256})).to_string();
    let address = server.url.trim_start_matches("http://").to_owned();
    let mut stream = std::net::TcpStream::connect(&address).unwrap();
    let head = format!(
        "POST /txt2img HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ntaskid: gone\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    std::io::Write::write_all(&mut stream, format!("{head}{body}").as_bytes()).unwrap();
    while server.get("/tasks/gone/progress").status != 200 {
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(stream);
    assert_eq!(server.result("gone")["status"], "canceled");
}

/// A small file system of the test's own; unmounted when dropped. Mounting needs root.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(megabytes: u32) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(folder.path())
            .output()
            .unwrap();
        mounted.status.success().then_some(Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(self.0.path()).status().ok();
    }
}

#[test]
fn a_full_disk_is_said_and_the_server_recovers_when_there_is_space() {
    let Some(disk) = SmallDisk::new(64) else {
        println!("skipped: a small file system cannot be mounted here (needs root)");
        return;
    };
    let bench = Bench::new().data_at(disk.0.path().join("data"));
    let server = bench.start();
    assert_eq!(server.post("/txt2img", &quick()).ok()["status"], "succeeded");

    let filler = disk.0.path().join("filler");
    let mut dd = Command::new("dd");
    dd.args(["if=/dev/zero", "bs=1M", &format!("of={}", filler.display())]).output().unwrap();
    let reply = server.post("/txt2img", &quick());
    assert_eq!(reply.status, 507, "{}", String::from_utf8_lossy(&reply.body));
    assert!(reply.json()["message"].as_str().unwrap().contains("disk"));

    std::fs::remove_file(&filler).unwrap();
    assert_eq!(server.post("/txt2img", &quick()).ok()["status"], "succeeded");
}

#[test]
fn a_restart_finishes_what_runs_takes_changed_settings_in_and_keeps_its_process() {
    let bench = Bench::new().on_one_port();
    let server = bench.start();
    let id = server.submit(&quick_with(json!({"steps": 30})));
    std::fs::write(bench.data.path().join("test-settings.toml"), "signed_url_seconds = 7\n").unwrap();
    let pid = server.pid();
    assert_eq!(server.post("/restart", &json!({})).ok(), json!({"message": "success"}));
    eventually("the server is back", || {
        let url = format!("{}/tasks/{id}/result", server.url);
        try_request("GET", &url, &[], Vec::new()).is_ok_and(|reply| {
            reply.status == 200
                && reply.json()["ossUrl"][0].as_str().is_some_and(|url| {
                    let expires =
                        url.split_once("exp=").unwrap().1.split('&').next().unwrap().parse::<u64>().unwrap();
                    let now =
                        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
                    expires <= now + 8
                })
        })
    });
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    assert!(!state.contains(") Z "), "another process took over: {state}");
}

#[test]
fn an_end_that_is_asked_for_during_a_restart_is_an_end() {
    let bench = Bench::new().on_one_port().config("drain_seconds = 30\n");
    let mut server = bench.start();
    server.submit(&quick_with(json!({"steps": 150, "width": 512, "height": 512})));
    eventually("the task runs", || server.get("/sdapi/v1/progress").ok()["progress"] != 0.0);
    server.post("/restart", &json!({})).ok();
    std::thread::sleep(Duration::from_millis(500));
    server.signal("TERM");
    assert!(server.wait().success());
}
