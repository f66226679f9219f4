//! Somebody else's plugin at work beside a hostile one. Every hostile test ends by asking whether it was served, and how much
//! memory the process has taken meanwhile.

use crate::support::{TestHost, plugin};
use gesso_plugin_host::{CallContext, PluginHost};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// The longest that a neighbour may wait for an answer, on a busy machine.
const WAIT_MAX: Duration = Duration::from_secs(3);
/// Tests of this binary run side by side; the bound holds for all of them together.
const GROWTH_MAX: u64 = 1 << 30;

/// Calls to a well-behaved plugin, one after the other, until finished.
pub(crate) struct Neighbours {
    stop: Arc<AtomicBool>,
    task: JoinHandle<(usize, Duration)>,
    host: PluginHost,
    memory: u64,
}

impl Neighbours {
    pub(crate) async fn start(test: &TestHost) -> Self {
        test.host.install(plugin("hello-api")).await.unwrap();
        let memory = resident_bytes();
        let (host, stop) = (test.host.clone(), Arc::<AtomicBool>::default());
        let flag = stop.clone();
        let task = tokio::spawn(async move {
            let (mut served, mut slowest) = (0, Duration::ZERO);
            while !flag.load(Ordering::Relaxed) || served == 0 {
                let started = Instant::now();
                greet(&host).await;
                slowest = slowest.max(started.elapsed());
                served += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            (served, slowest)
        });
        Self { stop, task, host: test.host.clone(), memory }
    }

    /// They were, all the time, and are; and memory is where it was.
    pub(crate) async fn were_served(self) {
        self.stop.store(true, Ordering::Relaxed);
        let (served, slowest) = self.task.await.unwrap();
        assert!(served > 0, "no neighbour was served");
        assert!(slowest < WAIT_MAX, "a neighbour waited {slowest:?}");
        greet(&self.host).await;
        let grown = resident_bytes().saturating_sub(self.memory);
        assert!(grown < GROWTH_MAX, "resident memory grew by {} MiB", grown >> 20);
    }
}

async fn greet(host: &PluginHost) {
    let request = http::Request::get("/api/hello").body(bytes::Bytes::new()).unwrap();
    let call = CallContext::new("test", 7);
    assert_eq!(host.handle_http(&call, "hello-api", request).await.unwrap().status(), 200);
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
