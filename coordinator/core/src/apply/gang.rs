//! What each event changes in a job's gang.

use crate::identifiers::ProcessId;
use crate::now::Now;
use crate::record::JobEvent;
use crate::state::{
    Cause, Ended, Gang, Job, Loss, Member, MemberState, Outcome, Phase, RankReport, Releasing, Restart, RunningGang,
};

/// Losses that a job remembers.
const REMEMBERED_LOSSES: usize = 100;

/// Changes the state of the member that runs as this process, if the job's gang has one.
fn set_member_state(job: &mut Job, process: &ProcessId, state: &MemberState) {
    let members: &mut [Member] = match &mut job.phase {
        Phase::Starting(gang) | Phase::Running(RunningGang { gang, .. }) => &mut gang.members,
        Phase::Restarting(restart) => &mut restart.last,
        Phase::Ended(ended) => &mut ended.last,
        Phase::Queued => return,
    };
    if let Some(member) = members.iter_mut().find(|member| member.process == *process) {
        member.state = state.clone();
    }
}

pub(super) fn change(job: &mut Job, event: &JobEvent, at: Now) {
    match event {
        JobEvent::GangFormed { .. } => form(job, event, at),
        JobEvent::RanksRecruited { recruits, .. } => {
            job.recruited += recruits.len() as u64;
            if let Some(gang) = gang_mut(job) {
                gang.recruits.extend(recruits.iter().cloned());
            }
        }
        JobEvent::RanksLost {
            processes,
            cause,
            counts,
            retry_at,
        } => lose(job, processes, (cause, *counts), *retry_at),
        JobEvent::GangCompleted { .. } => complete(job, event, at),
        JobEvent::CollectiveIdShared { id } => {
            if let Phase::Running(running) = &mut job.phase {
                running.collective_id = Some(id.clone());
            }
        }
        JobEvent::ReleaseRequested { reason } => {
            let reason = reason.clone();
            job.releasing = Some(Releasing { reason, at });
        }
        JobEvent::Suspended => {
            job.suspended = true;
            job.active.stop(at);
        }
        JobEvent::Resumed => {
            job.suspended = false;
            job.active.go_on(at);
        }
        JobEvent::RestartScheduled { cause, not_before } => {
            let last = job.members().to_vec();
            let released = job.releasing.as_ref().map(|releasing| releasing.reason.clone());
            job.phase = Phase::Restarting(Restart {
                last,
                released,
                cause: cause.clone(),
                not_before: *not_before,
            });
        }
        JobEvent::Ended { outcome } => end(job, outcome, at),
        of_rank => change_rank(job, of_rank, at),
    }
}

/// What is told of one rank.
fn change_rank(job: &mut Job, event: &JobEvent, at: Now) {
    match event {
        JobEvent::RankLeft {
            process,
            ring_address,
            device,
            steps_done,
            reason,
            ..
        } => {
            let left = MemberState::Left {
                ring_address: ring_address.clone(),
                reason: reason.clone(),
                at,
            };
            place_member(job, process, (left, device), *steps_done);
        }
        JobEvent::RankJoined {
            process,
            ring_address,
            device,
            steps_done,
            ..
        } => {
            let joined = MemberState::Joined {
                ring_address: ring_address.clone(),
            };
            place_member(job, process, (joined, device), *steps_done);
        }
        JobEvent::RankExited { process, .. } | JobEvent::RankReleased { process } => {
            set_member_state(job, process, &MemberState::Exited);
            if let Some(gang) = gang_mut(job) {
                gang.recruits.retain(|recruit| recruit.process != *process);
            }
        }
        JobEvent::RankFailureReported { rank, process, failure } => {
            if let Some(gang) = gang_mut(job) {
                gang.reports.push(RankReport {
                    rank: *rank,
                    process: process.clone(),
                    failure: failure.clone(),
                    at,
                });
            }
        }
        _ => {}
    }
}

/// A gang begins; what those that stay have reported is still known.
fn form(job: &mut Job, event: &JobEvent, at: Now) {
    let JobEvent::GangFormed {
        generation,
        members,
        recruits,
        at_step_boundary,
        rewind,
    } = event
    else {
        return;
    };
    job.generation = *generation;
    job.active.start(at);
    let stays = |report: &RankReport| members.iter().chain(recruits).any(|member| member.said(report));
    let mut reports = gang_mut(job)
        .map(|gang| std::mem::take(&mut gang.reports))
        .unwrap_or_default();
    reports.retain(|report| report.process.is_some() && stays(report));
    job.phase = Phase::Starting(Gang {
        generation: *generation,
        formed_at: at,
        members: members.clone(),
        reports,
        recruits: recruits.clone(),
        at_step_boundary: *at_step_boundary,
        rewind: *rewind,
    });
}

/// The gang begins to work.
fn complete(job: &mut Job, event: &JobEvent, at: Now) {
    let JobEvent::GangCompleted {
        collective,
        origin,
        steps_done,
        ..
    } = event
    else {
        return;
    };
    change_phase(job, |phase| match phase {
        Phase::Starting(gang) => Phase::Running(RunningGang {
            collective: *collective,
            ring_addresses: gang.members.iter().map(address).collect(),
            collective_id: None,
            since: at,
            origin: origin.clone(),
            steps_done: *steps_done,
            gang,
        }),
        other => other,
    });
}

fn address(member: &Member) -> String {
    match &member.state {
        MemberState::Joined { ring_address } => ring_address.clone(),
        MemberState::Starting | MemberState::Left { .. } | MemberState::Exited => String::new(),
    }
}

fn change_phase(job: &mut Job, change: impl FnOnce(Phase) -> Phase) {
    let phase = std::mem::replace(&mut job.phase, Phase::Queued);
    job.phase = change(phase);
}

fn gang_mut(job: &mut Job) -> Option<&mut Gang> {
    match &mut job.phase {
        Phase::Starting(gang) | Phase::Running(RunningGang { gang, .. }) => Some(gang),
        Phase::Queued | Phase::Restarting(_) | Phase::Ended(_) => None,
    }
}

fn place_member(job: &mut Job, process: &ProcessId, (state, device): (MemberState, &str), steps_done: u64) {
    let Some(gang) = gang_mut(job) else { return };
    let mut everyone = gang.members.iter_mut().chain(&mut gang.recruits);
    if let Some(member) = everyone.find(|member| member.process == *process) {
        member.device = device.to_owned();
        member.steps_done = steps_done;
        member.state = state;
    }
}

fn lose(job: &mut Job, processes: &[ProcessId], (cause, counts): (&Cause, bool), retry_at: Now) {
    for process in processes {
        set_member_state(job, process, &MemberState::Exited);
    }
    if let Some(gang) = gang_mut(job) {
        gang.recruits.retain(|recruit| !processes.contains(&recruit.process));
    }
    job.losses.push(Loss {
        generation: job.generation,
        cause: cause.clone(),
        counts,
    });
    let excess = job.losses.len().saturating_sub(REMEMBERED_LOSSES);
    job.losses.drain(..excess);
    let goes_on = job.losses_counted < job.spec.restart_policy.max_restarts;
    job.restarts += u32::from(counts && goes_on);
    job.losses_counted += u32::from(counts);
    job.retry_at = retry_at;
}

fn end(job: &mut Job, outcome: &Outcome, at: Now) {
    let last = job.members().to_vec();
    job.phase = Phase::Ended(Ended {
        outcome: outcome.clone(),
        at,
        last,
    });
}
