//! The plugin host with real guests, real compile processes and real folders. One binary, a file for each noun.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and may say what it measured"
)]

mod budgets;
mod busy;
mod confined;
mod crossing;
mod handmade;
mod hostile;
mod lifecycle;
mod lost;
mod misbehaving;
mod neighbours;
mod returning;
mod slow;
mod support;
mod uploads;
