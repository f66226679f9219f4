//! The plugins' own threads, apart from the server's: a guest that spins between epochs delays other guests, never the
//! server's I/O. Step hooks have some to themselves, because everything on the device waits for them, and guests that are busy
//! elsewhere must not use up their time. Knows no guest.

use std::io;
use tokio::runtime::{Builder, Handle, Runtime};

/// Threads for guests. Guests give way every 10 ms, so a few are enough; more would take cores from the engine.
const CALLS_MAX: usize = 4;
/// There is one step hook at a time. The second thread is for when what the device no longer waits for keeps the first one.
const STEPS: usize = 2;

/// Ended by [`Self::shutdown`]: runtimes must not be dropped where that would block.
pub(crate) struct Threads {
    calls: Runtime,
    steps: Runtime,
}

/// Where guests run, by what they are called for.
pub(crate) struct Handles {
    pub(crate) calls: Handle,
    pub(crate) steps: Handle,
}

impl Threads {
    pub(crate) fn start() -> io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZeroUsize::get);
        let calls = runtime("plugin", cores.clamp(2, CALLS_MAX))?;
        match runtime("plugin-step", STEPS) {
            Ok(steps) => Ok(Self { calls, steps }),
            Err(error) => {
                calls.shutdown_background();
                Err(error)
            }
        }
    }

    pub(crate) fn handles(&self) -> Handles {
        Handles { calls: self.calls.handle().clone(), steps: self.steps.handle().clone() }
    }

    /// Waits for nobody.
    pub(crate) fn shutdown(self) {
        self.calls.shutdown_background();
        self.steps.shutdown_background();
    }
}

fn runtime(name: &str, threads: usize) -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(threads).thread_name(name).enable_all().build()
}
