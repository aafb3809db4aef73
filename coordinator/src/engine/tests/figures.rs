//! Figures, for people: they are printed, and nothing is asserted of time.
//!
//! `cargo test --release -p firn --lib engine::tests::figures -- --ignored --nocapture --test-threads 1`

use std::{
    os::unix::fs::FileExt as _,
    time::{Duration, Instant},
};

use firn_core::Record;

use super::{
    workload::{STEPS, Workload},
    *,
};
use crate::{
    engine::upkeep::Image,
    journal::SnapshotStore,
    verification::{self, Scope},
};

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

/// A job of a hundred steps, from its submission to its end, and what comes before it.
fn one_job() -> (Vec<Record>, Vec<Record>) {
    const EPOCHS: u32 = 25;
    let mut workload = Workload::without_states();
    workload.attach("steady");
    let job = workload.submit("template", EPOCHS + 1);
    let rank = workload.prepare(&job);
    for epoch in 0..EPOCHS {
        workload.train(&rank, epoch);
    }
    workload.give(Input::Cancel { job });
    workload.kill(&rank);
    let records = workload.records.into_iter();
    let (of_job, before): (Vec<Record>, Vec<Record>) = records.partition(|record| record.job().is_some());
    (before, of_job)
}

/// The same under another name.
fn renamed(template: &[Record], name: &str) -> Vec<Record> {
    let text = serde_json::to_string(template).unwrap();
    serde_json::from_str(&text.replace("template", name)).unwrap()
}

/// A folder with so many ended jobs, and the snapshot that a coordinator has taken of them.
fn history(folder: &Path, jobs: usize) {
    let (before, template) = one_job();
    let mut journal = Journal::open(folder).unwrap();
    let origins = Origins::default();
    let mut state = State::new(Settings::default());
    let mut add = |records: &[Record]| {
        let encoded: Vec<_> = records.iter().map(|record| Journal::encode(record).unwrap()).collect();
        journal.append(&encoded).unwrap();
        for record in records {
            origins.learn(record);
            firn_core::apply(&mut state, record);
        }
    };
    add(&before);
    let names: Vec<String> = (0..jobs).map(|number| format!("job-{number}")).collect();
    for names in names.chunks(100) {
        let records: Vec<Record> = names.iter().flat_map(|name| renamed(&template, name)).collect();
        add(&records);
    }
    let image = Image {
        state,
        processes: origins.all(),
    };
    let bytes = SnapshotStore::new(folder).write(journal.end(), &image).unwrap();
    println!("{jobs} jobs: {} records, a snapshot of {bytes} bytes", journal.len());
}

/// Names the folder for the process that measures a start.
const FOLDER: &str = "FIRN_FIGURES_FOLDER";

fn median(mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    took[took.len() / 2]
}

/// In a process of its own, whose memory is that of a coordinator.
#[test]
#[ignore = "started by a_history_of_ten_thousand_jobs"]
fn a_start_in_a_process_of_its_own() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        println!("nothing to measure: {FOLDER} names no folder");
        return;
    };
    let folder = Path::new(&folder);
    let begin = Instant::now();
    let journal = Journal::open(folder).unwrap();
    let store = ArtifactStore::new(folder.join("jobs"));
    let recovered = recover(&journal, &store, Settings::default(), &Origins::default()).unwrap();
    let started = begin.elapsed();
    let jobs = recovered.state.jobs.len() + recovered.state.past.len();
    let scope = Scope::Job { coordinator_epoch: 1 };
    let job = JobId::from(format!("job-{}", jobs / 2));
    let verify = || {
        let begin = Instant::now();
        let verified = verification::verify(scope, &journal.reader(), &store, &job);
        let took = begin.elapsed();
        assert!(verified.chain.is_some() && verified.audit.receipt.records > 100);
        took
    };
    let verified = median((0..201).map(|_| verify()).collect());
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let memory = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    println!("{jobs} ended jobs: start {started:?}, verify of one {verified:?} (median of 201), {memory}");
}

#[test]
#[ignore = "prints figures; see the module's first lines"]
fn a_history_of_ten_thousand_jobs() {
    const MEASURING: &str = "engine::tests::figures::a_start_in_a_process_of_its_own";
    for jobs in [10, 1_000, 10_000] {
        let folder = tempfile::tempdir_in(".").unwrap();
        history(folder.path(), jobs);
        for _ in 0..3 {
            let measured = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "--ignored", "--nocapture", MEASURING])
                .env(FOLDER, folder.path())
                .output()
                .unwrap();
            let said = String::from_utf8(measured.stdout).unwrap();
            assert!(measured.status.success(), "{said}");
            let figures = said.lines().find(|line| line.contains("ended jobs: start"));
            println!("{}", figures.unwrap());
        }
    }
}

/// What holds the figures without a clock: what a start reads of an ended job is a row.
#[test]
fn a_snapshot_grows_by_a_row_for_each_ended_job() {
    let sizes = [30, 60].map(|jobs| {
        let folder = tempfile::tempdir().unwrap();
        history(folder.path(), jobs);
        let journal = Journal::open(folder.path()).unwrap();
        let store = ArtifactStore::new(folder.path().join("jobs"));
        let recovered = recover(&journal, &store, Settings::default(), &Origins::default()).unwrap();
        assert!(recovered.is_from_snapshot);
        let State {
            jobs: at_hand, past, ..
        } = &recovered.state;
        assert_eq!((at_hand.len(), past.len()), (16, jobs - 16));
        let snapshot = SnapshotStore::new(folder.path()).newest_path().unwrap();
        std::fs::metadata(snapshot).unwrap().len()
    });
    let row = (sizes[1] - sizes[0]) / 30;
    assert!(row < 300, "{row} bytes a job");
}
