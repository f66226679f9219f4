//! The HTTP surface against the real binary, the real checkpoint and no plugins but
//! those that have to do with pictures (maps, letters, what an address names, finds) and with who asks. Files mirror the
//! dialects.

mod accounts;
mod adetailer;
mod agent_scheduler;
mod aliases;
mod bad_input;
mod calls;
mod clients;
mod controlnet;
mod deterministic;
mod drawing;
mod extras;
mod faces;
mod failures;
mod grids;
mod grown_pictures;
mod inputs;
mod interrogate;
mod models;
mod networks;
mod operators;
mod picture_stages;
mod plugin_use;
mod redraw;
mod retention;
mod scripts;
mod serverless;
mod serverless_spec;
mod styles;
mod tasks;
mod tls;
mod traces;
mod webui;
mod webui_server;
