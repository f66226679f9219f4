//! What the binary does, a file for each command.

pub(crate) mod account;
mod client;
pub(crate) mod plugin;
pub(crate) mod serve;
pub(crate) mod task;
pub(crate) mod txt2img;
