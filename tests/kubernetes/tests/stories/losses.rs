//! What goes without warning: it is replaced, counted once, and its cause stands on the resource.

use std::process::Command;

use firn_tests::{binaries::processes_with, memory::SmallMemory};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

use crate::release::{HOME, Story, job, step};

/// Sends a signal to the agent of a worker, or to it and its ranks.
fn send(job: &str, index: u32, signal: Signal, with_ranks: bool) {
    let processes = processes_with("FIRN_WORKER_NAME", &format!("{job}-{index}"));
    let wanted = processes
        .iter()
        .filter(|(_, line)| with_ranks || line.contains("firn-worker agent"));
    let found = wanted
        .map(|(pid, _)| kill(Pid::from_raw(*pid), signal).unwrap())
        .count();
    assert!(found > 0, "{job}-{index}: {processes:?}");
}

/// Waits until a loss is counted and two workers train again.
fn grows_back(story: &Story, job: &str) -> Value {
    let lost = story.until(job, |status| status["restarts"].as_u64() > Some(0));
    story.figure("the loss is counted");
    let whole = story.trains(job, 2, step(&lost) + 5);
    story.figure("two workers train again");
    whole
}

/// The job ends well, with one loss that has a cause.
fn ends_with_one_loss(story: &Story, job: &str, cause: &str) {
    let caused = story.until(job, |status| status["losses"][0]["cause"].is_string());
    assert!(
        caused["losses"][0]["cause"].as_str().unwrap().contains(cause),
        "{caused}"
    );
    let (status, receipt) = story.succeeds(job);
    assert_eq!(status["restarts"], 1, "{status}");
    story.figure(&format!(
        "{} steps lost; cause: {}",
        receipt.steps_taken_back(),
        status["losses"][0]["cause"]
    ));
    assert!(receipt.steps_taken_back() <= 1, "{}", receipt.0);
    story.delete(job);
}

#[test]
#[ignore = "takes minutes: make kubernetes"]
fn a_killed_agent_is_replaced_and_counted_once() {
    let Some(story) = Story::begin() else { return };
    story.apply(&job("killed", 200, (1, 2)));
    story.trains("killed", 2, 20);
    let before = story.pods("killed");
    story.figure("killed");
    send("killed", 1, Signal::SIGKILL, false);
    grows_back(&story, "killed");
    let after = story.pods("killed");
    assert_eq!((after.len(), &after[0]), (2, &before[0]), "{after:?}");
    assert_ne!(after[1], before[1]);
    ends_with_one_loss(&story, "killed", "137");
}

#[test]
#[ignore = "takes minutes: make kubernetes"]
fn a_pod_that_is_out_of_memory_is_replaced_and_counted_once() {
    let Some(story) = Story::begin() else { return };
    if SmallMemory::create(1 << 26).is_none() {
        return;
    }
    let mut hungry = job("hungry", 200, (1, 2));
    hungry["spec"]["worker"]["resources"]["limits"]["memory"] = json!("1Gi");
    story.apply(&hungry);
    story.trains("hungry", 2, 20);
    let agents = processes_with("FIRN_WORKER_NAME", "hungry-1");
    let group = group_of(agents[0].0);
    // One more process of the container, which takes more than there is.
    let script = format!("echo $$ > {group}/cgroup.procs && exec perl -e '$x = \"x\" x (2 << 30)'");
    let ended = Command::new("bash").args(["-c", &script]).status().unwrap();
    assert!(!ended.success());
    grows_back(&story, "hungry");
    ends_with_one_loss(&story, "hungry", "OOMKilled");
}

/// Folder of the memory group that a process is in.
fn group_of(process: i32) -> String {
    let groups = std::fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap();
    let first = groups.lines().find_map(|line| line.split_once(":memory:"));
    match first {
        Some((_, path)) => format!("/sys/fs/cgroup/memory{path}"),
        None => format!("/sys/fs/cgroup{}", groups.trim().trim_start_matches("0::")),
    }
}

#[test]
#[ignore = "takes minutes: make kubernetes"]
fn a_node_that_hangs_is_left_and_its_worker_is_replaced_and_counted_once() {
    let Some(story) = Story::begin() else { return };
    story.apply(&job("hung", 300, (1, 2)));
    story.trains("hung", 2, 20);
    let (pod, node) = story.pods("hung")[1].clone();
    // The machine hangs: its kubelet, and what runs on it.
    story.cluster.silence(&node).unwrap();
    send("hung", 1, Signal::SIGSTOP, true);
    story.until("hung", |status| {
        status["restarts"] == 1 && status["workers"]["ready"] == 1
    });
    story.figure("the loss is counted, the other one trains on");
    let name = format!("node/{node}");
    story
        .kubectl()
        .must(&["wait", "--for=condition=Ready=Unknown", &name, "--timeout=120s"], "");
    // What an administrator says of a machine that is gone: nobody else can know it.
    let gone = "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute";
    story.kubectl().must(&["taint", "node", &node, gone], "");
    story.wait(&format!("pod/{pod}"), "delete");
    story.figure("the pod is gone");
    let alone = story.get("ftj", "hung")["status"].clone();
    story.trains("hung", 2, step(&alone) + 5);
    story.figure("two workers train again");
    let after = story.pods("hung");
    assert!(after.iter().all(|(_, at)| *at != node), "{after:?} {node}");
    // The machine comes back: what still runs there serves nobody.
    story.cluster.wake(&node).unwrap();
    send("hung", 1, Signal::SIGCONT, true);
    story.kubectl().must(&["taint", "node", &node, &format!("{gone}-")], "");
    story
        .kubectl()
        .must(&["wait", "--for=condition=Ready", &name, "--timeout=120s"], "");
    let (status, receipt) = story.succeeds("hung");
    story.figure(&format!(
        "{} steps lost, {} restarts counted",
        receipt.steps_taken_back(),
        status["restarts"]
    ));
    assert_eq!(status["restarts"], 1, "{status}");
    assert!(receipt.steps_taken_back() <= 1, "{}", receipt.0);
    story.delete("hung");
}

#[test]
#[ignore = "takes minutes: make kubernetes"]
fn when_all_workers_are_lost_the_job_goes_on_from_its_checkpoint() {
    let Some(story) = Story::begin() else { return };
    story.apply(&job("lost", 150, (1, 2)));
    story.trains("lost", 2, 40);
    for index in [0, 1] {
        send("lost", index, Signal::SIGKILL, false);
    }
    grows_back(&story, "lost");
    let (status, receipt) = story.succeeds("lost");
    story.figure(&format!(
        "{} steps lost, {} restarts counted",
        receipt.steps_taken_back(),
        status["restarts"]
    ));
    assert!(receipt.origins().contains(&"checkpoint".to_owned()), "{}", receipt.0);
    assert_eq!(status["restarts"], 1, "{status}");
    // An epoch has 14 steps.
    assert!(receipt.steps_taken_back() <= 14, "{}", receipt.0);
    story.delete("lost");
}

#[test]
#[ignore = "takes minutes: make kubernetes"]
fn without_the_coordinators_pod_training_goes_on_and_the_status_catches_up() {
    let Some(story) = Story::begin() else { return };
    story.apply(&job("orphans", 150, (1, 2)));
    let before = story.trains("orphans", 2, 20);
    let pod = [
        "delete",
        "pod",
        "firn-coordinator-0",
        "--namespace",
        HOME,
        "--timeout=120s",
    ];
    story.kubectl().must(&pod, "");
    story.figure("the coordinator's pod is gone");
    story.trains("orphans", 2, step(&before) + 50);
    story.figure("the status has caught up");
    let (status, receipt) = story.succeeds("orphans");
    assert_eq!(
        (&status["restarts"], receipt.steps_taken_back()),
        (&json!(0), 0),
        "{status}"
    );
    story.delete("orphans");
}
