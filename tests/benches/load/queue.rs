//! A thousand jobs in the queue: how long a submit takes, and a restart with all of them.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use firn_proto::v1alpha1::{self as wire, CreateJobRequest, FineTuneJob, job_service_client::JobServiceClient};
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use crate::{
    disk,
    figures::{milliseconds, quantile, verdict},
    fleet::{Fleet, Size},
    server,
};

/// 99 of 100 submits are answered, and on disk, within this.
const SUBMIT_TARGET: Duration = Duration::from_millis(50);
/// Serving again after kill -9.
const RESTART_TARGET: Duration = Duration::from_secs(2);
/// Of each simulated agent.
const SLOTS: u32 = 2;
const ATTACH_LIMIT: Duration = Duration::from_secs(60);

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Jobs to queue
    #[arg(long, default_value_t = 1_000)]
    jobs: usize,
    /// Agents whose slots the first job takes, so that the others wait
    #[arg(long, default_value_t = 100)]
    agents: usize,
}

pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    println!(
        "{} jobs behind one that has all {} workers; each is on disk before it is answered",
        arguments.jobs, arguments.agents
    );
    println!(
        "\n| clients | p50, ms | p99, ms | largest, ms | jobs/s | processor time of a submit, ms | restart, s | disk alone, p50 and p99, ms |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let mut reached = true;
    for clients in [1, 16] {
        let folder = tempfile::tempdir()?;
        reached &= queue(arguments, clients, folder.path()).await?;
    }
    println!(
        "\np99 at most {} ms and a restart within {} s: {}",
        SUBMIT_TARGET.as_millis(),
        RESTART_TARGET.as_secs(),
        verdict(reached)
    );
    Ok(reached)
}

async fn queue(arguments: &Arguments, clients: usize, folder: &Path) -> anyhow::Result<bool> {
    let address = server::free_address()?;
    let mut server = server::serve(folder, &address)?;
    let size = Size {
        agents: arguments.agents,
        per_connection: 32,
    };
    let mut fleet = Fleet::start(size, &address)?;
    fleet.all_attached(ATTACH_LIMIT).await?;
    let mut disk = disk::commits(folder)?;
    let workers = u32::try_from(arguments.agents)?;
    client(&address)
        .await?
        .create_job(request("first", workers, SLOTS))
        .await?;

    let (time, began) = (server.processor_time()?, Instant::now());
    let mut submitting = JoinSet::new();
    for number in 0..clients {
        let jobs = arguments.jobs / clients + usize::from(number < arguments.jobs % clients);
        submitting.spawn(submit(client(&address).await?, number, jobs));
    }
    let mut latencies = Vec::new();
    while let Some(done) = submitting.join_next().await {
        latencies.extend(done??);
    }
    let wall = began.elapsed();
    let taken = server.processor_time()? - time;
    latencies.sort_unstable();

    disk.extend(disk::commits(folder)?);
    disk.sort_unstable();
    server.process.kill()?;
    let server = server::serve(folder, &address)?;
    let listed = client(&address)
        .await?
        .list_jobs(wire::ListJobsRequest::default())
        .await?;
    anyhow::ensure!(!listed.into_inner().jobs.is_empty(), "the jobs are gone");
    let p99 = quantile(&latencies, 0.99);
    println!(
        "| {clients} | {:.2} | {:.2} | {:.2} | {:.0} | {:.2} | {:.2} | {:.2} and {:.2} |",
        milliseconds(quantile(&latencies, 0.5)),
        milliseconds(p99),
        milliseconds(quantile(&latencies, 1.0)),
        latencies.len() as f64 / wall.as_secs_f64(),
        milliseconds(taken) / latencies.len() as f64,
        server.started_in.as_secs_f64(),
        milliseconds(quantile(&disk, 0.5)),
        milliseconds(quantile(&disk, 0.99)),
    );
    Ok(p99 <= SUBMIT_TARGET && server.started_in <= RESTART_TARGET)
}

pub(crate) async fn client(address: &str) -> anyhow::Result<JobServiceClient<Channel>> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true);
    Ok(JobServiceClient::new(endpoint.connect().await?))
}

async fn submit(mut client: JobServiceClient<Channel>, number: usize, jobs: usize) -> anyhow::Result<Vec<Duration>> {
    let mut latencies = Vec::with_capacity(jobs);
    for job in 0..jobs {
        let request = request(&format!("job-{number}-{job}"), 1, SLOTS);
        let began = Instant::now();
        client.create_job(request).await?;
        latencies.push(began.elapsed());
    }
    Ok(latencies)
}

pub(crate) fn request(name: &str, workers: u32, slots: u32) -> CreateJobRequest {
    let train = wire::SplitSpec {
        uri: "/data/train".to_owned(),
        split: None,
    };
    let spec = wire::JobSpec {
        task: Some(wire::TaskSpec {
            r#type: "classification".to_owned(),
            ..Default::default()
        }),
        model: Some(wire::ModelSpec {
            architecture: "resnet18".to_owned(),
            ..Default::default()
        }),
        data: Some(wire::DataSpec {
            format: "imagefolder".to_owned(),
            train: Some(train),
            ..Default::default()
        }),
        // At least as many as the ranks that share it.
        training: Some(wire::TrainingSpec {
            batch_size: Some(slots * workers.max(16)),
            ..Default::default()
        }),
        resources: Some(wire::ResourcesSpec {
            workers: Some(wire::WorkersSpec {
                min: Some(workers),
                max: Some(workers),
            }),
            slots_per_worker: Some(slots),
            device: "cpu".to_owned(),
        }),
        ..Default::default()
    };
    let job = FineTuneJob {
        api_version: "firn.dev/v1alpha1".to_owned(),
        kind: "FineTuneJob".to_owned(),
        metadata: Some(wire::Metadata {
            name: name.to_owned(),
            ..Default::default()
        }),
        spec: Some(spec),
        status: None,
    };
    CreateJobRequest {
        job: Some(job),
        request_id: uuid::Uuid::new_v4().to_string(),
        suspended: false,
    }
}
