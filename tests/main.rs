//! End to end: the real binary, the demo checkpoint, real guests, a real disk. One test binary, so that it links once;
//! a file for each side of the server.

#![allow(clippy::unwrap_used, reason = "a test ends where something unexpected comes back")]

mod cli;
mod faults;
mod http;
mod plugins;
mod support;
