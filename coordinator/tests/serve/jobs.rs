//! What people ask of jobs.

use firn_proto::v1alpha1 as proto;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::server::{Server, get, job, submit, summary};

#[tokio::test]
async fn a_repeated_submit_acts_once_and_an_equal_name_gets_a_number() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let request = proto::CreateJobRequest {
        job: Some(job("insects")),
        request_id: "r1".to_owned(),
        suspended: false,
    };
    let first = server.jobs().create_job(request.clone()).await.unwrap().into_inner();
    let repeated = server.jobs().create_job(request).await.unwrap().into_inner();
    assert_eq!(first.metadata, repeated.metadata);
    let second = submit(&server, job("insects")).await;
    assert_eq!(second.metadata.unwrap().resource_name, "jobs/insects-2");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn an_invalid_job_is_refused_with_every_field_that_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut wrong = job("Not A Name");
    wrong.spec.as_mut().unwrap().training.as_mut().unwrap().epochs = Some(0);
    let request = proto::CreateJobRequest {
        job: Some(wrong),
        request_id: String::new(),
        suspended: false,
    };
    let refused = server.jobs().create_job(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let fields: Vec<_> = refused
        .get_details_bad_request()
        .unwrap()
        .field_violations
        .into_iter()
        .map(|found| found.field)
        .collect();
    assert_eq!(fields, ["metadata.name", "spec.training.epochs"]);

    let nothing = server
        .jobs()
        .create_job(proto::CreateJobRequest::default())
        .await
        .unwrap_err();
    assert_eq!(nothing.code(), Code::InvalidArgument);
    assert_eq!(
        nothing.get_details_bad_request().unwrap().field_violations[0].field,
        "job"
    );
    server.stop().await.unwrap();
}

#[tokio::test]
async fn jobs_are_listed_newest_first_page_by_page() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    for number in 0..5 {
        submit(&server, job(&format!("job-{number}"))).await;
    }
    let mut page_token = String::new();
    let mut pages = Vec::new();
    loop {
        let request = proto::ListJobsRequest {
            page_size: 2,
            page_token,
            ..Default::default()
        };
        let page = server.jobs().list_jobs(request).await.unwrap().into_inner();
        pages.push(
            page.jobs
                .into_iter()
                .map(|job| job.metadata.unwrap().name)
                .collect::<Vec<_>>(),
        );
        // One that comes in between neither repeats nor hides any.
        submit(&server, job("later")).await;
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(pages, [vec!["job-4", "job-3"], vec!["job-2", "job-1"], vec!["job-0"]]);

    let request = proto::ListJobsRequest {
        page_size: 0,
        page_token: "nonsense".to_owned(),
        ..Default::default()
    };
    let refused = server.jobs().list_jobs(request).await.unwrap_err();
    assert_eq!(
        refused.get_details_bad_request().unwrap().field_violations[0].field,
        "page_token"
    );
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_cancelled_job_ends_its_watch_and_cancelling_again_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    submit(&server, job("insects")).await;
    let name = "jobs/insects".to_owned();
    let mut watch = server
        .jobs()
        .watch_job(proto::WatchJobRequest { name: name.clone() })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(summary(&watch.message().await.unwrap().unwrap()), "Queued");
    for _ in 0..2 {
        let request = proto::CancelJobRequest {
            name: name.clone(),
            request_id: String::new(),
        };
        let cancelled = server.jobs().cancel_job(request).await.unwrap().into_inner();
        assert_eq!(summary(&cancelled), "Cancelled");
    }
    assert_eq!(summary(&watch.message().await.unwrap().unwrap()), "Cancelled");
    assert!(watch.message().await.unwrap().is_none());
    assert_eq!(
        get(&server, &name).await.status.unwrap().failure.unwrap().reason,
        "Cancelled"
    );
    server.stop().await.unwrap();
}

#[tokio::test]
async fn what_does_not_exist_is_not_found_and_what_is_no_name_is_invalid() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut jobs = server.jobs();
    let absent = "jobs/absent".to_owned();
    let found = [
        jobs.get_job(proto::GetJobRequest {
            name: absent.clone(),
            ..Default::default()
        })
        .await
        .err(),
        jobs.watch_job(proto::WatchJobRequest { name: absent.clone() })
            .await
            .err(),
        jobs.cancel_job(proto::CancelJobRequest {
            name: absent.clone(),
            request_id: String::new(),
        })
        .await
        .err(),
        jobs.stream_logs(proto::StreamLogsRequest {
            name: absent.clone(),
            ..Default::default()
        })
        .await
        .err(),
        jobs.list_steps(proto::ListStepsRequest {
            name: absent.clone(),
            ..Default::default()
        })
        .await
        .err(),
        jobs.list_artifacts(proto::ListArtifactsRequest { name: absent.clone() })
            .await
            .err(),
        jobs.download_artifact(proto::DownloadArtifactRequest {
            name: absent,
            artifact: "x".to_owned(),
        })
        .await
        .err(),
    ];
    for status in found {
        let status = status.unwrap();
        assert_eq!(
            (status.code(), status.message()),
            (Code::NotFound, "job jobs/absent does not exist")
        );
    }
    let refused = jobs
        .get_job(proto::GetJobRequest {
            name: "absent".to_owned(),
            ..Default::default()
        })
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::InvalidArgument, "name: expected `jobs/{job}`, found `absent`")
    );
    server.stop().await.unwrap();
}
