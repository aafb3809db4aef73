//! What each event changes in its job, in its processes and in the soft state that depends on them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::conditions;
use crate::identifiers::{Generation, JobId, ProcessId, RequestId, WorkerName};
use crate::now::Now;
use crate::record::JobEvent;
use crate::spec::JobSpec;
use crate::state::{
    Answer, Cause, CompletedShard, Ended, Evaluation, Gang, Job, Loss, Member, MemberState, Outcome, Pass,
    PassProgress, Phase, Process, RankReport, RegisteredDataset, RegisteredModel, RejectedCheckpoint, Request, Restart,
    Run, RunningGang, Soft, State, Worker,
};

/// Losses that a job remembers.
const REMEMBERED_LOSSES: usize = 100;
/// Failures that a worker remembers.
const REMEMBERED_FAILURES: usize = 16;

/// Applies an event of one job.
pub(super) fn apply(state: &mut State, id: &JobId, event: &JobEvent, at: Now) {
    if let JobEvent::Submitted { spec, request } = event {
        submit(state, id, spec, request.as_ref(), at);
        return;
    }
    let State {
        jobs,
        processes,
        workers,
        soft,
        ..
    } = state;
    let Some(job) = jobs.get_mut(id) else { return };
    let job = Arc::make_mut(job);
    count_failure(workers, processes, event, at);
    change_processes(processes, job, event, at);
    change_gang(job, event, at);
    change_run(job, event, at);
    change_ledger(job, event, at);
    conditions::change(job, event, at);
    change_soft((soft, processes), job, event, at);
}

fn submit(state: &mut State, id: &JobId, spec: &Arc<JobSpec>, request: Option<&RequestId>, at: Now) {
    let mut job = Job {
        id: id.clone(),
        sequence: state.jobs_submitted,
        spec: spec.clone(),
        created_at: at,
        phase: Phase::Queued,
        generation: Default::default(),
        losses: Vec::new(),
        losses_counted: 0,
        retry_at: Now::default(),
        recruited: 0,
        conditions: Vec::new(),
        run: Default::default(),
    };
    conditions::submit(&mut job, at);
    state.jobs_submitted += 1;
    state.jobs.insert(id.clone(), Arc::new(job));
    if let Some(request) = request {
        Arc::make_mut(&mut state.requests)
            .remember(Request::of_any_body(request.clone()), Answer::Submitted(id.clone()));
    }
}

/// Whether the job has a timer that depends on nothing but itself.
pub(super) fn has_timer(job: &Job) -> bool {
    match &job.phase {
        Phase::Starting(_) | Phase::Running(_) | Phase::Restarting(_) => true,
        Phase::Queued | Phase::Ended(_) => false,
    }
}

/// Changes the state of the member that runs as this process, if the job's gang has one.
pub(super) fn set_member_state(job: &mut Job, process: &ProcessId, state: &MemberState) {
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

/// A loss that counts is held against the worker of the process that was lost first.
fn count_failure(
    workers: &mut BTreeMap<WorkerName, Arc<Worker>>,
    processes: &BTreeMap<ProcessId, Process>,
    event: &JobEvent,
    at: Now,
) {
    if let JobEvent::RanksLost {
        processes: lost,
        counts: true,
        ..
    } = event
        && let Some(process) = lost.first().and_then(|id| processes.get(id))
        && let Some(worker) = workers.get_mut(&process.worker)
    {
        let failures = &mut Arc::make_mut(worker).failures;
        failures.push(at);
        let excess = failures.len().saturating_sub(REMEMBERED_FAILURES);
        failures.drain(..excess);
    }
}

fn change_processes(processes: &mut BTreeMap<ProcessId, Process>, job: &Job, event: &JobEvent, at: Now) {
    match event {
        JobEvent::GangFormed {
            generation, members, ..
        } => place_processes(processes, &job.id, *generation, members, at),
        JobEvent::RanksRecruited { generation, recruits } => {
            place_processes(processes, &job.id, *generation, recruits, at);
        }
        JobEvent::RankLeaving { process } => {
            if let Some(process) = processes.get_mut(process) {
                process.leaving = true;
            }
        }
        JobEvent::RankStarted { process, pid } => {
            if let Some(process) = processes.get_mut(process) {
                process.pid = Some(*pid);
            }
        }
        JobEvent::RankStopRequested { process, stop } => {
            if let Some(process) = processes.get_mut(process) {
                process.stop = Some(*stop);
            }
        }
        JobEvent::RankExited { process, .. } => {
            processes.remove(process);
        }
        _ => {}
    }
}

/// Processes that are new begin; those that live on get their new place.
fn place_processes(
    processes: &mut BTreeMap<ProcessId, Process>,
    job: &JobId,
    generation: Generation,
    members: &[Member],
    at: Now,
) {
    for member in members {
        let process = processes.entry(member.process.clone()).or_insert_with(|| Process {
            job: job.clone(),
            generation,
            rank: member.rank,
            asked_at: at,
            worker: member.worker.clone(),
            slot: member.slot,
            pid: None,
            stop: None,
            leaving: false,
        });
        process.generation = generation;
        process.rank = member.rank;
    }
}

fn change_gang(job: &mut Job, event: &JobEvent, at: Now) {
    match event {
        JobEvent::GangFormed {
            generation,
            members,
            recruits,
            at_step_boundary,
            rewind,
        } => {
            job.generation = *generation;
            job.phase = Phase::Starting(Gang {
                generation: *generation,
                formed_at: at,
                members: members.clone(),
                reports: Vec::new(),
                recruits: recruits.clone(),
                at_step_boundary: *at_step_boundary,
                rewind: *rewind,
            });
        }
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
        JobEvent::RankLeft {
            process,
            ring_address,
            device,
            steps_done,
            reason,
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
        } => {
            let joined = MemberState::Joined {
                ring_address: ring_address.clone(),
            };
            place_member(job, process, (joined, device), *steps_done);
        }
        JobEvent::GangCompleted {
            collective,
            origin,
            steps_done,
            ..
        } => {
            change_phase(job, |phase| match phase {
                Phase::Starting(gang) => Phase::Running(RunningGang {
                    gang,
                    collective: *collective,
                    collective_id: None,
                    since: at,
                    origin: origin.clone(),
                    steps_done: *steps_done,
                }),
                other => other,
            });
        }
        JobEvent::CollectiveIdShared { id } => {
            if let Phase::Running(running) = &mut job.phase {
                running.collective_id = Some(id.clone());
            }
        }
        JobEvent::RankExited { process, .. } | JobEvent::RankReleased { process } => {
            set_member_state(job, process, &MemberState::Exited);
            if let Some(gang) = gang_mut(job) {
                gang.recruits.retain(|recruit| recruit.process != *process);
            }
        }
        JobEvent::RankFailureReported { rank, failure } => {
            if let Some(gang) = gang_mut(job) {
                gang.reports.push(RankReport {
                    rank: *rank,
                    failure: failure.clone(),
                    at,
                });
            }
        }
        JobEvent::RestartScheduled { cause, not_before } => {
            let last = job.members().to_vec();
            job.phase = Phase::Restarting(Restart {
                last,
                cause: cause.clone(),
                not_before: *not_before,
            });
        }
        JobEvent::Ended { outcome } => end(job, outcome, at),
        _ => {}
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

/// What was found in data and model, and what was made of it.
fn change_run(job: &mut Job, event: &JobEvent, at: Now) {
    let run = &mut job.run;
    match event.clone() {
        JobEvent::DatasetRegistered {
            dataset,
            shards,
            rank,
            host,
        } => {
            run.dataset = Some(RegisteredDataset {
                dataset,
                shards,
                rank,
                host,
            });
        }
        JobEvent::ModelRegistered { model, rank, host } => run.model = Some(RegisteredModel { model, rank, host }),
        JobEvent::SampleQuarantined(sample) if !run.is_quarantined(sample.split, sample.index) => {
            run.quarantined.push(sample);
        }
        JobEvent::EvaluationCompleted { split, epoch, metrics } => {
            run.passes.remove(&Pass::Evaluate { split, epoch });
            run.evaluations.push(Evaluation {
                split,
                epoch,
                metrics: *metrics,
                at,
            });
        }
        JobEvent::EpochConcluded { epoch, best_epoch } => {
            run.epochs_concluded = epoch + 1;
            run.best_epoch = Some(best_epoch);
        }
        JobEvent::TrainingEnded { end } => run.training_end = Some(end),
        JobEvent::CheckpointCommitted(checkpoint) => {
            run.checkpoints.push(checkpoint);
            job.losses_counted = 0;
        }
        JobEvent::RollbackRequested { .. } => run.rollbacks += 1,
        JobEvent::CheckpointRejected {
            sha256,
            reason,
            best_epoch,
        } => reject_checkpoint(run, &sha256, reason, (best_epoch, at)),
        JobEvent::CheckpointsDropped { sha256 } => {
            run.checkpoints
                .retain(|checkpoint| !sha256.contains(&checkpoint.sha256));
        }
        JobEvent::ArtifactStored(artifact) => {
            run.artifacts.retain(|other| other.name != artifact.name);
            run.artifacts.push(artifact);
        }
        _ => {}
    }
}

/// The ledger: what was used for what, and in which formation.
fn change_ledger(job: &mut Job, event: &JobEvent, at: Now) {
    let generation = job.generation;
    let run = &mut job.run;
    match event {
        JobEvent::GangCompleted {
            steps_kept,
            epochs_kept,
            ..
        } => {
            run.ledger.roll_back(*steps_kept, generation, at);
            run.passes.retain(|pass, _| match pass {
                Pass::Evaluate { epoch, .. } => epoch < epochs_kept,
                Pass::Scan(_) => true,
            });
            run.evaluations.retain(|evaluation| evaluation.epoch < *epochs_kept);
            run.epochs_concluded = run.epochs_concluded.min(*epochs_kept);
        }
        JobEvent::ShardCompleted {
            pass,
            shards,
            shard,
            rank,
            generation,
            outcome,
        } => {
            let progress = run.passes.entry(*pass).or_insert_with(|| PassProgress::new(*shards));
            progress.complete.entry(*shard).or_insert_with(|| CompletedShard {
                rank: *rank,
                generation: *generation,
                outcome: outcome.clone(),
            });
        }
        JobEvent::StepsCommitted { generation, steps } => {
            for step in steps {
                run.ledger.commit(*step, *generation, at);
            }
        }
        _ => {}
    }
}

fn reject_checkpoint(run: &mut Run, sha256: &str, reason: String, (best_epoch, at): (Option<u32>, Now)) {
    let Some(position) = run
        .checkpoints
        .iter()
        .position(|checkpoint| checkpoint.sha256 == sha256)
    else {
        return;
    };
    let checkpoint = run.checkpoints.remove(position);
    run.rejected_checkpoints
        .push(RejectedCheckpoint { checkpoint, reason, at });
    run.best_epoch = best_epoch;
}

fn change_soft((soft, processes): (&mut Soft, &BTreeMap<ProcessId, Process>), job: &Job, event: &JobEvent, at: Now) {
    match event {
        JobEvent::GangFormed { .. } => {
            soft.waiting.remove(&job.id);
            soft.shard_leases.retain(|(leased, _), _| *leased != job.id);
            soft.state_hashes.remove(&job.id);
        }
        JobEvent::RanksLost { retry_at, .. } => {
            if *retry_at > at {
                soft.retries.insert(job.id.clone(), *retry_at);
            } else {
                soft.retries.remove(&job.id);
            }
        }
        JobEvent::EvaluationCompleted { split, epoch, .. } => {
            soft.shard_leases.remove(&(
                job.id.clone(),
                Pass::Evaluate {
                    split: *split,
                    epoch: *epoch,
                },
            ));
        }
        JobEvent::RankStopRequested { process, .. } if processes.contains_key(process) => {
            soft.ending.insert(process.clone());
        }
        JobEvent::RankExited { process, .. } => {
            soft.ending.remove(process);
            soft.stop_sent.remove(process);
            soft.missing.remove(process);
            soft.pulses.remove(process);
        }
        JobEvent::Ended { .. } => {
            soft.waiting.remove(&job.id);
            soft.retries.remove(&job.id);
            soft.shard_leases.retain(|(leased, _), _| *leased != job.id);
            soft.state_hashes.remove(&job.id);
            let of_job = processes.iter().filter(|(_, process)| process.job == job.id);
            soft.ending.extend(of_job.map(|(id, _)| id.clone()));
        }
        _ => {}
    }
    if has_timer(job) {
        soft.timed_jobs.insert(job.id.clone());
    } else {
        soft.timed_jobs.remove(&job.id);
    }
}
