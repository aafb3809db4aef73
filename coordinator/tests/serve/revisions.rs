//! Agents and ranks of other builds.

use firn_core::compatibility::Revision;
use firn_proto::v1alpha1 as proto;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::{
    agent::{Agent, hello},
    server::{Server, get, job, regression, submit},
};

/// What a rank is told that speaks a revision.
async fn enrol(server: &Server, start: &proto::StartRank, protocol: u32) -> proto::EnrolResponse {
    let identity = proto::RankIdentity {
        job: start.job.clone(),
        process_id: start.process_id.clone(),
        ..Default::default()
    };
    let request = proto::EnrolRequest {
        identity: Some(identity),
        protocol,
        ..Default::default()
    };
    server.ranks().enrol(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn an_agent_newer_than_the_coordinator_is_refused_by_name_and_listed_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let newer = proto::AgentHello {
        protocol: 99,
        version: "9.0.0".to_owned(),
        ..hello("new", "i1")
    };
    let refused = Agent::attach(&server, newer).await.err().unwrap();
    let reason = "this coordinator serves workers of revision 1 to 5, found revision 99 (build 9.0.0): upgrade the coordinator first";
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::FailedPrecondition, format!("worker new: {reason}").as_str())
    );
    assert_eq!(refused.get_details_error_info().unwrap().reason, "UNKNOWN_REVISION");
    assert_eq!(
        listed(&server).await,
        [("new".to_owned(), "Refused".to_owned(), reason.to_owned())]
    );

    // Its older self is welcome, and no longer listed as refused.
    let _agent = Agent::attach(&server, hello("new", "i2")).await.unwrap();
    assert_eq!(
        listed(&server).await,
        [("new".to_owned(), "Ready".to_owned(), String::new())]
    );
    server.stop().await.unwrap();
}

#[tokio::test]
async fn an_agent_that_announces_no_revision_is_served_and_listed_with_what_it_does_not_get() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let older = proto::AgentHello {
        protocol: 0,
        version: "0.1.0".to_owned(),
        ..hello("old", "i1")
    };
    let mut agent = Agent::attach(&server, older).await.unwrap();
    submit(&server, job("insects")).await;
    // A job that needs nothing new is placed on it. Its rank, which announces none either, is told what to do in the form that it reads,
    // under the name that it gives the settings; a rank of this build reads the document, under the same name.
    let start = agent.start_rank().await;
    let told = enrol(&server, &start, 0).await;
    assert!(
        told.spec_json.starts_with(r#"{"name":"insects","#),
        "{}",
        told.spec_json
    );
    assert_eq!(
        told.settings_digest,
        blake3::hash(told.spec_json.as_bytes()).to_hex().to_string()
    );
    let newer = enrol(&server, &start, Revision::CURRENT.0).await;
    assert!(newer.spec_json.starts_with(r#"{"apiVersion":"#), "{}", newer.spec_json);
    assert_eq!(newer.settings_digest, told.settings_digest);
    // It finds and reads the samples as the older one does, which knows no other way.
    assert_eq!(newer.data_rules, 1);
    let reason = "speaks revision 1 (build 0.1.0), the coordinator 5: it gets no jobs that need more";
    assert_eq!(
        listed(&server).await,
        [("old".to_owned(), "Ready".to_owned(), reason.to_owned())]
    );
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_worker_of_revision_2_gets_the_document_that_it_knows_and_no_job_that_needs_more() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let older = proto::AgentHello {
        protocol: 2,
        version: "0.1.9".to_owned(),
        ..hello("old", "i1")
    };
    let mut agent = Agent::attach(&server, older).await.unwrap();
    submit(&server, regression("prices")).await;
    submit(&server, job("insects")).await;
    let start = agent.start_rank().await;
    assert_eq!(start.job, "jobs/insects");
    // A rank of that revision refuses a document with a field that it does not know.
    let told = enrol(&server, &start, 2).await.spec_json;
    let (older, newer) = (
        r#""loss":{"labelSmoothing""#,
        r#""loss":{"type":"cross_entropy","labelSmoothing""#,
    );
    assert!(told.contains(older), "{told}");
    let current = enrol(&server, &start, Revision::CURRENT.0).await;
    assert_eq!(current.data_rules, 2);
    let current = current.spec_json;
    let scheduling = r#","scheduling":{"priority":0,"preemptionPolicy":"lower_priority"}"#;
    let interpolation = r#""interpolation":"bilinear","#;
    let known = [
        (newer, older),
        (r#","namespace":"default""#, ""),
        (scheduling, ""),
        (interpolation, ""),
        (r#""cropMode":"center","#, ""),
        (r#""weightDecayOf":"all","#, ""),
        (r#","parameters":[]"#, ""),
        (r#""layerDecay":1.0,"#, ""),
        (r#""classes":[],"#, ""),
        (r#""sampling":"shuffle","#, ""),
        (r#""frozenPrecision":"fp32","#, ""),
    ];
    let known = known.iter().fold(current, |text, (new, old)| text.replace(new, old));
    assert_eq!(known, told);

    let reason = "speaks revision 2 (build 0.1.9), the coordinator 5: it gets no jobs that need more";
    assert_eq!(
        listed(&server).await,
        [("old".to_owned(), "Ready".to_owned(), reason.to_owned())]
    );
    let waits = get(&server, "jobs/prices").await.status.unwrap().conditions.remove(0);
    let expected = "worker old speaks revision 2 (build 0.1.9); the job needs 3 because of spec.task.type";
    assert!(waits.message.ends_with(expected), "{}", waits.message);
    server.stop().await.unwrap();
}

async fn listed(server: &Server) -> Vec<(String, String, String)> {
    let listed = server.jobs().list_workers(proto::ListWorkersRequest {}).await;
    let workers = listed.unwrap().into_inner().workers.into_iter();
    workers
        .map(|worker| (worker.name, worker.state, worker.reason))
        .collect()
}
