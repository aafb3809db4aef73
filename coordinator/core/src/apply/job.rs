//! What each event changes in its job, in its processes and in the soft state that depends on them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::conditions;
use crate::identifiers::{JobId, ProcessId, RequestId};
use crate::now::Now;
use crate::record::JobEvent;
use crate::spec::JobSpec;
use crate::state::{
    Answer, Cause, CollapsingGang, CompletedShard, Ended, Evaluation, Gang, Job, Loss, Member, MemberState, Outcome,
    Pass, PassProgress, Phase, Process, RankReport, RegisteredDataset, RegisteredModel, Request, Restart, RunningGang,
    Soft, State,
};

/// Applies an event of one job.
pub(super) fn apply(state: &mut State, id: &JobId, event: &JobEvent, at: Now) {
    if let JobEvent::Submitted { spec, request } = event {
        submit(state, id, spec, request.as_ref(), at);
        return;
    }
    let State {
        jobs, processes, soft, ..
    } = state;
    let Some(job) = jobs.get_mut(id) else { return };
    let job = Arc::make_mut(job);
    change_processes(processes, id, event);
    change_gang(job, event, at);
    change_run(job, event, at);
    change_ledger(job, event, at);
    conditions::change(job, event, at);
    change_soft(soft, processes, job, event);
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
        Phase::Starting(_) | Phase::Restarting(_) => true,
        Phase::Running(running) => !running.gang.reports.is_empty(),
        Phase::Queued | Phase::Collapsing(_) | Phase::Ended(_) => false,
    }
}

/// Changes the state of the member that runs as this process, if the job's gang has one.
pub(super) fn set_member_state(job: &mut Job, process: &ProcessId, state: &MemberState) {
    let members: &mut [Member] = match &mut job.phase {
        Phase::Starting(gang)
        | Phase::Running(RunningGang { gang, .. })
        | Phase::Collapsing(CollapsingGang { gang, .. }) => &mut gang.members,
        Phase::Restarting(restart) => &mut restart.last,
        Phase::Ended(ended) => &mut ended.last,
        Phase::Queued => return,
    };
    if let Some(member) = members.iter_mut().find(|member| member.process == *process) {
        member.state = state.clone();
    }
}

fn change_processes(processes: &mut BTreeMap<ProcessId, Process>, job: &JobId, event: &JobEvent) {
    match event {
        JobEvent::GangFormed {
            generation, members, ..
        } => {
            for member in members {
                let process = Process {
                    job: job.clone(),
                    generation: *generation,
                    rank: member.rank,
                    worker: member.worker.clone(),
                    slot: member.slot,
                    pid: None,
                    stop: None,
                };
                processes.insert(member.process.clone(), process);
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

fn change_gang(job: &mut Job, event: &JobEvent, at: Now) {
    match event {
        JobEvent::GangFormed {
            generation, members, ..
        } => {
            job.generation = *generation;
            job.phase = Phase::Starting(Gang {
                generation: *generation,
                formed_at: at,
                members: members.clone(),
                reports: Vec::new(),
            });
        }
        JobEvent::RankJoined {
            process,
            ring_address,
            device,
        } => join(job, process, ring_address, device),
        JobEvent::GangCompleted { collective } => {
            change_phase(job, |phase| match phase {
                Phase::Starting(gang) => Phase::Running(RunningGang {
                    gang,
                    collective: *collective,
                    collective_id: None,
                    since: at,
                }),
                other => other,
            });
        }
        JobEvent::CollectiveIdShared { id } => {
            if let Phase::Running(running) = &mut job.phase {
                running.collective_id = Some(id.clone());
            }
        }
        JobEvent::RankExited { process, .. } => set_member_state(job, process, &MemberState::Exited),
        JobEvent::RankFailureReported { rank, failure } => {
            if let Some(gang) = gang_mut(job) {
                gang.reports.push(RankReport {
                    rank: *rank,
                    failure: failure.clone(),
                    at,
                });
            }
        }
        JobEvent::GangBroken { cause } => break_gang(job, cause, at),
        JobEvent::RestartScheduled { cause, not_before } => {
            job.losses.push(Loss {
                generation: job.generation,
                cause: cause.clone(),
            });
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
        Phase::Starting(gang)
        | Phase::Running(RunningGang { gang, .. })
        | Phase::Collapsing(CollapsingGang { gang, .. }) => Some(gang),
        Phase::Queued | Phase::Restarting(_) | Phase::Ended(_) => None,
    }
}

fn join(job: &mut Job, process: &ProcessId, ring_address: &str, device: &str) {
    let Some(gang) = gang_mut(job) else { return };
    if let Some(member) = gang.members.iter_mut().find(|member| member.process == *process) {
        member.device = device.to_owned();
        member.state = MemberState::Joined {
            ring_address: ring_address.to_owned(),
        };
    }
}

fn break_gang(job: &mut Job, cause: &Cause, at: Now) {
    change_phase(job, |phase| match phase {
        Phase::Starting(gang) | Phase::Running(RunningGang { gang, .. }) => Phase::Collapsing(CollapsingGang {
            gang,
            causes: vec![cause.clone()],
            since: at,
        }),
        Phase::Collapsing(mut collapsing) => {
            collapsing.causes.push(cause.clone());
            Phase::Collapsing(collapsing)
        }
        other => other,
    });
}

fn end(job: &mut Job, outcome: &Outcome, at: Now) {
    if let (Phase::Collapsing(collapsing), Outcome::Failed(_)) = (&job.phase, outcome)
        && let Some(cause) = collapsing.first_cause()
    {
        let loss = Loss {
            generation: job.generation,
            cause: cause.clone(),
        };
        job.losses.push(loss);
    }
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
        JobEvent::CheckpointCommitted(checkpoint) => run.checkpoints.push(checkpoint),
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
        JobEvent::GangFormed {
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
        }
        JobEvent::ShardCompleted {
            pass,
            shards,
            shard,
            rank,
            outcome,
        } => {
            let progress = run.passes.entry(*pass).or_insert_with(|| PassProgress::new(*shards));
            progress.complete.entry(*shard).or_insert_with(|| CompletedShard {
                rank: *rank,
                generation,
                outcome: outcome.clone(),
            });
        }
        JobEvent::StepsCommitted { steps } => {
            for step in steps {
                run.ledger.commit(*step, generation, at);
            }
        }
        _ => {}
    }
}

fn change_soft(soft: &mut Soft, processes: &BTreeMap<ProcessId, Process>, job: &Job, event: &JobEvent) {
    match event {
        JobEvent::GangFormed { .. } => {
            soft.waiting.remove(&job.id);
            soft.shard_leases.retain(|(leased, _), _| *leased != job.id);
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
        }
        JobEvent::Ended { .. } => {
            soft.waiting.remove(&job.id);
            soft.shard_leases.retain(|(leased, _), _| *leased != job.id);
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
