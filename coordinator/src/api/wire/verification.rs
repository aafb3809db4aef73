//! The receipt of `firn verify`: core -> wire.

use firn_core::{
    audit::{CheckpointReceipt, EpochReceipt, Fate, Finding, GenerationReceipt, LossReceipt, PassReceipt, Receipt},
    identifiers::Generation,
    state::{Origin, Outcome},
};
use firn_proto::v1alpha1 as proto;

use super::{names::job_name, time::timestamp};
use crate::verification::{CheckedFile, Verification, WeightState};

pub(crate) fn verification_to_wire(verification: &Verification) -> proto::VerificationReceipt {
    let receipt = &verification.audit.receipt;
    let outcome = receipt.outcome.as_ref().map(|outcome| match outcome {
        Outcome::Succeeded => "Succeeded",
        Outcome::Failed(_) => "Failed",
        Outcome::Cancelled => "Cancelled",
    });
    let result = receipt.result.as_ref();
    proto::VerificationReceipt {
        name: job_name(&receipt.job),
        proven: verification.is_proven(),
        outcome: outcome.unwrap_or_default().to_owned(),
        findings: verification.audit.findings.iter().map(finding_to_wire).collect(),
        more_findings: verification.audit.more_findings,
        journal: Some(journal(verification)),
        train_samples: receipt.train_samples,
        epochs_wanted: receipt.epochs_wanted,
        epochs: receipt.epochs.iter().map(epoch).collect(),
        passes: receipt.passes.iter().map(pass).collect(),
        generations: receipt.generations.iter().map(generation).collect(),
        rollbacks: rollbacks(receipt),
        losses: receipt.losses.iter().map(loss).collect(),
        checkpoints: receipt.checkpoints.iter().map(checkpoint).collect(),
        best_epoch: receipt.best_epoch,
        result_sha256: result.map(|result| result.sha256.clone()).unwrap_or_default(),
        frozen_digest: receipt
            .model
            .as_ref()
            .map(|model| model.frozen_digest.clone())
            .unwrap_or_default(),
        files: verification.files.iter().map(file).collect(),
        weights: Some(weights(verification.weights.as_ref())),
    }
}

fn finding_to_wire(finding: &Finding) -> proto::Finding {
    proto::Finding {
        flaw: finding.flaw.as_str().to_owned(),
        message: finding.message.clone(),
        record: finding.record,
        epoch: finding.epoch,
        step: finding.step,
        split: finding.split.map(|split| split.as_str().to_owned()).unwrap_or_default(),
        shard: finding.shard,
        samples: finding.samples.clone(),
    }
}

fn journal(verification: &Verification) -> proto::VerifiedJournal {
    let receipt = &verification.audit.receipt;
    let (end, compacted) = verification.chain.unzip();
    proto::VerifiedJournal {
        records: end.map_or(0, |end| end.sequence),
        compacted: compacted.unwrap_or_default(),
        head: end.map(|end| end.hash.to_string()).unwrap_or_default(),
        job_records: receipt.records,
        first_record: receipt.first_record.unwrap_or_default(),
        last_record: receipt.last_record.unwrap_or_default(),
        coordinator_epoch: receipt.coordinator_epoch,
    }
}

fn epoch(epoch: &EpochReceipt) -> proto::VerifiedEpoch {
    let steps = |(generation, steps): (&Generation, &u64)| (generation.0, *steps);
    proto::VerifiedEpoch {
        epoch: epoch.epoch,
        first_step: epoch.first_step,
        end_step: epoch.end_step,
        generations: epoch.generations.iter().map(steps).collect(),
        positions: epoch.positions,
        samples: epoch.samples,
        set_aside: epoch.set_aside,
        skipped: epoch.skipped,
        complete: epoch.is_complete,
    }
}

fn pass(pass: &PassReceipt) -> proto::VerifiedPass {
    let shards = |(generation, shards): (&Generation, &u32)| (generation.0, *shards);
    proto::VerifiedPass {
        kind: pass.pass.kind().to_owned(),
        split: pass.pass.split().as_str().to_owned(),
        epoch: pass.pass.round(),
        split_samples: pass.split_samples,
        shards: pass.shards,
        shards_complete: pass.shards_complete,
        samples: pass.samples,
        set_aside: pass.set_aside,
        generations: pass.generations.iter().map(shards).collect(),
        complete: pass.is_complete,
        unchecked_metrics: pass.unchecked_metrics.clone(),
    }
}

fn generation(gang: &GenerationReceipt) -> proto::VerifiedGeneration {
    let origin = gang.origin.as_ref().map(|origin| match origin {
        Origin::Initial => "initial",
        Origin::Checkpoint(_) => "checkpoint",
        Origin::Rank(_) => "rank",
        Origin::Unneeded => "unneeded",
    });
    proto::VerifiedGeneration {
        generation: gang.generation.0,
        time: Some(timestamp(gang.at)),
        record: gang.record,
        workers: gang.ranks.iter().map(ToString::to_string).collect(),
        rank_zero: gang.rank_zero.as_ref().map(ToString::to_string).unwrap_or_default(),
        origin: origin.unwrap_or_default().to_owned(),
        steps_done: gang.steps_done,
        steps_committed: gang.steps_committed,
    }
}

fn rollbacks(receipt: &Receipt) -> Vec<proto::RolledBackSteps> {
    let ranges = receipt.rollbacks.iter().map(|range| proto::RolledBackSteps {
        from: range.from,
        to: range.to,
        generation: range.generation.0,
        record: range.record,
        recomputed: range.recomputed,
    });
    ranges.collect()
}

fn loss(loss: &LossReceipt) -> proto::VerifiedLoss {
    proto::VerifiedLoss {
        generation: loss.generation.0,
        time: Some(timestamp(loss.at)),
        reason: loss.failure.reason.as_str().to_owned(),
        message: loss.failure.message.clone(),
    }
}

fn checkpoint(known: &CheckpointReceipt) -> proto::VerifiedCheckpoint {
    let fate = match known.fate {
        Fate::Kept => "kept",
        Fate::Dropped => "dropped",
        Fate::Rejected(_) => "rejected",
    };
    proto::VerifiedCheckpoint {
        sha256: known.checkpoint.sha256.clone(),
        epochs_done: known.checkpoint.epochs_done,
        steps_done: known.checkpoint.steps_done,
        record: known.record,
        fate: fate.to_owned(),
    }
}

fn file(file: &CheckedFile) -> proto::VerifiedFile {
    proto::VerifiedFile {
        kind: file.kind.to_owned(),
        name: file.name.clone(),
        size_bytes: file.recorded.size,
        sha256: file.recorded.sha256.clone(),
        state: file.state.as_str().to_owned(),
        detail: file.state.detail(),
    }
}

fn weights(state: Option<&WeightState>) -> proto::VerifiedWeights {
    proto::VerifiedWeights {
        state: state.map(WeightState::as_str).unwrap_or_default().to_owned(),
        detail: state.map(WeightState::detail).unwrap_or_default(),
    }
}
