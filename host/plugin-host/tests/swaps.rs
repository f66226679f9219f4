//! A thousand swaps under load: no call is lost, and memory stays where it is. In a process of its own, since what other tests
//! take would be counted too.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, and may say what it measured")]

#[allow(dead_code, reason = "shared with the other tests of the host, which use more of it")]
#[path = "plugins/support.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gesso_plugin_host::CallContext;
use support::{TestHost, guest};

const SWAPS: usize = 1000;
/// Pools and caches are full by then.
const WARM_UP: usize = 200;
/// What the allocator may keep here and give back there; one kept version of the guest a swap would be 100 MB.
const GROWTH_BYTES: f64 = 16e6;

/// Bytes of this process in memory; pages are 4 KiB on the machines this is tested on.
fn resident() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 4096.0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_swaps_under_load_lose_no_call_and_no_memory() {
    let test = TestHost::with(|settings| settings.budgets.hook.cpu = Duration::from_secs(5)).await;
    test.host.install(guest("good-v1")).await.unwrap();
    test.host.install(guest("good-v2")).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..3)
        .map(|_| {
            let (host, stop) = (test.host.clone(), stop.clone());
            tokio::spawn(async move {
                let mut calls = 0;
                while !stop.load(Ordering::Relaxed) {
                    let params = r#"{"prompt":"a hill"}"#.to_owned();
                    let before = host.before(&CallContext::new("load", 1), params).await.unwrap();
                    assert!(before.params.contains("good v1") || before.params.contains("good v2"));
                    calls += 1;
                }
                calls
            })
        })
        .collect();
    let started = Instant::now();
    let mut before = resident();
    for swap in 0..SWAPS {
        test.host.rollback("good").await.unwrap();
        if swap == WARM_UP {
            before = resident();
        }
    }
    let (took, grown) = (started.elapsed(), resident() - before);
    stop.store(true, Ordering::Relaxed);
    let mut calls = 0;
    for task in load {
        calls += task.await.unwrap();
    }
    println!("{SWAPS} swaps and {calls} calls in {took:?}, memory {:+.1} MB", grown / 1e6);
    assert!(calls > SWAPS, "{calls} calls");
    assert_eq!(test.host.get("good").unwrap().failures, 0);
    assert!(grown < GROWTH_BYTES, "memory grew by {:.1} MB", grown / 1e6);
}
