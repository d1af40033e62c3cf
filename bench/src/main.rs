//! Load shapes and measurements for Usher.

use clap::{Parser, Subcommand};

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
    /// Microseconds per signature and verification of each candidate.
    Signing(signing::Options),
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    match Arguments::parse().command {
        Command::Signing(options) => signing::run(&options),
    }
}
