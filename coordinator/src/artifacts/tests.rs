//! Files come into being whole, and only as announced.

use firn_core::task::{Schema, Task};
use firn_core::{identifiers::Generation, state::Pass};
use firn_proto::v1alpha1::{EvaluationReport, Prediction};

use super::{predictions::PredictionsWriter, *};

fn announced(content: &[u8]) -> StoredFile {
    StoredFile {
        size: content.len() as u64,
        sha256: hex::encode(Sha256::digest(content)),
    }
}

fn store() -> (tempfile::TempDir, ArtifactStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = ArtifactStore::new(folder.path().join("jobs"));
    (folder, store)
}

fn upload(store: &ArtifactStore, content: &[u8]) -> StoredFile {
    let mut upload = store
        .begin_upload("j", FileKind::Checkpoint, announced(content))
        .unwrap();
    upload.write(&content[..2]).unwrap();
    upload.write(&content[2..]).unwrap();
    upload.finish().unwrap()
}

#[test]
fn an_upload_that_keeps_its_word_exists() {
    let (_folder, store) = store();
    let stored = upload(&store, b"weights");
    assert!(store.holds("j", &FileKind::Checkpoint, &stored).unwrap());
}

#[test]
fn an_upload_with_another_digest_leaves_nothing() {
    let (folder, store) = store();
    let mut upload = store
        .begin_upload("j", FileKind::Checkpoint, announced(b"weights"))
        .unwrap();
    upload.write(b"weightz").unwrap();
    assert!(matches!(upload.finish(), Err(ArtifactError::Content { .. })));
    assert!(files_in(&folder.path().join("jobs/j/checkpoints")).unwrap().is_empty());
}

#[test]
fn an_upload_of_another_length_is_refused() {
    let (_folder, store) = store();
    let mut short = store
        .begin_upload("j", FileKind::Checkpoint, announced(b"weights"))
        .unwrap();
    short.write(b"weight").unwrap();
    assert!(matches!(
        short.finish(),
        Err(ArtifactError::Size { expected: 7, found: 6 })
    ));
    let mut long = store
        .begin_upload("j", FileKind::Checkpoint, announced(b"weights"))
        .unwrap();
    assert!(matches!(
        long.write(b"weights and more"),
        Err(ArtifactError::Size { expected: 7, found: 16 })
    ));
    let huge = StoredFile {
        size: MAX_FILE_BYTES + 1,
        ..announced(b"")
    };
    assert!(matches!(
        store.begin_upload("j", FileKind::Checkpoint, huge),
        Err(ArtifactError::TooLarge { .. })
    ));
}

#[test]
fn names_that_would_leave_the_folder_are_refused() {
    let (_folder, store) = store();
    assert!(
        store.write_artifact("j", "a/b", b"x").is_ok(),
        "an artifact may lie in a folder"
    );
    assert!(matches!(
        store.write_artifact("a/b", "x", b"x"),
        Err(ArtifactError::Name { .. })
    ));
    for name in [
        "", "..", "../x", "a/../b", "a/.b", "/a", "a/", ".hidden", "-rf", "a\nb", "ü",
    ] {
        let refused = store.write_artifact("j", name, b"x");
        assert!(
            matches!(refused, Err(ArtifactError::Name { .. })),
            "{name:?}: {refused:?}"
        );
        let refused = store.write_artifact(name, "metrics.json", b"x");
        assert!(
            matches!(refused, Err(ArtifactError::Name { .. })),
            "job {name:?}: {refused:?}"
        );
    }
    let not_a_digest = StoredFile {
        size: 1,
        sha256: "../../etc/passwd".to_owned(),
    };
    let refused = store.begin_upload("j", FileKind::Checkpoint, not_a_digest);
    assert!(matches!(refused, Err(ArtifactError::Digest { .. })));
}

#[test]
fn only_the_named_files_are_kept() {
    let (_folder, store) = store();
    let [first, second, third] = [b"first", b"secon", b"third"].map(|content| upload(&store, content));
    let artifact = FileKind::Artifact("metrics.json".to_owned());
    let old = store.write_artifact("j", "metrics.json", b"old").unwrap();
    let new = store.write_artifact("j", "metrics.json", b"new").unwrap();
    assert!(
        store.holds("j", &artifact, &old).unwrap(),
        "a file never overwrites one of other content"
    );
    let kept = [
        (FileKind::Checkpoint, first.sha256.clone()),
        (FileKind::Checkpoint, third.sha256.clone()),
        (artifact.clone(), new.sha256.clone()),
    ];
    assert_eq!(store.keep("j", &kept).unwrap(), 2);
    assert!(store.holds("j", &FileKind::Checkpoint, &first).unwrap());
    assert!(!store.holds("j", &FileKind::Checkpoint, &second).unwrap());
    assert!(store.holds("j", &FileKind::Checkpoint, &third).unwrap());
    assert!(store.holds("j", &artifact, &new).unwrap());
    assert!(!store.holds("j", &artifact, &old).unwrap());
}

#[test]
fn what_a_crash_left_half_written_is_swept_away() {
    let (folder, store) = store();
    let whole = store.write_artifact("j", "metrics.json", b"{}").unwrap();
    std::fs::write(folder.path().join("jobs/j/artifacts/.partial-abc"), b"{").unwrap();
    assert_eq!(store.sweep_partial(|_| false).unwrap(), 1);
    assert!(
        store
            .holds("j", &FileKind::Artifact("metrics.json".to_owned()), &whole)
            .unwrap()
    );
}

fn prediction(index: u64, sample: &str, label: u32, scores: [f64; 2]) -> Prediction {
    Prediction {
        index,
        sample: sample.to_owned(),
        label,
        scores: scores.to_vec(),
        ..Prediction::default()
    }
}

fn key(shard: u32, generation: u64) -> ReportKey {
    ReportKey {
        shard,
        generation: Generation(generation),
        rank: 0,
    }
}

fn report(index: u64, scores: [f64; 2]) -> EvaluationReport {
    EvaluationReport {
        samples: 1,
        loss_sum: 0.1 + 0.2,
        predictions: vec![prediction(index, "a.png", 1, scores)],
        ..EvaluationReport::default()
    }
}

#[test]
fn spooled_reports_come_back_exactly_and_those_that_do_not_count_go() {
    let (_folder, store) = store();
    let spool = store.spool("j", Pass::validation(3)).unwrap();
    let (counted, other) = (report(7, [1.0 / 3.0, 2.0 / 3.0]), report(7, [0.5, 0.5]));
    spool.write(key(4, 1), &counted).unwrap();
    spool.write(key(4, 2), &other).unwrap();
    assert_eq!(spool.read(key(4, 1)).unwrap(), counted);
    for _ in 0..2 {
        spool.settle([key(4, 1)]).unwrap();
        assert!(matches!(spool.read(key(4, 2)), Err(ArtifactError::Missing { .. })));
        assert_eq!(spool.read(key(4, 1)).unwrap(), counted);
        // It comes too late, and is not taken for what counts.
        spool.write(key(4, 2), &other).unwrap();
        let left: Vec<_> = spool.settled().unwrap().map(Result::unwrap).collect();
        assert_eq!(left, std::slice::from_ref(&counted));
    }
}

#[test]
fn predictions_are_quoted_as_csv_and_round_trip() {
    let classes = ["ant".to_owned(), "bee, honey".to_owned()];
    let report = EvaluationReport {
        predictions: vec![
            prediction(0, "ant/\"one\".png", 0, [0.1 + 0.2, 1e-9]),
            prediction(1, "bee, honey/two.png", 1, [0.5, 0.5]),
        ],
        ..EvaluationReport::default()
    };
    let mut out = Vec::new();
    let mut writer = PredictionsWriter::new(&mut out, Task::Classification, Schema::of_classes(&classes)).unwrap();
    writer.write(&report).unwrap();
    writer.finish().unwrap();
    let expected = "index,sample,label,predicted,probability_ant,\"probability_bee, honey\"\n\
                    0,\"ant/\"\"one\"\".png\",ant,ant,0.30000000000000004,1e-9\n\
                    1,\"bee, honey/two.png\",\"bee, honey\",ant,0.5,0.5\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

/// Publishes the validation predictions of an epoch of job `j`.
fn publish(store: &ArtifactStore, epoch: u32) -> Result<StoredFile, ArtifactError> {
    let classes = ["ant".to_owned(), "bee".to_owned()];
    let outputs = (Task::Classification, Schema::of_classes(&classes));
    store.publish_predictions("j", Pass::validation(epoch), outputs, "predictions_validation.csv")
}

#[test]
fn reports_of_the_best_epoch_are_kept_and_become_its_predictions() {
    let (folder, store) = store();
    for epoch in [0, 1, 10] {
        let spool = store.spool("j", Pass::validation(epoch)).unwrap();
        spool.write(key(1, 1), &report(1, [0.25, 0.75])).unwrap();
        spool.write(key(0, 1), &report(0, [0.5, f64::from(epoch)])).unwrap();
        spool.settle([key(1, 1), key(0, 1)]).unwrap();
    }
    store.keep_validations("j", &[1]).unwrap();
    let published = publish(&store, 1).unwrap();
    let expected = "index,sample,label,predicted,probability_ant,probability_bee\n0,a.png,bee,bee,0.5,1.0\n1,a.png,bee,bee,0.25,0.75\n";
    assert_eq!(published, announced(expected.as_bytes()));
    let kind = FileKind::Artifact("predictions_validation.csv".to_owned());
    assert!(store.holds("j", &kind, &published).unwrap());
    for gone in [0, 10] {
        assert!(matches!(publish(&store, gone), Err(ArtifactError::Missing { .. })));
    }
    store.clear_spools("j").unwrap();
    assert_eq!(
        files_in(&folder.path().join("jobs/j")).unwrap().len(),
        1,
        "the artifacts"
    );
}

#[test]
fn predictions_that_an_earlier_build_wrote_when_it_scored_the_pass_are_published() {
    let (folder, store) = store();
    let written = folder.path().join("jobs/j/predictions");
    fs::create_dir_all(&written).unwrap();
    fs::write(written.join("validation-000001.csv"), b"epoch 1").unwrap();
    assert_eq!(publish(&store, 1).unwrap(), announced(b"epoch 1"));
}
