//! Hostile: sleeps for an hour, spending no processor time.

use std::time::Duration;

use gesso_plugin::{Fault, Params, RequestHook, Verdict};

struct SleepForever;

impl RequestHook for SleepForever {
    fn before(_params: &mut Params) -> Result<Verdict, Fault> {
        std::thread::sleep(Duration::from_secs(3600));
        Ok(Verdict::Continue)
    }
}

gesso_plugin::request_hook!(SleepForever, manifest = "manifest.json");
