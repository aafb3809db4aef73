//! One training process on one slot.
//!
//! A rank decides nothing about the job: it prepares, joins its gang, asks the coordinator what to do next, does it, and asks again. When
//! the gang changes it joins the next one, in the same process and with all that it has loaded.
//!
//! | room | what it holds |
//! |---|---|
//! | `learner` | what is trained, and how; knows no coordinator, no gang and no file |
//! | `membership` | the gang of the present generation, the ledger, and how a rank goes from one to the next |
//! | `coordinator` | the calls, the pulse, and what answers mean |
//! | `activities` | what the directives ask for |
//! | `files` | what is written where others see it |
//!
//! The main thread computes; a small tokio runtime carries the calls to the coordinator, so that commits travel while the next step is
//! already running, and the pulse, which tells the coordinator that the rank lives and hears what the gang is to do. The agent owns the process:
//! it can kill it at any moment, and nothing here needs to be cleaned up.

mod activities;
mod checkpoints;
mod coordinator;
pub(crate) mod determinism;
mod exit;
pub(crate) mod failure;
pub(crate) mod files;
pub(crate) mod job_data;
pub(crate) mod learner;
mod life;
pub(crate) mod membership;
pub(crate) mod prepare;
mod reduced_precision;
pub(crate) mod scoring;
mod session;
mod settings;
mod stop_reason;
pub(crate) mod task;

use std::{process::ExitCode, sync::Arc};

use tracing::{error, info};

pub use self::settings::RankArguments;
use self::{
    coordinator::{Coordinator, client::Client, heartbeat::Heartbeat, pulse},
    life::End,
};

/// Runs the rank until its job has ended.
///
/// The exit code tells the agent, and through it the coordinator, whether starting again could help: 0 the job is done, 10 the
/// user's spec or data is wrong or the batch does not fit into memory, 11 the numbers broke, 12 the coordinator told the rank to stop,
/// 13 it left on purpose because its worker is drained or preempted, 1 anything else.
pub fn run(arguments: RankArguments) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    tch::set_num_threads(arguments.threads);
    tch::set_num_interop_threads(1);

    let heartbeat = Arc::new(Heartbeat::new());
    let client = {
        let _in_runtime = runtime.enter();
        Client::connect(&arguments, Arc::clone(&heartbeat))?
    };
    runtime.spawn(pulse::beat(client.clone(), Arc::clone(&heartbeat)));
    let signals = runtime.spawn(pulse::heed_signals(Arc::clone(&heartbeat)));
    let coordinator = Coordinator::new(&runtime, client, heartbeat);
    let end = take_part(&coordinator, &arguments);
    signals.abort();
    Ok(ExitCode::from(report(&coordinator, end)))
}

fn take_part(coordinator: &Coordinator, arguments: &RankArguments) -> End {
    match prepare::prepare(coordinator, arguments) {
        Ok(mut session) => life::live(&mut session),
        Err(reason) => reason.into(),
    }
}

/// Says how the rank ended; returns the status to exit with.
fn report(coordinator: &Coordinator, end: End) -> u8 {
    match end {
        End::Done => {
            info!("the job is done");
            0
        }
        End::Stopped(reason) => {
            info!(reason, "stopped");
            exit::STOPPED
        }
        End::Left => {
            info!("left");
            exit::LEFT
        }
        End::Failed(failure) => {
            error!(reason = failure.reason(), "{failure}");
            if failure.worth_reporting() {
                coordinator.report_failure(&failure);
            }
            failure.exit_code()
        }
    }
}
