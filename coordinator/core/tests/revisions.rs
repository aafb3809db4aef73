//! What is added to the spec after revision 2 of the protocol says so, and ranks of earlier revisions are told nothing of it.

#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use std::{collections::BTreeSet, fs, path::Path};

use firn_core::compatibility::{Need, Revision};
use firn_core::spec::schema::{self, Kind};
use firn_core::spec::{
    DataFormat, Determinism, Freeze, JobSpec, LabelColumns, LossSpec, MissingLabels, RowLayout, Task, versions,
};

const REVISION_2: &str = include_str!("spec_forms/revision-2.jsonl");

fn stored() -> Vec<(&'static str, JobSpec)> {
    let of_line = |line| (line, serde_json::from_str(line).unwrap());
    REVISION_2.lines().map(of_line).collect()
}

/// The first stored job with texts in a table.
fn texts() -> JobSpec {
    let is_table = |spec: &JobSpec| match &spec.data.format {
        DataFormat::Rows(rows) => rows.layout != RowLayout::JsonLines && rows.input.role() == "text",
        DataFormat::ImageFolder => false,
    };
    stored().into_iter().map(|(_, spec)| spec).find(is_table).unwrap()
}

fn regression() -> JobSpec {
    let mut spec = texts();
    spec.task = Task::Regression;
    spec.training.loss = LossSpec::Mse;
    if let DataFormat::Rows(rows) = &mut spec.data.format {
        rows.label = LabelColumns::Numbers(vec!["stars".to_owned()]);
    }
    spec
}

/// `2 spec.task.type`, `3 spec.task.type = regression`.
fn lines() -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    schema::walk(&mut |path, field| {
        lines.insert(format!("{} {path}", field.since.0));
        let words = match &field.kind {
            Kind::Choice(choices) => choices.as_slice(),
            _ => &[],
        };
        for choice in words {
            let since = field.since.max(choice.since);
            lines.insert(format!("{} {path} = {}", since.0, choice.word));
        }
    });
    lines
}

#[test]
#[allow(clippy::disallowed_methods, reason = "the list is written when that is asked for")]
fn what_is_new_in_the_spec_is_marked_with_the_revision_of_this_build_and_keeps_its_mark() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/spec_forms/revisions.txt");
    let before: BTreeSet<String> = fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
    let now = lines();
    let gone: Vec<&String> = before.difference(&now).collect();
    assert!(gone.is_empty(), "what ranks know is never taken back: {gone:?}");
    let current = format!("{} ", Revision::CURRENT.0);
    let new: Vec<&String> = now.difference(&before).collect();
    let unmarked: Vec<_> = new.iter().filter(|line| !line.starts_with(&current)).collect();
    assert!(
        unmarked.is_empty(),
        "expected `x-firn-since` = {current}where these are defined: {unmarked:?}"
    );
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, now.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        return;
    }
    assert!(
        new.is_empty(),
        "spec_forms/revisions.txt lacks {new:?}; add them with: BLESS=1 cargo test --release -p firn-core --test revisions"
    );
}

#[test]
fn ranks_of_revision_2_are_told_the_document_that_they_know_byte_for_byte() {
    for (line, spec) in stored() {
        let told = versions::known_to(Revision(2), &spec).unwrap();
        assert_eq!(told.to_string(), line);
        assert_ne!(
            spec.to_document().to_string(),
            line,
            "this build says more of {}",
            spec.metadata.name
        );
    }
}

#[test]
fn a_job_needs_the_oldest_revision_that_knows_all_it_asks_for() {
    let need = |spec: &JobSpec| {
        let need = Need::of(spec);
        (need.revision.0, need.because.unwrap_or_default().into_owned())
    };
    let mut spec = texts();
    assert_eq!(spec.data.missing_labels, Some(MissingLabels::Error), "the default");
    assert_eq!(need(&spec), (1, String::new()));
    spec.data.missing_labels = Some(MissingLabels::Drop);
    assert_eq!(need(&spec), (2, "spec.data.missingLabels".to_owned()));
    let mut regression = regression();
    assert_eq!(need(&regression), (3, "spec.task.type".to_owned()));
    let metric = "validation/mae";
    let mut document = regression.to_document();
    document["spec"]["training"]["bestMetric"] = metric.into();
    regression = serde_json::from_value(document).unwrap();
    assert_eq!(need(&regression).0, 3);
}

#[test]
fn each_thing_that_is_newer_keeps_a_job_from_older_ranks_by_itself() {
    let newer = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut document = texts().to_document();
        change(&mut document["spec"]);
        let spec: JobSpec = serde_json::from_value(document).unwrap();
        versions::known_to(Revision(2), &spec).map_err(|field| field.into_owned())
    };
    let field = newer(&|spec| spec["training"]["loss"] = serde_json::json!({"type": "huber", "delta": 2.0}));
    assert_eq!(field.unwrap_err(), "spec.training.loss.type");
    let field = newer(&|spec| spec["data"]["columns"] = serde_json::json!({"text": "t", "targets": ["a", "b"]}));
    assert_eq!(field.unwrap_err(), "spec.data.columns.targets");
    let field = newer(&|spec| spec["training"]["bestMetric"] = "validation/r2".into());
    assert_eq!(field.unwrap_err(), "spec.training.bestMetric");
    assert!(newer(&|spec| spec["training"]["bestMetric"] = "validation/cohen_kappa".into()).is_ok());
}

#[test]
fn batch_norm_that_trains_on_more_than_one_rank_needs_ranks_that_share_its_statistics() {
    let mut jobs = stored().into_iter().map(|(_, spec)| spec);
    let mut spec = jobs.find(|spec| spec.training.train_batch_norm).unwrap();
    spec.training.determinism = Determinism::Default;
    assert!(Need::of(&spec).revision < Revision(5), "alone, any rank can");
    // In slices, earlier ones would compute other bits.
    let strict = (Determinism::Strict, 1, 1);
    for (determinism, workers, slots) in [(Determinism::Default, 2, 1), (Determinism::Default, 1, 2), strict] {
        spec.training.determinism = determinism;
        (spec.resources.workers.max, spec.resources.slots_per_worker) = (workers, slots);
        let need = Need::of(&spec);
        assert_eq!(
            (need.revision, need.because.as_deref()),
            (Revision(5), Some("spec.training.batchNorm"))
        );
    }
}

#[test]
fn a_model_of_the_hub_needs_ranks_that_fetch_it() {
    let mut spec = texts();
    assert!(Need::of(&spec).revision < Revision(5));
    spec.model.weights = Some(format!("hf://org/name@{}/", "0".repeat(40)));
    let need = Need::of(&spec);
    assert_eq!(
        (need.revision, need.because.as_deref()),
        (Revision(5), Some("spec.model.weights"))
    );
    let document = spec.to_document();
    assert_eq!(
        document["spec"]["model"]["weights"],
        format!("hf://org/name@{}/", "0".repeat(40))
    );
    assert_eq!(serde_json::from_value::<JobSpec>(document).unwrap(), spec);
}

/// A revision that is not announced yet is told what this build knows.
#[test]
fn ranks_of_this_revision_are_told_everything() {
    let mut spec = regression();
    spec.model.freeze.through = Freeze::Nothing;
    for revision in [Revision::CURRENT, Revision(99)] {
        assert_eq!(versions::known_to(revision, &spec), Ok(spec.to_document()));
    }
}

#[test]
fn what_only_the_coordinator_reads_keeps_a_job_from_no_rank_and_is_told_to_none_that_does_not_know_it() {
    let plain = texts();
    let mut document = plain.to_document();
    document["metadata"]["namespace"] = "research".into();
    document["spec"]["scheduling"] = serde_json::json!({"priority": 7, "workerSelector": {"zone": "a"}});
    document["spec"]["runPolicy"] = serde_json::json!({"activeDeadline": "2h", "ttlSecondsAfterFinished": 60});
    let spec: JobSpec = serde_json::from_value(document).unwrap();
    assert_eq!(spec.scheduling.priority, 7);
    assert_eq!(spec.run_policy.active_deadline_ms, Some(7_200_000));
    assert_eq!(Need::of(&spec), Need::of(&plain));
    for older in (1..Revision::CURRENT.0).map(Revision) {
        let told = versions::known_to(older, &spec);
        assert_eq!(told, versions::known_to(older, &plain), "revision {}", older.0);
        assert_eq!(told.is_ok(), older >= Need::of(&plain).revision);
    }
}
