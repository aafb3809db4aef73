//! What each event changes in its job, in its processes and in the soft state that depends on them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{conditions, gang, processes};
use crate::identifiers::{JobId, ProcessId};
use crate::now::Now;
use crate::record::JobEvent;
use crate::spec::JobSpec;
use crate::state::backlog::Seat;
use crate::state::{
    Answer, CompletedShard, Evaluation, Job, JobChanges, Origin, Pass, PassProgress, PastJob, Phase, Process,
    RegisteredDataset, RegisteredModel, RejectedCheckpoint, Request, Restored, Run, Soft, State,
};

/// Applies an event of one job.
pub(super) fn apply(state: &mut State, id: &JobId, event: &JobEvent, at: Now) {
    if let JobEvent::Submitted {
        spec,
        request,
        settings_digest,
    } = event
    {
        submit(state, id, spec, settings_digest.as_ref(), at);
        if let Some(request) = request {
            Arc::make_mut(&mut state.requests)
                .remember(Request::of_any_body(request.clone()), Answer::Submitted(id.clone()));
        }
        return;
    }
    if change_history(state, id, event) {
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
    let seat = Seat::of(job);
    let job = Arc::make_mut(job);
    processes::count_failure(workers, processes, event, at);
    processes::dismiss(workers, id, event);
    processes::change(processes, job, event, at);
    gang::change(job, event, at);
    change_run(job, event, at);
    change_ledger(job, event, at);
    conditions::change(job, event, at);
    conclude_release(job, event);
    change_soft((soft, processes), job, event, at);
    let reason = soft.waiting.get(id).cloned();
    soft.backlog.follow(seat, job, reason);
    if matches!(job.phase, Phase::Ended(_)) {
        state.shelve();
    }
}

/// What may happen to a job when it is over. Returns whether that is all that the event does.
fn change_history(state: &mut State, id: &JobId, event: &JobEvent) -> bool {
    match event {
        JobEvent::ArtifactFetched { name } => {
            if let Some(job) = state.jobs.get_mut(id) {
                Arc::make_mut(job).run.fetched.insert(name.clone());
            } else if let Some(past) = Arc::make_mut(&mut state.past).get_mut(id) {
                past.unfetched.retain(|other| other != name);
            }
        }
        JobEvent::Deleted { .. } if state.knows(id) => {
            state.erasing.insert(id.clone());
            state.soft.expiries.retain(|(_, other)| other != id);
        }
        JobEvent::Deleted { .. } => {}
        JobEvent::Erased { .. } => {
            if let Some(job) = state.jobs.get(id).cloned() {
                state.soft.backlog.leave(&job);
                state.jobs.remove(id);
            }
            if state.past.contains_key(id) {
                Arc::make_mut(&mut state.past).remove(id);
            }
            state.erasing.remove(id);
            state.processes.retain(|_, process| process.job != *id);
            state.soft.keep_processes(&state.processes);
        }
        _ => return false,
    }
    true
}

fn submit(state: &mut State, id: &JobId, spec: &Arc<JobSpec>, settings_digest: Option<&String>, at: Now) {
    let mut job = Job {
        id: id.clone(),
        sequence: state.jobs_submitted,
        spec: spec.clone(),
        recorded_settings_digest: settings_digest.cloned(),
        created_at: at,
        phase: Phase::Queued,
        generation: Default::default(),
        losses: Vec::new(),
        losses_counted: 0,
        restarts: 0,
        retry_at: Now::default(),
        recruited: 0,
        suspended: false,
        active: Default::default(),
        releasing: None,
        conditions: Vec::new(),
        run: Default::default(),
    };
    conditions::submit(&mut job, at);
    state.jobs_submitted += 1;
    let seat = state.jobs.get(id).and_then(|job| Seat::of(job));
    state.soft.backlog.follow(seat, &job, None);
    state.jobs.insert(id.clone(), Arc::new(job));
}

/// A release is over when nobody is left. Until then the conditions tell why the ranks have left.
fn conclude_release(job: &mut Job, event: &JobEvent) {
    if matches!(event, JobEvent::RestartScheduled { .. } | JobEvent::Ended { .. }) {
        job.releasing = None;
    }
}

/// Whether the job has a timer that depends on nothing but itself.
pub(super) fn has_timer(job: &Job) -> bool {
    match &job.phase {
        Phase::Starting(_) | Phase::Running(_) => true,
        Phase::Restarting(_) => !job.suspended,
        Phase::Queued | Phase::Ended(_) => false,
    }
}

/// What was found in data and model, and what was made of it.
fn change_run(job: &mut Job, event: &JobEvent, at: Now) {
    let run = &mut job.run;
    match event.clone() {
        JobEvent::SettingsNamed { digest } => job.recorded_settings_digest = Some(digest),
        JobEvent::Updated { changes } => update(job, changes),
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
        JobEvent::CheckpointCommitted { checkpoint, .. } => {
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
        JobEvent::ArtifactStored { artifact, .. } => {
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
            origin,
            steps_done,
            steps_kept,
            epochs_kept,
            ..
        } => {
            if matches!(origin, Origin::Initial | Origin::Checkpoint(_)) {
                run.restored = Some(Restored {
                    generation,
                    steps_done: *steps_done,
                });
            }
            run.ledger.roll_back(*steps_kept, generation, at);
            run.passes.retain(|pass, _| pass.is_kept(*epochs_kept));
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
        JobEvent::StepsCommitted { generation, steps, .. } => {
            for step in steps {
                run.ledger.commit(*step, *generation, at);
            }
        }
        _ => {}
    }
}

/// Its settings keep their name: what may be changed cannot change the result.
fn update(job: &mut Job, changes: JobChanges) {
    job.recorded_settings_digest = Some(job.settings_digest());
    job.spec = Arc::new(changes.applied_to(&job.spec));
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
            soft.no_longer_waits(&job.id);
            // Its time has come while the job had no gang.
            soft.retries.retain(|id, retry_at| *id != job.id || *retry_at > at);
            soft.shard_leases.retain(|(leased, _), _| *leased != job.id);
            soft.state_hashes.remove(&job.id);
            let of_job = processes.iter().filter(|(_, process)| process.job == job.id);
            let ending = of_job.filter(|(_, process)| process.is_ending());
            soft.ending.extend(ending.map(|(id, _)| id.clone()));
        }
        JobEvent::RanksLost { retry_at, .. } => {
            if *retry_at > at {
                soft.retries.insert(job.id.clone(), *retry_at);
            } else {
                soft.retries.remove(&job.id);
            }
        }
        // It waits for something else now, and its timer runs.
        JobEvent::RestartScheduled { .. } => soft.no_longer_waits(&job.id),
        JobEvent::EvaluationCompleted { split, epoch, .. } => {
            soft.shard_leases.remove(&(
                job.id.clone(),
                Pass::Evaluate {
                    split: *split,
                    epoch: *epoch,
                },
            ));
        }
        JobEvent::ReleaseRequested { .. } => {
            soft.no_longer_waits(&job.id);
            let of_job = processes.iter().filter(|(_, process)| process.job == job.id);
            soft.ending.extend(of_job.map(|(id, _)| id.clone()));
        }
        JobEvent::Suspended | JobEvent::Resumed => soft.no_longer_waits(&job.id),
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
            soft.no_longer_waits(&job.id);
            soft.retries.remove(&job.id);
            soft.shard_leases.retain(|(leased, _), _| *leased != job.id);
            soft.state_hashes.remove(&job.id);
            let of_job = processes.iter().filter(|(_, process)| process.job == job.id);
            soft.ending.extend(of_job.map(|(id, _)| id.clone()));
            let expires_at = PastJob::of(job).and_then(|past| past.expires_at);
            soft.expiries.extend(expires_at.map(|at| (at, job.id.clone())));
        }
        _ => {}
    }
    if has_timer(job) {
        soft.timed_jobs.insert(job.id.clone());
    } else {
        soft.timed_jobs.remove(&job.id);
    }
}
