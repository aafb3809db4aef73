//! A resource takes everything with it.

use firn_tests::binaries::processes_with;

use crate::{
    coordinator,
    release::{Story, job},
};

/// Nothing is left of a job in the cluster, and no process.
fn nothing_is_left(story: &Story, job: &str) {
    let label = format!("firn.dev/job={job}");
    story.has_no_pods(job);
    let left = story.team(&["get", "job,pod,secret,networkpolicy", "-l", &label, "-o", "name"], "");
    assert_eq!(left, "");
    for index in [0, 1] {
        assert_eq!(processes_with("FIRN_WORKER_NAME", &format!("{job}-{index}")), []);
    }
}

#[test]
fn deleting_ends_everything_also_without_a_coordinator_and_the_same_name_is_a_new_run() {
    let Some(story) = Story::begin() else { return };
    story.apply(&job("brief", 1000, (1, 2)));
    story.trains("brief", 2, 10);
    story.figure("it trains");
    story.team(&["delete", "ftj", "brief", "--timeout=120s"], "");
    story.figure("deleted");
    nothing_is_left(&story, "brief");
    story.figure("nothing is left");

    story.apply(&job("brief", 1000, (1, 2)));
    story.trains("brief", 2, 10);
    let first = story.get("ftj", "brief")["status"]["job"].as_str().unwrap().to_owned();
    coordinator::stop(&story);
    story.figure("the coordinator is down");
    story.team(&["delete", "ftj", "brief", "--timeout=120s"], "");
    story.figure("deleted without it");
    story.wait("job/brief-workers", "delete");
    nothing_is_left(&story, "brief");
    story.figure("nothing is left");
    coordinator::start(&story);
    story.apply(&job("brief", 1, (1, 2)));
    let (status, _) = story.succeeds("brief");
    assert_ne!(status["job"], first.as_str(), "{status}");
    story.figure("a new run of the same name has succeeded");
    let before = story.firn(&["get", &first, "-o", "json"]).output().unwrap();
    let before: serde_json::Value = serde_json::from_slice(&before.stdout).unwrap();
    assert_eq!(before["status"]["summary"], "Cancelled", "{before}");
    story.delete("brief");
}
