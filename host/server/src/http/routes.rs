//! One file for each group of routes.

pub(crate) mod accounts;
pub(crate) mod controlnet;
pub(crate) mod extensions;
pub(crate) mod files;
pub(crate) mod health;
pub(crate) mod plugins;
pub(crate) mod serverless;
pub(crate) mod tasks;
pub(crate) mod webui;
pub(crate) mod webui_extras;
pub(crate) mod webui_internal;
pub(crate) mod webui_lists;
pub(crate) mod webui_options;
pub(crate) mod webui_server;
