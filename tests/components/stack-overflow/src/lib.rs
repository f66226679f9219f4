//! Hostile: calls itself without end.

use gesso_plugin::{Fault, Params, RequestHook, Verdict};

struct StackOverflow;

impl RequestHook for StackOverflow {
    fn before(_params: &mut Params) -> Result<Verdict, Fault> {
        let depth = deeper(0);
        Err(Fault::Other(format!("The bottom is at {depth}.")))
    }
}

/// A frame large enough that the stack ends before the processor time does, and not a tail call.
fn deeper(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 64]);
    if depth == u64::MAX { 0 } else { deeper(depth + 1).wrapping_add(frame[7]) }
}

gesso_plugin::request_hook!(StackOverflow, manifest = "manifest.json");
