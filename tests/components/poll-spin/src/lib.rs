//! Hostile: asks for moments that are over already, and polls them without end. Never waits, and spends its time in the host.

use gesso_plugin::{Fault, Params, RequestHook, Verdict};

mod bindings {
    wit_bindgen::generate!({
        path: "../../../wit/gesso-plugin-0.1.0",
        inline: "package guest:poll-spin; world polls { import wasi:clocks/monotonic-clock@0.2.12; }",
        world: "guest:poll-spin/polls",
        generate_all,
    });
}

use bindings::wasi::clocks::monotonic_clock::subscribe_duration;
use bindings::wasi::io::poll::poll;

struct PollSpin;

impl RequestHook for PollSpin {
    fn before(_params: &mut Params) -> Result<Verdict, Fault> {
        loop {
            let (first, second) = (subscribe_duration(0), subscribe_duration(0));
            std::hint::black_box(poll(&[&first, &second]));
        }
    }
}

gesso_plugin::request_hook!(PollSpin, manifest = "manifest.json");
