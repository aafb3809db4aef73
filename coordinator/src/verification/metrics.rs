//! Metrics that need single predictions, computed again from the predictions file that the job left: of the best epoch, and of test. Of other
//! epochs the predictions are gone, and their metrics stay unchecked.

use std::collections::BTreeMap;

use firn_core::{
    audit::{Finding, Flaw, PassReceipt, Receipt},
    metrics::bootstrap::{Intervals, LEVEL, RESAMPLES},
    state::{Pass, SplitName},
    task::{Metrics, Schema, Statistics, Task},
};

use super::files::{CheckedFile, FileState};
use crate::artifacts::{ArtifactError, ArtifactStore, FileKind, predictions};

/// Largest relative difference between a metric and what follows from the predictions.
const TOLERANCE: f64 = 1e-9;

/// What the predictions of a pass say.
struct Told {
    statistics: Statistics,
    metrics: BTreeMap<String, f64>,
    /// Where they lie, if that was recorded.
    intervals: Option<Intervals>,
    /// Thresholds that were tuned on them.
    thresholds: Vec<f64>,
}

/// Checks what the predictions that are left can tell, and takes it off the lists of what is not checked.
pub(super) fn check(store: &ArtifactStore, receipt: &mut Receipt, files: &[CheckedFile]) -> Vec<Finding> {
    let (Some(dataset), Some(task), Some(best)) = (receipt.dataset.clone(), receipt.task, receipt.best_epoch) else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    let job = receipt.job.as_str();
    let validation = receipt.passes.iter().find(|known| known.pass == Pass::validation(best));
    let tuned = validation.and_then(|known| Some(known.metrics.as_ref()?.thresholds.clone()));
    let tuned = tuned.unwrap_or_default();
    for split in [SplitName::Validation, SplitName::Test] {
        let pass = Pass::Evaluate { split, epoch: best };
        let Some(evaluation) = receipt.passes.iter_mut().find(|known| known.pass == pass) else {
            continue;
        };
        let Some(recorded) = evaluation.metrics.clone() else {
            continue;
        };
        let name = format!("predictions_{split}.csv");
        let is_verified = |file: &&CheckedFile| file.name == name && file.state == FileState::Verified;
        let Some(file) = files.iter().find(is_verified) else {
            continue;
        };
        let kind = FileKind::Artifact(name.clone());
        let schema = Schema {
            thresholds: if split == SplitName::Test { &tuned } else { &[] },
            ..dataset.schema()
        };
        let finding = match told(store, (job, &kind, &file.recorded.sha256), (task, schema, &recorded)) {
            Ok(None) => continue,
            Ok(Some(told)) => compare(evaluation, &recorded, &told),
            Err(error) => Some(format!("{name} is not that of this job: {error}")),
        };
        let place = |message| {
            Finding::new(Flaw::Metrics, message)
                .of_shard(split, None)
                .in_epoch(best)
        };
        findings.extend(finding.map(place));
    }
    findings
}

/// Reads the predictions; `None` if they cannot be opened.
fn told(
    store: &ArtifactStore,
    (job, kind, sha256): (&str, &FileKind, &str),
    (task, schema, recorded): (Task, Schema<'_>, &Metrics),
) -> Result<Option<Told>, ArtifactError> {
    // It may lie elsewhere.
    if store.open(job, kind, sha256).is_err() {
        return Ok(None);
    }
    let walk = |each: &mut dyn FnMut(&firn_proto::v1alpha1::Prediction)| match store.open(job, kind, sha256) {
        Ok(file) => predictions::read(task, schema, file, each),
        Err(error) => Err(error),
    };
    let is_ours = |known: &&Intervals| known.resamples == RESAMPLES && known.level == LEVEL;
    let intervals = match recorded.intervals.as_ref().filter(is_ours) {
        Some(known) => predictions::intervals::of((task, None), schema, known.seed, &walk)?,
        None => None,
    };
    Ok(Some(Told {
        statistics: predictions::statistics(task, schema, &walk)?,
        metrics: predictions::metrics(task, schema, recorded.samples, &walk)?,
        intervals,
        thresholds: match recorded.thresholds.is_empty() {
            true => Vec::new(),
            false => predictions::tuned_thresholds(task, schema, recorded.samples, &walk)?,
        },
    }))
}

/// What differs, if anything does. What was compared is no longer unchecked.
fn compare(receipt: &mut PassReceipt, recorded: &Metrics, told: &Told) -> Option<String> {
    if told.statistics.samples() != recorded.samples || !told.statistics.agrees(&recorded.detail) {
        return Some("the predictions file counts otherwise than the recorded metrics".to_owned());
    }
    let near = |a: f64, b: f64| (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()).max(1.0);
    for (name, expected) in &told.metrics {
        let Some(found) = recorded.values.get(name) else {
            continue;
        };
        if !near(*expected, *found) {
            return Some(format!(
                "expected {name} {expected} from the predictions file, found {found}"
            ));
        }
        receipt.unchecked_metrics.retain(|unchecked| unchecked != name);
    }
    if told.thresholds != recorded.thresholds {
        return Some(format!(
            "expected thresholds {:?} from the predictions file, found {:?}",
            told.thresholds, recorded.thresholds
        ));
    }
    let (told, recorded) = (told.intervals.as_ref()?, recorded.intervals.as_ref()?);
    for (name, expected) in &told.by_name {
        let Some(found) = recorded.by_name.get(name) else {
            continue;
        };
        if !near(expected.low, found.low) || !near(expected.high, found.high) {
            return Some(format!(
                "expected {name} between {} and {} from the predictions file, found {} and {}",
                expected.low, expected.high, found.low, found.high
            ));
        }
    }
    None
}
