//! What ranks found on their machines: the first manifest and the first model are the job's, and every other rank must have found the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::decision_builder::DecisionBuilder;
use super::losses;
use super::members::wanted;
use crate::identifiers::RankIdentity;
use crate::record::JobEvent;
use crate::reject::Reject;
use crate::reply::Reply;
use crate::spec::{DataFormat, JobSpec, LabelColumns, MissingLabels, WatchedField};
use crate::state::{Dataset, FailureReason, ModelSummary, ShardTable, SplitManifest, SplitName};
use crate::task::{Task, listed};

pub(super) fn dataset(
    draft: &mut DecisionBuilder<'_>,
    identity: &RankIdentity,
    found: &Arc<Dataset>,
) -> Result<Reply, Reject> {
    let caller = wanted(draft.base(), identity)?;
    validate(caller.job.spec.task, found)?;
    if let Some(message) = missing_label(&caller.job.spec, found) {
        let place = format!("rank {} on {}", caller.member.rank, caller.member.host);
        let message = format!("{place} found {message}");
        return Ok(Reply::JobFailed(losses::fail_by(
            draft,
            &caller,
            FailureReason::BadData,
            message,
        )));
    }
    let run = &caller.job.run;
    let Some(registered) = &run.dataset else {
        if let Some(message) = undefined_metric(&caller.job.spec, found) {
            let failure = losses::fail_by(draft, &caller, FailureReason::Misconfigured, message);
            return Ok(Reply::JobFailed(failure));
        }
        let numbers = caller.job.spec.task.numbers_per_prediction(found.schema());
        let cut = |split: &SplitManifest| (split.split, ShardTable::cut(split.samples, numbers));
        let shards: BTreeMap<SplitName, ShardTable> =
            found.splits.iter().filter(|split| split.samples > 0).map(cut).collect();
        let (rank, host) = (caller.member.rank, caller.member.host.clone());
        draft.record_job(
            &identity.job,
            JobEvent::DatasetRegistered {
                dataset: found.clone(),
                shards,
                rank,
                host,
            },
        );
        return Ok(Reply::Dataset {
            dataset: found.clone(),
            quarantined: run.quarantined.clone(),
        });
    };
    let Some(difference) = difference(&registered.dataset, found) else {
        let dataset = registered.dataset.clone();
        return Ok(Reply::Dataset {
            dataset,
            quarantined: run.quarantined.clone(),
        });
    };
    let message = format!(
        "rank {} on {} and rank {} on {} see different data: {difference}; every worker must see the same files",
        registered.rank, registered.host, caller.member.rank, caller.member.host,
    );
    Ok(Reply::JobFailed(losses::fail_by(
        draft,
        &caller,
        FailureReason::BadData,
        message,
    )))
}

fn validate(task: Task, dataset: &Dataset) -> Result<(), Reject> {
    let invalid = |reason: String| {
        Err(Reject::Invalid {
            field: "dataset",
            reason,
        })
    };
    if let Err(reason) = task.check_schema(dataset.schema()) {
        return invalid(reason);
    }
    let names: BTreeSet<SplitName> = dataset.splits.iter().map(|split| split.split).collect();
    if names.len() != dataset.splits.len() {
        return invalid("expected each split once, found one twice".to_owned());
    }
    if dataset.split(SplitName::Train).is_none() {
        return invalid("expected samples in split train, found none".to_owned());
    }
    for split in &dataset.splits {
        if let Err(reason) = task.check_split(dataset.schema(), split.samples, &split.class_counts) {
            return invalid(format!("split {}: {reason}", split.split));
        }
    }
    Ok(())
}

/// A metric that is to decide something and can have no value on this data, whatever is learned: nobody would see that it decided nothing.
fn undefined_metric(spec: &JobSpec, found: &Dataset) -> Option<String> {
    let schema = found.schema();
    let is_undefined = |field: &WatchedField<'_>| !spec.task.can_tell(field.watched.metric.metric(), schema);
    let Some(undefined) = spec.training.watched().find(is_undefined) else {
        return undefined_for_a_label(spec, found).or_else(|| undefined_class(spec, found));
    };
    Some(format!(
        "{}: expected a metric that data of {} classes can have, found `validation/{}`, which is undefined or always 1 there",
        undefined.field,
        found.classes.len(),
        undefined.watched.metric.name(),
    ))
}

/// A class that the data does not have, or its validation, where a metric of one class is to decide something.
fn undefined_class(spec: &JobSpec, found: &Dataset) -> Option<String> {
    let (task, schema) = (spec.task, found.schema());
    let known = task.watchable(schema.classes);
    spec.training.watched().find_map(|field| {
        let class = field.watched.class?;
        if !known.iter().any(|known| known == class) {
            let field = field.class_field;
            return Some(match known.is_empty() {
                true => format!("{field}: expected a type of entity, but the tags of the data name none, found `{class}`"),
                false => format!("{field}: expected one of {}, which the data has, found `{class}`", listed(&known)),
            });
        }
        let split = found.splits.iter().find(|split| split.split == SplitName::Validation)?;
        (task.samples_of(class, schema, &split.class_counts) == 0).then(|| {
            format!(
                "{}: expected a class that the validation split has, found `{class}`, of which it has no sample: `validation/{}` would always be 0",
                field.class_field, field.watched,
            )
        })
    })
}

/// A metric that is to decide something and that no validation can have, because of a label that all its samples have, or none.
fn undefined_for_a_label(spec: &JobSpec, found: &Dataset) -> Option<String> {
    let split = found.splits.iter().find(|split| split.split == SplitName::Validation)?;
    spec.training.watched().find_map(|field| {
        let metric = field.watched.metric;
        let label = spec.task.undefined_label(metric.metric(), split.samples, &split.class_counts)?;
        Some(format!(
            "{}: expected a metric that the validation split can have, found `validation/{}`, which is undefined where no sample has the label \
             `{}`, or each",
            field.field,
            metric.name(),
            found.classes.get(label).map_or("", String::as_str),
        ))
    })
}

/// A class that is a word for no label, where the spec refuses these. Ranks do so themselves, with the lines; those of the first program take
/// every word for a class.
fn missing_label(spec: &JobSpec, found: &Dataset) -> Option<String> {
    let is_written = match &spec.data.format {
        DataFormat::ImageFolder => true,
        DataFormat::Rows(rows) => !matches!(rows.label, LabelColumns::Flags(_)),
    };
    let is_refused = is_written && spec.data.missing_labels == Some(MissingLabels::Error);
    let class = found
        .classes
        .iter()
        .find(|class| is_refused && MissingLabels::is_missing(class))?;
    Some(format!(
        "labels `{class}`, which are missing values; data.missingLabels can leave such rows out (drop) or take the word for a class (keep)"
    ))
}

/// The first thing in which two manifests differ: `expected …, found …`.
fn difference(registered: &Dataset, found: &Dataset) -> Option<String> {
    for name in SplitName::ALL {
        let describe = |dataset: &Dataset| match dataset.splits.iter().find(|split| split.split == name) {
            Some(split) => format!("{} samples with digest {}", split.samples, short(&split.digest)),
            None => "no such split".to_owned(),
        };
        let of = |dataset: &Dataset| {
            let split = dataset.splits.iter().find(|split| split.split == name);
            split.map(|split| (split.samples, split.digest.clone()))
        };
        if of(registered) != of(found) {
            return Some(format!(
                "split {name}: expected {}, found {}",
                describe(registered),
                describe(found)
            ));
        }
    }
    registered.schema().difference(found.schema())
}

/// Enough of a digest to tell two apart.
fn short(digest: &str) -> &str {
    digest.get(..16).unwrap_or(digest)
}

pub(super) fn model(
    draft: &mut DecisionBuilder<'_>,
    identity: &RankIdentity,
    found: ModelSummary,
) -> Result<Reply, Reject> {
    let caller = wanted(draft.base(), identity)?;
    let Some(registered) = &caller.job.run.model else {
        let (rank, host) = (caller.member.rank, caller.member.host.clone());
        draft.record_job(
            &identity.job,
            JobEvent::ModelRegistered {
                model: found,
                rank,
                host,
            },
        );
        return Ok(Reply::Done);
    };
    if registered.model == found {
        return Ok(Reply::Done);
    }
    let describe = |model: &ModelSummary| {
        format!(
            "{} frozen and {} trainable parameters, cut {}, frozen digest {}",
            model.frozen_parameters,
            model.trainable_parameters,
            model.cut,
            short(&model.frozen_digest),
        )
    };
    let message = format!(
        "rank {} on {} and rank {} on {} loaded different models: expected {}, found {}; every worker must see the same weights",
        registered.rank,
        registered.host,
        caller.member.rank,
        caller.member.host,
        describe(&registered.model),
        describe(&found),
    );
    Ok(Reply::JobFailed(losses::fail_by(
        draft,
        &caller,
        FailureReason::Misconfigured,
        message,
    )))
}
