//! Bodies as they cross the wire, and nothing else. Those of one route alone may stand beside its handler.

pub(crate) mod agent_scheduler;
pub(crate) mod control;
pub(crate) mod detect;
pub(crate) mod extras;
pub(crate) mod faces;
pub(crate) mod fields;
pub(crate) mod file_format;
pub(crate) mod generate;
pub(crate) mod grid_options;
pub(crate) mod img2img;
pub(crate) mod info;
pub(crate) mod infotext;
pub(crate) mod interrogate;
pub(crate) mod lists;
pub(crate) mod nothing;
pub(crate) mod options;
pub(crate) mod output_options;
mod overrides;
pub(crate) mod per_picture;
pub(crate) mod plugin;
mod problems;
pub(crate) mod refusals;
pub(crate) mod schema;
pub(crate) mod styles;
pub(crate) mod task;
pub(crate) mod terms;
mod txt2img;
