//! Quiet: everything arrives and every rank works. At the end of a story the faults stop, and then every job ends.

use std::sync::Arc;

use firn_core::audit::{Auditor, Flaw};
use firn_core::identifiers::{JobId, ProcessId};
use firn_core::queue::quota::{self, Accounts};
use firn_core::state::*;
use firn_core::{Input, queries};

use super::{Agent, MACHINES, Outside};

/// Rounds after which nothing is going to happen any more.
const MOST_ROUNDS: usize = 4_000;

/// Whether the quota of its namespace has no room for what a job needs.
fn is_used_up(accounts: &Accounts<'_>, job: &Job) -> bool {
    let resources = &job.spec.resources;
    let each = u64::from(resources.slots_per_worker);
    let fewest = u64::from(resources.workers.min) * each;
    let has_gang = job.gang().is_some();
    let request = quota::Request {
        next: if has_gang { each } else { fewest },
        fewest,
        has_gang,
    };
    accounts.room(job.namespace(), request).is_err()
}

impl Outside {
    /// Whatever can arrive arrives, and every rank does what it can; whether anything happened.
    pub(super) fn calm_round(&mut self) -> bool {
        let mut any = false;
        for machine in 0..MACHINES {
            if self.machines[machine].agent != Agent::Down {
                self.attach(machine);
            }
            let commands = self.machines[machine].commands.len();
            (0..commands).for_each(|_| self.deliver_command(machine));
            any |= commands > 0;
            while self.deliver_message(machine) {
                any = true;
            }
        }
        any |= self.deliver_all();
        let processes: Vec<ProcessId> = self.ranks.keys().cloned().collect();
        for process in processes {
            any |= self.advance(&process);
        }
        any |= self.deliver_all();
        any |= !self.scores.is_empty();
        while !self.scores.is_empty() && self.broken.is_none() {
            self.score(0);
        }
        self.tick();
        any
    }

    fn tick(&mut self) {
        let millisecond = 5;
        self.pass(millisecond);
    }

    /// The faults stop. What was frozen or cut off comes back; what a person took out of use stays so; a rank that hangs goes on hanging, for
    /// it is the coordinator that has to notice. Every job that has slots ends, and the others say why they wait. Then the workers are
    /// put back into use and serve all, and all jobs end.
    pub(crate) fn heal(&mut self) {
        self.note(|now| format!("{now} the faults stop"));
        self.crash_after_commit = false;
        for machine in &mut self.machines {
            machine.is_cut_off = false;
            if machine.agent == Agent::Frozen {
                machine.agent = Agent::Up;
            }
        }
        self.ranks.values_mut().for_each(|rank| rank.is_frozen = false);
        self.settle_down();
        self.check_who_waits();
        self.resume_all();
        self.lift_quotas();
        for machine in 0..MACHINES {
            if matches!(self.machines[machine].agent, Agent::Up | Agent::Draining { .. }) && self.is_set_aside(machine)
            {
                self.kill_agent(machine);
            }
            self.let_serve_all(machine);
            self.attach(machine);
            self.tell(Input::DrainWorker {
                worker: super::name(machine),
                undo: true,
            });
        }
        self.settle_down();
        self.check_the_end();
    }

    fn is_set_aside(&self, machine: usize) -> bool {
        let worker = self.core.state.workers.get(&super::name(machine));
        worker.is_some_and(|worker| worker.availability != Availability::Ready)
    }

    /// Rounds, until nothing happens any more however long one waits.
    fn settle_down(&mut self) {
        let mut idle = 0;
        for round in 0..MOST_ROUNDS {
            (0..MACHINES).for_each(|machine| self.attach(machine));
            let any = self.calm_round();
            self.check();
            if self.broken.is_some() || self.is_over() && !any {
                return;
            }
            idle = if any { 0 } else { idle + 1 };
            if idle > 0 || round % 20 == 19 {
                self.pass(1_000);
            }
            // Longer than any timer of the coordinator: no rank takes that long to start or to be given up.
            if idle > 330 {
                return;
            }
        }
        let jobs = self.unended();
        self.fail(format!(
            "invariant `nobody works for ever` is broken: after {MOST_ROUNDS} rounds {jobs:?} are not at an end"
        ));
    }

    fn unended(&self) -> Vec<(JobId, Phase)> {
        let jobs = self.core.state.jobs.values().filter(|job| job.outcome().is_none());
        jobs.map(|job| (job.id.clone(), job.phase.clone())).collect()
    }

    fn is_over(&self) -> bool {
        self.unended().is_empty() && self.core.state.processes.is_empty() && self.ranks.is_empty()
    }

    /// Who has not ended waits for slots, says so, and could really not have them.
    fn check_who_waits(&mut self) {
        let state = &self.core.state;
        let accounts = Accounts::of(state).into_owned();
        let mut waiting = self.unended();
        waiting.sort_by_key(|(id, _)| {
            let place = state.jobs[id].place();
            place.rank(accounts.share(place.namespace))
        });
        // Namespaces of which a job waits for its quota, and those behind it.
        let mut used_up: Vec<String> = Vec::new();
        let mut place = 0;
        for (id, phase) in waiting {
            let Some(job) = self.core.state.job(&id).cloned() else {
                continue;
            };
            if job.suspended {
                self.check_rest(&job);
                continue;
            }
            let waits_for = self.core.state.soft.wait(&id).map(|wait| wait.waits_for);
            if waits_for == Some(WaitsFor::Quota) {
                let namespace = job.namespace().to_owned();
                let is_true = used_up.contains(&namespace) || is_used_up(&accounts, &job);
                if !is_true {
                    self.fail(format!(
                        "invariant `nobody waits for a quota that has room` is broken: {id} in {namespace}: {accounts:?}"
                    ));
                }
                used_up.push(namespace);
                continue;
            }
            // Nobody works any more: the first could have all slots, the others what is free.
            let could_have = self.workers_for(&job, place == 0);
            place += 1;
            let needed = job.spec.resources.workers.min as usize;
            let is_true = could_have < needed;
            let reason = self.core.state.soft.wait(&id);
            let conditions = queries::conditions(&self.core.state, &job);
            let said = reason.as_ref().is_some_and(|wait| {
                conditions
                    .iter()
                    .any(|condition| condition.message.contains(&*wait.reason))
            });
            if !is_true || !said {
                self.fail(format!(
                    "invariant `nobody waits for ever without a true reason` is broken: {id} needs {needed} workers and waits because \
                     {reason:?} in {phase:?}"
                ));
            }
        }
    }

    /// A suspended job whose ranks have had their time holds no slots, and says so.
    fn check_rest(&mut self, job: &Job) {
        let processes = self
            .core
            .state
            .processes
            .values()
            .filter(|process| process.job == job.id);
        let held = processes.count();
        let summary = queries::summary(&self.core.state, job);
        if held > 0 || summary != Summary::Suspended {
            self.fail(format!(
                "invariant `a suspended job holds no slots once its ranks have left` is broken: {} holds {held} and is {summary:?} in {:?}",
                job.id, job.phase
            ));
        }
    }

    /// What was used for what can be proven from the journal alone.
    fn audit(&mut self) {
        let ids: Vec<JobId> = self.core.state.jobs.keys().cloned().collect();
        for id in ids {
            let mut auditor = Auditor::new(id.clone());
            for (sequence, record) in (0..).zip(&self.core.journal) {
                auditor.see(sequence, record);
            }
            let mut findings = auditor.finish().findings;
            // The ranks leave one file of all that real ones leave.
            findings.retain(|finding| finding.flaw != Flaw::Artifact);
            if !findings.is_empty() {
                self.fail(format!(
                    "invariant `the audit of the journal finds nothing` is broken: {id}: {findings:?}"
                ));
            }
        }
    }

    /// Workers with enough slots for a job: all that they have, or those that are free or the job's own.
    fn workers_for(&self, job: &Job, of_all: bool) -> usize {
        let state = &self.core.state;
        let suitable = state.workers.values().filter(|worker| worker.description.suits(job));
        let present = suitable.filter(|worker| worker.takes_ranks());
        let is_large_enough = |worker: &&Arc<Worker>| {
            let description = &worker.description;
            let taken = state
                .processes
                .values()
                .filter(|process| process.worker == description.name && process.job != job.id && !of_all);
            description.slots.len() - taken.count() >= job.spec.resources.slots_per_worker as usize
        };
        present.filter(is_large_enough).count()
    }

    fn check_the_end(&mut self) {
        if self.broken.is_some() {
            return;
        }
        self.audit();
        let jobs = self.unended();
        if !jobs.is_empty() {
            self.fail(format!(
                "invariant `every job ends when the faults stop` is broken: {jobs:?}"
            ));
        }
        let processes = self.core.state.processes.clone();
        let ranks: Vec<&ProcessId> = self.ranks.keys().collect();
        if !processes.is_empty() || !ranks.is_empty() {
            self.fail(format!(
                "invariant `no process is left when all jobs have ended` is broken: {processes:?} in the books, {ranks:?} alive"
            ));
        }
        self.end_long_polls();
        if !self.held.is_empty() {
            let held = format!("{:?}", self.held);
            self.fail(format!(
                "invariant `nobody waits for a job that has ended` is broken: {held}"
            ));
        }
        let leases = self.core.state.soft.leases.first_end();
        let deadline = firn_core::deadline(&self.core.state);
        if deadline != leases {
            self.fail(format!(
                "invariant `no timer is left but the leases` is broken: {deadline:?} beside {leases:?}"
            ));
        }
    }
}
