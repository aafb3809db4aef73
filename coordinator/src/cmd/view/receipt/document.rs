//! The receipt for programs: the stable shape of `firn verify -o json`.
//!
//! `{"job", "proven", "outcome", "findings", "journal", …}`, camelCase as the message on the wire. Absent values are `null`, lists may be
//! empty. Epochs, steps and ranks count from 0. In `generations` of epochs and passes the keys are numbers of formations.

use firn_proto::v1alpha1::{
    Finding, RolledBackSteps, VerificationReceipt, VerifiedCheckpoint, VerifiedEpoch, VerifiedFile, VerifiedGeneration,
    VerifiedJournal, VerifiedLoss, VerifiedPass,
};
use serde_json::{Value, json};

use crate::cmd::connection::job_id;

/// All of it.
pub(crate) fn receipt(receipt: &VerificationReceipt) -> Value {
    let list = |values: &mut dyn Iterator<Item = Value>| Value::Array(values.collect());
    json!({
        "job": job_id(&receipt.name),
        "proven": receipt.proven,
        "outcome": some(&receipt.outcome),
        "findings": list(&mut receipt.findings.iter().map(finding)),
        "moreFindings": receipt.more_findings,
        "journal": receipt.journal.as_ref().map(journal),
        "trainSamples": receipt.train_samples,
        "epochsWanted": receipt.epochs_wanted,
        "epochs": list(&mut receipt.epochs.iter().map(epoch)),
        "passes": list(&mut receipt.passes.iter().map(pass)),
        "generations": list(&mut receipt.generations.iter().map(generation)),
        "rollbacks": list(&mut receipt.rollbacks.iter().map(rollback)),
        "losses": list(&mut receipt.losses.iter().map(loss)),
        "checkpoints": list(&mut receipt.checkpoints.iter().map(checkpoint)),
        "bestEpoch": receipt.best_epoch,
        "resultSha256": some(&receipt.result_sha256),
        "frozenDigest": some(&receipt.frozen_digest),
        "files": list(&mut receipt.files.iter().map(file)),
        "weights": receipt.weights.as_ref().and_then(|weights| {
            some(&weights.state).map(|state| json!({"state": state, "detail": some(&weights.detail)}))
        }),
    })
}

fn some(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

fn time(time: Option<&prost_types::Timestamp>) -> Option<String> {
    time.map(ToString::to_string)
}

fn finding(finding: &Finding) -> Value {
    json!({
        "flaw": finding.flaw,
        "message": finding.message,
        "record": finding.record,
        "epoch": finding.epoch,
        "step": finding.step,
        "split": some(&finding.split),
        "shard": finding.shard,
        "samples": finding.samples,
    })
}

fn journal(journal: &VerifiedJournal) -> Value {
    json!({
        "records": journal.records,
        "compacted": journal.compacted,
        "head": some(&journal.head),
        "jobRecords": journal.job_records,
        "firstRecord": journal.first_record,
        "lastRecord": journal.last_record,
        "coordinatorEpoch": journal.coordinator_epoch,
    })
}

fn epoch(epoch: &VerifiedEpoch) -> Value {
    json!({
        "epoch": epoch.epoch,
        "firstStep": epoch.first_step,
        "endStep": epoch.end_step,
        "generations": epoch.generations,
        "positions": epoch.positions,
        "samples": epoch.samples,
        "setAside": epoch.set_aside,
        "skipped": epoch.skipped,
        "complete": epoch.complete,
    })
}

fn pass(pass: &VerifiedPass) -> Value {
    json!({
        "kind": pass.kind,
        "split": pass.split,
        "epoch": pass.epoch,
        "splitSamples": pass.split_samples,
        "shards": pass.shards,
        "shardsComplete": pass.shards_complete,
        "samples": pass.samples,
        "setAside": pass.set_aside,
        "generations": pass.generations,
        "complete": pass.complete,
        "uncheckedMetrics": pass.unchecked_metrics,
    })
}

fn generation(gang: &VerifiedGeneration) -> Value {
    json!({
        "generation": gang.generation,
        "time": time(gang.time.as_ref()),
        "record": gang.record,
        "workers": gang.workers,
        "rankZero": some(&gang.rank_zero),
        "origin": some(&gang.origin),
        "stepsDone": gang.steps_done,
        "stepsCommitted": gang.steps_committed,
    })
}

fn rollback(range: &RolledBackSteps) -> Value {
    json!({
        "from": range.from,
        "to": range.to,
        "generation": range.generation,
        "record": range.record,
        "recomputed": range.recomputed,
    })
}

fn loss(loss: &VerifiedLoss) -> Value {
    json!({
        "generation": loss.generation,
        "time": time(loss.time.as_ref()),
        "reason": loss.reason,
        "message": loss.message,
    })
}

fn checkpoint(checkpoint: &VerifiedCheckpoint) -> Value {
    json!({
        "sha256": checkpoint.sha256,
        "epochsDone": checkpoint.epochs_done,
        "stepsDone": checkpoint.steps_done,
        "record": checkpoint.record,
        "fate": checkpoint.fate,
    })
}

fn file(file: &VerifiedFile) -> Value {
    json!({
        "kind": file.kind,
        "name": file.name,
        "sizeBytes": file.size_bytes,
        "sha256": file.sha256,
        "state": file.state,
        "detail": some(&file.detail),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::view::receipt::samples;

    #[test]
    fn a_receipt_has_every_field_whatever_was_found() {
        let (proven, tampered) = (receipt(&samples::proven()), receipt(&samples::tampered()));
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&proven), keys(&tampered));
        assert_eq!(proven["job"], "reviews");
        assert_eq!(proven["epochs"][0]["generations"], json!({"1": 1, "2": 2}));
        assert_eq!(proven["weights"]["state"], "verified");
        assert_eq!(tampered["findings"][1]["samples"], json!([3, 8]));
        assert_eq!(tampered["findings"][1]["record"], Value::Null);
        assert_eq!(tampered["journal"]["head"], Value::Null);
    }
}
