//! The HTTP surface against the real binary, the real checkpoint and no plugins. Files mirror the dialects.

mod bad_input;
mod deterministic;
mod drawing;
mod extras;
mod faces;
mod operators;
mod redraw;
mod serverless;
mod styles;
mod webui;
