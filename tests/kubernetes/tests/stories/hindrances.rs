//! What keeps pods from starting stands on the resource, within seconds.

use serde_json::{Value, json};

use crate::release::{Story, job};

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
