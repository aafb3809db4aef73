//! Receipts, for the tests of their views.

use firn_proto::v1alpha1::*;

fn epoch(epoch: u32, generations: &[(u64, u64)], skipped: u64) -> VerifiedEpoch {
    VerifiedEpoch {
        epoch,
        first_step: u64::from(epoch) * 3,
        end_step: u64::from(epoch) * 3 + 3,
        generations: generations.iter().copied().collect(),
        positions: 10,
        samples: 9,
        set_aside: 1,
        skipped,
        complete: true,
    }
}

fn pass(kind: &str, split: &str, epoch: Option<u32>, generations: &[(u64, u32)]) -> VerifiedPass {
    let is_scan = kind == "scan";
    let samples = if is_scan { 10 } else { 20 };
    VerifiedPass {
        kind: kind.into(),
        split: split.into(),
        epoch,
        split_samples: samples,
        shards: if is_scan { 1 } else { 2 },
        shards_complete: if is_scan { 1 } else { 2 },
        samples: samples - u64::from(is_scan),
        set_aside: u64::from(is_scan),
        generations: generations.iter().copied().collect(),
        complete: true,
        ..Default::default()
    }
}

fn file(kind: &str, name: &str, size_bytes: u64, sha256: &str, state: (&str, &str)) -> VerifiedFile {
    VerifiedFile {
        kind: kind.into(),
        name: name.into(),
        size_bytes,
        sha256: sha256.repeat(8),
        state: state.0.into(),
        detail: state.1.into(),
    }
}

/// What happened on the way.
fn history() -> VerificationReceipt {
    VerificationReceipt {
        generations: vec![VerifiedGeneration {
            generation: 1,
            record: 22,
            workers: vec!["local-0".into(), "local-1".into()],
            rank_zero: "reviews-g1-r0".into(),
            origin: "initial".into(),
            steps_committed: 1,
            ..Default::default()
        }],
        rollbacks: vec![RolledBackSteps {
            from: 3,
            to: 5,
            generation: 3,
            record: 77,
            recomputed: true,
        }],
        losses: vec![VerifiedLoss {
            generation: 1,
            reason: "NodeFailures".into(),
            message: "rank 1 on host-a was killed by signal 9".into(),
            ..Default::default()
        }],
        checkpoints: vec![VerifiedCheckpoint {
            sha256: "5555aaaa".repeat(8),
            epochs_done: 2,
            steps_done: 6,
            record: 120,
            fate: "kept".into(),
        }],
        ..Default::default()
    }
}

pub(super) fn proven() -> VerificationReceipt {
    let lies = "lies at file://host-a/out/model.safetensors";
    VerificationReceipt {
        name: "jobs/reviews".into(),
        proven: true,
        outcome: "Succeeded".into(),
        journal: Some(VerifiedJournal {
            records: 140,
            compacted: 20,
            head: "0123456789abcdef".repeat(4),
            job_records: 87,
            first_record: 21,
            last_record: 139,
            coordinator_epoch: 2,
        }),
        train_samples: 10,
        epochs_wanted: 2,
        epochs: vec![epoch(0, &[(1, 1), (2, 2)], 0), epoch(1, &[(3, 3)], 1)],
        passes: vec![
            pass("scan", "train", None, &[(1, 1)]),
            pass("evaluate", "validation", Some(0), &[(1, 1), (2, 1)]),
            pass("evaluate", "validation", Some(1), &[(3, 2)]),
        ],
        best_epoch: Some(1),
        result_sha256: "5555aaaa".repeat(8),
        frozen_digest: "f00d".repeat(16),
        files: vec![
            file("checkpoint", "after step 6", 2048, "5555aaaa", ("verified", "")),
            file(
                "artifact",
                "model.safetensors",
                94_686_412,
                "6666aaaa",
                ("not checked", lies),
            ),
        ],
        weights: Some(VerifiedWeights {
            state: "verified".into(),
            detail: "all 2 tensors of head.safetensors are those of the best checkpoint".into(),
        }),
        ..history()
    }
}

pub(super) fn tampered() -> VerificationReceipt {
    VerificationReceipt {
        proven: false,
        findings: vec![
            Finding {
                flaw: "Journal".into(),
                message: "the journal is damaged".into(),
                record: Some(44),
                ..Default::default()
            },
            Finding {
                flaw: "Coverage".into(),
                message: "2 training samples were not used in epoch 0".into(),
                epoch: Some(0),
                split: "train".into(),
                samples: vec![3, 8],
                ..Default::default()
            },
        ],
        more_findings: 2,
        journal: Some(VerifiedJournal::default()),
        ..proven()
    }
}
