//! Cables that are pulled, between machines that are network namespaces here.

use firn_tests::{
    chance::Chance,
    cluster::{Cluster, Serving},
    jobs,
    network::Network,
    proxy::link::{Link, LinkProxy},
    submission::{Submission, has_lost, measured},
};
use std::{net::SocketAddr, time::SystemTime};
use tempfile::TempDir;

/// Two workers on hosts of their own; the coordinator is reached through a proxy on this machine's address in their network.
fn two_hosts(folder: &TempDir, network: &Network) -> anyhow::Result<(Cluster, LinkProxy)> {
    let mut cluster = Cluster::start_with(folder.path(), 0, Serving::with_short_times())?;
    let door = LinkProxy::start_at(SocketAddr::from((network.address(), 0)), cluster.address().parse()?)?;
    for host in network.hosts() {
        cluster.add_worker_through(&door.address().to_string(), Some(host), &[])?;
    }
    Ok((cluster, door))
}

#[tokio::test]
async fn a_worker_whose_cable_is_pulled_is_left_behind_and_taken_in_again_when_it_is_plugged_in() -> anyhow::Result<()>
{
    let Some(network) = Network::create(2) else {
        return Ok(());
    };
    let folder = TempDir::new()?;
    let name = "cable-pulled";
    let (mut cluster, _door) = two_hosts(&folder, &network)?;
    let job = Submission::new(&cluster, &jobs::long_fault_job(name, (1, 2))?)?;
    let before = job.reaches_step(&cluster, Chance::new(name).between(1, 24)).await?;
    let worker = job.worker_of(&mut cluster, 0).await?;
    let pulled = SystemTime::now();
    network.hosts()[worker].take_link_down()?;
    let after = job.goes_on_after(&cluster, before.generation).await?;
    measured(name, pulled, &after);
    network.hosts()[worker].bring_link_up()?;
    let ended = job.ends_as_if_nothing_had_happened(&cluster).await?;
    assert_eq!(ended.receipt.steps_taken_back(), 0);
    Ok(())
}

#[tokio::test]
async fn ranks_that_reach_the_coordinator_and_not_each_other_are_told_apart_from_lost_ones() -> anyhow::Result<()> {
    let Some(network) = Network::create(2) else {
        return Ok(());
    };
    let folder = TempDir::new()?;
    let name = "ring-cut";
    let (cluster, _door) = two_hosts(&folder, &network)?;
    let job = Submission::new(&cluster, &jobs::long_fault_job(name, (2, 2))?)?;
    let before = job.reaches_step(&cluster, Chance::new(name).between(1, 24)).await?;
    let [first, second] = network.hosts() else {
        anyhow::bail!("two hosts");
    };
    let cut = SystemTime::now();
    first.route_to(second, false)?;
    let after = job
        .until(&cluster, |status| has_lost(status, before.generation))
        .await?;
    measured(name, cut, &after);
    first.route_to(second, true)?;
    let ended = job.ends_as_if_nothing_had_happened(&cluster).await?;
    assert_eq!(ended.receipt.steps_taken_back(), 0);
    Ok(())
}

#[tokio::test]
async fn a_worker_that_cannot_reach_the_coordinator_for_longer_than_its_lease_is_fenced() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let name = "coordinator-unreachable";
    let mut cluster = Cluster::start_with(folder.path(), 1, Serving::with_short_times())?;
    let link = LinkProxy::start(cluster.address().parse()?)?;
    cluster.add_worker_through(&link.address().to_string(), None, &[])?;
    let job = Submission::new(&cluster, &jobs::long_fault_job(name, (1, 2))?)?;
    let both = |status: &firn_proto::v1alpha1::JobStatus| {
        status.summary == "Running" && status.ranks.iter().filter(|rank| rank.state == "Joined").count() == 2
    };
    let before = job.until(&cluster, both).await?;
    let ranks = job.ranks_on(&cluster, 1);
    let frozen = SystemTime::now();
    link.set(Link::Freeze);
    let after = job
        .until(&cluster, |status| has_lost(status, before.generation))
        .await?;
    measured(name, frozen, &after);
    job.goes_on_after(&cluster, before.generation).await?;
    link.set(Link::Pass);
    let ended = job.ends_as_if_nothing_had_happened(&cluster).await?;
    assert!(
        ranks.iter().all(|rank| !cluster.ranks_on(1).contains(rank)),
        "it has ended"
    );
    assert_eq!(ended.receipt.steps_taken_back(), 0, "it could change nothing");
    Ok(())
}
