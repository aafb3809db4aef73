//! Walks over a split in shards that the coordinator hands out.
//!
//! A rank that is fast takes more shards. It asks for the next one while it works on the present one, and starts to decode it as soon as
//! it has it. Completing a shard before waiting for another is essential: the coordinator answers the last request of a pass only
//! when every shard is complete, ours included.

use std::sync::Arc;

use firn_core::state::rank_activity;
use firn_data::{Batch, CorruptSample, Loader};
use firn_proto::v1alpha1::{self as wire, lease_shard_response::Answer};
use tokio::task::JoinHandle;

use super::{
    coordinator::Coordinator, failure::RankFailure, halt::Halt, inputs, session::Session, task, training, units,
};

/// The pass that scores a split after an epoch.
pub(super) fn evaluation(split: &str, epoch: u32) -> wire::Pass {
    wire::Pass {
        kind: "evaluate".to_owned(),
        split: split.to_owned(),
        epoch,
    }
}

/// Takes part in a pass until it is complete; returns what to do next.
pub(super) fn run(session: &mut Session, pass: wire::Pass) -> Result<wire::Directive, Halt> {
    let coordinator = session.coordinator;
    coordinator.vitals().begin(rank_activity::IN_A_PASS);
    let mut leases = Leases::open(coordinator, &pass);
    // A shard whose decoding has begun while the one before was computed.
    let mut ahead = None;
    loop {
        session.check_boundary()?;
        let shard = match ahead.take() {
            Some(shard) => shard,
            None => match leases.next()? {
                Answer::Complete(directive) => return Ok(directive),
                Answer::Shard(shard) => Opened::new(session, &pass, shard)?,
            },
        };
        let report = match shard.loader {
            None => scan(session, &pass, &shard.shard)?,
            Some(loader) => {
                let mut report = wire::EvaluationReport::default();
                for batch in loader {
                    session.check_within_step()?;
                    score(session, &pass.split, &batch, &mut report)?;
                    if ahead.is_none()
                        && let Some(shard) = leases.poll()?
                    {
                        ahead = Some(Opened::new(session, &pass, shard)?);
                    }
                }
                wire::CompleteShardRequest {
                    evaluation: Some(report),
                    ..Default::default()
                }
            }
        };
        let (pass, shard) = (Some(pass.clone()), shard.shard.index);
        coordinator.complete_shard(wire::CompleteShardRequest { pass, shard, ..report })?;
        leases.held.retain(|held| *held != shard);
    }
}

/// The rank's requests for shards of one pass: one is always under way.
struct Leases<'a> {
    coordinator: &'a Coordinator<'a>,
    pass: &'a wire::Pass,
    /// Shards that are here and not complete: the coordinator must not hand them out to us again.
    held: Vec<u32>,
    pending: JoinHandle<Result<Answer, Halt>>,
    complete: Option<wire::Directive>,
}

impl<'a> Leases<'a> {
    fn open(coordinator: &'a Coordinator<'a>, pass: &'a wire::Pass) -> Self {
        Self {
            coordinator,
            pass,
            held: Vec::new(),
            pending: ask(coordinator, pass, Vec::new()),
            complete: None,
        }
    }

    /// Waits for the answer, and asks for the next shard at once.
    fn next(&mut self) -> Result<Answer, Halt> {
        if let Some(directive) = self.complete.take() {
            return Ok(Answer::Complete(directive));
        }
        let vitals = self.coordinator.vitals();
        if !self.pending.is_finished() {
            vitals.begin(rank_activity::WAITING);
        }
        let pending = &mut self.pending;
        let answer = self.coordinator.wait_for_others(async {
            let ended = pending.await;
            ended.map_err(|error| RankFailure::Internal(format!("the request for a shard ended: {error}")))?
        })?;
        vitals.begin(rank_activity::IN_A_PASS);
        if let Answer::Shard(shard) = &answer {
            self.held.push(shard.index);
            self.pending = ask(self.coordinator, self.pass, self.held.clone());
        }
        Ok(answer)
    }

    /// The next shard, if the answer has come already.
    fn poll(&mut self) -> Result<Option<wire::Shard>, Halt> {
        if self.complete.is_some() || !self.pending.is_finished() {
            return Ok(None);
        }
        match self.next()? {
            Answer::Shard(shard) => Ok(Some(shard)),
            Answer::Complete(directive) => {
                self.complete = Some(directive);
                Ok(None)
            }
        }
    }
}

fn ask(coordinator: &Coordinator, pass: &wire::Pass, held: Vec<u32>) -> JoinHandle<Result<Answer, Halt>> {
    let (client, pass) = (coordinator.client(), pass.clone());
    coordinator
        .runtime()
        .spawn(async move { client.lease_shard(pass, held).await })
}

/// A shard at work; evaluation decodes from the moment of opening.
struct Opened {
    shard: wire::Shard,
    loader: Option<Loader>,
}

impl Opened {
    fn new(session: &Session, pass: &wire::Pass, shard: wire::Shard) -> Result<Self, Halt> {
        if pass.kind == "scan" {
            return Ok(Self { shard, loader: None });
        }
        let split = session.split(&pass.split)?;
        let is_good = |sample: &u64| !session.quarantined.contains(&(pass.split.clone(), *sample));
        // Cut by position: the same samples share a batch, and give the same bits, however many beside them are set aside.
        let plan: Vec<Vec<u64>> = units::micro_batches(shard.begin..shard.end, session.micro_batch())
            .into_iter()
            .map(|range| range.filter(is_good).collect())
            .collect();
        let loader = Loader::start(
            split,
            Arc::clone(&session.preprocessor),
            plan.into_iter(),
            training::loader_options(session),
        );
        Ok(Self {
            shard,
            loader: Some(loader),
        })
    }
}

/// Reads every byte of a shard, so that what cannot be read is known before the first step.
fn scan(session: &mut Session, pass: &wire::Pass, shard: &wire::Shard) -> Result<wire::CompleteShardRequest, Halt> {
    let vitals = session.coordinator.vitals();
    let outcome = firn_data::scan(&*session.split(&pass.split)?, shard.begin..shard.end, || vitals.tick());
    let corrupt: Vec<_> = outcome
        .corrupt
        .iter()
        .map(|sample| quarantined(&pass.split, sample))
        .collect();
    session
        .quarantined
        .extend(corrupt.iter().map(|sample| (sample.split.clone(), sample.index)));
    let scan = wire::ScanReport {
        bytes_read: outcome.bytes_read,
        content_digest: outcome.content_digest,
        corrupt,
    };
    Ok(wire::CompleteShardRequest {
        scan: Some(scan),
        ..Default::default()
    })
}

/// Adds the predictions for a batch, and their statistics, to the report.
fn score(session: &mut Session, split: &str, batch: &Batch, report: &mut wire::EvaluationReport) -> Result<(), Halt> {
    report
        .corrupt
        .extend(batch.corrupt.iter().map(|sample| quarantined(split, sample)));
    if batch.indices.is_empty() {
        return Ok(());
    }
    let outputs = {
        let _no_grad = tch::no_grad_guard();
        let features = session.model.features(&inputs::input(batch, session.gang.device)?)?;
        session.model.logits(&features, None)?
    };
    Ok(task::score(&outputs, batch, &*session.split(split)?, report)?)
}

fn quarantined(split: &str, corrupt: &CorruptSample) -> wire::QuarantinedSample {
    wire::QuarantinedSample {
        split: split.to_owned(),
        index: corrupt.index,
        sample: corrupt.id.clone(),
        reason: corrupt.reason.clone(),
    }
}
