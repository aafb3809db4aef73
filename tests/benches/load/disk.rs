//! What the disk alone takes: no submit can be faster than the syncs of its commit.

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

const ROUNDS: usize = 200;
/// A commit of the journal syncs twice: the data, then the entry that makes it count.
const SYNCS: usize = 2;

/// Sorted times of so many bare "commits": a page written and synced, twice.
pub(crate) fn commits(folder: &Path) -> anyhow::Result<Vec<Duration>> {
    let mut file = File::create(folder.join("disk"))?;
    let page = [7; 4096];
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let began = Instant::now();
        for _ in 0..SYNCS {
            file.write_all(&page)?;
            file.sync_data()?;
        }
        times.push(began.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}
