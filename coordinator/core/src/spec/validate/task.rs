//! What has to fit the task: the label columns and the loss.

use super::violations::Violations;
use crate::spec::{DataFormat, HeadSpec, InputColumn, JobSpec, LabelColumns, RowLayout, Sampling, Task, Word};
use crate::task::multi_label::MOST_LABELS;

/// What people watch holds the scale of each.
const MOST_TARGETS: usize = 256;

pub(super) fn check(spec: &JobSpec, violations: &mut Violations) {
    let (task, word) = (spec.task, spec.task.word());
    let loss = &spec.training.loss;
    violations.require(loss.is_of(task), "spec.training.loss.type", || match task {
        Task::Classification | Task::Tokens => {
            format!("must be `cross_entropy` or `focal` for {word}, found `{}`", loss.word())
        }
        Task::Regression => format!("must be `mse`, `l1` or `huber` for {word}, found `{}`", loss.word()),
        Task::MultiLabel(_) => format!(
            "must be `binary_cross_entropy` or `sigmoid_focal` for {word}, found `{}`",
            loss.word()
        ),
    });
    violations.require(
        !task.tunes_thresholds() || spec.data.validation.is_some(),
        "spec.task.tuneThresholds",
        || "must be `false` without `data.validation`, on which thresholds are tuned".to_owned(),
    );
    let is_drawn = spec.training.sampling == Sampling::Balanced;
    violations.require(
        !is_drawn || task == Task::Classification,
        "spec.training.sampling",
        || format!("must be `shuffle` for {word}: a sample has no class of its own that could be balanced"),
    );
    class_order(spec, violations);
    match &spec.data.format {
        DataFormat::ImageFolder => {
            violations.require(task == Task::Classification, "spec.data.format", || {
                format!("must be a table for {word}, found `imagefolder`, whose folders are classes")
            });
        }
        DataFormat::Rows(rows) => {
            let is_conll = rows.layout == RowLayout::Conll;
            let fits = match task {
                Task::Tokens => is_conll || rows.layout == RowLayout::JsonLines,
                _ => !is_conll,
            };
            violations.require(fits, "spec.data.format", || format(task, rows.layout));
            if fits {
                columns(task, &rows.input, &rows.label, violations);
            }
        }
    }
}

/// What the format of a task has to be, where it is another one.
fn format(task: Task, found: RowLayout) -> String {
    let (word, found) = (task.word(), found.word());
    match task {
        Task::Tokens => format!("must be `jsonl` or `conll` for {word}, found `{found}`, whose fields are no lists"),
        _ => format!("must be another one for {word}, found `{found}`, whose words have tags"),
    }
}

/// Classes that are named have names of their own.
fn class_order(spec: &JobSpec, violations: &mut Violations) {
    const FIELD: &str = "spec.data.classes";
    let names = &spec.data.classes;
    let has_classes = matches!(spec.task, Task::Classification | Task::Tokens);
    violations.require(names.is_empty() || has_classes, FIELD, || {
        format!("must be left out for {}, which has no classes", spec.task.word())
    });
    violations.require(names.len() != 1, FIELD, || {
        "must name at least two classes, found one".to_owned()
    });
    // In the order of their names, ranks would be others.
    let by_name = |what: String| format!("must name the ranks from the lowest to the highest for {what}");
    if names.is_empty() && matches!(spec.model.head, HeadSpec::Ordinal { .. }) {
        violations.add(FIELD, by_name("a head of type `ordinal`".to_owned()));
    } else if names.is_empty() && spec.task == Task::Classification {
        let mut watched = spec.training.watched();
        if let Some(found) = watched.find(|found| found.watched.metric.counts_distances()) {
            violations.add(
                FIELD,
                by_name(format!("{}, which is `validation/{}`", found.field, found.watched)),
            );
        }
    }
    for (place, name) in names.iter().enumerate() {
        let is_own = !name.trim().is_empty() && !names[..place].contains(name);
        violations.require(is_own, &format!("{FIELD}[{place}]"), || {
            format!("must be a class of its own, named once, found `{name}`")
        });
    }
}

fn columns(task: Task, input: &InputColumn, label: &LabelColumns, violations: &mut Violations) {
    let (field, is_of_task) = match label {
        LabelColumns::Class(_) => ("spec.data.columns.label", task == Task::Classification),
        LabelColumns::Numbers(_) => ("spec.data.columns.targets", task == Task::Regression),
        LabelColumns::List { .. } => ("spec.data.columns.separator", matches!(task, Task::MultiLabel(_))),
        LabelColumns::Flags(_) => ("spec.data.columns.labels", matches!(task, Task::MultiLabel(_))),
        LabelColumns::Tags(_) => ("spec.data.columns.tags", task == Task::Tokens),
    };
    violations.require(is_of_task, field, || {
        let has = match task {
            Task::Classification => "whose label is a class",
            Task::Regression => "whose labels are numbers in columns of their own: `targets`",
            Task::MultiLabel(_) => "whose labels are lists in a column, or `0` and `1` in columns of their own",
            Task::Tokens => "whose labels are tags of words: `tags`",
        };
        format!("must be left out for {}, {has}", task.word())
    });
    if let InputColumn::TextPair([first, second]) = input {
        violations.require(first != second, "spec.data.columns.textPair", || {
            format!("must be another column than the text, found `{second}` for both")
        });
    }
    let (input, role) = (input.names(), input.role());
    match label {
        LabelColumns::Class(label) | LabelColumns::List { column: label, .. } | LabelColumns::Tags(label) => {
            let field = match task {
                Task::Tokens => field,
                _ => "spec.data.columns.label",
            };
            violations.require(!input.contains(label), field, || {
                format!("must be another column than the {role}, found `{label}` for both")
            });
        }
        LabelColumns::Numbers(names) => own_columns(field, names, MOST_TARGETS, (input, role), violations),
        LabelColumns::Flags(names) => own_columns(field, names, MOST_LABELS, (input, role), violations),
    }
}

/// Columns that are named once each, beside the input.
fn own_columns(
    field: &str,
    names: &[String],
    most: usize,
    (input, role): (&[String], &str),
    violations: &mut Violations,
) {
    violations.require(names.len() <= most, field, || {
        format!("must be at most {most} columns, found {}", names.len())
    });
    for (place, name) in names.iter().enumerate() {
        let is_own = !input.contains(name) && !name.is_empty() && !names[..place].contains(name);
        violations.require(is_own, &format!("{field}[{place}]"), || {
            format!("must be a column of its own, beside the {role} and named once, found `{name}`")
        });
    }
}
