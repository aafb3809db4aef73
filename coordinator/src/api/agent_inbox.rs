//! The log lines of one agent on their way to the disk, beside its stream: a sync that takes long holds up no heartbeat.

use firn_core::identifiers::ProcessId;
use firn_proto::v1alpha1::{LogAck, LogBatch};
use tokio::sync::mpsc;
use tonic::Status;
use tracing::warn;

use super::{context::Context, refusal::invalid};
use crate::logs::StoredLine;

/// Batches that wait for the disk. An agent sends no more than a few thousand lines of a rank ahead of their acknowledgement, so one that
/// fills this has many ranks, and its stream is read on when there is room.
const WAITING: usize = 1024;

/// Stores batches in the order in which they came, and answers each when it is on disk.
pub(super) struct LogIntake {
    batches: mpsc::Sender<LogBatch>,
    answers: mpsc::UnboundedReceiver<Result<LogAck, Status>>,
}

impl LogIntake {
    /// Begins to store; ends when the intake is dropped and what it took is on disk.
    pub(super) fn open(context: Context) -> Self {
        let (batches, mut waiting) = mpsc::channel(WAITING);
        // No more answers than batches wait.
        let (answer, answers) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(batch) = waiting.recv().await {
                let stored = store(&context, batch).await;
                let has_failed = stored.is_err();
                if answer.send(stored).is_err() || has_failed {
                    break;
                }
            }
        });
        Self { batches, answers }
    }

    /// Takes a batch in; waits for the disk only if very many wait already. After a failure nothing more is stored, and the answers tell why.
    pub(super) async fn take(&self, batch: LogBatch) {
        let _ = self.batches.send(batch).await;
    }

    /// The next answer. Can be dropped while it waits.
    ///
    /// # Errors
    /// When the lines could not be stored; the agent has to send them again on another stream.
    pub(super) async fn answer(&mut self) -> Result<LogAck, Status> {
        match self.answers.recv().await {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }

    /// The answers to all that was taken in and is not answered yet, until `None`.
    pub(super) fn finish(self) -> mpsc::UnboundedReceiver<Result<LogAck, Status>> {
        self.answers
    }
}

async fn store(context: &Context, batch: LogBatch) -> Result<LogAck, Status> {
    let Some(end) = batch.first_sequence.checked_add(batch.lines.len() as u64) else {
        return Err(invalid(
            "logs.first_sequence",
            format!("expected a number of a line, found {}", batch.first_sequence),
        ));
    };
    let process_id = batch.process_id;
    let Some(origin) = context.origins.of(&ProcessId::from(process_id.as_str())) else {
        warn!(process = %process_id, lines = batch.lines.len(), "lines of a process that no job of this coordinator had are dropped");
        return Ok(LogAck {
            process_id,
            next_sequence: end,
        });
    };
    let lines: Vec<StoredLine> = (batch.first_sequence..end)
        .zip(batch.lines)
        .map(|(sequence, line)| {
            let time = line.time.unwrap_or_default();
            StoredLine {
                process: process_id.clone(),
                rank: origin.rank,
                generation: origin.generation.0,
                sequence,
                stream: line.stream,
                text: line.text,
                seconds: time.seconds,
                nanos: time.nanos,
            }
        })
        .collect();
    let (logs, process) = (context.logs.clone(), process_id.clone());
    let stored = tokio::task::spawn_blocking(move || logs.append(origin.job.as_str(), &process, &lines)).await;
    let next_sequence = stored.expect("storing lines does not panic")?;
    Ok(LogAck {
        process_id,
        next_sequence,
    })
}
