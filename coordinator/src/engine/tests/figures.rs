//! Figures, for people: they are printed, and nothing is asserted of time.
//!
//! `cargo test --release -p firn --lib engine::tests::figures -- --ignored --nocapture --test-threads 1`

use std::{
    os::unix::fs::FileExt as _,
    time::{Duration, Instant},
};

use super::{
    workload::{STEPS, Workload},
    *,
};
use crate::{engine::upkeep::Image, journal::SnapshotStore};

const RECORDS: usize = 100_000;

/// Jobs that train until there are so many records: one after another, a hundred epochs each.
fn long_history() -> Workload {
    const EPOCHS: u32 = 100;
    let mut workload = Workload::without_states();
    workload.attach("steady");
    for number in 0.. {
        let job = workload.submit(&format!("job-{number}"), EPOCHS + 1);
        let rank = workload.prepare(&job);
        for epoch in 0..EPOCHS {
            workload.train(&rank, epoch);
        }
        workload.commit(&rank, EPOCHS, STEPS * u64::from(EPOCHS));
        workload.give(Input::Cancel { job: job.clone() });
        workload.kill(&rank);
        if workload.records.len() >= RECORDS {
            return workload;
        }
    }
    unreachable!("the loop ends by itself")
}

fn start(folder: &Path) -> (Duration, Duration) {
    let begin = Instant::now();
    let journal = Journal::open(folder).unwrap();
    let opened = begin.elapsed();
    let store = ArtifactStore::new(folder.join("jobs"));
    recover(&journal, &store, Settings::default(), &Origins::default()).unwrap();
    (opened, begin.elapsed())
}

#[test]
#[ignore = "prints figures; see the module's first lines"]
fn a_restart_with_a_hundred_thousand_records() {
    let workload = long_history();
    let folder = tempfile::tempdir_in(".").unwrap();
    let mut journal = Journal::open(folder.path()).unwrap();
    workload.write(&mut journal);
    let bytes = std::fs::metadata(folder.path().join("journal.redb")).unwrap().len();
    println!(
        "{} records of {} jobs, journal of {:.1} MiB",
        workload.records.len(),
        workload.state.jobs.len(),
        bytes as f64 / 1048576.0
    );
    let begin = Instant::now();
    journal.reader().verify_chain().unwrap();
    println!("following the chain: {:?}", begin.elapsed());
    let job = workload.state.jobs.keys().next().unwrap();
    let begin = Instant::now();
    let count = journal.reader().records_of(job).unwrap().records.len();
    println!("the {count} records of one job, chain included: {:?}", begin.elapsed());
    let origins = Origins::default();
    workload.records.iter().for_each(|record| origins.learn(record));
    let place = journal.end();
    drop(journal);
    for round in 0..3 {
        let (opened, whole) = start(folder.path());
        println!("start without a snapshot, round {round}: {whole:?} (opening {opened:?})");
    }
    let image = Image {
        state: workload.state.clone(),
        processes: origins.all(),
    };
    let begin = Instant::now();
    let size = SnapshotStore::new(folder.path()).write(place, &image).unwrap();
    println!(
        "writing a snapshot of {:.1} MiB: {:?}",
        size as f64 / 1048576.0,
        begin.elapsed()
    );
    for round in 0..3 {
        let (opened, whole) = start(folder.path());
        println!("start with a snapshot, round {round}: {whole:?} (opening {opened:?})");
    }
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent).div_ceil(100) - 1]
}

/// What the disk itself takes for the two syncs of a commit, with one page before each.
fn bare_syncs(folder: &Path) {
    let file = std::fs::File::create(folder.join("bare")).unwrap();
    let page = [7; 4096];
    let mut took: Vec<Duration> = (0..200)
        .map(|number| {
            let begin = Instant::now();
            for half in 0..2 {
                file.write_all_at(&page, (2 * number + half) * 4096).unwrap();
                file.sync_data().unwrap();
            }
            begin.elapsed()
        })
        .collect();
    took.sort_unstable();
    println!(
        "two bare syncs: p50 {:?}, p99 {:?}",
        percentile(&took, 50),
        percentile(&took, 99)
    );
}

async fn submit_many(clients: usize) {
    const JOBS: usize = 1_000;
    let folder = tempfile::tempdir_in(".").unwrap();
    bare_syncs(folder.path());
    let (engine, handle) = engine_over(Journal::open(folder.path()).unwrap());
    let running = tokio::spawn(engine.run());
    handle.tell(Input::CoordinatorStarted).await.unwrap();
    let begin = Instant::now();
    let clients = (0..clients).map(|client| {
        let handle = handle.clone();
        async move {
            let mut took = Vec::new();
            for number in (client..JOBS).step_by(clients) {
                let begin = Instant::now();
                submitted(&handle, &format!("job-{number}")).await;
                took.push(begin.elapsed());
            }
            took
        }
    });
    let mut took: Vec<Duration> = futures::future::join_all(clients).await.concat();
    let whole = begin.elapsed();
    took.sort_unstable();
    println!(
        "{JOBS} submits, each on disk: p50 {:?}, p99 {:?}, longest {:?}; all in {whole:?}",
        percentile(&took, 50),
        percentile(&took, 99),
        took[took.len() - 1]
    );
    handle.close().await;
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures; see the module's first lines"]
async fn submits_of_a_thousand_jobs_that_stay_queued() {
    for clients in [1, 16, 64] {
        println!("{clients} clients");
        submit_many(clients).await;
    }
}
