//! What the coordinator believes is consistent in itself.

use std::collections::{BTreeMap, BTreeSet};

use firn_core::identifiers::{Generation, JobId};
use firn_core::state::*;
use firn_core::{State, order};

use super::{Verdict, Witness, hold};

impl Witness {
    pub(super) fn check_books(&mut self, state: &State) -> Verdict {
        a_slot_holds_at_most_one_process(state)?;
        for (id, job) in &state.jobs {
            self.generation_only_grows(id, job)?;
            self.an_ended_job_keeps_its_outcome(id, job)?;
            committed_steps_are_contiguous(job)?;
            no_sample_is_consumed_twice(job)?;
            checkpoints_hold_committed_steps(job)?;
            a_gang_is_whole(state, job)?;
            a_suspended_job_works_only_to_come_to_an_end(job)?;
            every_member_that_lives_has_a_process(state, job)?;
            losses_stay_within_the_budget(job)?;
            evaluations_count_each_sample_once(job)?;
            different_states_are_acted_on(state, job)?;
        }
        every_process_works_or_is_to_end(state)?;
        let (epoch, seen) = (state.coordinator_epoch, self.epoch);
        self.epoch = epoch;
        hold(epoch >= seen, "the coordinator's epoch only grows", || {
            format!("{epoch} after {seen}")
        })?;
        leases_belong_to_attached_workers(state)
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

fn a_slot_holds_at_most_one_process(state: &State) -> Verdict {
    let mut taken = BTreeMap::new();
    for (id, process) in &state.processes {
        let other = taken.insert((process.worker.clone(), process.slot), id.clone());
        hold(other.is_none(), "a slot holds at most one wanted process", || {
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

fn no_sample_is_consumed_twice(job: &Job) -> Verdict {
    let Some(dataset) = &job.run.dataset else { return Ok(()) };
    let samples = dataset.dataset.split(SplitName::Train).map_or(0, |split| split.samples);
    let steps = order::steps_per_epoch(samples, job.spec.training.batch_size);
    for (epoch, committed) in &job.run.ledger.epochs {
        let mut next = 0;
        for CommittedStep { step, .. } in committed.iter() {
            let follows =
                step.first_position == next && step.end_position > next && step.step / steps == u64::from(*epoch);
            hold(follows, "no sample is consumed twice in the final ledger", || {
                format!("step {} of epoch {epoch} after position {next}: {step:?}", step.step)
            })?;
            next = step.end_position;
        }
        let is_full = committed.len() as u64 == steps;
        hold(is_full == (next == samples), "an epoch uses every sample once", || {
            format!(
                "epoch {epoch}: {next} of {samples} samples in {} of {steps} steps",
                committed.len()
            )
        })?;
    }
    Ok(())
}

fn checkpoints_hold_committed_steps(job: &Job) -> Verdict {
    let committed = job.run.ledger.committed;
    let steps: Vec<u64> = job
        .run
        .checkpoints
        .iter()
        .map(|checkpoint| checkpoint.steps_done)
        .collect();
    // While a gang joins again, steps that no rank holds any more may still stand in the ledger, but never fewer than are stored.
    let holds = steps.is_sorted_by(|a, b| a < b) && steps.last().is_none_or(|last| *last <= committed);
    hold(holds, "checkpoints hold committed steps, in order", || {
        format!("{steps:?} of {committed} steps")
    })?;
    let best = job.run.best_epoch;
    let kept = best.is_none_or(|best| job.run.checkpoint_of_epoch(best).is_some()) || job.outcome().is_some();
    hold(kept, "the best checkpoint is kept", || {
        format!("epoch {best:?} among {:?}", job.run.checkpoints)
    })
}

fn a_suspended_job_works_only_to_come_to_an_end(job: &Job) -> Verdict {
    let works = job.suspended && job.gang().is_some();
    hold(
        !works || job.is_released() || job.is_finishing(),
        "a suspended job holds no slots once its ranks have left",
        || format!("{} works: {:?}", job.id, job.phase),
    )
}

fn a_gang_is_whole(state: &State, job: &Job) -> Verdict {
    let Some(gang) = job.gang() else { return Ok(()) };
    let ranks: Vec<u32> = gang.members.iter().map(|member| member.rank).collect();
    let holds = ranks == (0..).take(ranks.len()).collect::<Vec<u32>>() && !ranks.is_empty();
    hold(
        holds && gang.generation == job.generation,
        "a gang is whole and of the newest generation",
        || format!("{ranks:?} of {gang:?}"),
    )?;
    let most = job.spec.resources.workers.max as usize;
    let each = job.spec.resources.slots_per_worker as usize;
    let mut on_worker: BTreeMap<_, usize> = BTreeMap::new();
    let stays = |member: &&Member| member.state != MemberState::Exited && !state.is_leaving(&member.process);
    for member in gang.everyone().filter(stays) {
        *on_worker.entry(&member.worker).or_default() += 1;
    }
    // A gang that writes its artifacts is left alone.
    let is_small_enough = on_worker.len() <= most || job.is_finishing();
    let holds = is_small_enough && on_worker.values().all(|slots| *slots <= each);
    hold(
        holds,
        "a gang has no more workers and slots than the spec allows",
        || format!("{on_worker:?}, at most {most} workers of {each} slots"),
    )
}

fn every_member_that_lives_has_a_process(state: &State, job: &Job) -> Verdict {
    let Some(gang) = job.gang() else { return Ok(()) };
    for member in gang.everyone().filter(|member| member.state != MemberState::Exited) {
        let process = state.processes.get(&member.process);
        let holds = process.is_some_and(|process| process.worker == member.worker && process.slot == member.slot);
        hold(holds, "every member that lives has a process", || {
            format!("{} of {}: {process:?}", member.process, job.id)
        })?;
    }
    Ok(())
}

fn every_process_works_or_is_to_end(state: &State) -> Verdict {
    for (id, process) in &state.processes {
        let gang = state.job(&process.job).and_then(Job::gang);
        let works = gang.is_some_and(|gang| gang.living().chain(&gang.recruits).any(|member| member.process == *id));
        hold(
            works || state.soft.ending.contains(id),
            "every process works in a gang, or is to end",
            || format!("{id}: {process:?}"),
        )?;
    }
    Ok(())
}

fn losses_stay_within_the_budget(job: &Job) -> Verdict {
    let limit = job.spec.restart_policy.max_restarts + u32::from(job.outcome().is_some());
    hold(
        job.losses_counted <= limit,
        "losses that count never exceed the limit while the job runs",
        || format!("{} of {limit}", job.losses_counted),
    )
}

fn evaluations_count_each_sample_once(job: &Job) -> Verdict {
    for evaluation in &job.run.evaluations {
        let dataset = &job.run.dataset.as_ref().expect("an evaluation needs a dataset").dataset;
        let split = dataset.split(evaluation.split).expect("an evaluated split exists");
        let counted = evaluation.metrics.samples;
        hold(
            counted == split.samples,
            "an evaluation counts each sample once",
            || format!("{counted} of {}", split.samples),
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

fn different_states_are_acted_on(state: &State, job: &Job) -> Verdict {
    let (Some(hashes), Phase::Running(running)) = (state.soft.state_hashes.get(&job.id), &job.phase) else {
        return Ok(());
    };
    for (step, known) in hashes {
        let told: Option<BTreeSet<&String>> = running.gang.living().map(|member| known.get(&member.process)).collect();
        let differ = told.is_some_and(|told| told.len() > 1);
        hold(!differ, "ranks that hold different states do not go on", || {
            format!("after step {step} of {}: {known:?}", job.id)
        })?;
    }
    Ok(())
}

fn leases_belong_to_attached_workers(state: &State) -> Verdict {
    for (name, worker) in state.workers.iter() {
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
