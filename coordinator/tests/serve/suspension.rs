//! Jobs that are suspended, resumed and changed while they go on.

use firn_proto::v1alpha1 as proto;
use prost_types::FieldMask;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    agent::{Agent, hello},
    rank::{follow_together, start_two},
    server::{Server, get, job, submit, summary},
};

const NAME: &str = "jobs/insects";

async fn suspend(server: &Server) -> Result<proto::FineTuneJob, Status> {
    let request = proto::SuspendJobRequest {
        name: NAME.to_owned(),
        request_id: "suspend".to_owned(),
    };
    Ok(server.jobs().suspend_job(request).await?.into_inner())
}

async fn resume(server: &Server) -> Result<proto::FineTuneJob, Status> {
    let request = proto::ResumeJobRequest {
        name: NAME.to_owned(),
        request_id: "resume".to_owned(),
    };
    Ok(server.jobs().resume_job(request).await?.into_inner())
}

fn suspended(job: &proto::FineTuneJob) -> (String, String) {
    let conditions = &job.status.as_ref().unwrap().conditions;
    let condition = conditions.iter().find(|condition| condition.r#type == "Suspended");
    let condition = condition.unwrap();
    (condition.status.clone(), condition.reason.clone())
}

/// The next snapshot with this word.
async fn until(watch: &mut tonic::Streaming<proto::FineTuneJob>, word: &str) -> proto::FineTuneJob {
    loop {
        let job = watch.message().await.unwrap().expect("the job goes on");
        if summary(&job) == word {
            return job;
        }
    }
}

#[tokio::test]
async fn a_job_is_submitted_suspended_resumed_and_suspended_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut agent = Agent::attach(&server, hello("one", "first")).await.unwrap();
    let request = proto::CreateJobRequest {
        job: Some(job("insects")),
        request_id: "create".to_owned(),
        suspended: true,
    };
    let stored = server.jobs().create_job(request.clone()).await.unwrap().into_inner();
    assert_eq!(summary(&stored), "Suspended");
    let request_watch = proto::WatchJobRequest { name: NAME.to_owned() };
    let mut watch = server.jobs().watch_job(request_watch).await.unwrap().into_inner();
    until(&mut watch, "Suspended").await;

    let resumed = resume(&server).await.unwrap();
    assert_eq!(suspended(&resumed), ("False".to_owned(), "Resumed".to_owned()));
    let (starts, [mut zero, mut one]) = start_two(&server, &mut agent).await;
    let trains = |next: &proto::directive::Next| matches!(next, proto::directive::Next::TrainEpoch(_));
    follow_together([&mut zero, &mut one], trains).await;

    let suspending = suspend(&server).await.unwrap();
    assert_eq!(summary(&suspending), "Suspending");
    let news = zero.pulse().await.unwrap();
    assert_eq!(news.leave, Some(proto::Leave { store_checkpoint: true }));
    assert_eq!(news.stop, "");
    agent.exited(&starts[0].process_id, 13).await;
    agent.exited(&starts[1].process_id, 13).await;
    let waits = until(&mut watch, "Suspended").await;
    assert_eq!(suspended(&waits), ("True".to_owned(), "Suspended".to_owned()));
    assert_eq!(waits.status.as_ref().unwrap().restarts, 0);

    // A call that is repeated acts once.
    resume(&server).await.unwrap();
    assert_eq!(summary(&get(&server, NAME).await), "Suspended");
    let cancel = proto::CancelJobRequest {
        name: NAME.to_owned(),
        request_id: String::new(),
    };
    server.jobs().cancel_job(cancel).await.unwrap();
    let refused = server
        .jobs()
        .suspend_job(proto::SuspendJobRequest {
            name: NAME.to_owned(),
            request_id: String::new(),
        })
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(refused.get_details_error_info().unwrap().reason, "JOB_ENDED");
    server.stop().await.unwrap();
}

fn change(paths: &[&str], workers: (Option<u32>, Option<u32>)) -> proto::UpdateJobRequest {
    let workers = proto::WorkersSpec {
        min: workers.0,
        max: workers.1,
    };
    let mut changed = job("insects");
    let resources = changed.spec.get_or_insert_default().resources.get_or_insert_default();
    resources.workers = Some(workers);
    proto::UpdateJobRequest {
        name: NAME.to_owned(),
        job: Some(changed),
        update_mask: Some(FieldMask {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        }),
        request_id: String::new(),
    }
}

/// The fewest and the most workers.
fn bounds(job: &proto::FineTuneJob) -> (Option<u32>, Option<u32>) {
    let resources = job.spec.as_ref().unwrap().resources.as_ref();
    let workers = resources.unwrap().workers.as_ref().unwrap();
    (workers.min, workers.max)
}

fn fields(status: &Status) -> Vec<String> {
    let refused = status.get_details_bad_request().unwrap();
    refused.field_violations.into_iter().map(|found| found.field).collect()
}

#[tokio::test]
async fn the_bounds_of_a_job_are_changed_and_what_cannot_change_is_refused_by_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    submit(&server, job("insects")).await;
    let (min, max) = ("spec.resources.workers.min", "spec.resources.workers.max");
    let update = |request: proto::UpdateJobRequest| {
        let mut jobs = server.jobs();
        async move { jobs.update_job(request).await }
    };
    let changed = update(change(&[min, max], (Some(3), Some(5))))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(bounds(&changed), (Some(3), Some(5)));
    assert_eq!(bounds(&get(&server, NAME).await), (Some(3), Some(5)));

    let refused = update(change(&[max], (None, Some(2)))).await.unwrap_err();
    assert_eq!(
        (refused.code(), fields(&refused)),
        (Code::InvalidArgument, vec![max.to_owned()])
    );
    let refused = update(change(&["spec.training.epochs"], (None, None)))
        .await
        .unwrap_err();
    assert_eq!(fields(&refused), ["spec.training.epochs"]);
    let refused = update(change(&[], (None, None))).await.unwrap_err();
    assert_eq!(fields(&refused), ["update_mask"]);
    assert_eq!(bounds(&get(&server, NAME).await), (Some(3), Some(5)));
    server.stop().await.unwrap();
}
