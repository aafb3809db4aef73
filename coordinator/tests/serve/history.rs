//! Jobs that are over: seen long after, proven, and deleted.

use firn_proto::v1alpha1 as proto;
use tonic::Code;

use crate::{
    agent::{Agent, hello},
    rank::{follow_together, start_two},
    server::{Server, get, job, settings, submit, summary},
    verify::verify,
};

/// Ended jobs that stay at hand in the state; more are folded from their records.
const AT_HAND: usize = 16;

fn name(job: &str) -> String {
    format!("jobs/{job}")
}

async fn cancelled(server: &Server, id: &str) {
    submit(server, job(id)).await;
    let request = proto::CancelJobRequest {
        name: name(id),
        request_id: String::new(),
    };
    server.jobs().cancel_job(request).await.unwrap();
}

fn deletion(id: &str, request_id: &str) -> proto::DeleteJobRequest {
    proto::DeleteJobRequest {
        name: name(id),
        request_id: request_id.to_owned(),
    }
}

async fn listed(server: &Server) -> Vec<proto::FineTuneJob> {
    let request = proto::ListJobsRequest::default();
    server.jobs().list_jobs(request).await.unwrap().into_inner().jobs
}

/// One job that has ended well.
async fn finished(server: &Server, id: &str) {
    submit(server, job(id)).await;
    let mut agent = Agent::attach(server, hello("one", "i1")).await.unwrap();
    let (starts, [mut zero, mut one]) = start_two(server, &mut agent).await;
    follow_together([&mut zero, &mut one], |_| false).await;
    for start in &starts {
        agent.exited(&start.process_id, 0).await;
    }
}

fn without_dates(mut job: proto::FineTuneJob) -> proto::FineTuneJob {
    if let Some(progress) = job.status.as_mut().and_then(|status| status.progress.as_mut()) {
        progress.samples_per_second = 0.0;
    }
    job
}

#[tokio::test]
async fn a_job_that_is_long_over_is_shown_listed_proven_and_downloaded_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    finished(&server, "insects").await;
    let before = get(&server, &name("insects")).await;
    let artifacts = proto::ListArtifactsRequest { name: name("insects") };
    let left = server
        .jobs()
        .list_artifacts(artifacts.clone())
        .await
        .unwrap()
        .into_inner();
    let receipt = verify(&server, &name("insects")).await.unwrap();
    assert!(receipt.proven, "{receipt:?}");
    for number in 0..AT_HAND + 4 {
        cancelled(&server, &format!("later-{number}")).await;
    }
    assert_eq!(summary(&before), "Succeeded");
    assert_eq!(
        without_dates(get(&server, &name("insects")).await),
        without_dates(before.clone())
    );
    assert_eq!(
        server.jobs().list_artifacts(artifacts).await.unwrap().into_inner(),
        left
    );
    let now = verify(&server, &name("insects")).await.unwrap();
    assert!(now.proven);
    assert_eq!((now.epochs, now.files), (receipt.epochs, receipt.files));
    let jobs = listed(&server).await;
    assert_eq!(jobs.len(), AT_HAND + 5);
    assert_eq!(jobs.last().unwrap().metadata, before.metadata);
    assert_eq!(summary(jobs.last().unwrap()), "Succeeded");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_deleted_job_is_gone_with_its_files_and_its_name_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    finished(&server, "insects").await;
    submit(&server, job("birds")).await;
    let files = folder.path().join("jobs/insects");
    assert!(files.is_dir());
    let refused = server.jobs().delete_job(deletion("birds", "")).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("`firn cancel birds`"), "{refused}");
    for _ in 0..2 {
        server.jobs().delete_job(deletion("insects", "once")).await.unwrap();
    }
    assert!(!files.exists());
    let gone = server
        .jobs()
        .get_job(proto::GetJobRequest {
            name: name("insects"),
            ..Default::default()
        })
        .await;
    assert_eq!(gone.unwrap_err().code(), Code::NotFound);
    let refused = server
        .jobs()
        .delete_job(deletion("insects", "twice"))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    assert_eq!(listed(&server).await.len(), 1);
    let again = submit(&server, job("insects")).await;
    assert_eq!(again.metadata.unwrap().resource_name, "jobs/insects");
    let receipt = verify(&server, &name("insects")).await.unwrap();
    assert!(receipt.proven, "{receipt:?}");
    assert!(verify(&server, &name("birds")).await.unwrap().proven);
    server.stop().await.unwrap();
    let server = Server::start(folder.path());
    assert_eq!(listed(&server).await.len(), 2);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn beyond_a_number_ended_jobs_go_but_not_one_whose_files_nobody_has_downloaded() {
    let folder = tempfile::tempdir().unwrap();
    let mut kept = settings(folder.path());
    kept.core.retention.jobs = Some(1);
    let server = Server::start_with(kept).unwrap();
    finished(&server, "insects").await;
    cancelled(&server, "first").await;
    let mut ended = server
        .jobs()
        .watch_job(proto::WatchJobRequest { name: name("insects") })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(summary(&ended.message().await.unwrap().unwrap()), "Succeeded");
    let gone = |found: Vec<proto::FineTuneJob>| !found.iter().any(|job| job.metadata.as_ref().unwrap().name == "first");
    assert!(gone(listed(&server).await), "the other one has no files");
    let artifacts = proto::ListArtifactsRequest { name: name("insects") };
    for artifact in server
        .jobs()
        .list_artifacts(artifacts)
        .await
        .unwrap()
        .into_inner()
        .artifacts
    {
        // One lies elsewhere, which is nothing that the coordinator could delete.
        if artifact.location != "coordinator" {
            continue;
        }
        let request = proto::DownloadArtifactRequest {
            name: name("insects"),
            artifact: artifact.name,
        };
        let mut chunks = server.jobs().download_artifact(request).await.unwrap().into_inner();
        while chunks.message().await.unwrap().is_some() {}
    }
    // The end of the stream comes after it was noted that the file was fetched.
    cancelled(&server, "second").await;
    let names: Vec<_> = listed(&server)
        .await
        .into_iter()
        .map(|job| job.metadata.unwrap().name)
        .collect();
    assert_eq!(names, ["second"]);
    server.stop().await.unwrap();
}
