//! The HTTP surface against the real binary, the real checkpoint and no plugins but
//! those that make pictures for it: maps, letters, what an address names. Files mirror the dialects.

mod bad_input;
mod controlnet;
mod deterministic;
mod drawing;
mod extras;
mod faces;
mod inputs;
mod operators;
mod redraw;
mod scripts;
mod serverless;
mod styles;
mod webui;
