//! `firn`: parses the command line, does what it says, and turns what came of it into an exit code.

use std::process::ExitCode;

use clap::Parser as _;
use firn::cmd::{self, Cli, CommandError, Outcome, Verb};

fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        // Before any other thread exists: it replaces this process.
        Verb::Tether(args) => Err(cmd::tether::become_command(args)),
        verb => run(verb),
    };
    match result {
        Ok(outcome) => ExitCode::from(outcome.exit_code()),
        Err(error) => {
            if !error.is_closed_pipe() {
                eprintln!("firn: {error}");
            }
            ExitCode::from(error.exit_code())
        }
    }
}

/// The future runs on the main thread, which `firn run` relies on: what it starts dies with the thread that started it.
fn run(verb: Verb) -> Result<Outcome, CommandError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CommandError::Local(format!("cannot start the runtime: {error}")))?;
    runtime.block_on(cmd::execute(verb))
}
