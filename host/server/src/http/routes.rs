//! One file for each group of routes.

pub(crate) mod accounts;
pub(crate) mod agent_scheduler;
pub(crate) mod agent_scheduler_files;
pub(crate) mod controlnet;
pub(crate) mod controlnet_pose;
pub(crate) mod extensions;
pub(crate) mod files;
pub(crate) mod functions;
pub(crate) mod health;
pub(crate) mod models;
pub(crate) mod plugins;
pub(crate) mod queue;
pub(crate) mod serverless;
pub(crate) mod tasks;
pub(crate) mod webui;
pub(crate) mod webui_config;
pub(crate) mod webui_extras;
pub(crate) mod webui_internal;
pub(crate) mod webui_interrogate;
pub(crate) mod webui_lists;
pub(crate) mod webui_options;
pub(crate) mod webui_server;
