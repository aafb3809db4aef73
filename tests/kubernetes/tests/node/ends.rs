//! How containers end, what is told of it, and what follows.

use serde_json::{Value, json};

use crate::place::{Place, script, script_with};

/// Status of a pod's conditions, by type.
fn condition(status: &Value, type_: &str) -> (String, String) {
    let conditions = status["conditions"].as_array().unwrap();
    let found = conditions.iter().find(|condition| condition["type"] == type_).unwrap();
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"))
}

fn pair(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

#[test]
fn phases_conditions_and_codes_are_those_of_a_kubelet() {
    let Some(place) = Place::new("codes") else { return };
    let cases = [
        (
            "zero",
            "exit 0",
            "Succeeded",
            "PodCompleted",
            json!({"exitCode": 0, "reason": "Completed"}),
        ),
        (
            "told-to-go",
            "exit 75",
            "Failed",
            "PodFailed",
            json!({"exitCode": 75, "reason": "Error"}),
        ),
        (
            "killed",
            "(sleep 0.1; kill -KILL $BASHPID) & wait $! ; exit $?",
            "Failed",
            "PodFailed",
            json!({"exitCode": 137, "reason": "Error"}),
        ),
    ];
    for (name, text, phase, reason, end) in cases {
        place.create(&script(name, text));
        place.wait(&format!("pod/{name}"), ".status.phase", phase);
        let status = place.get("pod", name)["status"].clone();
        let told = &status["containerStatuses"][0]["state"]["terminated"];
        assert_eq!(
            (&told["exitCode"], &told["reason"]),
            (&end["exitCode"], &end["reason"]),
            "{status}"
        );
        assert_eq!(condition(&status, "Ready"), pair("False", reason), "{status}");
        assert_eq!(condition(&status, "ContainersReady"), pair("False", reason));
        assert_eq!(condition(&status, "Initialized").0, "True");
    }
    let mut absent = script("absent", "");
    absent["spec"]["containers"][0]["command"] = json!(["/no/such/program"]);
    place.create(&absent);
    place.wait("pod/absent", ".status.phase", "Failed");
    let end = place.state("absent")["terminated"].clone();
    assert_eq!(
        (&end["exitCode"], &end["reason"]),
        (&json!(128), &json!("StartError")),
        "{end}"
    );
    assert!(end["message"].as_str().unwrap().contains("/no/such/program"), "{end}");
}

#[test]
fn a_container_runs_again_as_the_policy_says_after_a_wait() {
    let Some(place) = Place::new("again") else { return };
    let volume = json!({"volumes": [{"name": "shared", "emptyDir": {}}], "restartPolicy": "OnFailure"});
    let mounts = json!({"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]});
    let text = "echo >> /shared/runs; [ $(wc -l < /shared/runs) = 3 ] || exit 9";
    place.create(&script_with("third", text, (mounts, volume)));
    place.wait("pod/third", ".status.phase", "Succeeded");
    let status = place.get("pod", "third")["status"]["containerStatuses"][0].clone();
    assert_eq!(status["restartCount"], 2, "{status}");
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 9);
    place.create(&script_with(
        "always",
        "exit 0",
        (json!({}), json!({"restartPolicy": "Always"})),
    ));
    place.wait(
        "pod/always",
        ".status.containerStatuses[0].state.waiting.reason",
        "CrashLoopBackOff",
    );
    assert_eq!(place.get("pod", "always")["status"]["phase"], "Running");
    place.kubectl(&["delete", "pod", "always"], "");
}

#[test]
fn a_pod_that_is_deleted_may_end_by_itself_and_is_killed_when_its_time_is_up() {
    let Some(place) = Place::new("deleted") else { return };
    let volume = json!({"volumes": [{"name": "kept", "persistentVolumeClaim": {"claimName": "kept"}}]});
    let mounts = json!({"volumeMounts": [{"name": "kept", "mountPath": "/kept"}]});
    place.create(&json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "kept"},
        "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}},
    }));
    let polite = "trap 'echo gone > /kept/polite; exit 0' TERM; echo > /kept/started; while :; do sleep 0.1; done";
    place.create(&script_with("polite", polite, (mounts.clone(), volume.clone())));
    let stubborn = "trap '' TERM; while :; do sleep 0.1; echo $SECONDS > /kept/stubborn; done";
    let mut pod = script_with("stubborn", stubborn, (mounts.clone(), volume.clone()));
    pod["spec"]["terminationGracePeriodSeconds"] = json!(2);
    place.create(&pod);
    // Both have begun to listen when they have written.
    let begun = "until [ -e /kept/started ] && [ -e /kept/stubborn ]; do sleep 0.1; done";
    place.outcome(&script_with("begun", begun, (mounts.clone(), volume.clone())));
    place.kubectl(&["delete", "pod", "polite", "stubborn", "--timeout=60s"], "");
    let told = place.outcome(&script_with(
        "reader",
        "cat /kept/polite > /dev/termination-log",
        (mounts, volume),
    ));
    assert_eq!(told.trim(), "gone");
}

#[test]
fn a_job_replaces_what_was_told_to_go_and_does_not_count_it() {
    let Some(place) = Place::new("jobs") else { return };
    let template = script(
        "x",
        "trap 'exit 75' TERM; if [ $JOB_COMPLETION_INDEX = 0 ] && [ -e /kept/go ]; then exit 0; fi; while :; do sleep 0.1; done",
    );
    let mut spec = template["spec"].clone();
    spec["volumes"] = json!([{"name": "kept", "persistentVolumeClaim": {"claimName": "kept"}}]);
    spec["containers"][0]["volumeMounts"] = json!([{"name": "kept", "mountPath": "/kept"}]);
    place.create(&json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "kept"},
        "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}},
    }));
    place.create(&json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "gang"},
        "spec": {
            "completionMode": "Indexed", "completions": 2, "parallelism": 2, "backoffLimit": 0, "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": [{"action": "Ignore", "onExitCodes": {"containerName": "main", "operator": "In", "values": [75]}}]},
            "template": {"metadata": {"labels": {"gang": "yes"}}, "spec": spec},
        },
    }));
    place.wait("job/gang", ".status.ready", "2");
    let pods = place.kubectl(&["get", "pod", "-l", "gang=yes", "-o", "name"], "");
    let first = pods.lines().next().unwrap().to_owned();
    place.kubectl(&["delete", &first, "--timeout=60s"], "");
    place.wait("job/gang", ".status.ready", "2");
    let status = place.get("job", "gang")["status"].clone();
    assert!(status["failed"].is_null() || status["failed"] == 0, "{status}");
    let now = place.kubectl(&["get", "pod", "-l", "gang=yes", "-o", "name"], "");
    assert!(now.lines().count() == 2 && !now.contains(&first), "{now}");
    place.kubectl(&["delete", "job", "gang", "--timeout=60s"], "");
}
