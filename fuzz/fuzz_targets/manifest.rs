//! Any bytes are judged as a plugin's manifest. Must answer, never panic.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|manifest: &[u8]| {
    let _ = gesso_plugin_host::Manifest::parse(manifest);
});
