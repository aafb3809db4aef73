//! Tokens and certificates that are replaced while a job trains, and wrong ones.

use std::{collections::BTreeMap, fs};

use firn_kubernetes_tests::Answer;
use firn_tests::{binaries::firn, submission::Receipt};
use serde_json::Value;

use crate::{
    coordinator,
    release::{HOME, Story, job, rows, step},
    secrets::{Authority, all_processes, grow_old, read, replace, restore, wait_until},
};

/// Names under which the coordinator is reached here.
const NAMES: [&str; 3] = ["firn-coordinator.firn-system.svc", "firn-coordinator", "localhost"];
pub(crate) const CERTIFICATE: &str = "firn-coordinator-tls";

/// The pods of the release, and how often their containers were started.
fn pods_of_release(story: &Story) -> BTreeMap<String, u64> {
    let list = story
        .kubectl()
        .must(&["--namespace", HOME, "get", "pod", "-o", "json"], "");
    let list: Value = serde_json::from_str(&list).unwrap();
    let pods = list["items"].as_array().unwrap().iter();
    pods.map(|pod| {
        let uid = pod["metadata"]["uid"].as_str().unwrap().to_owned();
        (
            uid,
            pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap(),
        )
    })
    .collect()
}

/// `firn list` with a token, or under an authority, of one's own.
fn list_with(story: &Story, token: Option<&str>, authority: Option<&str>) -> Answer {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.crt");
    fs::write(
        &ca,
        authority.map_or_else(|| fs::read_to_string(story.file("ca.crt")).unwrap(), str::to_owned),
    )
    .unwrap();
    let token = token.map_or_else(|| fs::read_to_string(story.file("token")).unwrap(), str::to_owned);
    let mut command = firn();
    command
        .args(["list", "--coordinator", &story.url()])
        .arg("--ca")
        .arg(ca)
        .env("FIRN_TOKEN", token);
    Answer::of(&mut command, "")
}

/// A new resource is taken in and trained.
pub(crate) fn operator_works(story: &Story, name: &str) {
    story.apply(&job(name, 1, (1, 1)));
    story.wait(&format!("ftj/{name}"), "condition=Succeeded");
    story.delete(name);
}

/// What a resource says of the operator's trouble.
fn trouble(status: &Value) -> Option<(&str, &str)> {
    let mut conditions = status["conditions"].as_array()?.iter();
    let found = conditions.find(|condition| condition["type"] == "Reconciled" && condition["status"] == "False")?;
    Some((found["reason"].as_str()?, found["message"].as_str()?))
}

/// Waits until a resource names what was refused.
pub(crate) fn is_told(story: &Story, job: &str, reason: &str, words: &str) {
    let status = story.until(job, |status| trouble(status).is_some_and(|(found, _)| found == reason));
    let (_, message) = trouble(&status).unwrap();
    assert!(message.contains(words), "{message}");
    story.figure(&format!("{job}: {reason}: {message}"));
}

/// Waits until all is well with a resource.
pub(crate) fn is_well(story: &Story, job: &str) {
    story.until(job, |status| trouble(status).is_none());
    story.figure(&format!("{job}: all is well again"));
}

/// The job has gone on all the time: nothing was lost. It is ended, and what it did is proven.
pub(crate) fn nothing_was_lost(story: &Story, job: &str) {
    let status = story.get("ftj", job)["status"].clone();
    assert_eq!(status["restarts"], 0, "{status}");
    let before = step(&status);
    story.trains(job, 2, before + 5);
    is_proven(story, job);
    story.figure(&format!("{job}: 0 restarts counted after {before} steps"));
    story.delete(job);
}

/// A job that trains is ended, and what it did is proven.
pub(crate) fn is_proven(story: &Story, job: &str) -> Receipt {
    let status = story.get("ftj", job)["status"].clone();
    let name = status["job"].as_str().unwrap();
    let cancelled = Answer::of(&mut story.firn(&["cancel", "--wait", name]), "");
    assert!(cancelled.succeeded, "{}", cancelled.talk);
    let proven = Answer::of(&mut story.firn(&["verify", "-o", "json", name]), "");
    assert!(proven.succeeded, "{}{}", proven.output, proven.talk);
    Receipt(serde_json::from_str(&proven.output).unwrap())
}

#[test]
#[ignore = "takes minutes: make kubernetes"]
fn a_token_is_replaced_while_a_job_trains_and_a_wrong_one_is_told() {
    let Some(story) = Story::begin() else { return };
    story.apply(&job("rotated", 2000, (1, 2)));
    story.trains("rotated", 2, 20);
    let pods = pods_of_release(&story);
    // As the documents say: the bearer's Secret, then an upgrade.
    let old = read(&story, HOME, "firn-operator")["token"].clone();
    replace(&story, "firn-operator", &[("token", "another-token-of-the-operator")]);
    story.upgrade(&[]);
    wait_until("the end of the old token", || {
        !list_with(&story, Some(&old), None).succeeded
    });
    let refused = list_with(&story, Some(&old), None).talk;
    assert!(
        refused.contains("the token is not known to this coordinator"),
        "{refused}"
    );
    story.figure("the operator's token is replaced, and the old one is refused");
    operator_works(&story, "after-token");
    is_well(&story, "rotated");
    assert_eq!(pods_of_release(&story), pods, "something was started again");

    // A worker's token: the coordinator issues another, and the Secret gets it.
    let uid = story.get("ftj", "rotated")["metadata"]["uid"].as_str().unwrap()[..8].to_owned();
    let secret = format!("rotated-workers-{uid}");
    let token = issued_for(&story, "rotated");
    let rotated = Answer::of(&mut story.firn(&["token", "rotate", &token]), "");
    assert!(rotated.succeeded, "{}", rotated.talk);
    let new = rotated.output;
    let patch = serde_json::json!({"stringData": {"token": new}}).to_string();
    story.team(&["patch", "secret", &secret, "-p", &patch], "");
    holds(&story, "rotated", "token", &new);
    let status = story.get("ftj", "rotated")["status"].clone();
    story.trains("rotated", 2, step(&status) + 20);
    story.figure("the workers' token is replaced");

    // The coordinator no longer knows the operator.
    let tokens = read(&story, HOME, "firn-tokens");
    let wrong = tokens["tokens"].replace("another-token-of-the-operator", "one-that-nobody-bears");
    replace(&story, "firn-tokens", &[("tokens", &wrong)]);
    let words = "the token is not known to this coordinator";
    is_told(&story, "rotated", "CoordinatorRefusesToken", words);
    story.apply(&job("after-wrong", 1, (1, 1)));
    is_told(&story, "after-wrong", "CoordinatorRefusesToken", words);
    restore(&story, "firn-tokens", &tokens);
    is_well(&story, "rotated");
    story.wait("ftj/after-wrong", "condition=Succeeded");
    story.figure("what was applied meanwhile has succeeded");
    story.delete("after-wrong");
    assert_eq!(pods_of_release(&story), pods, "something was started again");
    nothing_was_lost(&story, "rotated");
}

/// The name of the token of a job's workers.
fn issued_for(story: &Story, job: &str) -> String {
    let tokens = rows(
        &Answer::of(&mut story.firn(&["token", "list", "-o", "json"]), ""),
        "tokens",
    );
    let of_job = format!("jobs/{job}");
    let found = tokens.iter().find(|token| token["job"] == of_job.as_str()).unwrap();
    found["name"].as_str().unwrap().to_owned()
}

/// Waits until the workers of a job find this in a file of their Secret.
pub(crate) fn holds(story: &Story, job: &str, file: &str, content: &str) {
    let name = story.get("ftj", job)["status"]["job"].as_str().unwrap().to_owned();
    wait_until(&format!("the new {file}"), || {
        (0..2).all(|index| {
            all_processes(("FIRN_WORKER_NAME", &format!("{name}-{index}")), |process| {
                let path = format!("/proc/{process}/root/etc/firn/identity/{file}");
                fs::read_to_string(path).is_ok_and(|found| found.trim() == content.trim())
            })
        })
    });
}

#[test]
#[ignore = "takes minutes: make kubernetes"]
fn a_certificate_and_then_its_authority_are_replaced_while_a_job_trains_and_a_wrong_one_is_told() {
    let Some(story) = Story::begin() else { return };
    let first = read(&story, HOME, CERTIFICATE);
    story.apply(&job("renewed", 3000, (1, 2)));
    story.trains("renewed", 2, 20);
    // Another certificate of the same authority.
    grow_old(&story, CERTIFICATE);
    story.upgrade(&[]);
    let second = read(&story, HOME, CERTIFICATE);
    assert!(second["tls.crt"] != first["tls.crt"] && second["ca.crt"] == first["ca.crt"]);
    coordinator::restart(&story);
    is_well(&story, "renewed");
    operator_works(&story, "after-leaf");
    story.figure("another certificate of the same authority is shown");

    // Another authority: first both are trusted, then it signs, then it alone is trusted.
    let authority = Authority::new();
    let both = format!("{}{}", first["ca.crt"], authority.certificate());
    fs::write(story.file("ca.crt"), &both).unwrap();
    replace(&story, CERTIFICATE, &[("ca.crt", &both)]);
    holds(&story, "renewed", "ca.crt", &both);
    story.figure("operator and workers trust both authorities");
    let (leaf, key) = authority.sign(&NAMES);
    replace(&story, CERTIFICATE, &[("tls.crt", &leaf), ("tls.key", &key)]);
    let own = authority.certificate();
    wait_until("the new authority", || list_with(&story, None, Some(&own)).succeeded);
    let untrusting = list_with(&story, None, Some(&first["ca.crt"])).talk;
    assert!(untrusting.contains("UnknownIssuer"), "{untrusting}");
    replace(&story, CERTIFICATE, &[("ca.crt", &own)]);
    holds(&story, "renewed", "ca.crt", &own);
    // Whoever is connected has to come again.
    coordinator::restart(&story);
    let status = story.get("ftj", "renewed")["status"].clone();
    story.trains("renewed", 2, step(&status) + 20);
    is_well(&story, "renewed");
    operator_works(&story, "after-authority");
    let status = story.get("ftj", "renewed")["status"].clone();
    assert_eq!(status["restarts"], 0, "{status}");
    story.figure("another authority has signed, and the first is trusted no more; 0 restarts counted");

    // One that nobody trusts, of an authority with the same name.
    let (wrong, wrong_key) = Authority::new().sign(&NAMES);
    replace(&story, CERTIFICATE, &[("tls.crt", &wrong), ("tls.key", &wrong_key)]);
    wait_until("the wrong certificate", || {
        list_with(&story, None, Some(&own)).talk.contains("BadSignature")
    });
    coordinator::restart(&story);
    let words = "BadSignature: the authority in --ca has not signed the coordinator's certificate";
    is_told(&story, "renewed", "CoordinatorNotTrusted", words);
    replace(&story, CERTIFICATE, &[("tls.crt", &leaf), ("tls.key", &key)]);
    is_well(&story, "renewed");
    story.trains("renewed", 2, step(&status) + 40);
    let status = story.get("ftj", "renewed")["status"].clone();
    story.figure(&format!(
        "two workers train again; {} restarts counted",
        status["restarts"]
    ));
    // A coordinator that none of the workers has reached for two leases after its start counts them as lost, once.
    assert!(status["restarts"].as_u64() <= Some(1), "{status}");

    restore(&story, CERTIFICATE, &second);
    fs::write(story.file("ca.crt"), &first["ca.crt"]).unwrap();
    wait_until("the first authority", || list_with(&story, None, None).succeeded);
    story.team(&["delete", "ftj", "renewed", "--timeout=120s"], "");
    story.has_no_pods("renewed");
}
