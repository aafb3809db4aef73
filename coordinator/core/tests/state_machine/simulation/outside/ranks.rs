//! Rank processes: each does its part of the protocol, one message at a time.

use std::sync::Arc;

use firn_core::identifiers::{JobId, ProcessId, RankIdentity};
use firn_core::state::*;
use firn_core::{Directive, Input, Reject, Reply, StartRank};

use super::{Next, Outside, Rank, pick};
use crate::bench::{Coordinator, dataset, sha256};

impl Outside {
    pub(crate) fn report_failure(&mut self, choice: u8) {
        let Some((machine, process)) = pick(self.ranks(), choice) else {
            return;
        };
        let start = self.machines[machine].processes[&process].start.clone();
        let reasons = [
            FailureReason::NodeFailures,
            FailureReason::InternalError,
            FailureReason::BadData,
        ];
        let failure = Failure {
            reason: reasons[choice as usize % 3],
            message: "it went wrong".to_owned(),
            rank: None,
            host: String::new(),
            last_log_lines: Vec::new(),
        };
        let _ = self.give(Input::RankFailed {
            identity: identity(&start),
            failure,
        });
        self.end_process(machine, &process, Ending::Exited(1));
    }

    /// The rank does the next thing; a refusal makes it exit.
    pub(crate) fn advance(&mut self, machine: usize, process: &ProcessId) {
        let rank = self.machines[machine].processes[process].clone();
        if self.machines[machine].silent {
            return;
        }
        let next = match self.work(&rank) {
            Ok(next) => next,
            Err(Reject::GangIncomplete { .. }) => rank.next,
            Err(_) => Next::Exit(12),
        };
        match next {
            Next::Exit(status) => self.end_process(machine, process, Ending::Exited(status)),
            next => {
                if let Some(rank) = self.machines[machine].processes.get_mut(process) {
                    rank.next = next;
                }
            }
        }
    }

    fn send(&mut self, input: Input) -> Result<Reply, Reject> {
        self.sent.push(input.clone());
        self.give(input)
    }

    fn work(&mut self, rank: &Rank) -> Result<Next, Reject> {
        let identity = identity(&rank.start);
        match rank.next.clone() {
            Next::Join => {
                let join = Input::RankJoined {
                    identity,
                    ring_address: rank.start.process.to_string(),
                    device: "cpu".to_owned(),
                };
                Ok(match self.send(join)? {
                    Reply::World(world) if self.is_registered(&rank.start.job) => follow(&rank.start, world.next),
                    Reply::World(_) => Next::Register,
                    _ => Next::Join,
                })
            }
            Next::Register => {
                let splits = self.splits[&rank.start.job];
                self.send(Input::DatasetRegistered {
                    identity,
                    dataset: Arc::new(dataset(splits)),
                })?;
                Ok(Next::Walk(Pass::Scan(SplitName::Train)))
            }
            Next::Walk(pass) => Ok(
                match self.send(Input::ShardRequested {
                    identity,
                    pass,
                    held: vec![],
                })? {
                    Reply::Shard(shard) => Next::Work(pass, shard),
                    Reply::Complete(directive) => follow(&rank.start, directive),
                    _ => Next::Walk(pass),
                },
            ),
            Next::Work(pass, shard) => {
                let report = self.coordinator.report(pass, shard);
                self.send(Input::ShardCompleted {
                    identity,
                    pass,
                    shard: shard.index,
                    report,
                })?;
                Ok(Next::Walk(pass))
            }
            Next::Step { epoch } => self.step(identity, epoch),
            Next::Checkpoint { epoch } => self.checkpoint(identity, epoch),
            Next::Artifacts => {
                let artifact = Artifact {
                    name: "head.safetensors".to_owned(),
                    size_bytes: 1,
                    sha256: sha256(1),
                    location: "coordinator".to_owned(),
                };
                self.send(Input::ArtifactStored { identity, artifact })?;
                Ok(Next::Finish)
            }
            Next::Finish => self.send(Input::JobFinished { identity }).map(|_| Next::Exit(0)),
            exit @ Next::Exit(_) => Ok(exit),
        }
    }

    fn checkpoint(&mut self, identity: RankIdentity, epoch: u32) -> Result<Next, Reject> {
        let steps_done = 4 * u64::from(epoch) + 4;
        let checkpoint = Checkpoint {
            epochs_done: epoch + 1,
            steps_done,
            sha256: sha256(steps_done + 1_000 * identity.generation.0),
            size_bytes: 1,
            location: None,
        };
        self.send(Input::CheckpointStored { identity, checkpoint })?;
        Ok(Next::Walk(Pass::validation(epoch)))
    }

    fn is_registered(&self, job: &JobId) -> bool {
        self.coordinator
            .state
            .job(job)
            .is_some_and(|job| job.run.dataset.is_some())
    }

    /// Rank 0 commits the next two steps; the others have nothing to tell until the epoch is over.
    fn step(&mut self, identity: RankIdentity, epoch: u32) -> Result<Next, Reject> {
        let committed = self
            .coordinator
            .state
            .job(&identity.job)
            .map_or(0, |job| job.run.ledger.committed);
        let end = 4 * u64::from(epoch) + 4;
        let steps: Vec<Step> = (committed..end)
            .take(2)
            .map(|step| Coordinator::step(step, epoch))
            .collect();
        if steps.is_empty() {
            return Ok(Next::Checkpoint { epoch });
        }
        self.send(Input::StepsCommitted { identity, steps })?;
        Ok(Next::Step { epoch })
    }
}

fn identity(start: &StartRank) -> RankIdentity {
    RankIdentity {
        job: start.job.clone(),
        process: start.process.clone(),
        generation: start.generation,
    }
}

/// What a rank does after a directive.
fn follow(start: &StartRank, directive: Directive) -> Next {
    match directive {
        Directive::RunPass(pass) => Next::Walk(pass),
        Directive::TrainEpoch(epoch) if start.rank == 0 => Next::Step { epoch },
        Directive::TrainEpoch(epoch) => Next::Walk(Pass::validation(epoch)),
        Directive::LoadBest { epoch, .. } => Next::Walk(Pass::Evaluate {
            split: SplitName::Test,
            epoch,
        }),
        Directive::Finish { .. } if start.rank == 0 => Next::Artifacts,
        Directive::Finish { .. } => Next::Exit(0),
        Directive::Stop { .. } => Next::Exit(12),
    }
}
