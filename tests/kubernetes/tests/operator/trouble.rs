//! What goes wrong: a spec that cannot be, an operator that dies, a coordinator that is away, pods that cannot start.

use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::place::{Place, condition, job};

#[test]
fn what_only_the_rules_of_the_spec_refuse_stands_on_the_resource_and_is_never_submitted() {
    let Some(place) = Place::new("refused") else { return };
    let _operator = place.operator("one");
    let mut broken = job("ants", Path::new("/data"));
    broken["spec"]["data"]["train"]["uri"] = json!("relative/path");
    place.create(&broken);
    place.wait("ftj/ants", ".status.summary", "Failed");
    let conditions = place.get("ftj", "ants")["status"]["conditions"].clone();
    assert_eq!(conditions[0]["reason"], "Misconfigured");
    assert!(
        conditions[0]["message"]
            .as_str()
            .unwrap()
            .contains("spec.data.train.uri"),
        "{conditions}"
    );
    assert_eq!(place.jobs(), []);
    place.kubectl(&["delete", "ftj", "ants", "--timeout=60s"], "");
}

#[test]
fn an_operator_that_is_killed_at_any_moment_leaves_one_job() {
    let Some(place) = Place::new("killed") else { return };
    for (round, name) in ["ants", "bees", "wasps"].into_iter().enumerate() {
        let mut operator = place.operator("one");
        place.create(&job(name, Path::new("/data")));
        // As soon as the coordinator has it, whatever the operator has noted.
        while place.jobs().len() <= round {}
        operator.kill().unwrap();
        drop(operator);
        let _next = place.operator("one");
        place.wait(&format!("ftj/{name}"), ".status.job", name);
        assert_eq!(place.jobs().len(), round + 1);
    }
}

#[test]
fn of_two_operators_one_works_and_the_other_takes_over_and_who_loses_the_lease_ends() {
    let Some(place) = Place::new("two") else { return };
    let mut first = place.operator("one");
    place.create(&job("ants", Path::new("/data")));
    place.wait("ftj/ants", ".status.summary", "Queued");
    place.answers("one", "/metrics", "firn_operator_leading 1");
    let mut second = place.operator("two");
    // One that waits is ready, too.
    place.answers("two", "/readyz", "200 OK");
    place.answers("two", "/metrics", "firn_operator_leading 0");
    first.signal(Signal::SIGTERM).unwrap();
    assert_eq!(first.wait().unwrap(), Some(0), "{}", place.log("one"));
    place.wait("lease/firn-operator", ".spec.holderIdentity", "two");
    place.answers("two", "/metrics", "firn_operator_leading 1");
    place.create(&job("bees", Path::new("/data")));
    place.wait("ftj/bees", ".status.summary", "Queued");

    let patch = json!({"spec": {"holderIdentity": "somebody-else"}}).to_string();
    place.kubectl(
        &["patch", "lease", "firn-operator", "--type", "merge", "-p", &patch],
        "",
    );
    assert_eq!(second.wait().unwrap(), Some(1), "{}", place.log("two"));
    assert!(place.log("two").contains("another operator holds the lease") || place.log("two").is_empty());
}

#[test]
fn a_coordinator_that_is_away_or_refuses_is_told_on_the_resource_and_no_job_is_lost() {
    let Some(mut place) = Place::new("away") else { return };
    let _operator = place.operator("one");
    place.create(&job("ants", Path::new("/data")));
    place.wait("ftj/ants", ".status.summary", "Queued");
    place.coordinator.kill_coordinator().unwrap();
    place.create(&job("bees", Path::new("/data")));
    place.wait(
        "ftj/bees",
        ".status.conditions[?(@.type==\"Reconciled\")].reason",
        "CoordinatorUnavailable",
    );
    place.wait(
        "ftj/ants",
        ".status.conditions[?(@.type==\"Reconciled\")].reason",
        "CoordinatorUnavailable",
    );
    assert_eq!(place.get("ftj", "ants")["status"]["summary"], "Queued");
    assert_eq!(place.get("ftj", "bees")["status"]["summary"], "Pending");
    place.coordinator.restart_coordinator().unwrap();
    place.wait("ftj/bees", ".status.summary", "Queued");
    place.wait("ftj/bees", ".status.job", "bees");
    for name in ["ants", "bees"] {
        place.kubectl(
            &[
                "wait",
                "--for=jsonpath={.status.summary}=Queued",
                &format!("ftj/{name}"),
            ],
            "",
        );
    }

    // The coordinator takes another token from now on, and the operator reads it again.
    let file = place.folder.path().join("administrator");
    std::fs::write(&file, "fedcba9876543210fedcba9876543210").unwrap();
    place.create(&job("wasps", Path::new("/data")));
    place.wait("ftj/wasps", ".status.summary", "Queued");
}

#[test]
fn a_resource_goes_in_seconds_while_the_coordinator_is_down_and_its_job_ends_as_soon_as_it_is_back() {
    let Some(mut place) = Place::new("gone") else { return };
    let operator = place.operator("one");
    for name in ["ants", "bees", "wasps"] {
        place.create(&job(name, Path::new("/data")));
        place.wait(&format!("ftj/{name}"), ".status.summary", "Queued");
    }
    place.coordinator.kill_coordinator().unwrap();
    place.kubectl(&["delete", "ftj", "ants", "--timeout=60s"], "");
    place.coordinator.restart_coordinator().unwrap();
    place.ends("ants");

    // The operator that remembered it does not live to tell.
    place.coordinator.kill_coordinator().unwrap();
    place.kubectl(&["delete", "ftj", "bees", "--timeout=60s"], "");
    drop(operator);
    place.coordinator.restart_coordinator().unwrap();
    let _next = place.operator("two");
    place.ends("bees");
    assert!(
        place.jobs().contains(&("wasps".to_owned(), "Queued".to_owned())),
        "{:?}",
        place.jobs()
    );
}

#[test]
fn what_hinders_the_pods_stands_on_the_resource_and_a_job_that_waits_in_vain_is_given_up() {
    let Some(mut place) = Place::new("hindered") else {
        return;
    };
    place.settings["startDeadlineSeconds"] = json!(1);
    let _operator = place.operator("one");
    place.create(&job("ants", Path::new("/data")));
    place.wait("job/ants-workers", ".spec.parallelism", "2");
    // What the Job controller says where a quota is used up.
    let workers = place.get("job", "ants-workers");
    let refused = "pods \"ants-workers-0-x\" is forbidden: exceeded quota: small";
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "ants-workers.1", "namespace": "hindered"},
        "involvedObject": {"apiVersion": "batch/v1", "kind": "Job", "name": "ants-workers", "namespace": "hindered",
                           "uid": workers["metadata"]["uid"]},
        "reason": "FailedCreate", "type": "Warning", "message": refused, "lastTimestamp": "2036-01-01T00:00:00Z",
    });
    place.kubectl(&["create", "-f", "-"], &event.to_string());
    place.wait("ftj/ants", ".status.summary", "Failed");
    let ants = place.get("ftj", "ants");
    let (failed, pods) = (condition(&ants, "Failed"), condition(&ants, "PodsReady"));
    assert_eq!(
        (&failed["reason"], &pods["reason"]),
        (&json!("PodsCannotStart"), &json!("FailedCreate"))
    );
    assert_eq!(failed["message"], format!("0 of 2 pods run; {refused}"));
    assert_eq!(place.jobs(), [("ants".to_owned(), "Cancelled".to_owned())]);
    let events = place.kubectl(
        &[
            "get",
            "events",
            "--field-selector",
            "involvedObject.kind=FineTuneJob",
            "-o",
            "name",
        ],
        "",
    );
    // Submitted, no pods yet, hindered, over: one each.
    assert!(events.lines().count() <= 6, "{events}");
}
