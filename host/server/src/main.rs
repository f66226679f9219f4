//! The `gesso` binary: reads the command line, runs one command, decides the exit code.
//!
//! Exit codes, as `gesso --help` says them too: 0 done; 1 the command, or the task that it waited for, failed; 2 the
//! command line or the settings are wrong; 3 another process holds the data folder or the port.

mod abort_on_drop;
mod accounts;
mod annotators;
mod app;
mod audit;
mod backups;
mod blocking;
mod catalogue;
mod commands;
mod controls;
mod draw;
mod drawing_account;
mod drawings;
mod engine_errors;
mod environment;
mod error;
mod extras;
mod faces;
mod finishing;
mod functions;
mod generate;
mod grants;
mod http;
mod infotexts;
mod inputs;
mod interrogate;
mod kept_pictures;
mod labels;
mod listeners;
mod loaded_models;
mod lock;
mod made_up_device;
mod networks;
mod notices;
mod output_names;
mod pause;
mod picture_file;
mod picture_texts;
mod pipeline;
mod plugin_data;
mod plugin_use;
mod plugin_view;
mod png_file;
mod quotas;
mod recombination;
mod registered_models;
mod resources;
mod running;
mod saved_options;
mod saved_pictures;
mod scripts;
mod settings;
#[cfg(test)]
mod silent_bucket;
mod sources;
mod startup;
mod styles;
mod task_events;
mod task_pages;
mod tasks;
mod telemetry;
mod traces;
mod upkeep;
mod webhooks;
mod worker;

use std::process::ExitCode;

use clap::Parser;

use settings::cli::{Cli, Command};
use startup::StartupError;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(arguments) => commands::serve::run(&arguments),
        Command::Txt2Img(arguments) => commands::txt2img::run(&arguments),
        Command::Img2Img(arguments) => commands::drawing::img2img(&arguments),
        Command::Upscale(arguments) => commands::drawing::upscale(&arguments),
        Command::Task(arguments) => commands::task::run(&arguments),
        Command::Model(arguments) => commands::model::run(&arguments),
        Command::User(arguments) => commands::account::users(&arguments),
        Command::Key(arguments) => commands::account::keys(&arguments),
        Command::Plugin(arguments) => commands::plugin::run(&arguments),
        Command::Store(arguments) => commands::store::run(&arguments),
        Command::Completions { shell } => {
            commands::completions::run(shell);
            Ok(())
        }
        Command::CompilePlugin { arguments } => {
            return gesso_plugin_host::compile_worker::main(arguments.into_iter());
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            telemetry::complain(&format!("{error:#}"));
            match error.downcast_ref::<StartupError>() {
                Some(StartupError::Settings(_)) => ExitCode::from(2),
                Some(StartupError::Taken(_)) => ExitCode::from(3),
                Some(StartupError::Failed(_)) | None => ExitCode::FAILURE,
            }
        }
    }
}
