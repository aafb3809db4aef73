//! People: they submit jobs, suspend and change and end them, set quotas, and take workers out of use.

use std::sync::Arc;

use firn_core::identifiers::{JobId, Namespace, RequestId};
use firn_core::queue::quota::Quota;
use firn_core::spec::{JobSpec, PreemptionPolicy};
use firn_core::state::{JobChanges, Request, SplitName};
use firn_core::{Input, Reply};

use super::super::actions::{NO_LIMIT, Wish};
use super::{MACHINES, Outside, Plan, name, pick};
use crate::bench::{EVERY_SPLIT, TRAIN_AND_VALIDATION, spec_on};

/// Jobs of one story: more would only wait.
const MOST_JOBS: usize = 6;

impl Outside {
    pub(super) fn submit(&mut self, wish: Wish) {
        if self.plans.len() >= MOST_JOBS {
            return;
        }
        let spec = Arc::new(spec_of(wish));
        let input = self.marked(Input::Submit { spec });
        let all: [&'static [SplitName]; 3] = [&[SplitName::Train], &TRAIN_AND_VALIDATION, &EVERY_SPLIT];
        let plan = Plan {
            splits: all[usize::from(wish.splits) % 3],
            strict: wish.strict,
            poisoned: None,
        };
        let known = self.core.state.jobs.len();
        self.ask(input);
        // A job exists also if nobody was told.
        if self.core.state.jobs.len() > known {
            let newest = self.core.state.jobs.values().max_by_key(|job| job.sequence);
            let newest = newest.expect("one was submitted").id.clone();
            self.plans.insert(newest, plan);
        }
    }

    /// A call that a person repeats, because the answer was lost or late.
    pub(super) fn repeat_wish(&mut self, choice: u8) {
        if let Some(input) = pick(self.people.clone(), choice) {
            let known = self.core.state.jobs.len();
            self.ask(input);
            if self.core.state.jobs.len() > known {
                self.fail(
                    "invariant `a marked call acts once` is broken: a repeated submit made another job".to_owned(),
                );
            }
        }
    }

    fn ask(&mut self, input: Input) {
        let Input::Once { request, .. } = &input else { return };
        let mark = request.id.clone();
        if let Some(Ok(Reply::Submitted(job))) = self.tell(input)
            && let Some(first) = self.submitted.insert(mark, job.clone())
            && first != job
        {
            self.fail(format!(
                "invariant `a marked call acts once` is broken: {first} first, then {job}"
            ));
        }
    }

    /// The same mutation under a mark of its own, as clients send it; it may be sent again.
    fn marked(&mut self, mutation: Input) -> Input {
        self.marks += 1;
        let request = Request {
            id: RequestId::from(format!("request {}", self.marks)),
            body: Some(format!("body {}", self.marks).into()),
        };
        let input = Input::Once {
            request,
            mutation: Box::new(mutation),
        };
        self.people.push(input.clone());
        input
    }

    pub(super) fn cancel(&mut self, choice: u8) {
        if let Some(job) = pick(self.core.state.jobs.keys().cloned().collect(), choice) {
            let input = self.marked(Input::Cancel { job });
            self.tell(input);
        }
    }

    pub(super) fn suspend(&mut self, choice: u8) {
        if let Some(job) = pick(self.core.state.jobs.keys().cloned().collect(), choice) {
            let input = self.marked(Input::Suspend { job });
            self.tell(input);
        }
    }

    pub(super) fn resume(&mut self, choice: u8) {
        if let Some(job) = pick(self.suspended(), choice) {
            let input = self.marked(Input::Resume { job });
            self.tell(input);
        }
    }

    /// A suspended job ends only if it is resumed.
    pub(super) fn resume_all(&mut self) {
        for job in self.suspended() {
            self.tell(Input::Resume { job });
        }
    }

    fn suspended(&self) -> Vec<JobId> {
        let suspended = self.core.state.jobs.values().filter(|job| job.suspended);
        suspended.map(|job| job.id.clone()).collect()
    }

    pub(super) fn scale(&mut self, choice: u8, (fewest, more): (u8, u8)) {
        if let Some(job) = pick(self.core.state.jobs.keys().cloned().collect(), choice) {
            let spec = &self.core.state.jobs[&job].spec;
            let fewest = match spec.scheduling.worker_selector.is_empty() {
                true => fewest,
                false => fewest.min(machines_of_a_zone()),
            };
            let changes = JobChanges {
                workers_min: Some(u32::from(fewest)),
                workers_max: Some(u32::from(fewest + more)),
                priority: None,
            };
            let input = self.marked(Input::Update { job, changes });
            self.tell(input);
        }
    }

    pub(super) fn set_quota(&mut self, namespace: u8, slots: u8, jobs: u8) {
        let limit = |limit: u8| (limit < NO_LIMIT).then_some(u32::from(limit));
        let quota = Some(Quota {
            slots: limit(slots),
            jobs: limit(jobs),
        });
        let namespace = namespace_of(namespace);
        let input = self.marked(Input::SetQuota { namespace, quota });
        self.tell(input);
    }

    /// Every namespace may hold everything.
    pub(super) fn lift_quotas(&mut self) {
        for namespace in self.core.state.quotas.clone().into_keys() {
            self.tell(Input::SetQuota { namespace, quota: None });
        }
    }

    pub(super) fn drain(&mut self, choice: u8, undo: bool) {
        let worker = name(usize::from(choice) % MACHINES);
        self.tell(Input::DrainWorker { worker, undo });
    }
}

fn namespace_of(number: u8) -> Namespace {
    Namespace::from(format!("team-{number}"))
}

/// More could never come together for a job that selects one.
fn machines_of_a_zone() -> u8 {
    u8::try_from(MACHINES / 2).expect("a few machines")
}

fn spec_of(wish: Wish) -> JobSpec {
    let mut spec = spec_on("job", u32::from(wish.fewest));
    spec.resources.workers.max = u32::from(wish.fewest + wish.more);
    if let Some(zone) = wish.zone {
        spec.resources.workers.min = spec.resources.workers.min.min(u32::from(machines_of_a_zone()));
        spec.scheduling.worker_selector = [("zone".to_owned(), zone.to_string())].into();
    }
    spec.resources.slots_per_worker = u32::from(wish.slots);
    spec.training.epochs = u32::from(wish.epochs);
    spec.restart_policy.max_restarts = u32::from(wish.restarts);
    spec.metadata.namespace = namespace_of(wish.namespace).to_string();
    spec.scheduling.priority = u32::from(wish.priority);
    if wish.patient {
        spec.scheduling.preemption_policy = PreemptionPolicy::Never;
    }
    spec
}
