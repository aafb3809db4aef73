//! Calls that arrive twice, late, or whose answers are lost: each acts once.

use firn_tests::{
    cluster::Cluster,
    jobs,
    proxy::{
        calls::{CallProxy, Fault},
        link::{Link, LinkProxy},
    },
    submission::Submission,
};
use nix::sys::signal::Signal;
use tempfile::TempDir;
use tonic::Code;

/// The calls of a rank that change something.
const MUTATIONS: [&str; 7] = [
    "RegisterDataset",
    "RegisterModel",
    "Join",
    "CommitSteps",
    "CompleteShard",
    "Upload",
    "FinishJob",
];

/// A cluster whose workers reach the coordinator through a proxy of calls.
fn behind_a_proxy(folder: &TempDir, workers: usize) -> anyhow::Result<(Cluster, CallProxy)> {
    let mut cluster = Cluster::start(folder.path(), 0)?;
    let proxy = CallProxy::start(cluster.address())?;
    for _ in 0..workers {
        cluster.add_worker_through(&proxy.address().to_string(), None, &[])?;
    }
    Ok((cluster, proxy))
}

async fn with_every_call(fault: Fault, name: &str) -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let (cluster, proxy) = behind_a_proxy(&folder, 2)?;
    for call in MUTATIONS {
        proxy.inject(call, fault, 6);
    }
    let job = Submission::new(&cluster, &jobs::strict_fault_job(name, 4, (2, 2))?)?;
    let ended = job.ends_as_if_nothing_had_happened(&cluster).await?;
    // A call that is lost is not delivered.
    for call in MUTATIONS.iter().filter(|_| fault != Fault::LoseCall) {
        let made = proxy.deliveries().iter().any(|delivery| delivery.method == *call);
        assert!(made, "{call} was never called");
    }
    assert_eq!((ended.status.generation, ended.status.losses.len()), (1, 0));
    Ok(())
}

#[tokio::test]
async fn every_call_of_a_rank_may_arrive_twice() -> anyhow::Result<()> {
    with_every_call(Fault::Twice, "twice").await
}

#[tokio::test]
async fn every_call_of_a_rank_may_lose_its_answer() -> anyhow::Result<()> {
    with_every_call(Fault::LoseAnswer, "no-answer").await
}

#[tokio::test]
async fn every_call_of_a_rank_may_be_lost_on_its_way() -> anyhow::Result<()> {
    with_every_call(Fault::LoseCall, "no-call").await
}

#[tokio::test]
async fn commits_that_arrive_after_later_ones_change_nothing() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let (cluster, proxy) = behind_a_proxy(&folder, 2)?;
    proxy.inject("CommitSteps", Fault::AgainAfter("CommitSteps"), 6);
    proxy.inject("CompleteShard", Fault::AgainAfter("CompleteShard"), 4);
    let job = Submission::new(&cluster, &jobs::strict_fault_job("late", 4, (2, 2))?)?;
    job.ends_as_if_nothing_had_happened(&cluster).await?;
    let late = proxy.deliveries().into_iter().filter(|delivery| delivery.repeated);
    assert!(late.count() >= 8, "each was sent again");
    Ok(())
}

#[tokio::test]
async fn calls_of_a_generation_that_is_over_are_refused() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let (mut cluster, proxy) = behind_a_proxy(&folder, 2)?;
    for call in ["CommitSteps", "CompleteShard"] {
        proxy.inject(call, Fault::Keep, 2);
    }
    let job = Submission::new(&cluster, &jobs::strict_fault_job("stale", 12, (1, 2))?)?;
    let before = job.reaches_step(&cluster, 6).await?;
    let victim = job.rank(&mut cluster, 0).await?;
    firn_tests::submission::send(victim, Signal::SIGKILL)?;
    job.goes_on_after(&cluster, before.generation).await?;
    let answers = proxy.send_kept().await?;
    assert_eq!(answers.len(), 4);
    for answer in answers {
        assert_eq!(answer.code, Code::Aborted, "{answer:?}");
        assert!(answer.message.contains("generation"), "{}", answer.message);
    }
    job.ends_as_if_nothing_had_happened(&cluster).await?;
    Ok(())
}

#[tokio::test]
async fn a_connection_that_is_cut_and_comes_back_within_the_lease_costs_nothing() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let mut cluster = Cluster::start(folder.path(), 0)?;
    let link = LinkProxy::start(cluster.address().parse()?)?;
    for _ in 0..2 {
        cluster.add_worker_through(&link.address().to_string(), None, &[])?;
    }
    let job = Submission::new(&cluster, &jobs::strict_fault_job("cut", 12, (2, 2))?)?;
    for steps in [2, 12, 24] {
        job.reaches_step(&cluster, steps).await?;
        link.set(Link::Cut);
        link.set(Link::Pass);
    }
    let ended = job.ends_as_if_nothing_had_happened(&cluster).await?;
    assert_eq!((ended.status.generation, ended.status.losses.len()), (1, 0));
    Ok(())
}
