//! Hostile: calls cheap host functions without end.

use gesso_plugin::call::{self, Level};
use gesso_plugin::{Fault, Params, RequestHook, Verdict};

struct HostCallFlood;

impl RequestHook for HostCallFlood {
    fn before(_params: &mut Params) -> Result<Verdict, Fault> {
        loop {
            call::log(Level::Info, "drip");
            std::hint::black_box(call::cancelled());
        }
    }
}

gesso_plugin::request_hook!(HostCallFlood, manifest = "manifest.json");
