//! Hostile: loops in its initializer, before any export is called. Loading it must not hang.

use gesso_plugin::RequestHook;

struct StartLoop;

impl RequestHook for StartLoop {}

gesso_plugin::request_hook!(StartLoop, manifest = "manifest.json");

// SAFETY: no other symbol of that name is linked; a component's instantiation calls it once.
#[expect(unsafe_code, reason = "an initializer is found by its unmangled name")]
#[unsafe(no_mangle)]
extern "C" fn _initialize() {
    let mut turns = 0_u64;
    loop {
        turns = std::hint::black_box(turns.wrapping_add(1));
    }
}
