//! A plugin that misbehaves fails the request it was called for, in bounded time, while other requests go on.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Bench, quick};

/// Short budgets, so that a loop ends soon.
const BUDGET: &str = "[plugin_budget]\ncpu_ms = 300\nwall_ms = 2000\n";

#[track_caller]
fn fails_alone(guest: &str, part: &str) {
    let bench = Bench::new().config(BUDGET).plugin("guests", guest);
    let server = bench.start();
    let started = Instant::now();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| (0..5).all(|_| server.get("/health/ready").status == 200));
        let reply = server.post("/txt2img", &quick());
        let body = reply.json();
        assert_eq!((reply.status, &body["code"]), (500, &json!("plugin_failed")), "{body}");
        let message = body["message"].as_str().unwrap();
        assert!(message.contains(&format!("plugin {guest} failed")) && message.contains(part), "{message}");
        assert!(other.join().unwrap());
    });
    // Drawing the picture is part of it for after-hooks; the rest is the budget and a busy machine.
    assert!(started.elapsed() < Duration::from_secs(60));
    let status = server.admin("GET", &format!("/plugins/{guest}"), Vec::new()).ok();
    assert_eq!(status["failures"], 1, "{status}");
    // Without the plugin the same request is drawn.
    assert_eq!(server.admin("DELETE", &format!("/plugins/{guest}"), Vec::new()).status, 200);
    assert_eq!(server.post("/txt2img", &quick()).ok()["status"], "succeeded");
}

#[test]
fn an_endless_loop_runs_out_of_processor_time() {
    fails_alone("cpu-loop", "processor");
}

#[test]
fn a_memory_bomb_is_stopped_by_the_limit() {
    fails_alone("memory-bomb", "memory");
}

#[test]
fn a_trap_is_a_failure_and_not_a_crash() {
    fails_alone("trap", "");
}

#[test]
fn a_panic_keeps_its_message() {
    fails_alone("panic", "");
}

#[test]
fn a_giant_return_is_refused() {
    fails_alone("giant-return", "");
}

#[test]
fn a_sleeper_is_ended_by_the_wall_clock() {
    fails_alone("sleep-forever", "");
}
