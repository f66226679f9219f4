//! The HTTP surface against the real binary, the real checkpoint and no plugins. Files mirror the dialects.

#![allow(clippy::unwrap_used, reason = "a test ends where something unexpected comes back")]

#[path = "../support.rs"]
#[allow(dead_code, reason = "each test binary uses its own part of it")]
mod support;

mod bad_input;
mod operators;
mod serverless;
mod webui;
