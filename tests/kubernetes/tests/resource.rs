//! The definition of `FineTuneJob`, as a real API server takes it.
//!
//! One server serves all tests, each in a resource of its own.

#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use std::{fs, path::Path, sync::LazyLock};

use firn_kubernetes_tests::{ControlPlane, Kubectl, Programs};
use firn_operator::resource;
use serde_json::{Value, json};

/// With the definition in place; `None`, said aloud, where the programs are not there.
static CLUSTER: LazyLock<Option<ControlPlane>> = LazyLock::new(|| {
    let cluster = ControlPlane::start(&Programs::of_api_server()?).unwrap_or_else(|error| panic!("{error:#}"));
    cluster.kubectl().define(&resource::crd());
    Some(cluster)
});

fn kubectl() -> Option<&'static Kubectl> {
    CLUSTER.as_ref().map(ControlPlane::kubectl)
}

fn job(name: &str) -> Value {
    json!({
        "apiVersion": "firn.dev/v1alpha1",
        "kind": "FineTuneJob",
        "metadata": {"name": name},
        "spec": {
            "task": {"type": "classification"},
            "model": {"architecture": "resnet18", "weights": "file:///models/resnet18.safetensors"},
            "data": {"format": "imagefolder", "train": {"uri": "file:///data/train"}, "validation": {"split": 0.2}},
            "training": {"epochs": 3, "optimizer": {"type": "adamw", "learningRate": 1e-3}},
            "resources": {"workers": {"min": 1, "max": 2}},
            "worker": {
                "image": "firn-worker:0.1.0",
                "resources": {"limits": {"cpu": 2, "memory": "4Gi", "nvidia.com/gpu": 1}},
                "tolerations": [{"key": "gpu", "operator": "Exists"}],
                "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}],
            },
        },
    })
}

/// The job with another value at a JSON pointer.
fn with(mut job: Value, pointer: &str, value: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let mut place = &mut job;
    for part in parent.split('/').skip(1) {
        place = &mut place[part];
    }
    place[name] = value;
    job
}

#[test]
fn a_second_apply_changes_nothing_and_the_definition_warns_of_nothing() {
    let Some(kubectl) = kubectl() else { return };
    let applied = kubectl.apply(&resource::crd());
    assert_eq!(
        (applied.succeeded, applied.talk.as_str()),
        (true, ""),
        "{}",
        applied.output
    );
    let apply = |job: &Value| kubectl.must(&["apply", "-f", "-"], &job.to_string());
    assert_eq!(apply(&job("twice")), "finetunejob.firn.dev/twice created");
    let first = kubectl.get("ftj", "twice");
    assert_eq!(apply(&job("twice")), "finetunejob.firn.dev/twice unchanged");
    assert_eq!(kubectl.get("ftj", "twice")["metadata"], first["metadata"]);
}

#[test]
fn what_is_wrong_is_refused_with_the_path_of_its_field() {
    let Some(kubectl) = kubectl() else { return };
    let no_task = {
        let mut job = job("broken");
        job["spec"].as_object_mut().unwrap().shift_remove("task");
        job
    };
    let cases = [
        (no_task, "spec.task: Required value"),
        (
            with(job("broken"), "/spec/model/architecture", json!("resnet19")),
            "spec.model.architecture: Unsupported value: \"resnet19\"",
        ),
        (
            with(job("broken"), "/spec/training/epochs", json!(0)),
            "spec.training.epochs: Invalid value: 0: spec.training.epochs in body should be greater than or equal to 1",
        ),
        (
            with(job("broken"), "/spec/training/optimizer/learningRate", json!(0)),
            "spec.training.optimizer.learningRate: Invalid value: 0: spec.training.optimizer.learningRate in body should be greater than 0",
        ),
        (
            with(job("broken"), "/spec/training/batchSize", json!("many")),
            "spec.training.batchSize: Invalid value: \"string\"",
        ),
        (
            with(job("broken"), "/spec/resources/workers", json!({"min": 3, "max": 2})),
            "spec.resources.workers.max: Invalid value: must be at least `min`",
        ),
        (
            with(job("broken"), "/spec/training/epoch", json!(3)),
            "unknown field \"spec.training.epoch\"",
        ),
        (
            with(job("broken"), "/spec/worker/imagePullPolicy", json!("Sometimes")),
            "spec.worker.imagePullPolicy: Unsupported value: \"Sometimes\"",
        ),
        (
            job("a-name-that-is-far-too-long-to-call-the-pods-of-it-after"),
            "metadata.name must be at most 52 characters",
        ),
    ];
    for (job, expected) in cases {
        let answer = kubectl.run(&["create", "-f", "-"], &job.to_string());
        assert!(
            !answer.succeeded && answer.talk.contains(expected),
            "{expected}: {} {}",
            answer.output,
            answer.talk
        );
    }
}

#[test]
fn what_a_job_learns_from_cannot_change_and_how_it_runs_can() {
    let Some(kubectl) = kubectl() else { return };
    kubectl.must(&["create", "-f", "-"], &job("fixed").to_string());
    let change = |spec: &Value| {
        let patch = json!({"spec": spec}).to_string();
        kubectl.run(&["patch", "ftj", "fixed", "--type", "merge", "-p", &patch], "")
    };
    for (spec, field) in [
        (json!({"model": {"architecture": "bert"}}), "spec.model"),
        (json!({"model": {"freeze": {"through": "layer3"}}}), "spec.model"),
        (json!({"data": {"train": {"uri": "/other"}}}), "spec.data"),
        (json!({"training": {"epochs": 4}}), "spec.training"),
        (json!({"training": null}), "spec.training"),
        (json!({"task": {"type": "regression"}}), "spec.task"),
        (json!({"artifacts": {"uri": "/elsewhere"}}), "spec.artifacts"),
        (json!({"restartPolicy": {"maxRestarts": 7}}), "spec.restartPolicy"),
        (json!({"runPolicy": {"activeDeadline": "1h"}}), "spec.runPolicy"),
        (json!({"managedBy": "somebody.example/else"}), "spec.managedBy"),
        (json!({"worker": {"image": "other"}}), "spec.worker"),
        (
            json!({"resources": {"slotsPerWorker": 2}}),
            "spec.resources.slotsPerWorker",
        ),
        (json!({"resources": {"device": "gpu"}}), "spec.resources.device"),
        (
            json!({"scheduling": {"workerSelector": {"zone": "a"}}}),
            "spec.scheduling.workerSelector",
        ),
    ] {
        let answer = change(&spec);
        assert!(!answer.succeeded, "{spec} was taken");
        assert!(
            answer.talk.contains(&format!("{field}: Invalid value")),
            "{spec}: {}",
            answer.talk
        );
        assert!(answer.talk.contains("cannot be changed"), "{spec}: {}", answer.talk);
    }
    for spec in [
        json!({"resources": {"workers": {"max": 5}}}),
        json!({"resources": {"workers": {"min": 2, "max": 3}}}),
        json!({"scheduling": {"priority": 100}}),
        json!({"suspend": true}),
        json!({"suspend": false}),
    ] {
        let answer = change(&spec);
        assert!(answer.succeeded && answer.talk.is_empty(), "{spec}: {}", answer.talk);
    }
}

#[test]
fn null_in_a_field_that_need_not_be_there_does_no_harm() {
    let Some(kubectl) = kubectl() else { return };
    let mut nulls = job("nulls");
    for pointer in [
        "/spec/data/preprocessing",
        "/spec/training/earlyStopping",
        "/spec/training/microBatchSize",
        "/spec/training/schedule",
        "/spec/model/head",
        "/spec/model/pooling",
        "/spec/artifacts",
        "/spec/scheduling",
        "/spec/runPolicy",
        "/spec/suspend",
        "/spec/managedBy",
        "/spec/worker/affinity",
        "/spec/worker/nodeSelector",
    ] {
        nulls = with(nulls, pointer, Value::Null);
    }
    let answer = kubectl.run(&["create", "-f", "-"], &nulls.to_string());
    assert!(answer.succeeded && answer.talk.is_empty(), "{}", answer.talk);
    let kept = kubectl.get("ftj", "nulls");
    assert_eq!(kept["spec"]["suspend"], false, "its default");
    assert!(!kept["spec"].to_string().contains("null"), "{}", kept["spec"]);
}

#[test]
fn every_spec_that_the_coordinator_takes_is_taken() {
    let Some(kubectl) = kubectl() else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../coordinator/tests/valid_specs");
    let mut taken = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let mut spec: Value = serde_yaml_ng::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        // What a coordinator has written about a job that it keeps.
        let metadata = spec["metadata"].as_object_mut().unwrap();
        metadata.retain(|name, _| ["name", "labels"].contains(&name.as_str()));
        // A number of a resource has a sign: half of the seeds are beyond it.
        if let Some(seed) = spec["spec"]["training"]["seed"].as_u64() {
            spec["spec"]["training"]["seed"] = json!(seed >> 1);
        }
        let create = ["create", "--dry-run=server", "--validate=strict", "-f", "-"];
        let answer = kubectl.run(&create, &spec.to_string());
        assert!(
            answer.succeeded && answer.talk.is_empty(),
            "{}: {}",
            path.display(),
            answer.talk
        );
        taken += 1;
    }
    assert!(taken >= 5, "found {taken} specs");
}

#[test]
fn a_new_definition_applies_over_what_was_stored_under_the_one_before() {
    let Some(programs) = Programs::of_api_server() else {
        return;
    };
    let cluster = ControlPlane::start(&programs).unwrap();
    let kubectl = cluster.kubectl();
    // A definition that knew less: no scheduling, no policy, no rules, one architecture.
    let mut before = resource::crd();
    let spec = &mut before["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let fields = spec.as_object_mut().unwrap();
    fields.shift_remove("x-kubernetes-validations");
    let properties = fields["properties"].as_object_mut().unwrap();
    properties.shift_remove("scheduling");
    properties.shift_remove("runPolicy");
    properties["model"]["properties"]["architecture"]["enum"] = json!(["resnet18"]);
    kubectl.define(&before);
    kubectl.must(&["create", "-f", "-"], &job("old").to_string());

    kubectl.define(&resource::crd());
    let old = kubectl.get("ftj", "old");
    assert_eq!(old["spec"]["model"]["architecture"], "resnet18");
    let patch = r#"{"spec":{"scheduling":{"priority":3}}}"#;
    kubectl.must(&["patch", "ftj", "old", "--type", "merge", "-p", patch], "");
    assert_eq!(kubectl.get("ftj", "old")["spec"]["scheduling"]["priority"], 3);
    let status = json!({"status": {"summary": "Running"}}).to_string();
    kubectl.must(
        &[
            "patch",
            "ftj",
            "old",
            "--subresource=status",
            "--type",
            "merge",
            "-p",
            &status,
        ],
        "",
    );
    assert_eq!(kubectl.get("ftj", "old")["status"]["summary"], "Running");
}

#[test]
fn kubectl_explains_the_fields() {
    let Some(kubectl) = kubectl() else { return };
    let explained = kubectl.must(&["explain", "finetunejob.spec.training.optimizer.learningRate"], "");
    assert!(explained.contains("Peak learning rate."), "{explained}");
    let explained = kubectl.must(&["explain", "ftj.spec.suspend"], "");
    assert!(explained.contains("gives its pods back"), "{explained}");
}

#[test]
fn kubectl_shows_what_a_job_does_and_waits_for_its_conditions() {
    let Some(kubectl) = kubectl() else { return };
    kubectl.must(&["create", "-f", "-"], &job("shown").to_string());
    let status = json!({"status": {
        "summary": "Running", "restarts": 1, "job": "shown",
        "progress": {"epoch": 2, "epochs": 3, "step": 40, "steps": 60, "loss": 0.25},
        "best": {"name": "validation/accuracy", "value": 0.96, "text": "validation/accuracy 0.960", "epoch": 2},
        "workers": {"ready": 2, "min": 1, "max": 2, "text": "2/2"},
        "conditions": [{"type": "Running", "status": "True", "reason": "GangComplete", "message": "all ranks work",
                        "lastTransitionTime": "2026-01-01T00:00:00Z"}],
    }});
    let patch = status.to_string();
    kubectl.must(
        &[
            "patch",
            "ftj",
            "shown",
            "--subresource=status",
            "--type",
            "merge",
            "-p",
            &patch,
        ],
        "",
    );
    let table = kubectl.must(&["get", "ftj", "shown"], "");
    let mut lines = table
        .lines()
        .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()));
    let head: Vec<&str> = lines.next().unwrap().collect();
    assert_eq!(
        head,
        [
            "NAME",
            "STATE",
            "EPOCH",
            "METRIC",
            "WORKERS",
            "RESTARTS",
            "SUSPENDED",
            "AGE"
        ]
    );
    let row: Vec<&str> = lines.next().unwrap().collect();
    assert_eq!(
        row[..7],
        [
            "shown",
            "Running",
            "2",
            "validation/accuracy 0.960",
            "2/2",
            "1",
            "false"
        ]
    );
    let wait = ["wait", "--for=condition=Running", "ftj/shown", "--timeout=30s"];
    assert_eq!(kubectl.must(&wait, ""), "finetunejob.firn.dev/shown condition met");
}
