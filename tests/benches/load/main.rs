//! Load on one coordinator: ten thousand agents, a thousand jobs.
//!
//! - `agents`: simulated agents on real `WorkerService.Attach` streams against a real `firn serve`; what it costs, whether a lease is
//!   broken, and how long until all are back after kill -9 and a restart. Beside it, the same messages to a bare tonic server.
//! - `queue`: submits over gRPC, each on disk before it is answered, and the restart with all of them.
//!
//! Everything runs on this machine, so what counts is the processor time of the server, taken from `/proc`, not that of the generator.

#![allow(missing_docs, reason = "a program, not a library")]

mod agents;
mod bare;
mod disk;
mod figures;
mod fleet;
mod queue;
mod server;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Puts load on one coordinator and prints what it took")]
struct Arguments {
    #[command(subcommand)]
    load: Load,
    /// Given by `cargo bench`.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Load {
    /// Simulated agents, heartbeats, kill -9, and all of them back
    Agents(agents::Arguments),
    /// Submits with fsync, one after the other and from many clients, and the restart
    Queue(queue::Arguments),
    /// A bare tonic server that takes the same messages; started by `agents`
    #[command(hide = true)]
    Bare(bare::Arguments),
}

fn main() -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let reached = runtime.block_on(async {
        match Arguments::parse().load {
            Load::Agents(arguments) => agents::run(&arguments).await,
            Load::Queue(arguments) => queue::run(&arguments).await,
            Load::Bare(arguments) => bare::run(arguments).await.map(|()| true),
        }
    })?;
    if !reached {
        eprintln!("a target was missed");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
