//! The coordinator is killed while it deletes a job.

use std::os::unix::process::ExitStatusExt as _;

use firn::{
    fail_point::{FailPoint, VARIABLE},
    journal::Journal,
};
use firn_core::identifiers::JobId;
use firn_proto::v1alpha1::{DeleteJobRequest, job_service_client::JobServiceClient};
use tonic::{Code, Status, transport::Channel};

use crate::process::{Served, cancel, command, names, submit};

async fn delete(channel: &Channel, name: &str) -> Result<(), Status> {
    let request = DeleteJobRequest {
        name: format!("jobs/{name}"),
        request_id: String::new(),
    };
    JobServiceClient::new(channel.clone())
        .delete_job(request)
        .await
        .map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_deletion_goes_on_after_a_kill_at_each_of_its_steps() {
    for point in [
        FailPoint::EraseBeforeFiles,
        FailPoint::EraseAfterFiles,
        FailPoint::RemovalBeforeCommit,
    ] {
        let folder = tempfile::tempdir().unwrap();
        let files = folder.path().join("jobs/gone");
        let mut served = Served::spawn(command(folder.path()).env(VARIABLE, point.as_str()));
        let channel = served.ready().expect("it starts");
        for name in ["stays", "gone"] {
            submit(&channel, name).await.unwrap();
            cancel(&channel, name).await.unwrap();
        }
        std::fs::create_dir_all(&files).unwrap();
        std::fs::write(files.join("logs.jsonl"), b"").unwrap();
        // Whether it was answered or not: the record is on disk.
        let _ = delete(&channel, "gone").await;
        let left = served.left();
        assert_eq!(left.status.signal(), Some(9), "{point}: {}", left.talk);
        assert_eq!(files.exists(), point == FailPoint::EraseBeforeFiles, "{point}");

        let mut served = Served::spawn(&mut command(folder.path()));
        let channel = served.ready().expect("it starts again");
        match delete(&channel, "gone").await {
            Ok(()) => {}
            Err(status) => assert_eq!(status.code(), Code::NotFound, "{point}"),
        }
        assert!(!files.exists(), "{point}");
        assert_eq!(names(&channel).await, ["stays"], "{point}");
        submit(&channel, "gone").await.unwrap();
        assert_eq!(names(&channel).await, ["gone", "stays"], "{point}");
        assert_eq!(served.stop().status.code(), Some(0));

        let journal = Journal::open(folder.path()).unwrap();
        assert!(!journal.has_remains().unwrap(), "{point}");
        journal.reader().verify_chain().unwrap();
        let records = |job: &str| journal.reader().records_of(&JobId::from(job)).unwrap().records.len();
        assert_eq!((records("stays"), records("gone")), (2, 1), "{point}");
    }
}
