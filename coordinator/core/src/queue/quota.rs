//! Quotas: the most that a namespace holds, and the sentence for a job that has to wait for it.
//!
//! `slots` counts the slots of all its gangs, those of ranks that prepare included; `jobs` counts the jobs that have a gang. Both are asked
//! when slots are given, never afterwards: a quota that is lowered below what is used takes nothing from running jobs, and gives nothing new
//! until they have ended. A gang that is asked to leave counts until it has left. A namespace without a quota may hold everything.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::order::Share;
use crate::identifiers::Namespace;
use crate::state::State;

/// The most that a namespace may hold at once; `None`: without limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Quota {
    /// Slots of its gangs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<u32>,
    /// Jobs that have a gang.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jobs: Option<u32>,
}

/// What a namespace holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Use {
    /// Slots of its gangs.
    pub slots: u64,
    /// Jobs that have a gang.
    pub jobs: u64,
}

/// What a job asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Fewest further slots that it can do anything with.
    pub next: u64,
    /// Slots that it cannot do without, those that it has included.
    pub fewest: u64,
    /// Whether it has a gang already.
    pub has_gang: bool,
}

/// Why a quota lets a job have nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exhausted {
    /// Whether it can ever have what it needs: others of its namespace end.
    pub later: bool,
    /// For people.
    pub reason: String,
}

/// Quotas, and what is held of them while slots are given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accounts<'a> {
    quotas: Cow<'a, BTreeMap<Namespace, Quota>>,
    used: BTreeMap<String, Use>,
    slots_in_all: u64,
}

impl<'a> Accounts<'a> {
    /// What is held now.
    pub fn of(state: &'a State) -> Self {
        let used = state.jobs_with_gangs().map(|job| (job.namespace(), job.used()));
        let attached = state.workers.values().filter(|worker| worker.is_attached());
        let slots = attached.map(|worker| worker.description.slots.len() as u64);
        Self::new(&state.quotas, used, slots.sum())
    }

    /// `used`: what each namespace holds, in any number of parts; `slots_in_all`: of all workers.
    pub fn new<'b>(
        quotas: &'a BTreeMap<Namespace, Quota>,
        used: impl IntoIterator<Item = (&'b str, Use)>,
        slots_in_all: u64,
    ) -> Self {
        let mut accounts = Self {
            quotas: Cow::Borrowed(quotas),
            used: BTreeMap::new(),
            slots_in_all,
        };
        for (namespace, part) in used {
            accounts.take(namespace, part);
        }
        accounts
    }

    /// The same, apart from the state that it was read from.
    pub fn into_owned(self) -> Accounts<'static> {
        Accounts {
            quotas: Cow::Owned(self.quotas.into_owned()),
            used: self.used,
            slots_in_all: self.slots_in_all,
        }
    }

    /// What a namespace holds.
    pub fn used(&self, namespace: &str) -> Use {
        self.used.get(namespace).copied().unwrap_or_default()
    }

    /// It holds so much more.
    pub fn take(&mut self, namespace: &str, more: Use) {
        let used = match self.used.get_mut(namespace) {
            Some(used) => used,
            None => self.used.entry(namespace.to_owned()).or_default(),
        };
        used.slots += more.slots;
        used.jobs += more.jobs;
    }

    /// Which part of what it may have it uses.
    pub fn share(&self, namespace: &str) -> Share {
        let quota = self.quotas.get(namespace).and_then(|quota| quota.slots);
        Share {
            used: self.used(namespace).slots,
            of: quota.map_or(self.slots_in_all, u64::from),
        }
    }

    /// Slots that a job may get now; `u64::MAX`: as many as there are.
    ///
    /// # Errors
    /// [`Exhausted`], if that is fewer than it can do anything with.
    pub fn room(&self, namespace: &str, request: Request) -> Result<u64, Exhausted> {
        let Some(quota) = self.quotas.get(namespace) else {
            return Ok(u64::MAX);
        };
        let used = self.used(namespace);
        if let Some(jobs) = quota.jobs.map(u64::from).filter(|_| !request.has_gang)
            && used.jobs >= jobs
        {
            return Err(Exhausted {
                later: jobs > 0,
                reason: match jobs {
                    0 => format!("the quota of namespace {namespace} lets it run no job"),
                    _ => format!("namespace {namespace} runs {}", of(used.jobs, jobs, "job")),
                },
            });
        }
        let Some(slots) = quota.slots.map(u64::from) else {
            return Ok(u64::MAX);
        };
        if request.fewest > slots {
            return Err(Exhausted {
                later: false,
                reason: format!(
                    "needs at least {}, and the quota of namespace {namespace} is {slots}",
                    counted(request.fewest, "slot")
                ),
            });
        }
        let room = slots.saturating_sub(used.slots);
        if room < request.next {
            return Err(Exhausted {
                later: true,
                reason: format!(
                    "namespace {namespace} uses {}; the job needs {} more",
                    of(used.slots, slots, "slot"),
                    request.next
                ),
            });
        }
        Ok(room)
    }
}

/// `8 of its 8 slots`, or what is beyond a quota that was lowered.
fn of(used: u64, quota: u64, noun: &str) -> String {
    match used > quota {
        true => format!("{}, more than its quota of {quota}", counted(used, noun)),
        false => format!("{used} of its {}", counted(quota, noun)),
    }
}

fn counted(count: u64, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests;
