//! A coordinator that is killed, and the next one on the same folder.

use std::collections::BTreeSet;

use firn::{journal::JournalError, serve::ServeError};
use firn_proto::v1alpha1::{
    self as proto, complete_shard_request::Report, directive::Next, lease_shard_response::Answer,
};
use tonic_types::StatusExt as _;

use crate::{
    agent::{Agent, hello},
    rank::{Rank, evaluate, evaluation, follow_together, start_two},
    server::{Server, get, job, settings, submit, summary},
    whole_job::{check_what_is_left, log},
};

fn process(start: &proto::StartRank) -> proto::RankProcess {
    proto::RankProcess {
        process_id: start.process_id.clone(),
        job: start.job.clone(),
        generation: start.generation,
        pid: 4000 + start.rank,
    }
}

#[tokio::test]
async fn a_running_job_goes_on_after_the_coordinator_was_killed_in_the_middle_of_a_pass() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    submit(&server, job("insects")).await;
    let mut agent = Agent::attach(&server, hello("one", "i1")).await.unwrap();
    let starts = [agent.start_rank().await, agent.start_rank().await];
    assert_eq!(agent.lines(&starts[0].process_id, 0, &["before"]).await, 1);
    let [mut zero, mut one] = starts.each_ref().map(|start| Rank::new(&server, start));
    let is_second_epoch = |next: &Next| *next == Next::TrainEpoch(1);
    follow_together([&mut zero, &mut one], is_second_epoch).await;
    zero.train(1).await;
    let pass = evaluate("validation", 1);
    let Answer::Shard(shard) = zero.lease(&pass).await.unwrap() else {
        panic!("expected a shard")
    };
    zero.complete(&pass, &shard).await.unwrap();
    let (first_epoch, id) = (agent.welcome.coordinator_epoch, agent.welcome.coordinator_id.clone());
    server.kill().await;
    assert!(agent.next().await.is_err(), "the agent's stream breaks");

    let server = Server::start(folder.path());
    assert_eq!(summary(&get(&server, "jobs/insects").await), "Running");
    let again = proto::AgentHello {
        processes: starts.iter().map(process).collect(),
        ..hello("one", "i1")
    };
    let mut agent = Agent::attach(&server, again).await.unwrap();
    assert_eq!(agent.welcome.coordinator_epoch, first_epoch + 1);
    assert!(!id.is_empty());
    assert_eq!(agent.welcome.coordinator_id, id);
    assert!(agent.welcome.unwanted_processes.is_empty());
    // The answer to these lines got lost with the coordinator, so they come again.
    assert_eq!(agent.lines(&starts[0].process_id, 0, &["before", "after"]).await, 2);

    zero.reconnect(&server);
    one.reconnect(&server);
    // So did the answer to the shard; with other numbers it would be seen if it counted twice.
    let mut repeated = evaluation("validation", 0, &shard);
    repeated.loss_sum = 1e6;
    let request = proto::CompleteShardRequest {
        identity: zero.me(),
        pass: Some(pass.clone()),
        shard: shard.index,
        report: Some(Report::Evaluation(repeated)),
    };
    zero.service.complete_shard(request).await.unwrap();
    let (last, _) = tokio::join!(
        async {
            let next = zero.run_pass(&pass).await;
            zero.follow(next, |_| false).await
        },
        async {
            let next = one.run_pass(&pass).await;
            one.follow(next, |_| false).await
        },
    );
    assert!(matches!(last.next, Some(Next::Finish(_))));
    for start in &starts {
        agent.exited(&start.process_id, 0).await;
    }
    let done = get(&server, "jobs/insects").await;
    assert_eq!(summary(&done), "Succeeded");
    assert_eq!(done.status.as_ref().unwrap().restarts, 0, "no rank was restarted");
    check_what_is_left(&server, "jobs/insects").await;
    assert_eq!(log(&server, "jobs/insects", false).await, ["0 0 before", "0 1 after"]);
    server.kill().await;

    // And all of it is there for the next one.
    let server = Server::start(folder.path());
    assert_eq!(summary(&get(&server, "jobs/insects").await), "Succeeded");
    check_what_is_left(&server, "jobs/insects").await;
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_waiting_job_survives_and_keeps_its_request_id() {
    let folder = tempfile::tempdir().unwrap();
    let request = proto::CreateJobRequest {
        job: Some(job("waits")),
        request_id: "r1".to_owned(),
        suspended: false,
    };
    let server = Server::start(folder.path());
    let created = server.jobs().create_job(request.clone()).await.unwrap().into_inner();
    server.kill().await;

    let server = Server::start(folder.path());
    let found = get(&server, "jobs/waits").await;
    assert_eq!(found.spec, created.spec);
    assert_eq!(found.metadata, created.metadata);
    let repeated = server.jobs().create_job(request).await.unwrap().into_inner();
    assert_eq!(repeated.metadata.unwrap().resource_name, "jobs/waits");
    let listed = server
        .jobs()
        .list_jobs(proto::ListJobsRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(listed.jobs.len(), 1);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_request_id_that_stands_for_another_call_is_refused_also_by_the_next_coordinator() {
    let folder = tempfile::tempdir().unwrap();
    let create = |name: &str| proto::CreateJobRequest {
        job: Some(job(name)),
        request_id: "r1".to_owned(),
        suspended: false,
    };
    let cancel = |name: &str, request_id: &str| proto::CancelJobRequest {
        name: format!("jobs/{name}"),
        request_id: request_id.to_owned(),
    };
    let server = Server::start(folder.path());
    server.jobs().create_job(create("first")).await.unwrap();
    submit(&server, job("second")).await;
    server.jobs().cancel_job(cancel("first", "r2")).await.unwrap();
    server.kill().await;

    let server = Server::start(folder.path());
    let mut jobs = server.jobs();
    // Repeats.
    jobs.create_job(create("first")).await.unwrap();
    jobs.cancel_job(cancel("first", "r2")).await.unwrap();
    for (id, refused) in [
        ("r1", jobs.create_job(create("other")).await.unwrap_err()),
        ("r1", jobs.cancel_job(cancel("second", "r1")).await.unwrap_err()),
        ("r2", jobs.cancel_job(cancel("second", "r2")).await.unwrap_err()),
    ] {
        assert_eq!(
            (
                refused.code(),
                refused.get_details_error_info().unwrap().reason.as_str()
            ),
            (tonic::Code::AlreadyExists, "REQUEST_ID_REUSED")
        );
        let expected = format!("request id `{id}` was used before, for another call");
        assert!(refused.message().starts_with(&expected), "{}", refused.message());
    }
    assert_eq!(summary(&get(&server, "jobs/second").await), "Queued");
    let listed = jobs.list_jobs(proto::ListJobsRequest::default()).await.unwrap();
    assert_eq!(listed.into_inner().jobs.len(), 2);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn waiting_calls_and_streams_end_at_once_when_the_coordinator_is_told_to_stop() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    submit(&server, job("insects")).await;
    let mut agent = Agent::attach(&server, hello("one", "i1")).await.unwrap();
    let start = agent.start_rank().await;
    agent.start_rank().await;
    let mut watch = server
        .jobs()
        .watch_job(proto::WatchJobRequest {
            name: "jobs/insects".to_owned(),
        })
        .await
        .unwrap()
        .into_inner();
    watch.message().await.unwrap().unwrap();
    let mut rank = Rank::new(&server, &start);
    let joining = tokio::spawn(async move { rank.join().await });
    // Once the rank is seen to have joined, its call waits for the other one.
    let has_joined = |seen: &proto::FineTuneJob| {
        seen.status
            .as_ref()
            .unwrap()
            .ranks
            .iter()
            .any(|rank| rank.state == "Joined")
    };
    while !has_joined(&watch.message().await.unwrap().unwrap()) {}

    server.stop().await.unwrap();
    assert_eq!(joining.await.unwrap().unwrap_err().code(), tonic::Code::Unavailable);
    assert_eq!(watch.message().await.unwrap_err().code(), tonic::Code::Unavailable);
    loop {
        match agent.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("expected a status"),
            Err(status) => {
                assert_eq!(status.code(), tonic::Code::Unavailable);
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_second_coordinator_on_the_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let refused = Server::start_with(settings(folder.path())).err().unwrap();
    assert!(matches!(refused, ServeError::Journal(JournalError::Held { .. })));
    let expected = format!(
        "the data folder {} is held by another coordinator (process {}): stop that one, or give this one its own --data-dir",
        folder.path().display(),
        std::process::id()
    );
    assert_eq!(refused.to_string(), expected);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_coordinator_does_not_start_on_a_journal_that_was_tampered_with() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    submit(&server, job("insects")).await;
    server.stop().await.unwrap();
    tamper(folder.path());
    let refused = Server::start_with(settings(folder.path())).err().unwrap();
    let message = refused.to_string();
    assert!(
        message.contains("the journal is damaged at record 1: its content does not match its hash"),
        "{message}"
    );
}

#[tokio::test]
async fn a_shard_that_is_repeated_after_its_pass_was_scored_is_answered_and_leaves_no_other_report() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    submit(&server, job("insects")).await;
    let mut agent = Agent::attach(&server, hello("one", "i1")).await.unwrap();
    let (_, [mut zero, mut one]) = start_two(&server, &mut agent).await;
    let is_second_epoch = |next: &Next| *next == Next::TrainEpoch(1);
    follow_together([&mut zero, &mut one], is_second_epoch).await;
    let folder_of_reports = folder.path().join("jobs/insects/scored/evaluate/validation/0");
    let reports = || -> BTreeSet<_> {
        let entries = std::fs::read_dir(&folder_of_reports).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect()
    };
    let counted = reports();
    assert!(
        !counted.is_empty(),
        "the predictions of the best epoch are made of them"
    );

    let first = proto::Shard {
        index: 0,
        begin: 0,
        end: 1,
    };
    // One of the two repeats what it said, the other says what nobody counts.
    zero.complete(&evaluate("validation", 0), &first).await.unwrap();
    one.complete(&evaluate("validation", 0), &first).await.unwrap();

    assert_eq!(reports(), counted);
    let incoming = folder.path().join("jobs/insects/passes/evaluate/validation/0");
    assert!(!incoming.exists(), "nobody would remove it before the job ends");
    server.kill().await;
}

/// Changes the epochs of the submitted job, which is record 1, without its hash.
fn tamper(folder: &std::path::Path) {
    use redb::ReadableTable as _;

    let records: redb::TableDefinition<'_, u64, (&[u8; 32], &[u8])> = redb::TableDefinition::new("records");
    let database = redb::Database::create(folder.join("journal.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut table = transaction.open_table(records).unwrap();
        let (hash, json) = {
            let guard = table.get(1).unwrap().unwrap();
            let (hash, json) = guard.value();
            (*hash, String::from_utf8(json.to_vec()).unwrap())
        };
        let forged = json.replace("\"epochs\":2", "\"epochs\":9");
        assert_ne!(forged, json);
        table.insert(1, (&hash, forged.as_bytes())).unwrap();
    }
    transaction.commit().unwrap();
}
