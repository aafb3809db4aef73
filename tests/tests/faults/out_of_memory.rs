//! Memory runs out on the host of a rank: told apart from a kill -9 by hand.

use std::process::{Command, Stdio};

use firn_tests::{
    binaries::Process,
    cluster::Cluster,
    jobs,
    memory::{SmallMemory, is_killed_first},
    submission::{Submission, has_lost, measured},
};
use tempfile::TempDir;

/// Room for an agent and a rank, and little more.
const LIMIT: u64 = 1 << 30;

#[tokio::test]
async fn a_rank_that_the_kernel_kills_for_want_of_memory_is_replaced_and_the_reason_is_told() -> anyhow::Result<()> {
    let Some(group) = SmallMemory::create(LIMIT) else {
        return Ok(());
    };
    let folder = TempDir::new()?;
    let name = "out-of-memory";
    let mut cluster = Cluster::start(folder.path(), 2)?;
    // Before it has ranks, which are born where it lives.
    group.take_in(cluster.workers()[1].pid())?;
    let job = Submission::new(&cluster, &jobs::strict_fault_job(name, 12, (1, 2))?)?;
    let before = job.reaches_step(&cluster, 2).await?;
    let victims = job.ranks_on(&cluster, 1);
    assert_eq!(victims.len(), 1);
    is_killed_first(victims[0])?;
    // Keeps a line until it has all of it, and this one has no end.
    let mut hungry = Command::new("sh");
    hungry
        .args(["-c", "read go; exec tail /dev/zero"])
        .stdin(Stdio::piped());
    let ran_out = std::time::SystemTime::now();
    let (reader, writer) = std::io::pipe()?;
    hungry.stdin(reader);
    let mut hungry = Process::spawn(&mut hungry)?;
    group.take_in(hungry.pid())?;
    std::io::Write::write_all(&mut &writer, b"go\n")?;
    let after = job
        .until(&cluster, |status| has_lost(status, before.generation))
        .await?;
    hungry.kill()?;
    measured(name, ran_out, &after);
    let loss = after.losses[0].failure.clone().unwrap_or_default();
    assert_eq!(loss.reason, "OutOfMemory");
    assert!(loss.message.contains("memory ran out"), "{}", loss.message);
    let ended = job.ends_as_if_nothing_had_happened(&cluster).await?;
    assert_eq!(ended.receipt.steps_taken_back(), 0);
    Ok(())
}
