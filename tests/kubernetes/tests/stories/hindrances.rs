//! What keeps pods from starting stands on the resource, within seconds.

use serde_json::{Value, json};

use crate::release::{Story, TEAMS, job};
use crate::secrets::wait_until;

/// The reason and the sentence of the condition of the pods.
fn hindrance(status: &Value) -> Option<(String, String)> {
    let mut conditions = status["conditions"].as_array()?.iter();
    let found = conditions.find(|condition| condition["type"] == "PodsReady" && condition["status"] == "False")?;
    Some((
        found["reason"].as_str()?.to_owned(),
        found["message"].as_str()?.to_owned(),
    ))
}

#[test]
fn what_hinders_the_pods_stands_on_the_resource_until_it_is_gone() {
    let Some(story) = Story::begin() else { return };
    let cases: [(&str, &str, Value, &[&str], &str); 3] = [
        (
            "nowhere",
            "/spec/worker/nodeSelector",
            json!({"role": "none"}),
            &["Unschedulable"],
            "nodes are available",
        ),
        (
            "imageless",
            "/spec/worker/image",
            json!("nowhere.example/firn:1"),
            &["ErrImagePull", "ImagePullBackOff"],
            "nowhere.example/firn:1",
        ),
        (
            "secretless",
            "/spec/worker/env",
            json!([{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "absent", "key": "key"}}}]),
            &["CreateContainerConfigError"],
            "secret \"absent\" not found",
        ),
    ];
    for (name, pointer, value, reasons, words) in cases {
        let mut hindered = job(name, 1, (1, 1));
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        hindered.pointer_mut(parent).unwrap()[field] = value;
        story.apply(&hindered);
        let status = story.until(name, |status| {
            hindrance(status).is_some_and(|(reason, _)| reasons.contains(&reason.as_str()))
        });
        let (reason, message) = hindrance(&status).unwrap();
        story.figure(&format!("{name}: {reason}: {message}"));
        assert!(message.contains(words), "{message}");
        story.delete(name);
    }
    story.team(&["create", "quota", "none", "--hard=pods=0"], "");
    story.apply(&job("refused", 1, (1, 1)));
    let status = story.until("refused", |status| {
        hindrance(status).is_some_and(|(reason, _)| reason == "FailedCreate")
    });
    let (_, message) = hindrance(&status).unwrap();
    story.figure(&format!("refused: FailedCreate: {message}"));
    assert!(message.contains("exceeded quota"), "{message}");
    story.team(&["delete", "quota", "none"], "");
    story.delete("refused");
    // A Secret that comes lets the job go on.
    let mut late = job("late", 1, (1, 1));
    late["spec"]["worker"]["env"] =
        json!([{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "late", "key": "key"}}}]);
    story.apply(&late);
    story.until("late", |status| {
        hindrance(status).is_some_and(|(reason, _)| reason == "CreateContainerConfigError")
    });
    story.team(&["create", "secret", "generic", "late", "--from-literal=key=1"], "");
    story.succeeds("late");
    story.figure("the Secret came, and the job has succeeded");
    story.delete("late");
}

/// A policy that refuses something to a namespace, in these words; it is in force when this returns.
fn close(story: &Story, (group, resource): (&str, &str), words: &str, sample: &Value) {
    let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
    "metadata": {"name": "closed"},
    "spec": {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [
            {"apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": [resource]}]},
        "validations": [{"expression": "false", "message": words}],
    }});
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
    "metadata": {"name": "closed"},
    "spec": {
        "policyName": "closed", "validationActions": ["Deny"],
        "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": TEAMS[0]}}},
    }});
    for object in [policy, binding] {
        story.kubectl().must(&["create", "-f", "-"], &object.to_string());
    }
    // Nobody tells when a policy is in force.
    let arguments = ["--namespace", TEAMS[0], "create", "--dry-run=server", "-f", "-"];
    wait_until("the policy", || {
        story
            .kubectl()
            .run(&arguments, &sample.to_string())
            .talk
            .contains(words)
    });
}

fn open(story: &Story) {
    let kinds = "validatingadmissionpolicybinding,validatingadmissionpolicy";
    story.kubectl().must(&["delete", kinds, "closed"], "");
}

/// A pod that the strictest policy allows.
fn pod() -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "sample"}, "spec": {
        "securityContext": {"runAsNonRoot": true, "runAsUser": 1, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "main", "image": "firn-worker:0.1.0",
                        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}]}})
}

/// The message of a condition with these words, as soon as it says so.
fn says(story: &Story, job: &str, (kind, reason): (&str, &str), words: &str) {
    let found = |status: &Value| {
        let mut conditions = status["conditions"].as_array()?.iter();
        let found = conditions.find(|condition| condition["type"] == kind && condition["reason"] == reason)?;
        Some(found["message"].as_str()?.to_owned())
    };
    let status = story.until(job, |status| found(status).is_some());
    let message = found(&status).unwrap();
    story.figure(&format!("{job}: {kind}: {reason}: {message}"));
    assert!(message.contains(words), "{message}");
}

#[test]
fn a_claim_that_is_missing_stands_on_the_resource_until_it_comes() {
    let Some(story) = Story::begin() else { return };
    let mut claimless = job("claimless", 1, (1, 1));
    let volumes = claimless["spec"]["worker"]["volumes"].as_array_mut().unwrap();
    volumes.push(json!({"name": "scores", "persistentVolumeClaim": {"claimName": "scores"}}));
    story.apply(&claimless);
    let words = "persistentvolumeclaim \"scores\" not found";
    says(&story, "claimless", ("PodsReady", "MissingClaim"), words);
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "scores"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}});
    story.team(&["create", "-f", "-"], &claim.to_string());
    story.succeeds("claimless");
    story.figure("the claim came, and the job has succeeded");
    story.delete("claimless");
    story.team(&["delete", "pvc", "scores"], "");
}

#[test]
fn what_admission_refuses_stands_on_the_resource_with_its_words_and_the_job_goes_on_when_it_is_let_in() {
    let Some(story) = Story::begin() else { return };
    let closed = "nobody trains on Sundays";
    close(&story, ("", "pods"), closed, &pod());
    story.apply(&job("podless", 1, (1, 1)));
    says(&story, "podless", ("PodsReady", "FailedCreate"), closed);
    open(&story);
    story.succeeds("podless");
    story.figure("the policy is gone, and the job has succeeded");
    story.delete("podless");

    let template = json!({"spec": pod()["spec"], "metadata": {}});
    let mut batch = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "sample"}, "spec": {"template": template}});
    batch["spec"]["template"]["spec"]["restartPolicy"] = json!("Never");
    close(&story, ("batch", "jobs"), closed, &batch);
    story.apply(&job("jobless", 1, (1, 1)));
    says(&story, "jobless", ("Reconciled", "ClusterRefused"), closed);
    open(&story);
    let (status, _) = story.succeeds("jobless");
    story.figure("the policy is gone, and the job has succeeded");
    let conditions = status["conditions"].as_array().unwrap();
    assert!(
        conditions.iter().all(|condition| condition["type"] != "Reconciled"),
        "{status}"
    );
    story.delete("jobless");
}

#[test]
fn who_asks_for_more_than_the_namespace_allows_is_told_so() {
    let Some(story) = Story::begin() else { return };
    let asks = |name: &str, security: Value| {
        let mut asking = job(name, 1, (1, 1));
        asking["spec"]["worker"]["template"] =
            json!({"spec": {"containers": [{"name": "worker", "securityContext": security}]}});
        story.apply(&asking);
    };
    asks(
        "privileged",
        json!({"privileged": true, "allowPrivilegeEscalation": true}),
    );
    says(
        &story,
        "privileged",
        ("PodsReady", "FailedCreate"),
        "violates PodSecurity \"restricted:latest\"",
    );
    story.delete("privileged");
    // What contradicts itself is no pod at all.
    asks("contradictory", json!({"privileged": true}));
    let words = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
    says(&story, "contradictory", ("Reconciled", "ClusterRefused"), words);
    story.team(&["delete", "ftj", "contradictory", "--timeout=120s"], "");
}
