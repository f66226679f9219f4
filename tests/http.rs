//! The HTTP surface against the real binary, the real checkpoint and no plugins. Files mirror the dialects.

mod bad_input;
mod drawing;
mod extras;
mod operators;
mod serverless;
mod webui;
