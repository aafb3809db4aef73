//! What a rank reports for a shard: taken apart, and checked against the shard and the schema.

use crate::input::ShardReport;
use crate::metrics::ClassificationStatistics;
use crate::reject::Reject;
use crate::state::{ConfusionCell, Job, Pass, QuarantinedSample, Shard, ShardOutcome, ShardStatistics};

/// What a report holds.
pub(super) enum Examined {
    Good(ShardOutcome, Vec<QuarantinedSample>),
    /// The summed loss is NaN or infinite.
    NotFinite,
}

pub(super) fn examine(job: &Job, pass: Pass, shard: Shard, report: ShardReport) -> Result<Examined, Reject> {
    let expected = match pass {
        Pass::Scan(_) => "a scan",
        Pass::Evaluate { .. } => "an evaluation",
    };
    let found = match report {
        ShardReport::Scanned {
            bytes_read,
            content_digest,
            corrupt,
        } if matches!(pass, Pass::Scan(_)) => {
            check_samples(pass, shard, &corrupt)?;
            return Ok(Examined::Good(
                ShardOutcome::Scanned {
                    bytes_read,
                    content_digest,
                },
                corrupt,
            ));
        }
        ShardReport::Evaluated {
            samples,
            loss_sum,
            confusion,
            corrupt,
        } if matches!(pass, Pass::Evaluate { .. }) => {
            check_samples(pass, shard, &corrupt)?;
            check_count(job, (pass, shard), samples, &corrupt)?;
            if !loss_sum.is_finite() {
                return Ok(Examined::NotFinite);
            }
            let statistics = statistics(job, samples, loss_sum, confusion)?;
            return Ok(Examined::Good(ShardOutcome::Evaluated(statistics), corrupt));
        }
        ShardReport::Scanned { .. } => "a scan",
        ShardReport::Evaluated { .. } => "an evaluation",
    };
    Err(Reject::OutOfOrder {
        expected: format!("{expected} report for pass {pass}"),
        found: found.to_owned(),
    })
}

/// Every sample of the shard was scored, but for those that are corrupt or were set aside.
fn check_count(
    job: &Job,
    (pass, shard): (Pass, Shard),
    samples: u64,
    corrupt: &[QuarantinedSample],
) -> Result<(), Reject> {
    let size = shard.end - shard.begin;
    let is_missing =
        |index: u64| corrupt.iter().any(|sample| sample.index == index) || job.run.is_quarantined(pass.split(), index);
    let missing = (shard.begin..shard.end).filter(|index| is_missing(*index)).count() as u64;
    if (size - missing..=size - corrupt.len() as u64).contains(&samples) {
        return Ok(());
    }
    let expected = size - missing;
    let reason = format!(
        "expected {expected} of the {size} samples of shard {} of pass {pass}, found {samples}",
        shard.index,
    );
    Err(Reject::Invalid {
        field: "evaluation.samples",
        reason,
    })
}

fn statistics(job: &Job, samples: u64, loss_sum: f64, confusion: Vec<u64>) -> Result<ShardStatistics, Reject> {
    let classes = classes(job);
    let cells = sparse(&confusion, classes);
    ClassificationStatistics::from_parts(classes, samples, loss_sum, confusion).map_err(|error| Reject::Invalid {
        field: "evaluation.confusion",
        reason: error.to_string(),
    })?;
    Ok(ShardStatistics {
        samples,
        loss_sum,
        confusion: cells,
    })
}

/// Corrupt samples have to lie in the shard, each once.
fn check_samples(pass: Pass, shard: Shard, corrupt: &[QuarantinedSample]) -> Result<(), Reject> {
    for (position, sample) in corrupt.iter().enumerate() {
        let again = corrupt[..position].iter().any(|earlier| earlier.index == sample.index);
        if again || sample.split != pass.split() || !(shard.begin..shard.end).contains(&sample.index) {
            let reason = format!(
                "expected different samples {}..{} of {}, found {} of {}",
                shard.begin,
                shard.end,
                pass.split(),
                sample.index,
                sample.split,
            );
            return Err(Reject::Invalid {
                field: "corrupt",
                reason,
            });
        }
    }
    Ok(())
}

pub(super) fn classes(job: &Job) -> u32 {
    let classes = job
        .run
        .dataset
        .as_ref()
        .map_or(0, |registered| registered.dataset.classes.len());
    u32::try_from(classes).unwrap_or(u32::MAX)
}

fn sparse(confusion: &[u64], classes: u32) -> Vec<ConfusionCell> {
    let cells = (0u64..).zip(confusion).filter(|(_, count)| **count > 0);
    let cells = cells.map(|(cell, &count)| ConfusionCell {
        truth: u32::try_from(cell / u64::from(classes.max(1))).unwrap_or(u32::MAX),
        predicted: u32::try_from(cell % u64::from(classes.max(1))).unwrap_or(u32::MAX),
        count,
    });
    cells.collect()
}
