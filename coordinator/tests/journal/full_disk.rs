//! A small disk that is filled while the coordinator runs on it.
//!
//! The disk is a tmpfs in a mount namespace of the coordinator's own; the test reaches it through `/proc`. Where such namespaces cannot be
//! made the test says so and does nothing.

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::process::{Served, cancel, cancelled, command, names, submit};

/// Runs a command in namespaces of its own, after a tmpfs was mounted.
fn on_small_disk(folder: &Path, command: &Command) -> Command {
    let mut inside = Command::new("unshare");
    inside.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
    inside
        .arg(r#"mount -t tmpfs -o size=16m none "$0" && exec "$@""#)
        .arg(folder);
    inside.arg(command.get_program()).args(command.get_args());
    inside
}

fn can_mount() -> bool {
    let folder = tempfile::tempdir().unwrap();
    let mut probe = on_small_disk(folder.path(), &Command::new("true"));
    let status = probe.stdout(Stdio::null()).stderr(Stdio::null()).status();
    let can = status.is_ok_and(|status| status.success());
    if !can {
        // Past the capture of the test harness, so that it is seen and counted.
        let _ = writeln!(
            std::io::stderr(),
            "skipped: a mount namespace with a tmpfs cannot be made here"
        );
    }
    can
}

/// Writes until there is no room.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    for size in [64 * 1024, 4096, 1] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn on_a_full_disk_jobs_are_refused_ends_are_recorded_and_it_goes_on_when_there_is_room() {
    if !can_mount() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut served = Served::spawn(&mut on_small_disk(folder.path(), &command(folder.path())));
    let channel = served.ready().unwrap();
    for name in ["one", "two", "three"] {
        submit(&channel, name).await.unwrap();
    }
    let inside = PathBuf::from(format!("/proc/{}/root", served.id())).join(folder.path().strip_prefix("/").unwrap());
    let filler = inside.join("filler");
    fill(&filler);

    let refused = submit(&channel, "four").await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.message().contains("nearly full"), "{refused}");
    assert!(
        refused.message().contains(&folder.path().display().to_string()),
        "{refused}"
    );
    // Others fill what the reserve gives back; the ends are recorded all the same.
    for name in ["one", "two", "three"] {
        cancel(&channel, name).await.unwrap();
        fill(&inside.join(format!("filler-{name}")));
    }
    assert_eq!(names(&channel).await, ["one", "three", "two"]);
    let health = HealthClient::new(channel.clone())
        .check(HealthCheckRequest::default())
        .await
        .unwrap();
    assert_eq!(health.into_inner().status(), ServingStatus::Serving);

    for file in ["filler", "filler-one", "filler-two", "filler-three"] {
        std::fs::remove_file(inside.join(file)).unwrap();
    }
    submit(&channel, "five").await.unwrap();
    let left = served.stop();
    assert_eq!(left.status.code(), Some(0), "{}", left.talk);
    assert!(left.talk.contains("there is room on the disk again"), "{}", left.talk);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_commit_that_fails_for_want_of_room_leaves_a_coordinator_that_answers_questions() {
    if !can_mount() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut served = Served::spawn(&mut on_small_disk(folder.path(), &command(folder.path())));
    let channel = served.ready().unwrap();
    let jobs: Vec<String> = (100..300).map(|number| format!("job-{number}")).collect();
    for name in &jobs {
        submit(&channel, name).await.unwrap();
    }
    let inside = PathBuf::from(format!("/proc/{}/root", served.id())).join(folder.path().strip_prefix("/").unwrap());
    // Somebody has taken the reserve away.
    File::create(inside.join("reserve")).unwrap();
    fill(&inside.join("filler"));
    let mut ended = 0;
    let refused = loop {
        match cancel(&channel, &jobs[ended]).await {
            Ok(()) => ended += 1,
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.message().contains("restart"), "{refused}");
    let watched = HealthClient::new(channel.clone())
        .watch(HealthCheckRequest::default())
        .await;
    let mut health = watched.unwrap().into_inner();
    while health.message().await.unwrap().unwrap().status() != ServingStatus::NotServing {}

    // Room alone does not help: what is on the disk is only known after a restart.
    std::fs::remove_file(inside.join("filler")).unwrap();
    let refused = submit(&channel, "after").await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert_eq!(cancelled(&channel).await, jobs[..ended], "those and no others");
    let left = served.stop();
    assert_eq!(left.status.code(), Some(1), "{}", left.talk);
    assert!(left.talk.contains("the journal's storage failed"), "{}", left.talk);
}
