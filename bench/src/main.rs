//! Load shapes and measurements for Usher.

use clap::{Parser, Subcommand};

mod draw_open;
mod signing;

/// Load shapes and measurements for Usher.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Longest steps of a room while a large DRAW opens.
    DrawOpen(draw_open::Options),
    /// Microseconds per signature and verification of each candidate.
    Signing(signing::Options),
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    match Arguments::parse().command {
        Command::DrawOpen(options) => draw_open::run(&options),
        Command::Signing(options) => signing::run(&options),
    }
}
