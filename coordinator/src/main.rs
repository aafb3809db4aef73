//! `firn`: parses the command line, does what it says, and turns what came of it into an exit code.

use std::process::ExitCode;

use clap::Parser as _;
use firn::cmd::{self, Cli};

fn main() -> ExitCode {
    match cmd::perform(Cli::parse().verb) {
        Ok(outcome) => ExitCode::from(outcome.exit_code()),
        Err(error) => {
            if !error.is_closed_pipe() {
                eprintln!("firn: {error}");
            }
            ExitCode::from(error.exit_code())
        }
    }
}
