//! What has to fit the task: the label columns and the loss.

use super::violations::Violations;
use crate::spec::{DataFormat, InputColumn, JobSpec, LabelColumns, Task, Word};

/// What people watch holds the scale of each.
const MOST_TARGETS: usize = 256;

pub(super) fn check(spec: &JobSpec, violations: &mut Violations) {
    let (task, word) = (spec.task, spec.task.word());
    violations.require(
        spec.training.loss.task() == task,
        "spec.training.loss.type",
        || match task {
            Task::Classification => format!("must be `cross_entropy` for {word}"),
            Task::Regression => format!("must be `mse`, `l1` or `huber` for {word}, found `cross_entropy`"),
        },
    );
    match &spec.data.format {
        DataFormat::ImageFolder => {
            violations.require(task == Task::Classification, "spec.data.format", || {
                format!("must be a table for {word}, found `imagefolder`, whose folders are classes")
            });
        }
        DataFormat::Rows(rows) => columns(task, &rows.input, &rows.label, violations),
    }
}

fn columns(task: Task, input: &InputColumn, label: &LabelColumns, violations: &mut Violations) {
    let (input, role) = (input.name(), input.role());
    const TARGETS: &str = "spec.data.columns.targets";
    match label {
        LabelColumns::Class(label) => {
            violations.require(label != input, "spec.data.columns.label", || {
                format!("must be another column than the {role}, found `{label}` for both")
            });
            violations.require(task == Task::Classification, "spec.data.columns", || {
                format!("must name the targets of a {}, found a label alone", task.word())
            });
        }
        LabelColumns::Numbers(names) => {
            violations.require(task == Task::Regression, TARGETS, || {
                format!("must be left out for {}, whose label is a class", task.word())
            });
            violations.require(names.len() <= MOST_TARGETS, TARGETS, || {
                format!("must be at most {MOST_TARGETS} columns, found {}", names.len())
            });
            for (place, name) in names.iter().enumerate() {
                let is_own = name != input && !name.is_empty() && !names[..place].contains(name);
                violations.require(is_own, &format!("{TARGETS}[{place}]"), || {
                    format!("must be a column of its own, beside the {role} and named once, found `{name}`")
                });
            }
        }
    }
}
