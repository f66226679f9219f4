//! The next version of `good`, which cannot start: it traps in its initializer. The version that serves must stay.

use gesso_plugin::RequestHook;

struct GoodBroken;

impl RequestHook for GoodBroken {}

gesso_plugin::request_hook!(GoodBroken, manifest = "manifest.json");

// SAFETY: no other symbol of that name is linked; a component's instantiation calls it once.
#[expect(unsafe_code, reason = "an initializer is found by its unmangled name")]
#[unsafe(no_mangle)]
extern "C" fn _initialize() {
    std::process::abort();
}
