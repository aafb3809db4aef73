//! Passes: shards are handed out, come back, count once; corrupt samples are set aside; the sums become metrics.

use super::draft::Draft;
use super::members::{Caller, caller, describe, working};
use super::{losses, settle, training};
use crate::identifiers::{Generation, JobId, RankIdentity};
use crate::input::ShardReport;
use crate::metrics::ClassificationStatistics;
use crate::note::Note;
use crate::record::JobEvent;
use crate::reject::Reject;
use crate::reply::{Directive, Reply};
use crate::stage::{self, Stage};
use crate::state::{
    ConfusionCell, Failure, FailureReason, Job, Pass, PassProgress, Phase, QuarantinedSample, Shard, ShardOutcome,
    ShardStatistics, ShardTable, SplitName, State,
};

pub(super) fn request_shard(draft: &mut Draft<'_>, identity: &RankIdentity, pass: Pass) -> Result<Reply, Reject> {
    let state = draft.base();
    match caller(state, identity) {
        Err(Reject::JobEnded { outcome, .. }) => return Ok(Reply::Complete(Directive::Stop { reason: outcome })),
        Err(reject) => return Err(reject),
        Ok(Caller {
            job: Job {
                phase: Phase::Collapsing(collapsing),
                ..
            },
            ..
        }) => {
            let reason = collapsing
                .first_cause()
                .map(|cause| cause.failure.message.clone())
                .unwrap_or_default();
            return Ok(Reply::Complete(Directive::Stop { reason }));
        }
        Ok(_) => {}
    }
    let job = working(state, identity)?.job;
    let pass = named(job, pass);
    if stage::is_complete(&job.run, pass) {
        return Ok(Reply::Complete(stage::directive(&job.run, Some(pass))));
    }
    let Some(shards) = open_shards(job, pass)? else {
        return Ok(Reply::Wait);
    };
    let Some(shard) = next_shard(state, identity, pass, shards) else {
        return Ok(Reply::Wait);
    };
    let process = identity.process.clone();
    draft.note(Note::ShardLeased {
        job: identity.job.clone(),
        pass,
        shard: shard.index,
        process,
    });
    Ok(Reply::Shard(shard))
}

/// The pass that is meant: of test there is only one, that of the best epoch.
fn named(job: &Job, pass: Pass) -> Pass {
    match pass {
        Pass::Evaluate {
            split: SplitName::Test,
            epoch,
        } => Pass::Evaluate {
            split: SplitName::Test,
            epoch: job.run.best_epoch.unwrap_or(epoch),
        },
        other => other,
    }
}

/// The shards of a pass that may be worked on now; `None` if it has none.
///
/// An epoch's validation may begin while rank 0 still stores the checkpoint: all ranks hold the same weights.
fn open_shards(job: &Job, pass: Pass) -> Result<Option<ShardTable>, Reject> {
    let stage = Stage::of(&job.run);
    let is_open = match (stage, pass) {
        (Stage::Scan(current), Pass::Scan(split)) => current == split,
        (
            Stage::Train { epoch: current } | Stage::Validate { epoch: current },
            Pass::Evaluate {
                split: SplitName::Validation,
                epoch,
            },
        ) => current == epoch,
        (
            Stage::Test { .. },
            Pass::Evaluate {
                split: SplitName::Test, ..
            },
        ) => true,
        _ => false,
    };
    if !is_open {
        return Err(Reject::OutOfOrder {
            expected: stage.describe(),
            found: format!("pass {pass}"),
        });
    }
    let registered = job.run.dataset.as_ref();
    Ok(registered.and_then(|registered| registered.shards.get(&pass.split()).copied()))
}

/// A shard that nobody has, or else one that the caller has already, whose first answer it may have missed.
fn next_shard(state: &State, identity: &RankIdentity, pass: Pass, shards: ShardTable) -> Option<Shard> {
    let progress = state.job(&identity.job)?.run.passes.get(&pass);
    let leases = state.soft.shard_leases.get(&(identity.job.clone(), pass));
    let mut own = None;
    for index in 0..shards.count() {
        if progress.is_some_and(|progress| progress.complete.contains_key(&index)) {
            continue;
        }
        match leases.and_then(|leases| leases.get(&index)) {
            None => return shards.shard(index),
            Some(holder) if *holder == identity.process => own = own.or(Some(index)),
            Some(_) => {}
        }
    }
    own.and_then(|index| shards.shard(index))
}

pub(super) fn complete_shard(
    draft: &mut Draft<'_>,
    identity: &RankIdentity,
    (pass, index): (Pass, u32),
    report: ShardReport,
) -> Result<Reply, Reject> {
    let caller = working(draft.base(), identity)?;
    let job = caller.job;
    let pass = named(job, pass);
    let progress = job.run.passes.get(&pass);
    let counted = progress.is_some_and(|progress| progress.complete.contains_key(&index));
    if counted || stage::is_complete(&job.run, pass) || is_evaluated(job, pass) {
        return Ok(Reply::ShardRepeated);
    }
    let shards = open_shards(job, pass)?;
    let count = shards.map_or(0, |shards| shards.count());
    let (Some(shards), Some(shard)) = (shards, shards.and_then(|shards| shards.shard(index))) else {
        return Err(Reject::NoSuchShard {
            pass,
            shards: count,
            shard: index,
        });
    };
    let (outcome, corrupt) = match examine(job, pass, shard, report)? {
        Examined::Good(outcome, corrupt) => (outcome, corrupt),
        Examined::NotFinite => return Ok(fail_not_finite(draft, &caller, pass)),
    };
    if let Some(failure) = set_aside(draft, &caller, corrupt) {
        return Ok(Reply::JobFailed(failure));
    }
    let rank = caller.member.rank;
    draft.record_job(
        &job.id,
        JobEvent::ShardCompleted {
            pass,
            shards,
            shard: index,
            rank,
            outcome,
        },
    );
    let done = progress.map_or(0, |progress| progress.complete.len()) + 1;
    if done == count as usize && matches!(pass, Pass::Evaluate { .. }) {
        super::placing::request_scores(draft, &job.id);
    }
    Ok(Reply::ShardCounted)
}

fn is_evaluated(job: &Job, pass: Pass) -> bool {
    matches!(pass, Pass::Evaluate { split, epoch } if job.run.evaluation(split, epoch).is_some())
}

/// What a report holds.
enum Examined {
    Good(ShardOutcome, Vec<QuarantinedSample>),
    /// The summed loss is NaN or infinite.
    NotFinite,
}

fn examine(job: &Job, pass: Pass, shard: Shard, report: ShardReport) -> Result<Examined, Reject> {
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

fn classes(job: &Job) -> u32 {
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

fn fail_not_finite(draft: &mut Draft<'_>, caller: &Caller<'_>, pass: Pass) -> Reply {
    let failure = Failure {
        reason: FailureReason::NumericalError,
        message: format!("the loss of pass {pass} is not finite"),
        rank: Some(caller.member.rank),
        host: caller.member.host.clone(),
        last_log_lines: Vec::new(),
    };
    losses::fail_job(draft, &caller.job.id, failure.clone());
    settle(draft);
    Reply::JobFailed(failure)
}

pub(super) fn quarantine(
    draft: &mut Draft<'_>,
    identity: &RankIdentity,
    sample: QuarantinedSample,
) -> Result<Reply, Reject> {
    let caller = working(draft.base(), identity)?;
    let registered = caller.job.run.dataset.as_ref();
    let split = registered.and_then(|registered| registered.dataset.split(sample.split));
    let samples = split.map_or(0, |split| split.samples);
    if sample.index >= samples {
        return Err(Reject::NoSuchSample {
            split: sample.split,
            samples,
            index: sample.index,
        });
    }
    match set_aside(draft, &caller, vec![sample]) {
        Some(failure) => Ok(Reply::JobFailed(failure)),
        None => Ok(Reply::Done),
    }
}

/// Sets samples aside that were not yet; beyond the spec's limit the job has failed.
fn set_aside(draft: &mut Draft<'_>, caller: &Caller<'_>, corrupt: Vec<QuarantinedSample>) -> Option<Failure> {
    let job = caller.job;
    let limit = job.spec.data.max_quarantined as usize;
    let mut quarantined = job.run.quarantined.len();
    for sample in corrupt {
        if job.run.is_quarantined(sample.split, sample.index) {
            continue;
        }
        draft.record_job(&job.id, JobEvent::SampleQuarantined(sample.clone()));
        quarantined += 1;
        if quarantined > limit {
            let failure = Failure {
                reason: FailureReason::BadData,
                message: format!(
                    "sample {} of {} ({}) is corrupt: {}; that is one more than may be set aside \
                     (data.quarantine.maxSamples is {limit})",
                    sample.index, sample.split, sample.sample, sample.reason,
                ),
                rank: Some(caller.member.rank),
                host: caller.member.host.clone(),
                last_log_lines: Vec::new(),
            };
            losses::fail_job(draft, &job.id, failure.clone());
            settle(draft);
            return Some(failure);
        }
    }
    None
}

/// The metrics of an evaluation whose shards are all in.
pub(super) fn score(
    draft: &mut Draft<'_>,
    id: &JobId,
    (generation, pass): (Generation, Pass),
    roc_auc: Option<f64>,
) -> Result<Reply, Reject> {
    let job = draft
        .base()
        .job(id)
        .ok_or_else(|| Reject::JobNotFound { job: id.clone() })?;
    if let Some(outcome) = job.outcome() {
        return Err(Reject::JobEnded {
            job: id.clone(),
            outcome: describe(outcome),
        });
    }
    if job.generation != generation {
        return Err(Reject::StaleGeneration {
            job: id.clone(),
            expected: job.generation,
            found: generation,
        });
    }
    let Pass::Evaluate { split, epoch } = pass else {
        return Err(Reject::OutOfOrder {
            expected: "an evaluation".to_owned(),
            found: format!("pass {pass}"),
        });
    };
    if is_evaluated(job, pass) {
        return Ok(Reply::Done);
    }
    let Some(progress) = job.run.passes.get(&pass).filter(|progress| progress.is_complete()) else {
        return Err(Reject::OutOfOrder {
            expected: "a pass whose shards are all complete".to_owned(),
            found: format!("pass {pass}"),
        });
    };
    let roc_auc = roc_auc.filter(|value| value.is_finite());
    match merge(progress, classes(job)).evaluate(roc_auc) {
        Some(metrics) => {
            draft.record_job(
                id,
                JobEvent::EvaluationCompleted {
                    split,
                    epoch,
                    metrics: Box::new(metrics),
                },
            );
            training::conclude_epoch(draft, id);
        }
        None => {
            let failure = Failure {
                reason: FailureReason::BadData,
                message: format!("split {split} has no sample that can be read"),
                rank: None,
                host: String::new(),
                last_log_lines: Vec::new(),
            };
            losses::fail_job(draft, id, failure);
            settle(draft);
        }
    }
    Ok(Reply::Done)
}

/// Adds up in shard order, so that the sums do not depend on who was faster.
fn merge(progress: &PassProgress, classes: u32) -> ClassificationStatistics {
    let (mut samples, mut loss_sum) = (0, 0.0);
    let mut confusion = vec![0; (classes as usize).pow(2)];
    for shard in progress.complete.values() {
        let ShardOutcome::Evaluated(statistics) = &shard.outcome else {
            continue;
        };
        samples += statistics.samples;
        loss_sum += statistics.loss_sum;
        for cell in &statistics.confusion {
            confusion[cell.truth as usize * classes as usize + cell.predicted as usize] += cell.count;
        }
    }
    ClassificationStatistics::from_parts(classes, samples, loss_sum, confusion)
        .expect("each shard's counts were checked against its samples when it was taken")
}
