//! Plugins in a running server: the real guests, the real sandbox, real requests beside them.

#![allow(clippy::unwrap_used, reason = "a test ends where something unexpected comes back")]

#[path = "../support.rs"]
#[allow(dead_code, reason = "each test binary uses its own part of it")]
mod support;

mod admin;
mod first_party;
mod hostile;
