//! What a rank reports for a shard: taken apart, and checked against the shard and the schema.

use crate::input::ShardReport;
use crate::reject::Reject;
use crate::state::{Job, Pass, QuarantinedSample, Shard, ShardOutcome};
use crate::task::Statistics;

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
        ShardReport::Evaluated { statistics, corrupt } if matches!(pass, Pass::Evaluate { .. }) => {
            check_samples(pass, shard, &corrupt)?;
            check_count(job, (pass, shard), statistics.samples(), &corrupt)?;
            if !statistics.loss_sum().is_finite() {
                return Ok(Examined::NotFinite);
            }
            check_statistics(job, &statistics)?;
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

fn check_statistics(job: &Job, statistics: &Statistics) -> Result<(), Reject> {
    let checked = job
        .run
        .dataset
        .as_ref()
        .map(|known| statistics.check(known.dataset.schema()));
    checked.unwrap_or(Ok(())).map_err(|error| Reject::Invalid {
        field: "evaluation.statistics",
        reason: error.to_string(),
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
