//! Ranks that live and do not move: they are named, and the gang goes on without them.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::Context as _;
use firn_tests::{
    cluster::{Cluster, Serving},
    jobs,
    submission::{Submission, has_lost, measured},
};
use nix::{libc::O_NONBLOCK, sys::stat::Mode, unistd::mkfifo};
use tempfile::TempDir;

/// A file that nobody can read for now: whoever opens it waits, as on a network file system that is gone.
struct Blocked<'a> {
    path: &'a Path,
    content: Vec<u8>,
}

impl<'a> Blocked<'a> {
    fn block(path: &'a Path) -> anyhow::Result<Self> {
        let content = fs::read(path)?;
        let pipe = path.with_extension("pipe");
        mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR)?;
        fs::rename(&pipe, path)?;
        Ok(Self { path, content })
    }

    /// Puts the file back, and lets go whoever waits.
    fn release(self) -> anyhow::Result<()> {
        // Opening fails if nobody waits.
        let waiting = File::options().write(true).custom_flags(O_NONBLOCK).open(self.path);
        let whole = self.path.with_extension("whole");
        fs::write(&whole, &self.content)?;
        fs::rename(&whole, self.path)?;
        if let Ok(mut pipe) = waiting {
            // The reader may have been killed since.
            let _ = pipe.write_all(&self.content);
        }
        Ok(())
    }
}

/// A job on data of its own, which may be broken.
fn job_on(data: &Path, name: &str, epochs: u32) -> anyhow::Result<serde_json::Value> {
    let mut spec = jobs::strict_fault_job(name, epochs, (1, 2))?;
    for split in ["train", "validation"] {
        spec["spec"]["data"][split]["uri"] = data.join(split).to_string_lossy().into();
    }
    Ok(spec)
}

/// A file that a rank is about to read blocks; the loss that follows says all of `words`, and costs no step.
async fn hang_in(
    name: &str,
    at: u64,
    file: impl FnOnce(&Path) -> anyhow::Result<PathBuf>,
    words: &[&str],
) -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let data = jobs::three_classes(&folder.path().join("data"))?;
    let cluster = Cluster::start_with(folder.path(), 2, Serving::with_short_times())?;
    let job = Submission::new(&cluster, &job_on(&data, name, 12)?)?;
    let before = job.reaches_step(&cluster, at).await?;
    let image = file(&data)?;
    let blocked = SystemTime::now();
    let block = Blocked::block(&image)?;
    let after = job
        .until(&cluster, |status| has_lost(status, before.generation))
        .await?;
    block.release()?;
    measured(name, blocked, &after);
    let loss = after
        .losses
        .last()
        .and_then(|loss| loss.failure.clone())
        .unwrap_or_default();
    for word in words {
        assert!(loss.message.contains(word), "{word:?} is missing in {:?}", loss.message);
    }
    assert!(loss.rank.is_some());
    let ended = job.ends_as_if_nothing_had_happened(&cluster).await?;
    assert_eq!(ended.receipt.steps_taken_back(), 0);
    Ok(())
}

#[tokio::test]
async fn a_rank_that_hangs_in_a_read_is_named_with_its_step_and_the_collective_that_waits_for_it() -> anyhow::Result<()>
{
    let words = [
        "hangs",
        "collective operations begun",
        "waits for it in all-reduce #",
        "of step",
    ];
    hang_in(
        "hangs-in-a-read",
        4,
        |data| Ok(data.join("train/beech/007.png")),
        &words,
    )
    .await
}

#[tokio::test]
async fn a_rank_that_hangs_while_it_scores_is_named_when_the_other_waits_for_its_shards() -> anyhow::Result<()> {
    let words = ["hangs", "while in a pass", "waits for its shards"];
    hang_in(
        "hangs-while-it-scores",
        5,
        |data| first_file(&data.join("validation/beech")),
        &words,
    )
    .await
}

fn first_file(folder: &Path) -> anyhow::Result<PathBuf> {
    let mut paths = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    paths.into_iter().next().context("the class has files")
}
