//! `cargo xtask …`: set-up, builds, the demonstration and every check, as commands of the repository itself.
//! This file is the table of contents; each command is the file of its name. Nothing here is part of the server.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool speaks on its standard streams"
)]

mod bench;
mod bench_api;
mod bench_plugins;
mod build_plugins;
mod client_test;
mod demo;
mod fuzz_api;
mod gpu_check;
mod guest_toolchain;
mod kits;
mod libtorch;
mod lint;
mod machine;
mod meter;
mod parity;
mod paths;
mod process;
mod python;
mod registry;
mod server;
mod setup;
mod stages;
mod test;
mod tidy;
mod wheels;
mod wit_freeze;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "xtask",
    bin_name = "cargo xtask",
    about = "Sets up, builds, tests and shows Gesso.",
    version
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Setup(setup::Options),
    BuildPlugins(build_plugins::Options),
    Kits(kits::Options),
    Demo(demo::Options),
    Test(test::Options),
    Lint(lint::Options),
    Tidy(tidy::Options),
    WitFreeze(wit_freeze::Options),
    Parity(parity::Options),
    Bench(bench::Options),
    GpuCheck(gpu_check::Options),
    FuzzApi(fuzz_api::Options),
}

fn main() -> std::process::ExitCode {
    let result = match Arguments::parse().command {
        Command::Setup(options) => setup::command(&options),
        Command::BuildPlugins(options) => build_plugins::command(&options),
        Command::Kits(options) => kits::command(&options),
        Command::Demo(options) => demo::command(&options),
        Command::Test(options) => test::command(&options),
        Command::Lint(options) => lint::command(&options),
        Command::Tidy(options) => tidy::command(&options),
        Command::WitFreeze(options) => wit_freeze::command(&options),
        Command::Parity(options) => parity::command(&options),
        Command::Bench(options) => bench::command(&options),
        Command::GpuCheck(options) => gpu_check::command(&options),
        Command::FuzzApi(options) => fuzz_api::command(&options),
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
