//! What the binary does, a file for each command.

pub(crate) mod account;
mod client;
pub(crate) mod completions;
pub(crate) mod drawing;
pub(crate) mod model;
pub(crate) mod plugin;
pub(crate) mod preview;
pub(crate) mod serve;
pub(crate) mod store;
pub(crate) mod task;
pub(crate) mod txt2img;
