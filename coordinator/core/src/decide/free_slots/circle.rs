//! Which classes of workers are there for a job: those that serve it and have the labels that it selects.
//!
//! It is asked of each of ten thousand jobs in each decision. So whom workers serve is looked up with what the job holds already, nothing is made
//! for the question, and jobs that ask alike share one answer.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::{Fleet, Labels};
use crate::identifiers::JobId;
use crate::state::worker::has_labels;
use crate::state::{Job, Serves, WorkerDescription};

/// The classes of workers that a job may have, by number.
#[derive(Clone)]
pub(in crate::decide) struct Circle {
    pub(super) served: Served,
    found: Rc<Found>,
}

struct Found {
    selector: Labels,
    classes: Vec<usize>,
}

impl PartialEq for Circle {
    fn eq(&self, other: &Self) -> bool {
        // Those that ask alike share the answer.
        Rc::ptr_eq(&self.found, &other.found)
    }
}

impl Eq for Circle {}

impl Circle {
    pub(super) fn classes(&self) -> impl Iterator<Item = usize> + Clone {
        self.found.classes.iter().copied()
    }

    /// If it is one.
    pub(super) fn only_class(&self) -> Option<usize> {
        match *self.found.classes {
            [only] => Some(only),
            _ => None,
        }
    }

    pub(super) fn selector(&self) -> &Labels {
        &self.found.selector
    }

    /// Whether workers are there for this job alone: then no other job has the same circle.
    pub(in crate::decide) fn has_own_workers(&self) -> bool {
        let [_, _, own, own_in_namespace] = self.served;
        own.is_some() || own_in_namespace.is_some()
    }
}

/// By whom a job is served, as numbers of the [`Directory`]: by workers for everybody, for its namespace, for it alone, and for it alone in its
/// namespace. There are no others that include it.
pub(super) type Served = [Option<usize>; 4];

/// Whom workers serve.
#[derive(Default)]
pub(super) struct Directory {
    for_all: InNamespaces,
    for_jobs: BTreeMap<JobId, InNamespaces>,
    /// The classes of those who serve alike, by their labels.
    groups: Vec<BTreeMap<Labels, usize>>,
}

/// Numbers of groups.
#[derive(Default)]
struct InNamespaces {
    any: Option<usize>,
    named: BTreeMap<String, usize>,
}

impl InNamespaces {
    fn number(&self, serves: &Serves) -> Option<usize> {
        match &serves.namespace {
            None => self.any,
            Some(namespace) => self.named.get(namespace).copied(),
        }
    }
}

impl Directory {
    /// A class of workers that are alike to this one.
    pub(super) fn enter(&mut self, description: &WorkerDescription, class: usize) {
        let serves = &description.serves;
        let number = self.number(serves).unwrap_or_else(|| {
            let number = self.groups.len();
            self.groups.push(BTreeMap::new());
            let entry = match &serves.job {
                None => &mut self.for_all,
                Some(job) => self.for_jobs.entry(job.clone()).or_default(),
            };
            match &serves.namespace {
                None => entry.any = Some(number),
                Some(namespace) => drop(entry.named.insert(namespace.clone(), number)),
            }
            number
        });
        self.groups[number].insert(description.labels.clone(), class);
    }

    pub(super) fn class_of(&self, description: &WorkerDescription) -> Option<usize> {
        let group = &self.groups[self.number(&description.serves)?];
        group.get(&description.labels).copied()
    }

    fn number(&self, serves: &Serves) -> Option<usize> {
        let entry = match &serves.job {
            None => Some(&self.for_all),
            Some(job) => self.for_jobs.get(job),
        };
        entry?.number(serves)
    }

    /// Whether workers are there for this job alone.
    fn has_any_for(&self, job: &JobId) -> bool {
        !self.for_jobs.is_empty() && self.for_jobs.contains_key(job)
    }

    fn served(&self, job: &Job) -> Served {
        let own = self.for_jobs.get(&job.id);
        let named = |entry: &InNamespaces| entry.named.get(job.namespace()).copied();
        [
            self.for_all.any,
            named(&self.for_all),
            own.and_then(|own| own.any),
            own.and_then(named),
        ]
    }

    /// The classes of those who serve, with their labels.
    pub(super) fn classes_serving(&self, served: Served) -> impl Iterator<Item = (&Labels, usize)> {
        let groups = served.into_iter().flatten().flat_map(|number| &self.groups[number]);
        groups.map(|(labels, class)| (labels, *class))
    }
}

/// The circles that were asked for, by who serves and what is selected.
#[derive(Default)]
pub(super) struct Circles(RefCell<BTreeMap<Served, BTreeMap<Labels, Rc<Found>>>>);

impl Fleet {
    /// Whether workers are there for this job alone, in any namespace.
    pub(in crate::decide) fn has_workers_for(&self, job: &JobId) -> bool {
        self.directory.has_any_for(job)
    }

    /// Jobs for which alone workers are there.
    pub(in crate::decide) fn jobs_with_own_workers(&self) -> impl Iterator<Item = &JobId> {
        self.directory.for_jobs.keys()
    }

    /// Of a job.
    pub(in crate::decide) fn circle(&self, job: &Job) -> Circle {
        let (served, selector) = (self.directory.served(job), &job.spec.scheduling.worker_selector);
        let mut circles = self.circles.0.borrow_mut();
        let by_selector = circles.entry(served).or_default();
        let known = by_selector.get(selector).cloned();
        let found = known.unwrap_or_else(|| {
            let serving = self.directory.classes_serving(served);
            let meant = serving.filter(|(labels, _)| has_labels(labels, selector));
            let found = Rc::new(Found {
                selector: selector.clone(),
                classes: meant.map(|(_, class)| class).collect(),
            });
            by_selector.insert(selector.clone(), Rc::clone(&found));
            found
        });
        Circle { served, found }
    }
}
