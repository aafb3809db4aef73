//! Signs of life of ranks: who is silent, and who has learned something else than the others.

use std::collections::BTreeMap;

use super::decision_builder::DecisionBuilder;
use super::gangs::Formation;
use super::{causes, hangs, losses, members, settle, yielding};
use crate::identifiers::{JobId, ProcessId, RankIdentity};
use crate::now::Now;
use crate::queries;
use crate::record::JobEvent;
use crate::reject::Reject;
use crate::reply::Reply;
use crate::soft_change::SoftChange;
use crate::state::{FailureReason, Gang, Job, Member, Phase, Progress, State, StateHash};

pub(super) fn pulse(
    draft: &mut DecisionBuilder<'_>,
    identity: &RankIdentity,
    progress: Progress,
    (hashes, leaving): (Vec<StateHash>, bool),
) -> Result<Reply, Reject> {
    let state = draft.base();
    members::check_epoch(state, identity)?;
    let is_fresh = !is_late(state, identity, &progress);
    if is_fresh && is_let_go(state, identity) {
        draft.change_soft(SoftChange::RankPulsed {
            process: identity.process.clone(),
            at: draft.now(),
            progress,
        });
    } else if is_fresh && members::wanted(state, identity).is_ok() {
        let now = draft.now();
        let process = identity.process.clone();
        let is_news = leaving && !state.processes.get(&process).is_some_and(|process| process.leaving);
        draft.change_soft(SoftChange::RankPulsed {
            process: process.clone(),
            at: now,
            progress,
        });
        if is_news {
            draft.record_job(&identity.job, JobEvent::RankLeaving { process });
            settle(draft);
        }
        if !hashes.is_empty() && is_of_working_gang(state, identity) {
            compare_states(draft, identity, hashes);
        }
        hangs::break_hang(draft, identity);
        let state = draft.state();
        if state
            .job(&identity.job)
            .is_some_and(|job| yielding::has_waited(state, job, now))
        {
            settle(draft);
        }
    }
    let news = queries::news(draft.state(), identity)?;
    Ok(news.map_or(Reply::Wait, Reply::News))
}

/// Whether the process has said something newer already: what comes late is no sign of life.
fn is_late(state: &State, identity: &RankIdentity, progress: &Progress) -> bool {
    let newest = state.soft.pulses.get(&identity.process).map(|pulse| &pulse.progress);
    newest.is_some_and(|newest| (progress.generation, progress.ticks) < (newest.generation, newest.ticks))
}

/// Whether the gang goes on without the process, which still finishes its step.
fn is_let_go(state: &State, identity: &RankIdentity) -> bool {
    let process = state.processes.get(&identity.process);
    process.is_some_and(|process| process.job == identity.job && process.let_go_at.is_some())
}

fn is_of_working_gang(state: &State, identity: &RankIdentity) -> bool {
    state
        .job(&identity.job)
        .is_some_and(|job| matches!(job.phase, Phase::Running(_)) && job.generation == identity.generation)
}

/// The loss of ranks that have sent no pulse for too long.
pub(super) fn lose_silent(draft: &mut DecisionBuilder<'_>, id: &JobId, processes: &[ProcessId]) {
    let now = draft.now();
    let state = draft.state();
    let settings = &state.settings;
    let settled = match state.job(id).map(|job| &job.phase) {
        Some(Phase::Running(running)) => Some(&running.gang),
        _ => None,
    };
    let is_settled = |process: &ProcessId| settled.is_some_and(|gang| gang.member(process).is_some());
    let has_called = |process: &&ProcessId| is_settled(process) || state.soft.pulses.contains_key(*process);
    let (silent, never_heard): (Vec<&ProcessId>, Vec<&ProcessId>) = processes.iter().partition(has_called);
    let silence = format!("gave no sign of life for {} s", settings.rank_lease as f64 / 1000.0);
    let delay = format!("did not call within {} s", settings.start_timeout as f64 / 1000.0);
    for (lost, what) in [(silent, silence), (never_heard, delay)] {
        let state = draft.state();
        let lost: Vec<Member> = lost
            .into_iter()
            .filter_map(|process| member(state, id, process))
            .collect();
        let Some(first) = lost.first() else { continue };
        let cause = causes::primary(first, format!("{} {what}", names(&lost)), now);
        let lost: Vec<ProcessId> = lost.iter().map(|member| member.process.clone()).collect();
        losses::lose_ranks(draft, id, &lost, cause, Formation::AFTER_LOSS);
    }
}

/// Members that a message names; of more, the number.
const NAMED: usize = 8;

fn names(members: &[Member]) -> String {
    let name = |member: &Member| format!("rank {} on {}", member.rank, member.host);
    let mut names: Vec<String> = members.iter().take(NAMED).map(name).collect();
    if let more @ 1.. = members.len().saturating_sub(NAMED) {
        names.push(format!("{more} more"));
    }
    names.join(" and ")
}

fn member(state: &State, id: &JobId, process: &ProcessId) -> Option<Member> {
    let gang = state.job(id)?.gang()?;
    gang.everyone().find(|member| member.process == *process).cloned()
}

/// Ranks were left by their peers, and nobody has told which rank is lost: those that have been silent since are, or only the connection.
pub(super) fn resolve_disconnection(draft: &mut DecisionBuilder<'_>, id: &JobId) {
    let now = draft.now();
    let state = draft.state();
    let grace = state.settings.disconnect_grace;
    let Some(gang) = state.job(id).and_then(Job::gang) else {
        return;
    };
    let Some((witness, reason)) = gang
        .living()
        .find_map(|member| Some((member, member.reason_to_leave()?)))
    else {
        return;
    };
    let is_silent = |member: &&Member| {
        let pulse = state.soft.pulses.get(&member.process);
        !member.has_left() && (!state.is_connected(&member.worker) || pulse.is_none_or(|pulse| now > pulse.at + grace))
    };
    let silent: Vec<&Member> = gang.living().filter(is_silent).collect();
    let (first, message) = match silent.first() {
        Some(first) => (
            *first,
            format!(
                "rank {} on {} is lost: rank {} says {reason}",
                first.rank, first.host, witness.rank
            ),
        ),
        None => (
            witness,
            format!("ranks lost their connection: rank {} says {reason}", witness.rank),
        ),
    };
    let cause = causes::primary(first, message, now);
    let lost: Vec<ProcessId> = silent.iter().map(|member| member.process.clone()).collect();
    losses::lose_ranks(draft, id, &lost, cause, Formation::AFTER_LOSS);
}

/// Compares what all ranks have learned after the same step.
fn compare_states(draft: &mut DecisionBuilder<'_>, identity: &RankIdentity, hashes: Vec<StateHash>) {
    let mut steps: Vec<u64> = Vec::new();
    for hash in hashes {
        steps.push(hash.steps_done);
        draft.change_soft(SoftChange::StateHashed {
            job: identity.job.clone(),
            process: identity.process.clone(),
            hash,
        });
    }
    for step in steps {
        let state = draft.state();
        let Some(gang) = state.job(&identity.job).and_then(Job::gang) else {
            return;
        };
        let Some(known) = state
            .soft
            .state_hashes
            .get(&identity.job)
            .and_then(|steps| steps.get(&step))
        else {
            continue;
        };
        if !gang.living().all(|member| known.contains_key(&member.process)) {
            continue;
        }
        let verdict = minority(gang, known);
        draft.change_soft(SoftChange::StatesCompared {
            job: identity.job.clone(),
            steps_done: step,
        });
        if let Some((lost, names)) = verdict {
            suspect_hardware(draft, &identity.job, step, (lost, names));
            return;
        }
    }
}

/// Ranks whose hash is not that of the majority; without a majority nobody in particular, but all are named.
fn minority(gang: &Gang, known: &BTreeMap<ProcessId, String>) -> Option<(Vec<Member>, Vec<Member>)> {
    let mut groups: BTreeMap<&str, Vec<&Member>> = BTreeMap::new();
    for member in gang.living() {
        if let Some(hash) = known.get(&member.process) {
            groups.entry(hash).or_default().push(member);
        }
    }
    if groups.len() < 2 {
        return None;
    }
    let largest = groups.values().map(Vec::len).max()?;
    let members = |keep: &dyn Fn(usize) -> bool| -> Vec<Member> {
        let chosen = groups.values().filter(|group| keep(group.len()));
        chosen.flatten().map(|member| (*member).clone()).collect()
    };
    let has_majority = largest * 2 > gang.living().count();
    match has_majority {
        true => {
            let odd = members(&|size| size < largest);
            Some((odd.clone(), odd))
        }
        false => Some((Vec::new(), members(&|_| true))),
    }
}

fn suspect_hardware(draft: &mut DecisionBuilder<'_>, id: &JobId, step: u64, (lost, named): (Vec<Member>, Vec<Member>)) {
    let now = draft.now();
    let Some(first) = named.first() else { return };
    let message = match lost.is_empty() {
        true => format!(
            "{} have trained different states up to step {step}, and there is no majority to tell which is right; hardware or drivers \
             are suspected",
            names(&named)
        ),
        false => format!(
            "{} has another trained state than the other ranks at step {step}; its hardware or driver is suspected",
            names(&named)
        ),
    };
    let mut cause = causes::primary(first, message, now);
    cause.failure.reason = FailureReason::HardwareSuspected;
    let lost: Vec<ProcessId> = lost.into_iter().map(|member| member.process).collect();
    losses::lose_ranks(draft, id, &lost, cause, Formation::REWIND);
    settle(draft);
}

/// When a rank that gives no further sign of life counts as lost; one that has never called has longer.
pub(super) fn lease_end(state: &State, job: &Job, member: &Member) -> Option<Now> {
    let begun = |at: Now| at.max(state.soft.started_at);
    if let Some(pulse) = state.soft.pulses.get(&member.process) {
        return Some(begun(pulse.at) + state.settings.rank_lease);
    }
    match &job.phase {
        Phase::Running(running) if running.gang.member(&member.process).is_some() => {
            Some(begun(running.since) + state.settings.rank_lease)
        }
        _ => {
            let process = state.processes.get(&member.process)?;
            Some(begun(process.asked_at) + state.settings.start_timeout)
        }
    }
}
