//! Passes, shards and what they gave: wire <-> core.

use firn_core::{
    ShardReport,
    state::{Pass, Shard},
    task::{Schema, Task},
};
use firn_proto::v1alpha1 as proto;
use tonic::Status;

use super::{
    dataset::{quarantined_from_wire, split_name},
    names::present,
};
use crate::api::{refusal::invalid, task};

pub(crate) fn pass_from_wire(pass: Option<proto::Pass>) -> Result<Pass, Status> {
    let pass = present("pass", pass)?;
    let split = split_name("pass.split", &pass.split)?;
    // The wire does not tell epoch 0 from none; a pass has one or has not, by its kind.
    let rounds = [None, Some(pass.epoch)];
    let known = rounds
        .into_iter()
        .find_map(|round| Pass::of(&pass.kind, split, round).ok());
    known.ok_or_else(|| {
        let found = format!("expected a pass that there is, found `{}` over {split}", pass.kind);
        invalid("pass", found)
    })
}

pub(crate) fn pass_to_wire(pass: Pass) -> proto::Pass {
    proto::Pass {
        kind: pass.kind().to_owned(),
        split: pass.split().as_str().to_owned(),
        epoch: pass.round().unwrap_or_default(),
    }
}

pub(crate) fn shard_to_wire(shard: Shard) -> proto::Shard {
    proto::Shard {
        index: shard.index,
        begin: shard.begin,
        end: shard.end,
    }
}

pub(crate) fn scan_from_wire(report: proto::ScanReport) -> Result<ShardReport, Status> {
    Ok(ShardReport::Scanned {
        bytes_read: report.bytes_read,
        content_digest: report.content_digest,
        corrupt: corrupt("scan.corrupt", report.corrupt)?,
    })
}

/// The statistics are made from the predictions, so that the metrics are exactly those of the predictions file. What the rank counted itself
/// must agree in number.
pub(crate) fn evaluation_from_wire(
    report: &proto::EvaluationReport,
    task: Task,
    schema: Schema<'_>,
) -> Result<ShardReport, Status> {
    let found = report.predictions.len() as u64;
    if found != report.samples {
        let samples = report.samples;
        return Err(invalid(
            "evaluation.predictions",
            format!("expected {samples}, one a sample, found {found}"),
        ));
    }
    if !report.loss_sum.is_finite() {
        return Err(invalid(
            "evaluation.loss_sum",
            format!("expected a finite number, found {}", report.loss_sum),
        ));
    }
    let statistics = task::statistics(report, task, schema)?;
    let is_ordered = report.predictions.windows(2).all(|pair| pair[0].index < pair[1].index);
    if !is_ordered {
        return Err(invalid(
            "evaluation.predictions",
            "expected manifest order, each sample once",
        ));
    }
    Ok(ShardReport::Evaluated {
        statistics,
        corrupt: corrupt("evaluation.corrupt", report.corrupt.clone())?,
    })
}

fn corrupt(
    field: &str,
    samples: Vec<proto::QuarantinedSample>,
) -> Result<Vec<firn_core::state::QuarantinedSample>, Status> {
    samples
        .into_iter()
        .enumerate()
        .map(|(index, sample)| quarantined_from_wire(&format!("{field}[{index}]"), sample))
        .collect()
}

#[cfg(test)]
mod tests {
    use firn_core::{
        state::SplitName,
        task::{Statistics, classification::matrix_of_cells},
    };

    use super::*;

    fn from_wire(report: &proto::EvaluationReport) -> Result<ShardReport, Status> {
        let classes = ["ants", "bees"].map(str::to_owned);
        evaluation_from_wire(report, Task::Classification, Schema::of_classes(&classes))
    }

    fn report(predictions: &[(u64, u32, &[f64])]) -> proto::EvaluationReport {
        let predictions: Vec<_> = predictions
            .iter()
            .map(|&(index, label, scores)| proto::Prediction {
                index,
                label,
                scores: scores.to_vec(),
                ..Default::default()
            })
            .collect();
        proto::EvaluationReport {
            samples: predictions.len() as u64,
            predictions,
            ..Default::default()
        }
    }

    #[test]
    fn the_counts_are_those_of_the_predictions() {
        let report = report(&[(0, 0, &[0.9, 0.1]), (1, 1, &[0.6, 0.4]), (5, 1, &[0.2, 0.8])]);
        let ShardReport::Evaluated {
            statistics: Statistics::Classification(counts),
            ..
        } = from_wire(&report).unwrap()
        else {
            panic!()
        };
        assert_eq!(counts.samples, 3);
        assert_eq!(matrix_of_cells(2, &counts.confusion), [1, 0, 1, 1]);
    }

    #[test]
    fn predictions_that_cannot_be_are_refused_by_name() {
        let cases = [
            (
                report(&[(0, 2, &[0.9, 0.1])]),
                "evaluation.predictions[0].label: expected a class below 2, found 2",
            ),
            (
                report(&[(0, 1, &[0.9])]),
                "evaluation.predictions[0].scores: expected 2, one a class, found 1",
            ),
            (
                report(&[(0, 1, &[f64::NAN, 0.1])]),
                "evaluation.predictions[0].scores: expected finite probabilities, found NaN",
            ),
            (
                report(&[(1, 1, &[0.1, 0.9]), (1, 1, &[0.1, 0.9])]),
                "evaluation.predictions: expected manifest order, each sample once",
            ),
        ];
        for (report, message) in cases {
            assert_eq!(from_wire(&report).unwrap_err().message(), message);
        }
        let mut short = report(&[(0, 1, &[0.1, 0.9])]);
        short.samples = 2;
        assert!(from_wire(&short).is_err());
    }

    #[test]
    fn passes_come_back_from_the_wire() {
        for pass in [
            Pass::Scan(SplitName::Train),
            Pass::validation(3),
            Pass::Evaluate {
                split: SplitName::Test,
                epoch: 1,
            },
        ] {
            assert_eq!(pass_from_wire(Some(pass_to_wire(pass))).unwrap(), pass);
        }
        let of_train = proto::Pass {
            kind: "evaluate".to_owned(),
            split: "train".to_owned(),
            epoch: 0,
        };
        assert!(pass_from_wire(Some(of_train)).is_err());
    }
}
