//! Deciding: what follows from an input, as records, soft changes, effects and a reply. All policy is here, and nothing here changes the state.
//!
//! An input is first answered for itself; then whatever has become possible or necessary is settled (a gang that has come down is
//! formed again, a waiting job is placed). The latter looks at the state alone, never at the input, so it also heals what a crash between
//! two decisions left open.

mod access;
mod causes;
mod decision_builder;
mod deletion;
mod dismissal;
mod draining;
mod free_slots;
pub(crate) mod gangs;
mod growth;
mod hangs;
mod losses;
pub(crate) mod members;
pub(crate) mod passes;
mod placing;
mod preempting;
mod processes;
mod pulses;
mod quarantine;
mod quotas;
mod ranks;
mod registration;
mod release;
mod reports;
mod requests;
mod restoring;
mod rewinding;
mod scaling;
mod scores;
mod submission;
mod suspension;
mod timers;
mod training;
mod workers;
mod yielding;

pub use timers::deadline;

use crate::decision::Decision;
use crate::input::Input;
use crate::now::Now;
use crate::reject::Reject;
use crate::reply::Reply;
use crate::soft_change::SoftChange;
use crate::state::{Job, Phase, State};
use decision_builder::DecisionBuilder;

/// Decides what follows from an input.
///
/// # Errors
/// [`Reject`], if the input is not followed; then nothing changes.
pub fn decide(state: &State, now: Now, input: Input) -> Result<Decision, Reject> {
    let mut draft = DecisionBuilder::new(state, now.max(state.latest));
    let reply = answer(&mut draft, input)?;
    if draft.ends_a_job() {
        dismissal::settle(&mut draft);
        deletion::settle(&mut draft);
    }
    if !state.erasing.is_empty() && draft.ends_a_process() {
        deletion::resume(&mut draft);
    }
    Ok(draft.finish(reply))
}

fn answer(draft: &mut DecisionBuilder<'_>, input: Input) -> Result<Reply, Reject> {
    match input {
        Input::CoordinatorStarted => Ok(timers::start(draft)),
        Input::CoordinatorRestored => Ok(restoring::take_over(draft)),
        Input::Tick => Ok(timers::tick(draft)),
        Input::Woken { slept } => Ok(timers::wake(draft, slept)),
        Input::Once { request, mutation } => requests::once(draft, request, *mutation),
        Input::Submit { spec } => submission::submit(draft, spec),
        Input::Cancel { job } => submission::cancel(draft, &job),
        Input::SubmitSuspended { spec } => submission::submit_suspended(draft, spec),
        Input::Update { job, changes } => scaling::update(draft, &job, changes),
        Input::Suspend { job } => suspension::suspend(draft, &job),
        Input::Resume { job } => suspension::resume(draft, &job),
        Input::Delete { job } => deletion::delete(draft, &job),
        Input::ArtifactFetched { job, artifact } => Ok(deletion::fetch(draft, &job, artifact)),
        Input::JobErased { job, bytes } => Ok(deletion::conclude(draft, &job, bytes)),
        Input::SetQuota { namespace, quota } => quotas::set(draft, namespace, quota),
        Input::DrainWorker { worker, undo } => draining::drain(draft, &worker, undo),
        Input::IssueToken { token } => access::issue(draft, token),
        Input::RevokeToken { token } => access::revoke(draft, &token),
        Input::RotateToken { token, hash, grace } => access::rotate(draft, &token, hash, grace),
        Input::AgentDraining { worker, stream } => draining::preempt(draft, &worker, stream),
        Input::AgentAttached {
            description,
            processes,
            stream,
        } => workers::attach(draft, description, &processes, stream),
        Input::AgentHeartbeat { worker, stream } => workers::heartbeat(draft, &worker, stream),
        Input::AgentDetached { worker, stream } => Ok(workers::detach(draft, &worker, stream)),
        Input::AgentLeaving { worker, stream } => workers::leave(draft, &worker, stream),
        Input::RankStarted { worker, process, pid } => Ok(workers::confirm_start(draft, &worker, &process, pid)),
        Input::RankExited { worker, process, exit } => Ok(workers::report_exit(draft, &worker, &process, exit)),
        rank_call => answer_rank(draft, rank_call),
    }
}

/// How a rank comes, lives and gives up.
fn answer_rank(draft: &mut DecisionBuilder<'_>, input: Input) -> Result<Reply, Reject> {
    match input {
        Input::RankEnrolled { identity } => ranks::enrol(draft, &identity),
        Input::RankPulsed {
            identity,
            progress,
            hashes,
            leaving,
        } => pulses::pulse(draft, &identity, progress, (hashes, leaving)),
        Input::RankJoined {
            identity,
            ring_address,
            device,
            steps_done,
            state_generation,
            reason,
        } => {
            let arrival = ranks::Arrival {
                ring_address,
                device,
                state: (steps_done, state_generation),
                reason,
            };
            ranks::join(draft, &identity, arrival)
        }
        Input::CollectiveIdShared { identity, id } => ranks::share_collective_id(draft, &identity, id),
        Input::RankFailed { identity, failure } => ranks::report_failure(draft, &identity, failure),
        work => answer_work(draft, work),
    }
}

/// What a rank has done for its gang, or asks for.
fn answer_work(draft: &mut DecisionBuilder<'_>, input: Input) -> Result<Reply, Reject> {
    match input {
        Input::DatasetRegistered { identity, dataset } => registration::dataset(draft, &identity, &dataset),
        Input::ModelRegistered { identity, model } => registration::model(draft, &identity, model),
        Input::ShardRequested { identity, pass, held } => passes::request_shard(draft, &identity, pass, &held),
        Input::ShardCompleted {
            identity,
            pass,
            shard,
            report,
        } => passes::complete_shard(draft, &identity, (pass, shard), report),
        Input::SampleQuarantined { identity, sample } => quarantine::report(draft, &identity, sample),
        Input::PassScored {
            job,
            generation,
            pass,
            from_predictions,
            intervals,
            thresholds,
        } => scores::score(
            draft,
            &job,
            (generation, pass),
            (&from_predictions, intervals, thresholds),
        ),
        Input::ScoringFailed {
            job,
            generation,
            pass,
            reason,
        } => scores::give_up(draft, &job, (generation, pass), &reason),
        results => answer_results(draft, results),
    }
}

/// What a rank has made: steps, checkpoints, files; and that they cannot be gone on with.
fn answer_results(draft: &mut DecisionBuilder<'_>, input: Input) -> Result<Reply, Reject> {
    match input {
        Input::StepsCommitted { identity, steps } => training::commit_steps(draft, &identity, &steps),
        Input::CheckpointStored { identity, checkpoint } => training::store_checkpoint(draft, &identity, checkpoint),
        Input::CheckpointRejected {
            identity,
            sha256,
            reason,
        } => rewinding::reject_checkpoint(draft, &identity, sha256, reason),
        Input::RollbackRequested { identity, reason } => rewinding::request_rollback(draft, &identity, reason),
        Input::ArtifactStored { identity, artifact } => training::store_artifact(draft, &identity, artifact),
        Input::JobFinished { identity } => training::finish(draft, &identity),
        Input::DatasetRegistered { .. }
        | Input::ModelRegistered { .. }
        | Input::ShardRequested { .. }
        | Input::ShardCompleted { .. }
        | Input::SampleQuarantined { .. }
        | Input::PassScored { .. }
        | Input::ScoringFailed { .. }
        | Input::CoordinatorStarted
        | Input::CoordinatorRestored
        | Input::Tick
        | Input::Woken { .. }
        | Input::Once { .. }
        | Input::Submit { .. }
        | Input::Cancel { .. }
        | Input::SubmitSuspended { .. }
        | Input::Update { .. }
        | Input::Suspend { .. }
        | Input::Resume { .. }
        | Input::Delete { .. }
        | Input::ArtifactFetched { .. }
        | Input::JobErased { .. }
        | Input::DrainWorker { .. }
        | Input::IssueToken { .. }
        | Input::RevokeToken { .. }
        | Input::RotateToken { .. }
        | Input::SetQuota { .. }
        | Input::AgentDraining { .. }
        | Input::AgentAttached { .. }
        | Input::AgentHeartbeat { .. }
        | Input::AgentDetached { .. }
        | Input::AgentLeaving { .. }
        | Input::RankStarted { .. }
        | Input::RankExited { .. }
        | Input::RankEnrolled { .. }
        | Input::RankPulsed { .. }
        | Input::RankJoined { .. }
        | Input::CollectiveIdShared { .. }
        | Input::RankFailed { .. } => unreachable!("these are answered before"),
    }
}

/// Settles what the state alone calls for.
///
/// Agents come and go by the thousand while no job waits; then there is nothing to settle, and the state need not be copied to see it.
fn settle(draft: &mut DecisionBuilder<'_>) {
    if draft.base().soft.settle_at.is_some() {
        draft.change_soft(SoftChange::SettlingPutOff { until: None });
    }
    let is_open = |job: &Job| !matches!(job.phase, Phase::Ended(_));
    if draft.changes_jobs() || draft.base().jobs.values().any(|job| is_open(job)) {
        release::settle(draft);
        scaling::settle_surplus(draft);
        gangs::settle(draft);
        placing::settle(draft);
    }
}

/// So many workers or waiting jobs are a crowd: looking at all of them takes milliseconds.
const CROWD: usize = 64;
/// In a crowd, what happens within so many milliseconds is settled together.
const SETTLE_DELAY: u64 = 100;

/// Settles what one more of so many calls for: now, or in a crowd within a moment, so that ten thousand agents that come back together, or
/// a thousand jobs that are submitted together, are not looked at ten thousand times each.
fn settle_soon(draft: &mut DecisionBuilder<'_>, others: usize) {
    if others < CROWD {
        settle(draft);
    } else if draft.base().soft.settle_at.is_none() {
        let until = Some(draft.now() + SETTLE_DELAY);
        draft.change_soft(SoftChange::SettlingPutOff { until });
    }
}
