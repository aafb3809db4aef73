//! A real Kueue decides when there may be pods, how many, and where.

use firn_tests::binaries::repository;
use serde_json::{Value, json};

use crate::kueue::{Queue, begin};
use crate::release::{Story, job, step};

/// Waits until the resource says that its queue keeps it waiting, with such words. Returns the sentence.
fn waits_for_queue(story: &Story, job: &str, words: &str) -> String {
    let status = story.until(job, |status| {
        waiting(status).is_some_and(|message| message.contains(words))
    });
    let message = waiting(&status).unwrap();
    story.figure(&format!("{job}: WaitingForQueue: {message}"));
    message
}

fn waiting(status: &Value) -> Option<String> {
    let mut conditions = status["conditions"].as_array()?.iter();
    let found = conditions.find(|condition| condition["reason"] == "WaitingForQueue")?;
    Some(found["message"].as_str()?.to_owned())
}

/// What the Job of the pods asks for.
fn asked(story: &Story, job: &str) -> Value {
    story.get("job", &format!("{job}-workers"))["spec"].clone()
}

/// Where its pods may be.
fn places(story: &Story, job: &str) -> Value {
    asked(story, job)["template"]["spec"]["nodeSelector"].clone()
}

/// The job ends well: no restart was counted, and at most a step was lost.
fn ends_well(story: &Story, job: &str) {
    let (status, receipt) = story.succeeds(job);
    let back = receipt.steps_taken_back();
    story.figure(&format!(
        "{job}: Succeeded, {back} steps lost, {} restarts counted",
        status["restarts"]
    ));
    assert!(back <= 1, "{}", receipt.0);
    assert_eq!(status["restarts"], 0, "{status}");
    story.delete(job);
}

#[test]
#[ignore = "takes minutes: make kubernetes"]
fn nothing_starts_before_the_queue_has_room_and_the_resource_says_why() {
    let Some(story) = begin() else { return };
    let queue = Queue::create(&story, "closed", &json!({"stopPolicy": "Hold"}), &[("plain", 0)]);
    story.apply(&queue.governs(job("early", 40, (2, 2))));
    waits_for_queue(&story, "early", "ClusterQueue closed is inactive");
    queue.change(&json!({"stopPolicy": "None"}));
    let message = waits_for_queue(&story, "early", "insufficient quota for cpu in flavor plain");
    assert!(
        message.starts_with("queue closed has not let the pods in: "),
        "{message}"
    );
    assert_eq!(asked(&story, "early")["suspend"], true);
    assert_eq!(story.pods("early"), []);
    let ever = story.team(&["get", "pod", "-l", "firn.dev/job=early", "-o", "name"], "");
    assert_eq!(ever, "");
    story.figure("no pod was made");
    queue.give(&[("plain", 2)]);
    story.trains("early", 2, 1);
    story.figure("there is room, and it trains");
    ends_well(&story, "early");
    queue.delete();
}

#[test]
#[ignore = "takes minutes: make kubernetes"]
fn a_more_urgent_job_of_the_queue_preempts_without_a_lost_step() {
    let Some(story) = begin() else { return };
    let preemption = json!({"preemption": {"withinClusterQueue": "LowerPriority"}});
    let queue = Queue::create(&story, "urgency", &preemption, &[("plain", 2)]);
    for (name, value) in [("calm", 10), ("pressing", 1000)] {
        let class = json!({"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "WorkloadPriorityClass",
                           "metadata": {"name": name}, "value": value});
        story.kubectl().must(&["create", "-f", "-"], &class.to_string());
    }
    let of_class = |job: Value, class: &str| {
        let mut job = queue.governs(job);
        job["metadata"]["labels"]["kueue.x-k8s.io/priority-class"] = json!(class);
        job
    };
    story.apply(&of_class(job("tenant", 80, (2, 2)), "calm"));
    story.trains("tenant", 2, 20);
    story.figure("the calm one trains");
    story.apply(&of_class(job("guest", 20, (1, 1)), "pressing"));
    waits_for_queue(&story, "tenant", "Preempted to accommodate a workload");
    story.trains("guest", 1, 1);
    story.figure("the pressing one trains");
    assert_eq!(story.pods("tenant"), []);
    let waiting = story.get("ftj", "tenant")["status"].clone();
    assert_eq!(
        (&waiting["restarts"], &waiting["losses"]),
        (&json!(0), &json!([])),
        "{waiting}"
    );
    waits_for_queue(&story, "tenant", "insufficient unused quota for cpu");
    ends_well(&story, "guest");
    story.trains("tenant", 2, step(&waiting) + 5);
    story.figure("the calm one is back, and trains");
    ends_well(&story, "tenant");
    queue.delete();
    story
        .kubectl()
        .must(&["delete", "workloadpriorityclass", "calm", "pressing"], "");
}

#[test]
#[ignore = "takes minutes: make kubernetes"]
fn a_job_that_is_admitted_elsewhere_keeps_nothing_of_where_it_was() {
    let Some(story) = begin() else { return };
    for (node, side) in [("node-1", "left"), ("node-2", "right")] {
        story
            .kubectl()
            .must(&["label", "node", node, &format!("side={side}")], "");
    }
    let queue = Queue::create(&story, "sides", &json!({}), &[("left", 2), ("right", 2)]);
    story.apply(&queue.governs(job("moved", 80, (2, 2))));
    let before = story.trains("moved", 2, 20);
    assert_eq!(places(&story, "moved"), json!({"role": "work", "side": "left"}));
    let is_on = |node: &str| {
        let pods = story.pods("moved");
        assert!(pods.len() == 2 && pods.iter().all(|(_, at)| at == node), "{pods:?}");
    };
    is_on("node-1");
    queue.change(&json!({"stopPolicy": "HoldAndDrain"}));
    waits_for_queue(&story, "moved", "ClusterQueue sides is ");
    story.has_no_pods("moved");
    story.figure("no pods are left");
    assert_eq!(places(&story, "moved"), json!({"role": "work"}));
    queue.give(&[("left", 0), ("right", 2)]);
    queue.change(&json!({"stopPolicy": "None"}));
    story.trains("moved", 2, step(&before) + 5);
    story.figure("it trains elsewhere");
    assert_eq!(places(&story, "moved"), json!({"role": "work", "side": "right"}));
    is_on("node-2");
    ends_well(&story, "moved");
    queue.delete();
    story
        .kubectl()
        .must(&["label", "node", "node-1", "node-2", "side-"], "");
}

#[test]
#[ignore = "takes minutes: make kubernetes"]
fn nobody_fights_over_fields() {
    let Some(story) = begin() else { return };
    let queue = Queue::create(&story, "calm", &json!({}), &[("plain", 2)]);
    story.apply(&queue.governs(job("runs", 1000, (2, 2))));
    story.trains("runs", 2, 20);
    story.apply(&queue.governs(job("waits", 1, (2, 2))));
    waits_for_queue(&story, "waits", "insufficient unused quota for cpu");
    let watched = ["ftj/waits", "job/waits-workers", "ftj/runs", "job/runs-workers"];
    let seen = story.watch_for_a_minute(&watched);
    story.figure("a minute has passed");
    let versions = |index: usize, field: &str| -> Vec<Value> {
        let mut all: Vec<Value> = seen[index]
            .iter()
            .map(|object| object["metadata"][field].clone())
            .collect();
        all.dedup();
        all
    };
    for (index, what) in watched.iter().enumerate() {
        let (versions, generations) = (versions(index, "resourceVersion"), versions(index, "generation"));
        story.figure(&format!(
            "{what}: {} versions, {} generations",
            versions.len(),
            generations.len()
        ));
        assert_eq!(generations.len(), 1, "{what}: {:?}", seen[index]);
        // What trains tells of its progress, but not more often than every five seconds.
        let most = if *what == "ftj/runs" { 14 } else { 1 };
        assert!(versions.len() <= most, "{what}: {:?}", seen[index]);
    }
    story.delete("waits");
    story.delete("runs");
    queue.delete();
}

#[test]
#[ignore = "takes minutes: make kubernetes"]
fn a_queue_with_room_for_fewer_workers_lets_fewer_in() {
    let Some(story) = begin() else { return };
    let queue = Queue::create(&story, "narrow", &json!({}), &[("plain", 1)]);
    story.apply(&queue.governs(job("partial", 20, (1, 2))));
    story.trains("partial", 1, 5);
    story.figure("one worker trains");
    let spec = asked(&story, "partial");
    assert_eq!((&spec["parallelism"], &spec["completions"]), (&json!(1), &json!(1)));
    assert_eq!(story.pods("partial").len(), 1);
    ends_well(&story, "partial");
    queue.delete();
}

#[test]
#[ignore = "takes minutes: make kubernetes"]
fn a_queue_that_takes_in_jobs_which_name_none_is_not_fought() {
    let Some(story) = begin() else { return };
    // Kueue gives whatever names no queue to the one of this name, where there is one.
    let queue = Queue::create(&story, "default", &json!({}), &[("plain", 1)]);
    story.apply(&job("unnamed", 80, (2, 2)));
    let message = waits_for_queue(&story, "unnamed", "insufficient quota for cpu");
    assert!(
        message.starts_with("queue default has not let the pods in: "),
        "{message}"
    );
    assert_eq!(
        (asked(&story, "unnamed")["suspend"].clone(), story.pods("unnamed")),
        (json!(true), vec![])
    );
    queue.give(&[("plain", 2)]);
    let before = story.trains("unnamed", 2, 20);
    story.patch("unnamed", &json!({"suspend": true}));
    story.wait("job/unnamed-workers", "delete");
    story.has_no_pods("unnamed");
    story.figure("suspended, and out of the queue");
    story.patch("unnamed", &json!({"suspend": false}));
    story.trains("unnamed", 2, step(&before) + 5);
    ends_well(&story, "unnamed");
    queue.delete();
}

#[test]
#[ignore = "takes minutes: make kubernetes"]
fn the_queue_of_the_documents_lets_a_job_in() {
    let Some(story) = begin() else { return };
    let file = repository().join("deploy/kubernetes/kueue.yaml").display().to_string();
    story.kubectl().must(&["apply", "-f", &file], "");
    let mut ants = job("ants", 2, (1, 2));
    ants["metadata"]["labels"] = json!({"kueue.x-k8s.io/queue-name": "team-a"});
    story.apply(&ants);
    ends_well(&story, "ants");
    story.kubectl().must(&["delete", "-f", &file, "--timeout=60s"], "");
}

#[test]
#[ignore = "takes minutes: make kubernetes"]
fn a_suspended_job_leaves_its_place_to_others_and_stands_in_the_queue_again() {
    let Some(story) = begin() else { return };
    let queue = Queue::create(&story, "turns", &json!({}), &[("plain", 2)]);
    story.apply(&queue.governs(job("first", 80, (2, 2))));
    let before = story.trains("first", 2, 20);
    story.apply(&queue.governs(job("second", 60, (2, 2))));
    waits_for_queue(&story, "second", "insufficient unused quota for cpu");
    story.patch("first", &json!({"suspend": true}));
    story.wait("ftj/first", "condition=Suspended");
    story.figure("the first is suspended");
    story.trains("second", 2, 1);
    story.figure("the second trains in its place");
    assert_eq!(story.pods("first"), []);
    story.patch("first", &json!({"suspend": false}));
    waits_for_queue(&story, "first", "insufficient unused quota for cpu");
    ends_well(&story, "second");
    story.trains("first", 2, step(&before) + 5);
    story.figure("the first trains again");
    ends_well(&story, "first");
    queue.delete();
}
