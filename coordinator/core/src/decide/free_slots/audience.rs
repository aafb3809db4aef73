//! Which classes of workers a job may be given, and what the others lack.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::{Fleet, Labels};
use crate::compatibility::{Need, Revision};
use crate::state::worker::has_labels;
use crate::state::{Job, Serves};

/// What a job asks of a worker, whatever is free there.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::decide) struct Audience {
    /// Nothing where all known workers are of this build.
    pub(super) need: Need,
    selector: Labels,
    /// Who serves it, of those that are there.
    serving: Vec<Serves>,
    /// The classes that it may have, by number.
    pub(super) classes: Rc<[usize]>,
}

impl Audience {
    /// Whether workers are there for this job alone: then no other job has the same audience.
    pub(in crate::decide) fn has_own_workers(&self) -> bool {
        self.serving.iter().any(|serves| serves.job.is_some())
    }
}

impl Fleet {
    /// Of a job.
    pub(in crate::decide) fn audience(&self, job: &Job) -> Audience {
        let selector = job.spec.scheduling.worker_selector.clone();
        let serving: Vec<Serves> = Serves::all_for(job)
            .into_iter()
            .filter(|serves| self.by_key.contains_key(serves))
            .collect();
        let need = match self.oldest < Revision::CURRENT {
            true => Need::of_job(job),
            false => Need::NOTHING,
        };
        let key = (serving, selector);
        let known = self.found.borrow().get(&key).cloned();
        let classes = known.unwrap_or_else(|| {
            let classes = self.select(&key.0, |labels| has_labels(labels, &key.1));
            self.found.borrow_mut().insert(key.clone(), Rc::clone(&classes));
            classes
        });
        let (serving, selector) = key;
        Audience {
            need,
            selector,
            serving,
            classes,
        }
    }

    fn select(&self, serving: &[Serves], is_meant: impl Fn(&Labels) -> bool) -> Rc<[usize]> {
        let classes = serving.iter().filter_map(|serves| self.by_key.get(serves)).flatten();
        classes
            .filter(|(labels, _)| is_meant(labels))
            .map(|(_, class)| *class)
            .collect()
    }

    /// Why workers that are there are not for a job: `3 of 5 workers serve other jobs`, then `1 lacks the label zone=a`.
    pub(super) fn passed_over(&self, audience: &Audience) -> Vec<String> {
        let size = |class: &usize| self.classes[*class].workers.len();
        let serving = self.select(&audience.serving, |_| true);
        let others = self.workers - serving.iter().map(size).sum::<usize>();
        let mut lacking: BTreeMap<String, usize> = BTreeMap::new();
        for class in serving.iter() {
            let labels = &self.classes[*class].labels;
            if !has_labels(labels, &audience.selector) {
                *lacking.entry(missing(labels, &audience.selector)).or_default() += size(class);
            }
        }
        let mut lacking: Vec<(String, usize)> = lacking.into_iter().collect();
        lacking.sort_by_key(|(_, workers)| std::cmp::Reverse(*workers));
        let others = (others > 0).then(|| {
            (
                others,
                if others == 1 { "serves" } else { "serve" },
                "other jobs".to_owned(),
            )
        });
        let lacking = lacking
            .into_iter()
            .map(|(what, workers)| (workers, if workers == 1 { "lacks" } else { "lack" }, what));
        let clauses = others.into_iter().chain(lacking).enumerate();
        clauses
            .map(|(number, (workers, verb, what))| match number {
                0 => format!("{workers} of {} {verb} {what}", counted(self.workers)),
                _ => format!("{workers} {verb} {what}"),
            })
            .collect()
    }
}

fn counted(workers: usize) -> String {
    match workers {
        1 => "1 worker".to_owned(),
        _ => format!("{workers} workers"),
    }
}

fn missing(labels: &Labels, selector: &Labels) -> String {
    let missing: Vec<String> = selector
        .iter()
        .filter(|(key, value)| labels.get(*key) != Some(value))
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let noun = if missing.len() == 1 { "label" } else { "labels" };
    format!("the {noun} {}", missing.join(", "))
}
