//! Rendezvous: ranks announce themselves, and the complete gang gets its world. And what ranks say before they give up.

use super::decision_builder::DecisionBuilder;
use super::members::{wanted, working};
use super::settle;
use crate::compatibility::{DataRules, Need};
use crate::identifiers::{Generation, RankIdentity};
use crate::queries;
use crate::record::JobEvent;
use crate::reject::Reject;
use crate::reply::Reply;
use crate::state::{Failure, Job, MemberState, Phase, Restored, RolledBack, State};

/// Bytes of an NCCL unique id.
const COLLECTIVE_ID_BYTES: usize = 128;
/// Characters of a reported error chain that are kept.
const LONGEST_MESSAGE: usize = 16 << 10;
/// Log lines that are kept of a report.
const LOG_LINES: usize = 40;

pub(super) fn enrol(draft: &mut DecisionBuilder<'_>, identity: &RankIdentity) -> Result<Reply, Reject> {
    let caller = wanted(draft.base(), identity)?;
    Ok(Reply::Enrolled {
        spec: caller.job.spec.clone(),
        settings_digest: caller.job.settings_digest(),
        data_rules: DataRules::of_job(caller.job),
        need: Need::of_job(caller.job),
        coordinator_epoch: draft.base().coordinator_epoch,
    })
}

/// How a rank comes.
pub(super) struct Arrival {
    pub(super) ring_address: String,
    pub(super) device: String,
    /// Steps that its state has, and the formation in which it took that over.
    pub(super) state: (u64, Generation),
    pub(super) reason: String,
}

/// A rank enters the newest generation, for the first time or once more. One that comes from the generation that works has been left by its
/// peers; what it says is a reason to form the gang anew.
pub(super) fn join(
    draft: &mut DecisionBuilder<'_>,
    identity: &RankIdentity,
    arrival: Arrival,
) -> Result<Reply, Reject> {
    let caller = wanted(draft.base(), identity)?;
    check_way(draft.base(), identity)?;
    let (process, member, left) = (identity.process.clone(), caller.member, identity.generation);
    let is_known = member.state
        == MemberState::Joined {
            ring_address: arrival.ring_address.clone(),
        };
    let is_recruit = caller.gang.member(&process).is_none();
    let steps_done = valid_steps(caller.job, arrival.state);
    let event = match &caller.job.phase {
        Phase::Running(_) if !is_recruit => {
            let repeats = is_known && identity.generation < caller.job.generation;
            let reason = match arrival.reason.is_empty() {
                true => "it has to join again".to_owned(),
                false => shortened(arrival.reason),
            };
            (!repeats && !member.has_left()).then_some(JobEvent::RankLeft {
                process,
                left,
                ring_address: arrival.ring_address,
                device: arrival.device,
                steps_done,
                reason,
            })
        }
        _ => {
            let is_news = !is_known || member.device != arrival.device || member.steps_done != steps_done;
            is_news.then_some(JobEvent::RankJoined {
                process,
                left,
                ring_address: arrival.ring_address,
                device: arrival.device,
                steps_done,
            })
        }
    };
    if let Some(event) = event {
        draft.record_job(&identity.job, event);
        settle(draft);
    }
    let world = queries::world(draft.state(), identity)?;
    Ok(world.map_or(Reply::Wait, |world| Reply::World(Box::new(world))))
}

/// Checks that the process has not been in a later formation than the one that it says it leaves: then the call was on its way for too
/// long, and what it says is no longer so.
fn check_way(state: &State, identity: &RankIdentity) -> Result<(), Reject> {
    let left = state.processes.get(&identity.process).map(|process| process.left);
    let pulse = state.soft.pulses.get(&identity.process);
    let seen_in = pulse.map(|pulse| pulse.progress.generation);
    let newest = left.max(seen_in).unwrap_or_default();
    if identity.generation < newest {
        return Err(Reject::StaleGeneration {
            job: identity.job.clone(),
            expected: newest,
            found: identity.generation,
        });
    }
    Ok(())
}

/// Steps that count: a state is of no use any more that has steps which were taken back since the rank took it over, or which the gang has
/// gone back behind. A rank that leaves a formation before it has taken its state over still has the one of before.
fn valid_steps(job: &Job, (steps_done, taken_over_in): (u64, Generation)) -> u64 {
    let run = &job.run;
    let taken_back = |range: &RolledBack| range.generation > taken_over_in && steps_done > range.from;
    let gone_back = |restored: &Restored| restored.generation > taken_over_in && steps_done > restored.steps_done;
    if run.ledger.rolled_back.iter().any(taken_back) || run.restored.as_ref().is_some_and(gone_back) {
        return 0;
    }
    steps_done
}

fn shortened(mut text: String) -> String {
    if let Some((cut, _)) = text.char_indices().nth(LONGEST_MESSAGE) {
        text.truncate(cut);
    }
    text
}

pub(super) fn share_collective_id(
    draft: &mut DecisionBuilder<'_>,
    identity: &RankIdentity,
    id: Option<Vec<u8>>,
) -> Result<Reply, Reject> {
    let caller = working(draft.base(), identity)?;
    if let (Some(id), Phase::Running(running)) = (id, &caller.job.phase) {
        if caller.member.rank != 0 {
            return Err(Reject::NotRankZero {
                rank: caller.member.rank,
            });
        }
        if id.len() != COLLECTIVE_ID_BYTES {
            let reason = format!("expected {COLLECTIVE_ID_BYTES} bytes, found {}", id.len());
            return Err(Reject::Invalid {
                field: "collective_id",
                reason,
            });
        }
        match &running.collective_id {
            None => draft.record_job(&identity.job, JobEvent::CollectiveIdShared { id }),
            Some(shared) if *shared == id => {}
            Some(_) => {
                let reason = "expected the one that this generation shares already, found another".to_owned();
                return Err(Reject::Invalid {
                    field: "collective_id",
                    reason,
                });
            }
        }
    }
    let id = queries::collective_id(draft.state(), identity)?;
    Ok(id.map_or(Reply::Wait, Reply::CollectiveId))
}

pub(super) fn report_failure(
    draft: &mut DecisionBuilder<'_>,
    identity: &RankIdentity,
    mut failure: Failure,
) -> Result<Reply, Reject> {
    let caller = wanted(draft.base(), identity)?;
    let rank = caller.member.rank;
    failure.rank = Some(rank);
    failure.host.clone_from(&caller.member.host);
    failure.message = shortened(failure.message);
    failure
        .last_log_lines
        .drain(..failure.last_log_lines.len().saturating_sub(LOG_LINES));
    // The first report is the one closest to the cause.
    if !caller.gang.reports.iter().any(|report| caller.member.said(report)) {
        let process = Some(identity.process.clone());
        draft.record_job(&identity.job, JobEvent::RankFailureReported { rank, process, failure });
    }
    Ok(Reply::Done)
}
