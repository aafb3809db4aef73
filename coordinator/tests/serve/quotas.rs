//! Namespaces for people: quotas, lists of one namespace, and the place in the queue.

use firn_proto::v1alpha1 as proto;
use tonic::Code;

use crate::server::{Server, get, job, submit};

fn of_namespace(name: &str, namespace: &str, priority: u32) -> proto::FineTuneJob {
    let mut job = job(name);
    job.metadata.as_mut().unwrap().namespace = namespace.to_owned();
    let scheduling = job.spec.as_mut().unwrap().scheduling.get_or_insert_default();
    scheduling.priority = Some(priority);
    job
}

async fn set(server: &Server, namespace: &str, quota: Option<proto::Quota>) -> proto::NamespaceUse {
    let request = proto::SetQuotaRequest {
        namespace: namespace.to_owned(),
        quota,
        request_id: String::new(),
    };
    server.jobs().set_quota(request).await.unwrap().into_inner()
}

async fn quotas(server: &Server) -> Vec<proto::NamespaceUse> {
    let answer = server.jobs().list_quotas(proto::ListQuotasRequest {}).await;
    answer.unwrap().into_inner().namespaces
}

#[tokio::test]
async fn a_quota_is_set_without_a_restart_outlives_one_and_is_what_a_job_says_it_waits_for() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let none = proto::Quota {
        slots: Some(0),
        jobs: None,
    };
    let set_to = set(&server, "team-a", Some(none)).await;
    assert_eq!((set_to.quota, set_to.slots, set_to.waiting), (Some(none), 0, 0));
    submit(&server, of_namespace("ants", "team-a", 0)).await;
    submit(&server, of_namespace("bees", "team-b", 0)).await;
    let why = async |name: &str| {
        let conditions = get(&server, &format!("jobs/{name}")).await.status.unwrap().conditions;
        let queued = conditions.into_iter().find(|condition| condition.r#type == "Queued");
        queued.unwrap().reason
    };
    assert_eq!(why("ants").await, "WaitingForQuota");
    assert_eq!(why("bees").await, "WaitingForSlots");
    server.stop().await.unwrap();

    let server = Server::start(folder.path());
    let known = quotas(&server).await;
    let shown: Vec<_> = known
        .iter()
        .map(|used| (used.namespace.as_str(), used.quota, used.waiting))
        .collect();
    assert_eq!(shown, [("team-a", Some(none), 1), ("team-b", None, 1)]);
    assert_eq!(set(&server, "team-a", None).await.quota, None);
    let nameless = proto::SetQuotaRequest {
        namespace: "Not A Name".to_owned(),
        ..Default::default()
    };
    let refused = server.jobs().set_quota(nameless).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn jobs_are_listed_by_namespace_and_know_how_many_are_before_them() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    for (name, namespace, priority) in [("ants", "team-a", 0), ("bees", "team-b", 0), ("wasps", "team-a", 3)] {
        submit(&server, of_namespace(name, namespace, priority)).await;
    }
    let request = proto::ListJobsRequest {
        namespace: "team-a".to_owned(),
        ..Default::default()
    };
    let listed = server.jobs().list_jobs(request).await.unwrap().into_inner().jobs;
    let names: Vec<_> = listed.into_iter().map(|job| job.metadata.unwrap().name).collect();
    assert_eq!(names, ["wasps", "ants"]);
    // One of team-a is served first, so team-b is the next.
    for (name, ahead) in [("wasps", 0), ("bees", 1), ("ants", 2)] {
        let status = get(&server, &format!("jobs/{name}")).await.status.unwrap();
        assert_eq!(status.jobs_ahead, Some(ahead), "{name}");
    }
    server.stop().await.unwrap();
}
