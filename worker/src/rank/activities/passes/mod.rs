//! Walks over a split in shards that the coordinator hands out.
//!
//! A rank that is fast takes more shards. It asks for the next one while it works on the present one, and opens it as soon as it has it.
//! Completing a shard before waiting for another is essential: the coordinator answers the last request of a pass only when every shard is
//! complete, ours included.
//!
//! What is done with a shard depends on the kind of the pass; each kind has a file of its own, and a line in [`open`].

mod evaluate;
mod leases;
mod scan;

use firn_core::state::rank_activity;
use firn_proto::v1alpha1::{self as wire, complete_shard_request::Report, lease_shard_response::Answer};

use self::leases::Leases;
use super::departure;
use crate::rank::{
    coordinator::heartbeat::Heartbeat, failure::RankFailure, job_data::JobData, learner::Learner, session::Session,
    stop_reason::StopReason,
};

/// What a kind of pass works with.
#[derive(Clone, Copy)]
struct Means<'a> {
    data: &'a JobData,
    learner: &'a Learner,
    heartbeat: &'a Heartbeat,
}

/// A shard of one kind of pass, opened: what can be prepared while the shard before is still computed has begun.
trait OpenShard {
    /// Does what the pass is for. `between` is called between pieces of work: it may open the next shard.
    fn work(
        self: Box<Self>,
        means: Means<'_>,
        between: &mut dyn FnMut() -> Result<(), StopReason>,
    ) -> Result<Found, StopReason>;
}

/// What was found in a shard.
struct Found {
    /// For the coordinator.
    report: Report,
    /// Samples that this rank shall not touch again.
    set_aside: Vec<wire::QuarantinedSample>,
}

/// Opens a shard of a pass.
fn open(means: Means<'_>, pass: &wire::Pass, shard: &wire::Shard) -> Result<Box<dyn OpenShard>, RankFailure> {
    let split = means.data.split(&pass.split)?;
    let samples = shard.begin..shard.end;
    match pass.kind.as_str() {
        "scan" => Ok(Box::new(scan::Shard::open(split, samples))),
        "evaluate" => Ok(Box::new(evaluate::Shard::open(means, split, samples))),
        unknown => Err(RankFailure::Directive(format!("asked for a pass of kind {unknown:?}"))),
    }
}

/// Takes part in a pass until it is complete; returns what to do next. What is scored is the average of the trained state, where the job has one.
pub(crate) fn run(session: &mut Session<'_>, pass: wire::Pass) -> Result<wire::Directive, StopReason> {
    session.learner.show_average()?;
    let next = walk(session, pass);
    session.learner.hide_average()?;
    next
}

/// The same of what the job leaves: as the network predicts that is exported, to the last bit.
pub(crate) fn run_as_exported(session: &mut Session<'_>, pass: wire::Pass) -> Result<wire::Directive, StopReason> {
    if session.spec.artifacts.merged_model {
        session.learner.compute_as_exported()?;
    }
    let next = run(session, pass);
    session.learner.compute_as_trained();
    next
}

fn walk(session: &mut Session<'_>, pass: wire::Pass) -> Result<wire::Directive, StopReason> {
    let coordinator = session.membership.coordinator;
    let heartbeat = coordinator.heartbeat();
    heartbeat.begin(rank_activity::IN_A_PASS);
    let mut leases = Leases::open(coordinator, &pass);
    // A shard that was opened while the one before was computed.
    let mut ahead = None;
    loop {
        departure::check(session)?;
        let means = Means {
            data: &session.data,
            learner: &session.learner,
            heartbeat,
        };
        let (shard, opened) = match ahead.take() {
            Some(opened) => opened,
            None => match leases.next(&mut session.checkpoints) {
                Ok(Answer::Complete(directive)) => return Ok(directive),
                Ok(Answer::Shard(shard)) => (shard.index, open(means, &pass, &shard)?),
                // It was told to leave while it waited: what must not be lost is stored first, as between two shards.
                Err(StopReason::Left) => {
                    departure::check(session)?;
                    return Err(StopReason::Left);
                }
                Err(reason) => return Err(reason),
            },
        };
        let found = opened.work(means, &mut || {
            if ahead.is_none()
                && let Some(shard) = leases.poll()?
            {
                ahead = Some((shard.index, open(means, &pass, &shard)?));
            }
            Ok(())
        })?;
        session.data.set_aside(found.set_aside);
        coordinator.complete_shard(wire::CompleteShardRequest {
            pass: Some(pass.clone()),
            shard,
            report: Some(found.report),
            ..wire::CompleteShardRequest::default()
        })?;
        leases.complete(shard);
    }
}
