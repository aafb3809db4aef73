//! `firn-worker agent|rank|doctor|inspect`.

use std::{
    io::{self, IsTerminal as _},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use firn_worker::{agent, doctor, inspect, predict, rank};
use tracing_subscriber::EnvFilter;

/// A machine's part of Firn: the agent that serves it, the ranks that train, and the doctor that examines it.
#[derive(Debug, Parser)]
#[command(name = "firn-worker", version, about, max_term_width = 120)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve this machine's slots to a coordinator until told to stop.
    Agent(agent::AgentArguments),
    /// Train one rank. Started by the agent, which gives all settings in the environment.
    Rank(rank::RankArguments),
    /// Put samples through a network that a job left, for `firn predict` and `firn evaluate`.
    #[command(hide = true)]
    Predict(predict::PredictArguments),
    /// Say what this machine can do, and what to do about what is missing.
    Doctor(doctor::DoctorArguments),
    /// Say as JSON what a weights file is; `firn models --inspect` shows it.
    Inspect(inspect::InspectArguments),
    /// Start any program in a rank's place, bound to the life of its agent.
    #[command(hide = true)]
    Launch(agent::LaunchArguments),
}

fn main() -> ExitCode {
    log_to_standard_error();
    let outcome = match Arguments::parse().command {
        Command::Agent(arguments) => agent::run(arguments),
        Command::Rank(arguments) => agent::lifeline::bind()
            .map_err(Into::into)
            .and_then(|()| rank::run(arguments)),
        Command::Predict(arguments) => predict::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Launch(arguments) => agent::lifeline::launch(&arguments),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

/// Standard output belongs to results. `FIRN_LOG` chooses what is logged (`info` by default), `FIRN_LOG_FORMAT=json` how.
fn log_to_standard_error() {
    let filter = EnvFilter::try_from_env("FIRN_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_target(false);
    if std::env::var("FIRN_LOG_FORMAT").is_ok_and(|format| format == "json") {
        builder.json().init();
    } else {
        builder.with_ansi(io::stderr().is_terminal()).init();
    }
}
