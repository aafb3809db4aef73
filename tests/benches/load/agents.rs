//! Ten thousand agents: what they cost, and whether they all come back.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use firn_proto::v1alpha1::{ListWorkersRequest, Worker, job_service_client::JobServiceClient};
use nix::sys::signal::Signal;
use tokio::time::sleep;
use tonic::transport::Endpoint;

use crate::{
    figures::verdict,
    fleet::{Fleet, Size},
    queue,
    server::{self, Server},
};

/// Share of one core that the coordinator may take.
const CORE_TARGET: f64 = 0.25;
/// After kill -9 and a restart, all are attached again within this.
const BACK_TARGET: Duration = Duration::from_secs(60);
const ATTACH_LIMIT: Duration = Duration::from_secs(180);
/// For so long the coordinator is stopped (SIGSTOP): longer than a lease.
const SLEEP: Duration = Duration::from_secs(15);
/// After the last attach, before the measurement.
const SETTLE: Duration = Duration::from_secs(4);

type AttachTimes = BTreeMap<String, Option<(i64, i32)>>;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    size: Size,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Jobs that wait meanwhile, for larger workers than there are
    #[arg(long, default_value_t = 0)]
    jobs: usize,
}

/// What a server took for the same load.
struct Cost {
    /// Of one core.
    share: f64,
    heartbeats_a_second: f64,
    memory: f64,
    /// Processor time and wall time until all had attached.
    attach: (Duration, Duration),
}

pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let folder = tempfile::tempdir()?;
    let Size { agents, per_connection } = arguments.size;
    println!(
        "{agents} agents, {per_connection} streams a connection, a heartbeat every 2 s, {} s each, {} jobs waiting",
        arguments.seconds, arguments.jobs
    );
    let (coordinator, kept) = coordinator(arguments, folder.path()).await?;
    let sink = bare(arguments, folder.path(), false).await?;
    let echo = bare(arguments, folder.path(), true).await?;

    print_costs(&coordinator, &sink, &echo);
    let is_cheap = coordinator.share < CORE_TARGET;
    println!(
        "share of one core below {:.0} %: {}",
        CORE_TARGET * 100.0,
        verdict(is_cheap)
    );
    Ok(kept.print() && is_cheap)
}

fn print_costs(coordinator: &Cost, sink: &Cost, echo: &Cost) {
    println!(
        "\n| server | share of one core | heartbeats/s | µs a heartbeat | memory, MiB | all attached in | taking | "
    );
    println!("|---|---|---|---|---|---|---|");
    for (name, cost) in [
        ("firn serve", coordinator),
        ("bare tonic, reads", sink),
        ("bare tonic, echoes", echo),
    ] {
        println!(
            "| {name} | {:.1} % | {:.0} | {:.1} | {:.0} | {:.2} s | {:.2} s of a core |",
            cost.share * 100.0,
            cost.heartbeats_a_second,
            cost.share / cost.heartbeats_a_second * 1e6,
            cost.memory,
            cost.attach.1.as_secs_f64(),
            cost.attach.0.as_secs_f64(),
        );
    }
    println!(
        "\nratio to a bare tonic server that reads: {:.2}; that echoes: {:.2}",
        coordinator.share / sink.share,
        coordinator.share / echo.share
    );
}

/// What became of the leases.
struct Kept {
    /// Streams that ended while nobody was killed.
    broken: u64,
    /// Workers that the next coordinator had given up before they were back.
    expired: usize,
    /// Streams that ended because the coordinator had slept.
    broken_by_sleep: u64,
    /// Agents whose leases were given up because of it.
    expired_by_sleep: usize,
    restart: Duration,
    started_in: Duration,
    back: Duration,
    back_cost: Duration,
}

impl Kept {
    /// Whether every target was reached.
    fn print(&self) -> bool {
        let is_back = self.back < BACK_TARGET;
        println!(
            "false expiries while all were alive: {} ({})",
            self.broken,
            verdict(self.broken == 0)
        );
        println!(
            "false expiries after it was stopped for {} s (SIGSTOP): {} ({}); connections that had to be made again: {}",
            SLEEP.as_secs(),
            self.expired_by_sleep,
            verdict(self.expired_by_sleep == 0),
            self.broken_by_sleep,
        );
        println!(
            "kill -9, restart: serving again after {:.2} s (its own start: {:.2} s), all back after {:.2} s, {} of them expired meanwhile; at most {:.0} s and none: {}",
            self.restart.as_secs_f64(),
            self.started_in.as_secs_f64(),
            self.back.as_secs_f64(),
            self.expired,
            BACK_TARGET.as_secs_f64(),
            verdict(is_back && self.expired == 0)
        );
        println!(
            "  processor time of the new coordinator until then: {:.2} s",
            self.back_cost.as_secs_f64()
        );
        is_back && self.broken == 0 && self.expired_by_sleep + self.expired == 0
    }
}

async fn coordinator(arguments: &Arguments, folder: &Path) -> anyhow::Result<(Cost, Kept)> {
    let address = server::free_address()?;
    let mut server = server::serve(folder, &address)?;
    if arguments.jobs > 0 {
        let mut client = queue::client(&address).await?;
        // More slots than any agent has.
        let slots = 3;
        for number in 0..arguments.jobs {
            client
                .create_job(queue::request(&format!("job-{number}"), 1, slots))
                .await?;
        }
    }
    let mut fleet = Fleet::start(arguments.size, &address)?;
    let cost = measure(&server, &mut fleet, arguments.seconds).await?;
    let broken = fleet.counts.broken.load(Relaxed);
    let before = attach_times(&address).await?;
    server.process.signal(Signal::SIGSTOP)?;
    sleep(SLEEP).await;
    server.process.signal(Signal::SIGCONT)?;
    // Long enough for every lease that was given meanwhile to end.
    sleep(SLEEP).await;
    fleet.all_attached(ATTACH_LIMIT).await?;
    let broken_by_sleep = fleet.counts.broken.load(Relaxed) - broken;
    let rested = attach_times(&address).await?;
    let expired_by_sleep = given_up(&before, &rested);

    let killed = Instant::now();
    server.process.kill()?;
    fleet.none_attached().await;
    let server = server::serve(folder, &address)?;
    let restart = killed.elapsed();
    fleet.all_attached(ATTACH_LIMIT).await?;
    let back = killed.elapsed();
    let back_cost = server.processor_time()?;
    let after = attach_times(&address).await?;
    let expired = given_up(&rested, &after);
    let kept = Kept {
        broken,
        expired,
        broken_by_sleep,
        expired_by_sleep,
        restart,
        started_in: server.started_in,
        back,
        back_cost,
    };
    Ok((cost, kept))
}

async fn bare(arguments: &Arguments, folder: &Path, answers: bool) -> anyhow::Result<Cost> {
    let server = server::bare(folder, answers)?;
    let mut fleet = Fleet::start(arguments.size, &server.address)?;
    measure(&server, &mut fleet, arguments.seconds).await
}

async fn measure(server: &Server, fleet: &mut Fleet, seconds: u64) -> anyhow::Result<Cost> {
    let began = Instant::now();
    fleet.all_attached(ATTACH_LIMIT).await?;
    let attach = (server.processor_time()?, began.elapsed());
    sleep(SETTLE).await;
    let (time, beats, began) = (
        server.processor_time()?,
        fleet.counts.heartbeats.load(Relaxed),
        Instant::now(),
    );
    sleep(Duration::from_secs(seconds)).await;
    let wall = began.elapsed().as_secs_f64();
    let taken = server.processor_time()? - time;
    let beats = fleet.counts.heartbeats.load(Relaxed) - beats;
    Ok(Cost {
        share: taken.as_secs_f64() / wall,
        heartbeats_a_second: beats as f64 / wall,
        memory: server.peak_memory()?,
        attach,
    })
}

/// Workers whose leases have ended between the two looks: whoever was given up and came back has attached anew.
fn given_up(before: &AttachTimes, after: &AttachTimes) -> usize {
    let is_new = |(name, time): &(&String, &Option<(i64, i32)>)| after.get(*name) != Some(*time);
    before.iter().filter(is_new).count()
}

/// Since when each worker has been there without a break, as the coordinator sees it.
async fn attach_times(address: &str) -> anyhow::Result<AttachTimes> {
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect().await?;
    let mut jobs = JobServiceClient::new(channel).max_decoding_message_size(64 << 20);
    let workers = jobs.list_workers(ListWorkersRequest {}).await?.into_inner().workers;
    let since = |worker: &Worker| {
        let time = worker.attach_time.filter(|_| worker.state == "Ready");
        time.map(|time| (time.seconds, time.nanos))
    };
    Ok(workers
        .iter()
        .map(|worker| (worker.name.clone(), since(worker)))
        .collect())
}
