//! The life of a resource: it becomes a job, with pods that train it, and goes with both.

use std::{fs::File, path::Path, process::Command};

use firn_tests::{
    binaries::{Process, binary},
    jobs::three_classes,
};
use serde_json::{Value, json};

use crate::place::{Place, condition, job};

#[test]
fn a_resource_becomes_a_job_with_pods_of_its_own_and_goes_with_it() {
    let Some(place) = Place::new("whole-life") else { return };
    let _operator = place.operator("one");
    place.create(&job("ants", Path::new("/data")));
    place.wait("ftj/ants", ".status.summary", "Queued");
    let ants = place.get("ftj", "ants");
    assert_eq!(ants["status"]["job"], "ants");
    assert_eq!(ants["status"]["observedGeneration"], ants["metadata"]["generation"]);
    let pods = place.get("job", "ants-workers");
    assert_eq!(pods["metadata"]["ownerReferences"][0]["uid"], ants["metadata"]["uid"]);
    assert_eq!(pods["spec"]["parallelism"], 2);
    // Workers of one job speak with each other, with the coordinator, and with nobody else.
    let policy = place.get("networkpolicy", "ants-workers");
    let each_other = json!([{"podSelector": {"matchLabels": {"firn.dev/job": "ants"}}}]);
    assert_eq!(policy["spec"]["ingress"], json!([{"from": each_other}]));
    assert_eq!(
        policy["spec"]["egress"],
        json!([{"to": each_other}, {"ports": [{"port": 7070, "protocol": "TCP"}]}])
    );
    assert_eq!(policy["metadata"]["ownerReferences"][0]["uid"], ants["metadata"]["uid"]);
    assert_eq!(place.jobs(), [("ants".to_owned(), "Queued".to_owned())]);

    // Nothing changes, nothing is written.
    let before = place.get("ftj", "ants")["metadata"]["resourceVersion"].clone();
    let applied = place.kubectl(
        &["apply", "--server-side", "-f", "-"],
        &job("ants", Path::new("/data")).to_string(),
    );
    assert_eq!(applied, "finetunejob.firn.dev/ants serverside-applied");
    place.create(&job("bees", Path::new("/data")));
    place.wait("ftj/bees", ".status.summary", "Queued");
    let managed = place.get("ftj", "ants");
    assert_eq!(managed["status"], ants["status"], "{before}");

    place.kubectl(&["delete", "ftj", "ants", "--timeout=60s"], "");
    assert!(place.jobs().contains(&("ants".to_owned(), "Cancelled".to_owned())));
    // The same name again is a new run. Its pods wait for those of the last to be gone, which the garbage collector sees to elsewhere.
    place.create(&job("ants", Path::new("/other")));
    place.wait("ftj/ants", ".status.job", "ants-2");
    place.kubectl(
        &["wait", "--for=condition=Reconciled=False", "ftj/ants", "--timeout=60s"],
        "",
    );
    let reconciled = condition(&place.get("ftj", "ants"), "Reconciled");
    assert_eq!(reconciled["reason"], "NameTaken");
    place.kubectl(
        &["delete", "job", "ants-workers", "--cascade=background", "--timeout=60s"],
        "",
    );
    place.wait("job/ants-workers", ".spec.parallelism", "2");
    place.wait("ftj/ants", ".status.summary", "Queued");
    assert_eq!(condition(&place.get("ftj", "ants"), "Reconciled"), Value::Null);
}

#[test]
fn workers_show_a_token_of_their_job_alone_and_it_ends_with_the_resource() {
    let Some(place) = Place::new("tokens") else { return };
    let _operator = place.operator("one");
    for name in ["ants", "bees"] {
        place.create(&job(name, Path::new("/data")));
        place.wait(&format!("job/{name}-workers"), ".spec.parallelism", "2");
    }
    let (ants, bees) = (place.token("ants"), place.token("bees"));
    assert_ne!(ants, bees);
    let shown = |token: &str, arguments: &[&str]| {
        let mut command = place.coordinator.firn(arguments);
        let output = command
            .env_remove("FIRN_TOKEN_FILE")
            .env("FIRN_TOKEN", token)
            .output()
            .unwrap();
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    // An agent reads no jobs, and ends none.
    for verb in [["get", "ants"], ["cancel", "bees"], ["get", "bees"]] {
        let (succeeded, talk) = shown(&ants, &verb);
        assert!(!succeeded && talk.contains("agent"), "{verb:?}: {talk}");
    }
    let listed = || {
        let output = place
            .coordinator
            .firn(&["token", "list", "-o", "json"])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(
        listed().contains("jobs/ants") && listed().contains("jobs/bees"),
        "{}",
        listed()
    );
    place.kubectl(&["delete", "ftj", "ants", "--timeout=60s"], "");
    assert!(
        !listed().contains("jobs/ants") && listed().contains("jobs/bees"),
        "{}",
        listed()
    );
    let (succeeded, talk) = shown(&ants, &["list"]);
    assert!(!succeeded && talk.contains("token"), "{talk}");
}

#[test]
fn suspending_and_the_number_of_workers_are_carried_to_the_coordinator_and_to_the_pods() {
    let Some(place) = Place::new("wishes") else { return };
    let _operator = place.operator("one");
    place.create(&job("ants", Path::new("/data")));
    place.wait("ftj/ants", ".status.summary", "Queued");
    place.patch("ants", &json!({"suspend": true}));
    place.wait("ftj/ants", ".status.summary", "Suspended");
    place.wait("job/ants-workers", ".spec.suspend", "true");
    place.kubectl(&["wait", "--for=condition=Suspended", "ftj/ants", "--timeout=60s"], "");
    place.patch("ants", &json!({"suspend": false}));
    place.wait("ftj/ants", ".status.summary", "Queued");
    place.wait("job/ants-workers", ".spec.suspend", "false");

    place.patch("ants", &json!({"resources": {"workers": {"max": 4}}}));
    place.wait("job/ants-workers", ".spec.completions", "4");
    place.wait("ftj/ants", ".status.workers.max", "4");
    place.patch("ants", &json!({"resources": {"workers": {"max": 1}}}));
    place.wait("ftj/ants", ".status.workers.max", "1");
    place.wait("job/ants-workers", ".spec.completions", "1");

    // Where a queue counts it, nothing is there to be counted while the job is suspended.
    let mut queued = job("wasps", Path::new("/data"));
    queued["metadata"]["labels"] = json!({"kueue.x-k8s.io/queue-name": "night"});
    place.create(&queued);
    place.wait("job/wasps-workers", ".spec.parallelism", "2");
    place.patch("wasps", &json!({"suspend": true}));
    place.kubectl(&["wait", "--for=delete", "job/wasps-workers", "--timeout=60s"], "");
    place.patch("wasps", &json!({"suspend": false}));
    place.wait("job/wasps-workers", ".spec.parallelism", "2");

    // One that is created suspended gets no pods, and nothing that somebody could start, before it is let go.
    let mut waiting = job("bees", Path::new("/data"));
    waiting["spec"]["suspend"] = json!(true);
    place.create(&waiting);
    place.wait("ftj/bees", ".status.summary", "Suspended");
    let jobs = place.kubectl(&["get", "job", "--selector=firn.dev/job=bees", "-o", "name"], "");
    assert_eq!(jobs, "");
    place.patch("bees", &json!({"suspend": false}));
    place.wait("job/bees-workers", ".spec.suspend", "false");
}

#[test]
fn the_pods_of_a_resource_train_it_and_end_with_0_when_it_is_over() {
    let Some(place) = Place::new("trained") else { return };
    let _operator = place.operator("one");
    let data = three_classes(&place.folder.path().join("data")).unwrap();
    place.create(&job("trees", &data));
    place.wait("ftj/trees", ".status.summary", "Queued");
    let pods = place.get("job", "trees-workers");
    let container = pods["spec"]["template"]["spec"]["containers"][0].clone();
    let mut workers: Vec<Process> = (0..2).map(|index| pod(&place, &container, index)).collect();
    place.kubectl(
        &["wait", "--for=condition=Succeeded", "ftj/trees", "--timeout=300s"],
        "",
    );
    for worker in &mut workers {
        assert_eq!(worker.wait().unwrap(), Some(0));
    }
    let status = place.get("ftj", "trees")["status"].clone();
    assert_eq!(status["summary"], "Succeeded");
    assert_eq!(status["progress"]["step"], status["progress"]["steps"]);
    assert!(status["best"]["text"].is_string(), "{status}");
    assert!(status["completionTime"].is_string(), "{status}");
    let proof = place.coordinator.firn(&["verify", "trees"]).output().unwrap();
    assert!(proof.status.success(), "{}", String::from_utf8_lossy(&proof.stdout));
}

/// What a kubelet makes of the container, but for its volumes.
fn pod(place: &Place, container: &Value, index: usize) -> Process {
    let mut command = Command::new(binary("firn-worker"));
    command.args(
        container["args"]
            .as_array()
            .unwrap()
            .iter()
            .map(|word| word.as_str().unwrap()),
    );
    let token = place.folder.path().join("token");
    std::fs::write(&token, place.token("trees")).unwrap();
    let own = [
        ("FIRN_TOKEN_FILE", token.display().to_string()),
        ("FIRN_INDEX", index.to_string()),
        ("FIRN_ADDRESS", "127.0.0.1".to_owned()),
        (
            "FIRN_STATE_DIR",
            place.folder.path().join(format!("pod-{index}")).display().to_string(),
        ),
    ];
    for variable in container["env"].as_array().unwrap() {
        let name = variable["name"].as_str().unwrap();
        if ["FIRN_TOKEN_FILE", "HOME"].contains(&name) {
            continue;
        }
        let value = variable["value"].as_str().unwrap_or_default();
        command.env(name, value.replace("$(FIRN_INDEX)", &index.to_string()));
    }
    let log = File::create(place.folder.path().join(format!("pod-{index}.log"))).unwrap();
    command.envs(own).env("FIRN_CONFIG", "/dev/null").stderr(log);
    Process::spawn(&mut command).unwrap()
}
