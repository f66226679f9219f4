//! Any bytes are judged as an uploaded plugin, as they are before anything is compiled: sections, imports, manifest,
//! signature. Must answer, never panic. `.gesso/guests` is a corpus to begin with.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|component: &[u8]| {
    let _ = gesso_plugin_host::judge_upload(component);
});
