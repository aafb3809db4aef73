//! One training process on one slot.
//!
//! A rank decides nothing about the job: it joins its gang, asks the coordinator what to do next, does it, and asks again. The
//! directives, and what each of them does here:
//!
//! | directive | done in |
//! |---|---|
//! | run a pass (scan, evaluate) over a split | [`passes`] |
//! | train an epoch | [`training`], one step in [`step`] |
//! | load the best checkpoint | [`session`] |
//! | finish | [`finish`] |
//!
//! The main thread computes; a small tokio runtime carries the calls to the coordinator, so that commits travel while the next step is
//! already running. The agent owns the process: it can kill it at any moment, and nothing here needs to be cleaned up.

mod checkpoints;
mod committer;
mod coordinator;
mod determinism;
mod failure;
mod finish;
mod gang;
mod guard;
mod inputs;
mod model_card;
mod passes;
mod session;
mod settings;
mod step;
mod training;
mod units;

use std::process::ExitCode;

use tracing::{error, info};

pub use self::settings::RankArguments;
use self::{coordinator::Coordinator, failure::RankFailure, gang::Gang, session::Session};

/// Runs the rank until its job has ended.
///
/// The exit code tells the agent, and through it the coordinator, whether starting again could help: 0 the job is done, 10 the
/// user's spec or data is wrong, 11 the numbers broke, 12 the coordinator told the rank to stop, 1 anything else.
pub fn run(arguments: RankArguments) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    tch::set_num_threads(arguments.threads);
    tch::set_num_interop_threads(1);

    let coordinator = Coordinator::connect(&runtime, &arguments)?;
    match take_part(&coordinator, &arguments) {
        Ok(()) => {
            info!("the job is done");
            Ok(ExitCode::SUCCESS)
        }
        Err(failure) => {
            error!(reason = failure.reason(), "{failure}");
            if failure.worth_reporting() {
                coordinator.report_failure(&failure);
            }
            Ok(ExitCode::from(failure.exit_code()))
        }
    }
}

fn take_part(coordinator: &Coordinator, arguments: &RankArguments) -> Result<(), RankFailure> {
    let (gang, world) = Gang::join(coordinator, arguments)?;
    let mut session = Session::prepare(coordinator, arguments, gang, &world)?;
    session.follow(world.next)
}
