//! Two teams, each with a job of the same name: what one holds opens nothing of the other's.

use std::process::Command;

use firn_kubernetes_tests::Answer;
use firn_tests::binaries::{binary, firn};
use serde_json::Value;

use crate::release::{Story, TEAMS, job, rows, step};

/// `kubectl` in a namespace.
fn kubectl(story: &Story, team: &str, arguments: &[&str], input: &str) -> String {
    story
        .kubectl()
        .must(&[&["--namespace", team], arguments].concat(), input)
}

/// Waits until a job of a team has two workers that train, and returns what the coordinator calls it.
fn trains(story: &Story, team: &str, job: &str) -> String {
    let is_so = |object: &Value| object["status"]["workers"]["ready"] == 2 && step(&object["status"]) >= 10;
    let found = story.kubectl().until(&["--namespace", team, "get", "ftj", job], is_so);
    found["status"]["job"].as_str().unwrap().to_owned()
}

/// The token that the pods of a job show.
fn token_of_pods(story: &Story, team: &str, job: &str) -> String {
    let uid = kubectl(story, team, &["get", "ftj", job, "-o", "jsonpath={.metadata.uid}"], "");
    let secret = format!("{job}-workers-{}", &uid[..8]);
    let template = "--template={{index .data \"token\" | base64decode}}";
    kubectl(story, team, &["get", "secret", &secret, template], "")
}

/// A token that an administrator issues.
fn issued(story: &Story, rights: &[&str]) -> String {
    let arguments = [&["token", "create"], rights].concat();
    let answer = Answer::of(&mut story.firn(&arguments), "");
    assert!(answer.succeeded, "{}", answer.talk);
    answer.output
}

/// `firn` with somebody's token.
fn firn_of(story: &Story, token: &str, arguments: &[&str]) -> Answer {
    let mut command = firn();
    command.args(arguments).args(["--coordinator", &story.url()]);
    command.arg("--ca").arg(story.file("ca.crt")).env("FIRN_TOKEN", token);
    Answer::of(&mut command, "")
}

/// `firn-worker` with somebody's token: what it ends with.
fn worker_of(story: &Story, token: &str, arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary("firn-worker"));
    command.args(arguments).env("FIRN_CONFIG", "/dev/null");
    command
        .env("FIRN_COORDINATOR", story.url())
        .env("FIRN_CA", story.file("ca.crt"))
        .env("FIRN_TOKEN", token)
        .env("FIRN_COORDINATOR_PATIENCE", "5")
        .env("FIRN_SCRATCH", folder.path())
        .env("FIRN_STATE_DIR", folder.path());
    let answer = Answer::of(&mut command, "");
    assert!(!answer.succeeded, "{arguments:?}: {} {}", answer.output, answer.talk);
    answer.talk
}

/// All that can be asked about a job, and done to it.
const VERBS: [&[&str]; 11] = [
    &["get"],
    &["watch"],
    &["wait"],
    &["logs"],
    &["verify"],
    &["download"],
    &["cancel"],
    &["suspend"],
    &["resume"],
    &["scale", "--max", "1"],
    &["delete"],
];

/// Whoever bears this token is refused everything about a job, in these words.
fn nothing_is_open(story: &Story, token: &str, job: &str, words: &str) {
    for verb in VERBS {
        let answer = firn_of(story, token, &[verb, &[job]].concat());
        let talk = &answer.talk;
        assert!(
            !answer.succeeded && talk.contains(words),
            "{verb:?} {job}: {} {talk}",
            answer.output
        );
    }
}

/// What the coordinator calls the three jobs: the one whose token is shown, one beside it, and one of another namespace.
struct Jobs {
    own: String,
    sister: String,
    theirs: String,
}

/// An agent sees no jobs at all; who may see jobs sees those of its namespace.
fn jobs_of_others_are_not_seen(story: &Story, jobs: &Jobs, (of_pods, submitter): (&str, &str)) {
    let Jobs { own, sister, theirs } = jobs;
    for job in [own, sister, theirs] {
        nothing_is_open(
            story,
            of_pods,
            job,
            &format!("this token is one of an agent of jobs/{own}"),
        );
    }
    nothing_is_open(story, submitter, theirs, "does not exist");
    let seen = firn_of(story, submitter, &["list", "-o", "json"]);
    let names = rows(&seen, "jobs");
    let namespaces = names
        .iter()
        .map(|job| job["metadata"]["namespace"].as_str().unwrap_or_default());
    assert!(
        names.len() >= 2 && namespaces.clone().all(|namespace| namespace == TEAMS[0]),
        "{}",
        seen.output
    );
}

/// What a caller may see and not do names the right that is missing.
fn roles_are_kept_to(story: &Story, own: &str, (of_pods, submitter, reader): (&str, &str, &str)) {
    let changed = firn_of(story, reader, &["cancel", own]);
    assert!(
        changed
            .talk
            .contains("CancelJob needs the role administrator or submitter"),
        "{}",
        changed.talk
    );
    for token in [submitter, of_pods] {
        let quota = firn_of(story, token, &["token", "list"]);
        assert!(
            quota.talk.contains("ListTokens needs the role administrator"),
            "{}",
            quota.talk
        );
    }
}

/// Nobody comes to work for another job, nor speaks for its ranks.
fn nobody_works_for_another_job(story: &Story, jobs: &Jobs, of_pods: &str) {
    let Jobs { own, sister, theirs } = jobs;
    for job in [sister, theirs] {
        let talk = worker_of(story, of_pods, &["agent", "--cpu-slots", "1", "--for-job", job]);
        let words = format!("this token is one of an agent of jobs/{own}: start the agent with --for-job {own}");
        assert!(talk.contains(&words), "{talk}");
        let talk = worker_of(
            story,
            of_pods,
            &["rank", "--job", &format!("jobs/{job}"), "--process-id", "1"],
        );
        assert!(talk.contains("does not exist"), "{talk}");
    }
}

/// Nor for another namespace, nor in the place of a worker of another namespace.
fn nobody_works_for_another_namespace(story: &Story, Jobs { own, theirs, .. }: &Jobs, submitter: &str) {
    let of_team = issued(story, &["--role", "agent", "--namespace", TEAMS[0]]);
    let talk = worker_of(
        story,
        &of_team,
        &["agent", "--cpu-slots", "1", "--for-namespace", TEAMS[1]],
    );
    let words = format!(
        "this token is one of an agent of namespace {0}: start the agent with --for-namespace {0}",
        TEAMS[0]
    );
    assert!(talk.contains(&words), "{talk}");
    let talk = worker_of(
        story,
        &of_team,
        &["agent", "--cpu-slots", "1", "--name", &format!("{theirs}-0")],
    );
    assert!(talk.contains("is attached already"), "{talk}");
    let talk = worker_of(story, submitter, &["agent", "--cpu-slots", "1", "--for-job", own]);
    assert!(talk.contains("Attach needs the role administrator or agent"), "{talk}");
}

#[test]
#[ignore = "takes minutes: make kubernetes"]
fn no_token_of_one_namespace_or_job_opens_anything_of_another() {
    let Some(story) = Story::begin() else { return };
    for team in TEAMS {
        kubectl(
            &story,
            team,
            &["apply", "-f", "-"],
            &job("twin", 400, (1, 2)).to_string(),
        );
    }
    story.apply(&job("sister", 400, (1, 2)));
    let [own, theirs] = TEAMS.map(|team| trains(&story, team, "twin"));
    let sister = trains(&story, TEAMS[0], "sister");
    assert!(own != theirs, "{own} {theirs}");
    story.figure("three jobs train in two namespaces, two of one name");

    let of_pods = token_of_pods(&story, TEAMS[0], "twin");
    let submitter = issued(&story, &["--role", "submitter", "--namespace", TEAMS[0]]);
    let reader = issued(&story, &["--role", "reader", "--namespace", TEAMS[0]]);
    let jobs = Jobs { own, sister, theirs };
    jobs_of_others_are_not_seen(&story, &jobs, (&of_pods, &submitter));
    roles_are_kept_to(&story, &jobs.own, (&of_pods, &submitter, &reader));
    story.figure("nothing of another namespace can be read, watched or changed");

    nobody_works_for_another_job(&story, &jobs, &of_pods);
    nobody_works_for_another_namespace(&story, &jobs, &submitter);
    story.figure("nobody can work for another job, or report for it");

    for (team, name) in [(TEAMS[0], "twin"), (TEAMS[0], "sister"), (TEAMS[1], "twin")] {
        let status: Value =
            serde_json::from_str(&kubectl(&story, team, &["get", "ftj", name, "-o", "json"], "")).unwrap();
        let status = &status["status"];
        assert_eq!(
            (&status["summary"], &status["restarts"]),
            (&"Running".into(), &0.into()),
            "{status}"
        );
        kubectl(&story, team, &["delete", "ftj", name, "--timeout=120s"], "");
        kubectl(
            &story,
            team,
            &["wait", "--for=delete", &format!("job/{name}-workers"), "--timeout=300s"],
            "",
        );
    }
}
