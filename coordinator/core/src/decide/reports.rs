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
    match (pass, report) {
        (
            Pass::Scan(_),
            ShardReport::Scanned {
                bytes_read,
                content_digest,
                corrupt,
            },
        ) => {
            check_samples(pass, shard, &corrupt)?;
            Ok(Examined::Good(
                ShardOutcome::Scanned {
                    bytes_read,
                    content_digest,
                },
                corrupt,
            ))
        }
        (
            Pass::Evaluate { split, .. },
            ShardReport::Evaluated {
                samples,
                loss_sum,
                confusion,
                corrupt,
            },
        ) => {
            check_samples(pass, shard, &corrupt)?;
            let size = shard.end - shard.begin;
            let is_missing =
                |index: u64| corrupt.iter().any(|sample| sample.index == index) || job.run.is_quarantined(split, index);
            let missing = (shard.begin..shard.end).filter(|index| is_missing(*index)).count() as u64;
            if samples < size - missing || samples > size - corrupt.len() as u64 {
                let reason = format!(
                    "expected {} of the {size} samples of shard {} of pass {pass}, found {samples}",
                    size - missing,
                    shard.index,
                );
                return Err(Reject::Invalid {
                    field: "evaluation.samples",
                    reason,
                });
            }
            if !loss_sum.is_finite() {
                return Ok(Examined::NotFinite);
            }
            let classes = classes(job);
            let cells = sparse(&confusion, classes);
            ClassificationStatistics::from_parts(classes, samples, loss_sum, confusion).map_err(|error| {
                Reject::Invalid {
                    field: "evaluation.confusion",
                    reason: error.to_string(),
                }
            })?;
            let statistics = ShardStatistics {
                samples,
                loss_sum,
                confusion: cells,
            };
            Ok(Examined::Good(ShardOutcome::Evaluated(statistics), corrupt))
        }
        (Pass::Scan(_), ShardReport::Evaluated { .. }) => Err(Reject::OutOfOrder {
            expected: format!("a scan report for pass {pass}"),
            found: "an evaluation".into(),
        }),
        (Pass::Evaluate { .. }, ShardReport::Scanned { .. }) => Err(Reject::OutOfOrder {
            expected: format!("an evaluation report for pass {pass}"),
            found: "a scan".into(),
        }),
    }
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
