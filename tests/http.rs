//! The HTTP surface against the real binary, the real checkpoint and no plugins but
//! those that make ControlNet's maps and fetch pictures. Files mirror the dialects.

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
