//! What chooses checkpoints, stops early or lowers the learning rate has to be something that the task has.

use super::violations::Violations;
use crate::metrics::Watched;
use crate::spec::{DataFormat, JobSpec, LabelColumns, MetricName, RowFormat, ScheduleShape, WatchedField, Word};
use crate::task::listed;

pub(super) fn check(spec: &JobSpec, violations: &mut Violations) {
    for watched in spec.training.watched() {
        let metric = watched.watched.metric;
        if !spec.task.has(metric.metric()) {
            let known: Vec<&str> = spec.task.metrics().map(|metric| metric.name).collect();
            let message = format!(
                "must be a metric of {} ({}), found `validation/{}`",
                spec.task.word(),
                known.join(", "),
                metric.name(),
            );
            violations.add(watched.field, message);
        } else if !is_default(spec, &watched) {
            class(spec, &watched, violations);
        }
    }
}

/// Whether it is nothing but the default, which is what early stopping watches: that is told of once.
fn is_default(spec: &JobSpec, watched: &WatchedField<'_>) -> bool {
    let stopping = spec.training.early_stopping.as_ref();
    watched.field == "spec.training.bestMetric"
        && stopping.is_some_and(|stopping| stopping.watched() == watched.watched)
}

/// A metric of one class needs a class, and no other has one. Where the spec names all classes, it is one of them.
fn class(spec: &JobSpec, field: &WatchedField<'_>, violations: &mut Violations) {
    let Watched { metric, class } = field.watched;
    let (is_of_one, name) = (metric.is_of_one_class(), metric.name());
    match class {
        None if is_of_one => violations.add(
            field.class_field,
            format!("is required for `validation/{name}`, which is of one class"),
        ),
        Some(class) if !is_of_one => {
            let words = MetricName::WORDS.iter();
            let of_one = words.filter(|(_, metric)| metric.is_of_one_class());
            let of_one: Vec<String> = of_one.map(|(word, _)| format!("`validation/{word}`")).collect();
            let message = format!(
                "must be left out for `validation/{name}`, which is of all classes; of one class are {}, found `{class}`",
                of_one.join(", ")
            );
            violations.add(field.class_field, message);
        }
        Some(class) => {
            let known = spec.task.watchable(names(spec));
            violations.require(
                known.is_empty() || known.iter().any(|known| known == class),
                field.class_field,
                || format!("must be one of {}, found `{class}`", listed(&known)),
            );
        }
        None => {}
    }
}

/// The names of the schema, as far as the spec says them.
fn names(spec: &JobSpec) -> &[String] {
    match &spec.data.format {
        DataFormat::Rows(RowFormat {
            label: LabelColumns::Flags(labels),
            ..
        }) => labels,
        _ => &spec.data.classes,
    }
}

/// Without a validation nothing has a value.
pub(super) fn needs_validation(spec: &JobSpec, violations: &mut Violations) {
    let training = &spec.training;
    if spec.data.validation.is_some() {
        return;
    }
    let needs = |metric: MetricName| format!("`validation/{}` needs spec.data.validation", metric.word());
    if let Some(stopping) = &training.early_stopping {
        violations.add("spec.training.earlyStopping.metric", needs(stopping.metric));
    } else if training.best_metric != MetricName::LOSS {
        violations.add("spec.training.bestMetric", needs(training.best_metric));
    }
    if let ScheduleShape::Plateau(plateau) = &training.schedule.shape {
        violations.add("spec.training.schedule.metric", needs(plateau.metric));
    }
}
