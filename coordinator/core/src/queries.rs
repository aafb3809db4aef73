//! Questions about the state, for those who wait and for those who look.
//!
//! A call that was answered with `Wait` is asked again here after each change of the state, so that the shell need not know what the
//! caller waits for.

mod progress;

pub use progress::{Activity, Progress, progress};

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::decide::gangs;
use crate::decide::members::{wanted, working};
use crate::decide::passes;
use crate::identifiers::{JobId, Namespace, RankIdentity, WorkerName};
use crate::queue::order::Order;
use crate::queue::quota::{Accounts, Quota, Use};
use crate::reject::Reject;
use crate::reply::{Directive, Leave, News, World};
use crate::stage::{self, Stage};
use crate::state::{Condition, ConditionKind, Evaluation, Job, Outcome, Pass, Phase, State, Summary, Wait, WaitsFor};

/// Whether a rank may deliver for its gang now: for those who have work to do before they can tell the core.
///
/// # Errors
/// Why it may not, as the core would say.
pub fn may_deliver(state: &State, identity: &RankIdentity) -> Result<(), Reject> {
    working(state, identity).map(drop)
}

/// Whether nothing more of this shard is wanted: it has been counted, or its whole pass has.
#[must_use]
pub fn is_shard_settled(job: &Job, pass: Pass, shard: u32) -> bool {
    passes::is_settled(job, passes::named(job, pass), shard)
}

/// The metrics of an evaluation as people look at them: those of the split, and those of one class that decide something in this job.
pub fn shown_metrics(job: &Job, evaluation: &Evaluation) -> BTreeMap<String, f64> {
    let schema = job.run.schema_of(evaluation.split);
    evaluation.metrics.shown(&job.spec.training, schema)
}

/// The world of a rank that joins, once all have joined the generation after the one that it leaves.
///
/// # Errors
/// [`Reject`], if the process is not wanted.
pub fn world(state: &State, identity: &RankIdentity) -> Result<Option<World>, Reject> {
    let caller = wanted(state, identity)?;
    let Phase::Running(running) = &caller.job.phase else {
        return Ok(None);
    };
    if identity.generation >= caller.job.generation || !caller.member.has_joined() {
        return Ok(None);
    }
    if running.gang.member(&identity.process).is_none() {
        return Ok(None);
    }
    Ok(Some(World {
        generation: caller.job.generation,
        rank: caller.member.rank,
        ring_addresses: running.ring_addresses.clone(),
        origin: running.origin.clone(),
        steps_done: running.steps_done,
        collective: running.collective,
        next: stage::directive(caller.job, None),
        coordinator_epoch: state.coordinator_epoch,
    }))
}

/// What a rank that pulses should know at once; `None`: nothing has changed for it.
///
/// # Errors
/// [`Reject`], if the job is not known, or a newer coordinator has taken over.
pub fn news(state: &State, identity: &RankIdentity) -> Result<Option<News>, Reject> {
    let news = latest(state, identity)?;
    let is_new = news.generation != identity.generation || news.stop.is_some() || news.leave.is_some();
    Ok(is_new.then_some(news))
}

/// The same, also if nothing has changed.
///
/// # Errors
/// As [`news`].
pub fn latest(state: &State, identity: &RankIdentity) -> Result<News, Reject> {
    let (stop, gang) = match wanted(state, identity) {
        Ok(caller) => (None, Some(caller.gang)),
        Err(reject @ (Reject::JobNotFound { .. } | Reject::StaleCoordinator { .. })) => return Err(reject),
        Err(Reject::JobEnded { outcome, .. }) => (Some(outcome), None),
        Err(Reject::Unwanted { reason, .. }) => (Some(reason), None),
        Err(reject) => (Some(reject.to_string()), None),
    };
    let job = state.job(&identity.job);
    let leaves = state.is_leaving(&identity.process);
    // A rank that leaves is let go by the others, and told so, not stopped.
    let is_free = leaves && job.is_some_and(|job| job.outcome().is_none());
    let store_checkpoint = gang.is_some() && job.is_some_and(|job| gangs::hands_over(state, job));
    let recruit = gang.is_some_and(|gang| gang.recruit(&identity.process).is_some());
    // A recruit belongs to the next generation, not to the present one; a rank that prepares has none to leave.
    let generation = match job {
        Some(job) if !recruit && identity.generation.0 > 0 => job.generation,
        _ => identity.generation,
    };
    Ok(News {
        generation,
        at_step_boundary: gang.is_some_and(|gang| gang.at_step_boundary),
        steps_committed: job.map_or(0, |job| job.run.ledger.committed),
        coordinator_epoch: state.coordinator_epoch,
        stop: stop.filter(|_| !is_free),
        leave: leaves.then_some(Leave { store_checkpoint }),
    })
}

/// NCCL's unique id, once rank 0 has shared it.
///
/// # Errors
/// [`Reject`], if the rank may not ask.
pub fn collective_id(state: &State, identity: &RankIdentity) -> Result<Option<Vec<u8>>, Reject> {
    let caller = working(state, identity)?;
    match &caller.job.phase {
        Phase::Running(running) => Ok(running.collective_id.clone()),
        _ => Ok(None),
    }
}

/// What a gang that is formed now does first.
pub fn next_directive(job: &Job) -> Directive {
    stage::directive(job, None)
}

/// Where the job is on its way.
pub fn stage(job: &Job) -> Stage {
    Stage::of(&job.run)
}

/// One word for tables.
pub fn summary(state: &State, job: &Job) -> Summary {
    match &job.phase {
        Phase::Starting(_) | Phase::Running(_) if job.suspended && !job.is_finishing() => Summary::Suspending,
        Phase::Queued | Phase::Restarting(_) if job.suspended => match state.live_processes(&job.id).next() {
            Some(_) => Summary::Suspending,
            None => Summary::Suspended,
        },
        Phase::Queued => Summary::Queued,
        Phase::Starting(_) | Phase::Restarting(_) => Summary::Starting,
        Phase::Running(_) if Stage::of(&job.run) == Stage::Finish => Summary::Finishing,
        Phase::Running(_) => Summary::Running,
        Phase::Ended(ended) => match ended.outcome {
            Outcome::Succeeded => Summary::Succeeded,
            Outcome::Failed(_) => Summary::Failed,
            Outcome::Cancelled => Summary::Cancelled,
        },
    }
}

/// The conditions, with the reason why a waiting job waits just now.
pub fn conditions(state: &State, job: &Job) -> Vec<Condition> {
    let mut conditions = job.conditions.clone();
    if job.suspended && job.gang().is_none() && job.outcome().is_none() {
        tell_what_still_ends(state, job, &mut conditions);
    }
    // A gang that works says so, also if it could use more.
    let works = matches!(job.phase, Phase::Running(_));
    if let Some(Wait { waits_for, reason }) = state.soft.wait(&job.id).filter(|_| !works) {
        let is_warm = matches!(job.phase, Phase::Starting(_));
        let kind = match is_warm {
            true => ConditionKind::Running,
            false => ConditionKind::Queued,
        };
        let preempted_by = job.preempted_by();
        let word = match waits_for {
            WaitsFor::Quota => "WaitingForQuota",
            WaitsFor::Slots if is_warm => "WaitingForWorkers",
            WaitsFor::Slots if preempted_by.is_some() => "Preempted",
            WaitsFor::Slots => "WaitingForSlots",
        };
        for condition in conditions.iter_mut().filter(|condition| condition.kind == kind) {
            word.clone_into(&mut condition.reason);
            condition.message = match preempted_by {
                _ if is_warm => format!("{reason}; the ranks that are left stay warm"),
                Some(by) => format!("gave its slots up to jobs/{by}, which has a higher priority; {reason}"),
                None => reason.to_string(),
            };
        }
    }
    conditions
}

/// The gang of a suspended job is gone, but processes that were told to end may still hold their slots.
fn tell_what_still_ends(state: &State, job: &Job, conditions: &mut [Condition]) {
    let message = match state.live_processes(&job.id).count() {
        0 => return,
        1 => "1 process has yet to end".to_owned(),
        many => format!("{many} processes have yet to end"),
    };
    let mut suspended = conditions
        .iter_mut()
        .filter(|condition| condition.kind == ConditionKind::Suspended);
    if let Some(condition) = suspended.next() {
        "Suspending".clone_into(&mut condition.reason);
        condition.message = message;
    }
}

/// A namespace, what it may hold and what it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceUse {
    /// Its name.
    pub namespace: Namespace,
    /// `None`: it may hold everything.
    pub quota: Option<Quota>,
    /// Slots and jobs of its gangs.
    pub used: Use,
    /// Jobs that wait for a gang.
    pub waiting: u64,
}

/// All namespaces that have a quota, and all whose jobs wait or run, by name. One walk over all jobs.
pub fn namespaces(state: &State) -> Vec<NamespaceUse> {
    let mut found: BTreeMap<Namespace, NamespaceUse> = BTreeMap::new();
    let new = |namespace: &Namespace, quota| NamespaceUse {
        namespace: namespace.clone(),
        quota,
        used: Use::default(),
        waiting: 0,
    };
    for (namespace, quota) in &state.quotas {
        found.insert(namespace.clone(), new(namespace, Some(*quota)));
    }
    for job in state.jobs.values().filter(|job| job.outcome().is_none()) {
        let namespace = Namespace::from(job.namespace());
        let part = job.used();
        let entry = found
            .entry(namespace)
            .or_insert_with_key(|namespace| new(namespace, None));
        entry.used.slots += part.slots;
        entry.used.jobs += part.jobs;
        entry.waiting += u64::from(job.is_queued());
    }
    found.into_values().collect()
}

/// How many jobs that wait would get slots before this one, if all got what they need one after the other; `None`: it does not wait. One walk
/// over the jobs that wait, and in order over those before it.
pub fn jobs_ahead(state: &State, job: &Job) -> Option<u64> {
    if !job.is_queued() {
        return None;
    }
    let mut accounts = Accounts::of(state);
    let lanes = state.soft.backlog.lanes().map(|(priority, namespace, rows)| {
        let lane = rows.rows().map(|(sequence, row)| (sequence, &row.job));
        ((Reverse(priority), namespace.as_str()), lane)
    });
    let mut order = Order::of_lanes(lanes, |namespace| accounts.share(namespace));
    let mut ahead = 0;
    while let Some(next) = order.next() {
        if *next == job.id {
            return Some(ahead);
        }
        ahead += 1;
        let next = state.job(next)?;
        let resources = &next.spec.resources;
        let slots = u64::from(resources.workers.min.max(1)) * u64::from(resources.slots_per_worker.max(1));
        accounts.take(next.namespace(), Use { slots, jobs: 1 });
        order.set_share(next.namespace(), accounts.share(next.namespace()));
    }
    None
}

/// The job whose process may be alive on a slot.
pub fn job_on_slot<'a>(state: &'a State, worker: &WorkerName, slot: u32) -> Option<&'a JobId> {
    let mut processes = state.processes.values();
    processes
        .find(|process| process.worker == *worker && process.slot == slot)
        .map(|process| &process.job)
}
