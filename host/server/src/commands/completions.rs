//! `gesso completions`: the script by which a shell completes this command line.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::settings::cli::Cli;
use crate::telemetry;

pub(crate) fn run(shell: Shell) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "gesso", &mut script);
    telemetry::announce(String::from_utf8_lossy(&script).trim_end());
}
