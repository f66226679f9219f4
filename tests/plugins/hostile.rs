//! A plugin that misbehaves fails the request it was called for, in bounded time, while other requests go on.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use crate::support::{Bench, Reply, decode, quick, quick_with};

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
    let reasons = status["failures_by_reason"].as_object().unwrap();
    let (reason, _) = reasons.iter().find(|(_, count)| **count == json!(1)).unwrap();
    let metrics = String::from_utf8(server.get("/metrics").body).unwrap();
    for line in [
        format!("gesso_plugin_failures_total{{plugin=\"{guest}\",reason=\"{reason}\"}} 1"),
        format!("gesso_plugin_cpu_milliseconds_total{{plugin=\"{guest}\"}}"),
        format!("gesso_plugin_memory_peak_bytes{{plugin=\"{guest}\"}}"),
    ] {
        assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
    }
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

#[test]
fn a_picture_hook_that_misbehaves_fails_its_request_or_is_left_out() {
    let bench = Bench::new().config("[limits]\nscript_jobs_max = 2\n").plugin("guests", "finish-misbehaves");
    let server = bench.start();
    let draw = |prompt: &str| server.post("/sdapi/v1/txt2img", &quick_with(json!({"prompt": prompt})));
    let failures = || server.admin("GET", "/plugins/finish-misbehaves", Vec::new()).ok()["failures"].as_u64();
    let size = |reply: Reply| {
        let picture = reply.ok()["images"][0].as_str().map(|text| BASE64_STANDARD.decode(text).unwrap());
        let picture = decode(&picture.unwrap());
        (picture.width, picture.height)
    };
    assert_eq!(size(draw("a hill")), (64, 64));
    let ways = [
        ("panics", "on purpose"),
        ("floods fields", "failed in finish"),
        ("forges fields", "it added the field"),
    ];
    for (prompt, says) in ways {
        let failed = draw(prompt);
        let body = failed.json().to_string();
        assert!(failed.status == 500 && body.contains(says), "{prompt}: {} {body}", failed.status);
    }
    // Its own drawings are not finished by it again, and have an end.
    let refused = draw("draws without end");
    let body = refused.json().to_string();
    assert!(refused.status == 422 && body.contains("limits.script_jobs_max"), "{} {body}", refused.status);
    assert_eq!(size(draw("gives a point back")), (1, 1));
    assert_eq!(failures(), Some(ways.len() as u64));

    server.admin_json("PATCH", "/plugins/finish-misbehaves", r#"{"on_failure": "skip"}"#).ok();
    for (prompt, _) in ways {
        assert_eq!(size(draw(prompt)), (64, 64), "{prompt}");
    }
    assert_eq!(failures(), Some(2 * ways.len() as u64));
}

#[test]
fn requests_that_are_hoarded_and_never_sent_take_bounded_memory() {
    const GUEST: &str = "/ext/http-misbehaves";
    // Time enough to come to the bounds on a busy machine.
    let bench = Bench::new().config("[plugin_budget]\ncpu_ms = 8000\n").plugin("guests", "http-misbehaves");
    let server = bench.start();
    let peak = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    };
    assert_eq!(server.get(&format!("{GUEST}/")).status, 200);
    let before = peak();
    for (path, says) in [
        ("hoards-bodies", "more than 4096 handles"),
        ("hoards-methods", "more than 4 MiB of fields, methods"),
        ("hoards-fields", "more than 4 MiB of fields, methods"),
    ] {
        let reply = server.get(&format!("{GUEST}/{path}"));
        let text = String::from_utf8_lossy(&reply.body);
        assert!(reply.status == 500 && text.contains(says), "{path}: {} {text}", reply.status);
    }
    // The guest's own 64 MiB, and 40 of bodies.
    let grown = peak() - before;
    assert!(grown < 200, "{grown} MiB more");
    assert_eq!(server.get(&format!("{GUEST}/")).status, 200);
}
