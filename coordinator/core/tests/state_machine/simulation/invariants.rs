//! What holds after every action.

use std::collections::{BTreeMap, BTreeSet};

use firn_core::identifiers::{Generation, JobId, RequestId};
use firn_core::state::*;
use firn_core::{Event, JobEvent, Record, State};

/// What has been seen so far, to hold the present against.
#[derive(Default)]
pub(super) struct Witness {
    generations: BTreeMap<JobId, Generation>,
    ended: BTreeMap<JobId, Outcome>,
    epoch: u64,
    /// Shards that were counted, by pass, since the last record that took them back.
    counted: BTreeMap<(JobId, Pass), BTreeSet<u32>>,
    next_step: BTreeMap<JobId, u64>,
    requests: BTreeSet<RequestId>,
    seen: usize,
}

type Verdict = Result<(), String>;

fn hold(holds: bool, invariant: &str, detail: impl FnOnce() -> String) -> Verdict {
    if holds {
        Ok(())
    } else {
        Err(format!("invariant `{invariant}` is broken: {}", detail()))
    }
}

impl Witness {
    /// Checks everything.
    pub(super) fn check(&mut self, state: &State, journal: &[Record]) -> Verdict {
        for record in &journal[self.seen.min(journal.len())..] {
            self.check_record(record)?;
        }
        self.seen = journal.len();
        one_slot_never_runs_two_live_ranks(state)?;
        for (id, job) in &state.jobs {
            self.generation_only_grows(id, job)?;
            self.an_ended_job_keeps_its_outcome(id, job)?;
            committed_steps_are_contiguous(job)?;
            checkpoints_hold_committed_steps(job)?;
            a_gang_is_whole(job)?;
            every_member_that_is_not_gone_has_a_process(state, job)?;
            restarts_stay_within_the_budget(job)?;
            evaluations_count_each_sample_once(job)?;
            no_shard_was_scored_with_steps_that_were_taken_back(job)?;
        }
        hold(
            state.coordinator_epoch >= self.epoch,
            "the coordinator's epoch only grows",
            || format!("{} after {}", state.coordinator_epoch, self.epoch),
        )?;
        self.epoch = state.coordinator_epoch;
        leases_belong_to_attached_workers(state)
    }

    fn check_record(&mut self, record: &Record) -> Verdict {
        if let Event::RequestAnswered { request, .. } = &record.event {
            let fresh = self.requests.insert(request.id.clone());
            return hold(fresh, "a marked call acts once", || request.id.to_string());
        }
        let Event::Job { job, event } = &record.event else {
            return Ok(());
        };
        match event {
            JobEvent::GangFormed {
                steps_kept,
                epochs_kept,
                ..
            } => {
                self.next_step.insert(job.clone(), *steps_kept);
                self.counted.retain(|(counted, pass), _| match pass {
                    Pass::Evaluate { epoch, .. } => counted != job || epoch < epochs_kept,
                    Pass::Scan(_) => true,
                });
            }
            JobEvent::ShardCompleted { pass, shard, .. } => {
                let fresh = self.counted.entry((job.clone(), *pass)).or_default().insert(*shard);
                hold(fresh, "each shard counts once", || {
                    format!("shard {shard} of {pass} of {job}")
                })?;
            }
            JobEvent::StepsCommitted { steps } => {
                for step in steps {
                    let next = self.next_step.entry(job.clone()).or_default();
                    hold(step.step == *next, "steps are committed in order, each once", || {
                        format!("expected {next}, found {} of {job}", step.step)
                    })?;
                    *next += 1;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn generation_only_grows(&mut self, id: &JobId, job: &Job) -> Verdict {
        let seen = self.generations.insert(id.clone(), job.generation).unwrap_or_default();
        hold(job.generation >= seen, "the generation only grows", || {
            format!("{} after {seen} of {id}", job.generation)
        })
    }

    fn an_ended_job_keeps_its_outcome(&mut self, id: &JobId, job: &Job) -> Verdict {
        if let Some(outcome) = self.ended.get(id) {
            return hold(job.outcome() == Some(outcome), "an ended job keeps its outcome", || {
                format!("{:?} after {outcome:?} of {id}", job.outcome())
            });
        }
        if let Some(outcome) = job.outcome() {
            self.ended.insert(id.clone(), outcome.clone());
        }
        Ok(())
    }
}

fn one_slot_never_runs_two_live_ranks(state: &State) -> Verdict {
    let mut taken = BTreeMap::new();
    for (id, process) in &state.processes {
        let other = taken.insert((process.worker.clone(), process.slot), id.clone());
        hold(other.is_none(), "one slot never runs two live ranks", || {
            format!("{id} beside {other:?}")
        })?;
    }
    Ok(())
}

fn committed_steps_are_contiguous(job: &Job) -> Verdict {
    let ledger = &job.run.ledger;
    let steps: Vec<u64> = ledger.from_step(0).map(|committed| committed.step.step).collect();
    hold(
        steps == (0..ledger.committed).collect::<Vec<_>>(),
        "committed steps are contiguous",
        || format!("{steps:?} of {}", ledger.committed),
    )?;
    let generations: Vec<Generation> = ledger.from_step(0).map(|committed| committed.generation).collect();
    hold(generations.is_sorted(), "one generation commits at a time", || {
        format!("{generations:?}")
    })
}

fn checkpoints_hold_committed_steps(job: &Job) -> Verdict {
    let committed = job.run.ledger.committed;
    let steps: Vec<u64> = job
        .run
        .checkpoints
        .iter()
        .map(|checkpoint| checkpoint.steps_done)
        .collect();
    let holds = steps.is_sorted_by(|a, b| a < b) && steps.last().is_none_or(|last| *last <= committed);
    hold(holds, "checkpoints hold committed steps, in order", || {
        format!("{steps:?} of {committed} steps")
    })?;
    let best = job.run.best_epoch;
    let kept = best.is_none_or(|best| job.run.checkpoint_of_epoch(best).is_some());
    hold(kept, "the best checkpoint is kept", || {
        format!("epoch {best:?} among {steps:?}")
    })
}

fn a_gang_is_whole(job: &Job) -> Verdict {
    let Some(gang) = job.gang() else { return Ok(()) };
    let ranks: Vec<u32> = gang.members.iter().map(|member| member.rank).collect();
    let resources = &job.spec.resources;
    let fewest = resources.min_workers * resources.slots_per_worker;
    let holds = ranks == (0..ranks.len() as u32).collect::<Vec<_>>() && ranks.len() as u32 >= fewest;
    hold(
        holds && gang.generation == job.generation,
        "a gang is whole and of the newest generation",
        || format!("{ranks:?} of {gang:?}"),
    )?;
    let is_joined = |member: &Member| matches!(member.state, MemberState::Joined { .. });
    let running = matches!(job.phase, Phase::Running(_));
    // At the end the ranks beside rank 0 may be gone.
    let holds = !running || is_joined(&gang.members[0]);
    hold(holds, "a running gang has its rank 0", || format!("{gang:?}"))
}

fn every_member_that_is_not_gone_has_a_process(state: &State, job: &Job) -> Verdict {
    let Some(gang) = job.gang() else { return Ok(()) };
    for member in gang.members.iter().filter(|member| member.state != MemberState::Exited) {
        hold(
            state.processes.contains_key(&member.process),
            "every member that is not gone has a process",
            || member.process.to_string(),
        )?;
    }
    Ok(())
}

fn restarts_stay_within_the_budget(job: &Job) -> Verdict {
    hold(
        job.restarts() <= job.spec.max_restarts,
        "restarts stay within the budget",
        || format!("{} of {}", job.restarts(), job.spec.max_restarts),
    )
}

fn evaluations_count_each_sample_once(job: &Job) -> Verdict {
    for evaluation in &job.run.evaluations {
        let dataset = &job.run.dataset.as_ref().expect("an evaluation needs a dataset").dataset;
        let samples = dataset
            .split(evaluation.split)
            .expect("an evaluated split exists")
            .samples;
        hold(
            evaluation.metrics.samples == samples,
            "an evaluation counts each sample once",
            || format!("{} of {samples}", evaluation.metrics.samples),
        )?;
    }
    let mut seen = BTreeSet::new();
    let twice = job
        .run
        .evaluations
        .iter()
        .any(|evaluation| !seen.insert((evaluation.split, evaluation.epoch)));
    hold(!twice, "a split is evaluated once after an epoch", || {
        format!("{:?}", job.run.evaluations)
    })
}

fn no_shard_was_scored_with_steps_that_were_taken_back(job: &Job) -> Verdict {
    for (pass, progress) in &job.run.passes {
        let Pass::Evaluate { epoch, .. } = *pass else { continue };
        let is_kept = job.run.checkpoint_of_epoch(epoch).is_some();
        let is_new = progress
            .complete
            .values()
            .all(|shard| shard.generation == job.generation);
        hold(
            is_kept || is_new,
            "no shard was scored with steps that were taken back",
            || format!("{pass}: {progress:?}"),
        )?;
    }
    Ok(())
}

fn leases_belong_to_attached_workers(state: &State) -> Verdict {
    for (name, worker) in &state.workers {
        let leased = state.soft.leases.end(name).is_some();
        hold(
            leased == worker.is_attached(),
            "just the attached workers hold leases",
            || name.to_string(),
        )?;
        hold(
            worker.is_attached() || !state.is_connected(name),
            "a lost worker has no stream",
            || name.to_string(),
        )?;
    }
    Ok(())
}
