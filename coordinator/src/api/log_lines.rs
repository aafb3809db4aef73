//! The log lines of a job as a stream.

use std::pin::Pin;

use async_stream::try_stream;
use firn_core::identifiers::JobId;
use firn_proto::v1alpha1 as proto;
use futures::Stream;
use tonic::Status;

use super::{context::Context, refusal::stopping, wire::names::job_id};
use crate::logs::StoredLine;

/// Lines of all ranks, or of one.
pub(super) type LogStream = Pin<Box<dyn Stream<Item = Result<proto::LogLine, Status>> + Send>>;

pub(super) async fn stream(context: &Context, request: proto::StreamLogsRequest) -> Result<LogStream, Status> {
    let job = job_id("name", &request.name)?;
    context.job(&job).await?;
    let (logs, asked) = (context.logs.clone(), job.clone());
    let opened = tokio::task::spawn_blocking(move || logs.reader(asked.as_str())).await;
    let mut reader = opened.expect("opening a log does not panic")?;
    let context = context.clone();
    let mut changes = context.engine.changes(&job);
    Ok(Box::pin(try_stream! {
        loop {
            // Asked before the lines are read: what comes while the last ranks end is read in the next round.
            let has_ended = is_over(&context, &job).await?;
            loop {
                let lines = reader.next_lines().await?;
                if lines.is_empty() {
                    break;
                }
                for line in lines.into_iter().filter(|line| request.rank.is_none_or(|rank| rank == line.rank)) {
                    yield to_wire(line);
                }
            }
            if has_ended || !request.follow {
                break;
            }
            let woken = tokio::select! {
                () = reader.grown() => Ok(()),
                changed = changes.changed() => changed.map_err(|_| stopping()),
                () = context.ending.streams().cancelled() => Err(stopping()),
            };
            woken?;
        }
    }))
}

/// The job has ended, and so have its processes: no further line will come, other than those that an agent could not deliver yet.
async fn is_over(context: &Context, job: &JobId) -> Result<bool, Status> {
    let asked = job.clone();
    let over = context.engine.ask(move |state| {
        let ended = state.job(&asked).is_none_or(|job| job.outcome().is_some());
        ended && state.live_processes(&asked).next().is_none()
    });
    Ok(over.await?)
}

fn to_wire(line: StoredLine) -> proto::LogLine {
    proto::LogLine {
        rank: line.rank,
        sequence: line.sequence,
        generation: line.generation,
        stream: line.stream,
        text: line.text,
        time: Some(prost_types::Timestamp {
            seconds: line.seconds,
            nanos: line.nanos,
        }),
    }
}
