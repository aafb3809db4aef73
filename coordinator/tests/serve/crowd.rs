//! Two hundred agents, a kill, and whose lease ends: those of the dead, and no others.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use firn_proto::v1alpha1 as proto;
use prost_types::Timestamp;
use tokio::{sync::Barrier, task::JoinSet};

use crate::{
    agent::{Agent, hello},
    server::{Server, settings},
};

const AGENTS: usize = 200;

fn name(number: usize) -> String {
    format!("agent-{number:03}")
}

/// State and time of attachment of each worker.
async fn workers(server: &Server) -> BTreeMap<String, (String, Option<Timestamp>)> {
    let answer = server.jobs().list_workers(proto::ListWorkersRequest {}).await.unwrap();
    let workers = answer.into_inner().workers.into_iter();
    workers
        .map(|worker| (worker.name, (worker.state, worker.attach_time)))
        .collect()
}

/// Attaches all agents, each on a connection of its own, and returns when all are there. From then on each sends its heartbeats until its
/// stream ends.
async fn attach_all(server: &Server, agents: &mut JoinSet<()>) {
    let all_attached = Arc::new(Barrier::new(AGENTS + 1));
    for number in 0..AGENTS {
        let client = server.workers();
        let all_attached = Arc::clone(&all_attached);
        agents.spawn(async move {
            let mut agent = Agent::attach_with(client, hello(&name(number), "i1")).await.unwrap();
            all_attached.wait().await;
            let mut heartbeat =
                tokio::time::interval(Duration::from_millis(u64::from(agent.welcome.heartbeat_interval_ms)));
            loop {
                tokio::select! {
                    ended = agent.next() => match ended {
                        Ok(Some(_)) => {}
                        Ok(None) | Err(_) => return,
                    },
                    _ = heartbeat.tick() => agent.beat().await,
                }
            }
        });
    }
    all_attached.wait().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_that_come_back_after_a_kill_keep_their_leases_and_only_the_dead_lose_theirs() {
    let folder = tempfile::tempdir().unwrap();
    let short_leases = || {
        let mut settings = settings(folder.path());
        settings.core.lease = 2_000;
        settings.core.heartbeat_interval = 400;
        settings
    };
    let server = Server::start_with(short_leases()).unwrap();
    let mut agents = JoinSet::new();
    attach_all(&server, &mut agents).await;
    let dead = Agent::attach(&server, hello("dead", "i1")).await.unwrap();
    let before = workers(&server).await;
    server.kill().await;
    drop(dead);
    while agents.join_next().await.is_some() {}

    let server = Server::start_with(short_leases()).unwrap();
    attach_all(&server, &mut agents).await;
    // One that falls silent is cut off when its lease ends. After two of them the time that the dead one had to come back is over, too.
    let silent = ["silent", "silent-too"];
    for name in silent {
        let mut silent = Agent::attach(&server, hello(name, "i1")).await.unwrap();
        while silent.next().await.unwrap_or(None).is_some() {}
    }
    let mut after = workers(&server).await;
    for name in silent {
        assert_eq!(after.remove(name).unwrap().0, "Lost");
    }
    assert_eq!(after.remove("dead").unwrap().0, "Lost");
    assert_eq!(after.len(), AGENTS);
    for (name, (state, attached)) in &after {
        assert_eq!(state, "Ready", "{name}");
        assert_eq!(*attached, before[name].1, "{name} counted as lost in between");
    }
    server.kill().await;
}
