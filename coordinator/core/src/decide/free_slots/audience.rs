//! Which workers will do for a job, and what the others lack.

use std::collections::BTreeMap;

use super::{Circle, Fleet, Labels};
use crate::compatibility::Need;
use crate::state::Job;
use crate::state::worker::has_labels;

/// What a job asks of a worker, whatever is free there.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::decide) struct Audience {
    /// Nothing where all workers that are there for it are of this build.
    pub(super) need: Need,
    /// The workers that are there for it.
    pub(in crate::decide) circle: Circle,
}

impl Fleet {
    /// Of a job. What it needs of older workers is read from all of its spec: ask it of those alone that may be placed.
    pub(in crate::decide) fn audience(&self, job: &Job) -> Audience {
        self.audience_within(job, self.circle(job))
    }

    /// The same, if its circle is known.
    pub(in crate::decide) fn audience_within(&self, job: &Job, circle: Circle) -> Audience {
        let need = match self.has_older(&circle) {
            true => Need::of_job(job),
            false => Need::NOTHING,
        };
        Audience { need, circle }
    }

    /// Why workers that are there are not for a job: `3 of 5 workers serve other jobs`, then `1 lacks the label zone=a`.
    pub(super) fn passed_over(&self, circle: &Circle) -> Vec<String> {
        let size = |class: usize| self.classes[class].workers.len();
        let serving = || self.directory.classes_serving(circle.served);
        let others = self.workers - serving().map(|(_, class)| size(class)).sum::<usize>();
        let mut lacking: BTreeMap<String, usize> = BTreeMap::new();
        for (labels, class) in serving().filter(|(labels, _)| !has_labels(labels, circle.selector())) {
            *lacking.entry(missing(labels, circle.selector())).or_default() += size(class);
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
