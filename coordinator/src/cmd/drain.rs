//! `firn drain WORKER`: takes a worker out of use, or back into it.
//!
//! Its ranks hand over at the next step and leave, and nothing new is placed on it. Nothing is lost by it, so the coordinator does not count
//! it against the jobs' restarts.

use std::time::Duration;

use clap::Args;
use firn_proto::v1alpha1::{DrainWorkerRequest, Worker};
use tokio::time::{Instant, interval, sleep_until};
use uuid::Uuid;

use super::{
    connection::{Connection, unary},
    console::Console,
    error::CommandError,
    follow::PATIENCE,
    outcome::Outcome,
    settings::ConnectionArgs,
    time_span,
    view::{Format, document, humanise::counted},
    workers,
};

/// Between two looks at the worker's slots.
const LOOK: Duration = Duration::from_millis(250);

/// Takes workers out of use: their ranks hand over at the next step and leave, and nothing new is placed on them
#[derive(Debug, Args)]
pub struct DrainArgs {
    /// Names of the workers
    #[arg(required = true, value_name = "WORKER")]
    workers: Vec<String>,
    /// Use the workers again; also ones that were set aside because of their failures
    #[arg(long, conflicts_with = "wait")]
    undo: bool,
    /// Wait until no rank is left on them
    #[arg(long)]
    wait: bool,
    /// With --wait: stop waiting after this time (exit code 5), such as 90s, 10m or 1h30m
    #[arg(long, value_name = "TIME", requires = "wait", value_parser = time_span::parse)]
    timeout: Option<Duration>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn run(args: DrainArgs, console: &mut Console) -> Result<Outcome, CommandError> {
    let connection = Connection::open(&args.connection)?;
    let limit = args.timeout.map(|limit| Instant::now() + limit);
    let mut drained = Vec::with_capacity(args.workers.len());
    for worker in &args.workers {
        drained.push(drain(&connection, worker, args.undo).await?);
    }
    let mut outcome = Outcome::Success;
    if args.wait {
        match emptied(&connection, &args.workers, limit).await? {
            Some(empty) => drained = empty,
            None => outcome = Outcome::TimeLimit,
        }
    }
    if args.output.is_human() {
        for worker in &drained {
            console.data(&describe(worker))?;
        }
    } else {
        console.data(&document::render(&document::workers(&drained), args.output)?)?;
    }
    if outcome == Outcome::TimeLimit {
        console.say("the time limit passed; the workers are being drained on");
    }
    Ok(outcome)
}

async fn drain(connection: &Connection, worker: &str, undo: bool) -> Result<Worker, CommandError> {
    let request = DrainWorkerRequest {
        name: worker.to_owned(),
        undo,
        request_id: Uuid::new_v4().to_string(),
    };
    let drained = connection.repeated(|mut jobs| {
        let request = unary(request.clone());
        async move { jobs.drain_worker(request).await }
    });
    drained.await.map_err(|status| connection.refusal(&status))
}

/// The workers once no rank is left on them; `None`: the limit passed first. A worker that is gone is empty.
async fn emptied(
    connection: &Connection,
    names: &[String],
    limit: Option<Instant>,
) -> Result<Option<Vec<Worker>>, CommandError> {
    let mut look = interval(LOOK);
    let passed = async {
        match limit {
            Some(limit) => sleep_until(limit).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(passed);
    let mut heard = Instant::now();
    loop {
        tokio::select! {
            _ = look.tick() => {}
            () = &mut passed => return Ok(None),
        }
        let known = match workers::all(connection).await {
            Ok(known) => known,
            // What was asked for is done, and it comes back.
            Err(CommandError::Unreachable { .. }) if heard.elapsed() < PATIENCE => continue,
            Err(error) => return Err(error),
        };
        heard = Instant::now();
        let meant: Vec<Worker> = known
            .into_iter()
            .filter(|worker| names.contains(&worker.name))
            .collect();
        if meant.iter().all(|worker| busy(worker) == 0 || worker.state == "Lost") {
            return Ok(Some(meant));
        }
    }
}

fn busy(worker: &Worker) -> u64 {
    worker.slots.iter().filter(|slot| !slot.job.is_empty()).count() as u64
}

fn describe(worker: &Worker) -> String {
    let left = match busy(worker) {
        0 => "no rank on it".to_owned(),
        busy => format!("{} on it", counted(busy, "rank")),
    };
    format!("{} {}: {left}", worker.name, worker.state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::view::samples;

    #[test]
    fn a_worker_is_described_by_its_state_and_what_is_left_on_it() {
        let mut worker = samples::worker();
        worker.state = "Draining".to_owned();
        assert_eq!(describe(&worker), "local-0 Draining: 1 rank on it");
        worker.slots[0].job.clear();
        assert_eq!(describe(&worker), "local-0 Draining: no rank on it");
    }
}
