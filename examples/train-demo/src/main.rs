//! Trains the demo checkpoint on captioned pictures drawn by rule, with the networks the server draws with.
//!
//! Two stages, each of which goes on where it was stopped: `autoencoder` teaches the VAE to keep a picture in an
//! eighth of its size, `denoiser` teaches text encoder and UNet to draw such latents from captions. `score` draws
//! captions that training never saw, through the engine, and reads the pictures back. Begin with the demo
//! checkpoint, or with `--fresh` from random numbers of its shapes. `README.md` has the commands and the times.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool speaks on its standard streams"
)]

mod adamw;
mod autoencoder;
mod captions;
mod checkpoint;
mod denoiser;
mod drawing;
mod emphasis;
mod learning;
mod pictures;
mod score;
mod trained;
mod training;
mod workers;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "train-demo", about = "Trains, draws with and scores the demo checkpoint.", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Trains the VAE, or its decoder alone so that the latents stay as they are.
    Autoencoder(autoencoder::Options),
    /// Trains text encoder and UNet on the VAE's latents.
    Denoiser(denoiser::Options),
    /// Draws captions that training never saw and counts what is right.
    Score(drawing::Options),
}

fn main() -> std::process::ExitCode {
    let result = match Arguments::parse().command {
        Command::Autoencoder(options) => autoencoder::command(&options),
        Command::Denoiser(options) => denoiser::command(&options),
        Command::Score(options) => drawing::command(&options),
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn options_of_a_stage_do_not_contradict_each_other() {
        Arguments::command().debug_assert();
    }
}
