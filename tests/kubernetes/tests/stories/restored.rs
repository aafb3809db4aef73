//! The journal's claim is lost, and comes back from a backup: by the commands of the documents, as they stand there.

use std::{env, fs, path::Path, process::Command};

use firn_kubernetes_tests::Answer;
use firn_tests::binaries::repository;
use serde_json::{Value, json};

use crate::{
    coordinator,
    release::{HOME, Story, job, step},
    rotation::{is_proven, is_well},
};

/// The blocks of commands in a section of the documents.
fn documented(section: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(repository().join("deploy/README.md")).unwrap();
    let (_, rest) = text.split_once(&format!("\n## {section}\n")).unwrap();
    let section = rest.split("\n## ").next().unwrap();
    let blocks = section.split("```console\n").skip(1);
    let commands = |block: &str| -> Vec<String> {
        let lines = block.split("```").next().unwrap().lines();
        lines.map(|line| line.strip_prefix("$ ").unwrap().to_owned()).collect()
    };
    blocks.map(commands).collect()
}

/// Types commands as a person does, in the folder of the repository.
fn type_in(story: &Story, commands: &[String]) {
    let kubectl = story.kubectl().command();
    let programs = Path::new(kubectl.get_program()).parent().unwrap().display().to_string();
    let path = format!("{programs}:{}", env::var("PATH").unwrap());
    for command in commands {
        let mut shell = Command::new("bash");
        shell.args(["-c", command]).current_dir(repository());
        shell.env("PATH", &path).env("KUBECONFIG", story.kubectl().kubeconfig());
        let answer = Answer::of(shell.env("HOME", story.cluster.folder()), "");
        let what = format!("{command}\n{}\n{}", answer.talk, story.cluster.logs(HOME, ""));
        assert!(answer.succeeded, "{what}");
        story.figure(command.split("  ").next().unwrap());
    }
    for what in ["statefulset/firn-coordinator", "deployment/firn-operator"] {
        let rollout = ["--namespace", HOME, "rollout", "status", what, "--timeout=300s"];
        story.kubectl().must(&rollout, "");
    }
    story.figure("coordinator and operators are there again");
}

/// What the coordinator says of a resource's job; `None`: it knows none.
fn told(story: &Story, name: &str) -> Option<Value> {
    let id = story.get("ftj", name)["status"]["job"].as_str().unwrap().to_owned();
    let answer = Answer::of(&mut story.firn(&["get", &id, "-o", "json"]), "");
    match answer.succeeded {
        true => Some(serde_json::from_str(&answer.output).unwrap()),
        false => {
            assert!(answer.talk.contains("does not exist"), "{}", answer.talk);
            None
        }
    }
}

#[test]
#[ignore = "takes minutes: make kubernetes"]
#[allow(clippy::too_many_lines, reason = "one story, in the order in which it happens")]
fn a_journal_that_is_lost_is_restored_as_the_documents_say_and_the_resources_agree_with_it() {
    let Some(story) = Story::begin() else { return };
    let blocks = documented("Back up and restore");
    let [backup, restore] = blocks.as_slice() else {
        panic!("expected the commands of a backup and of a restore, found {blocks:?}")
    };
    let epochs = 3000;
    story.apply(&job("proven", 1, (1, 1)));
    let (_, receipt) = story.succeeds("proven");
    let files = story.cluster.folder().join("downloaded");
    for (name, workers) in [("goes-on", 2), ("ends-early", 1), ("goes-early", 1)] {
        story.apply(&job(name, epochs, (1, workers)));
        story.trains(name, workers.into(), 5);
    }
    let before = story.trains("goes-on", 2, 20);
    let mut waits = job("waits", epochs, (1, 1));
    waits["spec"]["suspend"] = true.into();
    story.apply(&waits);
    story.until("waits", |status| status["summary"] == "Suspended");
    story.figure("a job has ended, three train, and one is suspended");
    type_in(&story, backup);
    story.trains("goes-on", 2, step(&before) + 20);
    is_well(&story, "goes-on");
    // Agents and ranks have met a coordinator that is later than the next one of the backup would be.
    coordinator::restart(&story);

    // What the backup does not know.
    let since = story.get("ftj", "ends-early")["status"]["job"]
        .as_str()
        .unwrap()
        .to_owned();
    let cancelled = Answer::of(&mut story.firn(&["cancel", "--wait", &since]), "");
    assert!(cancelled.succeeded, "{}", cancelled.talk);
    story.until("ends-early", |status| status["summary"] == "Cancelled");
    story.delete("goes-early");
    story.apply(&job("over", 1, (1, 1)));
    story.succeeds("over");
    story.apply(&job("begun", epochs, (1, 1)));
    story.trains("begun", 1, 20);
    // The backup knows the job, and not the token of its pods.
    story.patch("waits", &json!({"suspend": false}));
    story.trains("waits", 1, 5);
    story.figure(
        "since the backup one job has ended, one was deleted, one has come and gone, one has begun, one was resumed",
    );
    let ahead = story.get("ftj", "goes-on")["status"].clone();
    let pods = ["begun", "waits"].map(|name| (name, story.pods(name)));
    type_in(&story, restore);

    // What had ended is as it was.
    let (_, again) = story.succeeds("proven");
    assert_eq!(again.0["steps"], receipt.0["steps"], "{}", again.0);
    let mut download = story.firn(&["download", "proven"]);
    let downloaded = Answer::of(download.arg("--directory").arg(&files), "");
    assert!(downloaded.succeeded, "{}", downloaded.talk);
    assert!(files.join("metrics.json").is_file());
    story.figure("what had ended is proven, and its files are there");
    // What trained goes on from the backup's newest checkpoint, and what was begun since is begun anew, by pods with a token that is known.
    let back = story.until("goes-on", |status| {
        let losses = status["losses"].as_array().into_iter().flatten();
        let mut told = losses.filter_map(|loss| loss["message"].as_str());
        let is_told = told.any(|message| message.starts_with("the coordinator was restored from a backup"));
        status["restarts"] == 0 && is_told && status["summary"] == "Running"
    });
    story.trains("goes-on", 2, step(&back) + 20);
    is_well(&story, "goes-on");
    story.figure(&format!(
        "what trained goes on, and nothing is counted: step {}, and {} before",
        step(&back),
        step(&ahead)
    ));
    for (name, before) in pods {
        crate::secrets::wait_until("other pods", || {
            story.pods(name).iter().any(|pod| !before.contains(pod))
        });
        let anew = story.trains(name, 1, 5);
        story.figure(&format!(
            "{name}: what the backup does not know is made anew, and trains: step {}",
            step(&anew)
        ));
    }
    // What has ended since stays so.
    assert_eq!(story.get("ftj", "ends-early")["status"]["summary"], "Cancelled");
    crate::secrets::wait_until("the end of what has ended", || {
        told(&story, "ends-early").is_some_and(|job| job["status"]["summary"] == "Cancelled")
    });
    assert_eq!(story.get("ftj", "over")["status"]["summary"], "Succeeded");
    assert_eq!(told(&story, "over"), None);
    crate::secrets::wait_until("the end of what was deleted", || {
        let answer = Answer::of(&mut story.firn(&["get", "goes-early", "-o", "json"]), "");
        let deleted: Value = serde_json::from_str(&answer.output).unwrap();
        deleted["status"]["summary"] == "Cancelled"
    });
    story.figure("what has ended, or was deleted since, trains no more");
    let receipt = is_proven(&story, "goes-on");
    assert!(receipt.origins().contains(&"checkpoint".to_owned()), "{}", receipt.0);
    story.figure(&format!(
        "{} steps of the backup were not in its checkpoint",
        receipt.steps_taken_back()
    ));
    for name in ["goes-on", "proven", "ends-early", "over", "begun", "waits"] {
        story.team(&["delete", "ftj", name, "--timeout=120s"], "");
        story.has_no_pods(name);
    }
    story.kubectl().must(
        &["--namespace", HOME, "delete", "pvc", "firn-backup", "--timeout=60s"],
        "",
    );
}
