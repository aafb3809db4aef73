//! `firn-worker agent|rank|doctor`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use firn_worker::{agent, doctor, rank};

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
    /// Say what this machine can do, and what to do about what is missing.
    Doctor(doctor::DoctorArguments),
    /// Start any program in a rank's place, bound to the life of its agent.
    #[command(hide = true)]
    Launch(agent::LaunchArguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Agent(arguments) => agent::run(arguments),
        Command::Rank(arguments) => agent::lifeline::bind().map_err(Into::into).and_then(|()| rank::run(arguments)),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Launch(arguments) => agent::lifeline::launch(&arguments),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
