use std::process::ExitCode;

fn main() -> ExitCode {
    usher::cli::run(std::env::args_os())
}
