//! `firn scale JOB`: changes between how many workers a job has that goes on, and its priority.

use clap::Args;
use firn_proto::v1alpha1::{FineTuneJob, JobSpec, ResourcesSpec, SchedulingSpec, UpdateJobRequest, WorkersSpec};
use prost_types::FieldMask;
use uuid::Uuid;

use super::{
    connection::{Connection, resource_name, unary},
    console::Console,
    error::CommandError,
    outcome::Outcome,
    settings::ConnectionArgs,
    suspend::print,
    view::Format,
};

/// Changes between how many workers a job has while it goes on: ranks come and go between two steps, and none is lost
#[derive(Debug, Args)]
pub struct ScaleArgs {
    /// Id of the job
    job: String,
    /// Fewest workers that it starts with
    #[arg(long, value_name = "WORKERS", required_unless_present_any = ["max", "priority"])]
    min: Option<u32>,
    /// Most workers that it takes
    #[arg(long, value_name = "WORKERS")]
    max: Option<u32>,
    /// Jobs of a higher priority are served first
    #[arg(long, value_name = "NUMBER")]
    priority: Option<u32>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn run(args: ScaleArgs, console: &mut Console) -> Result<Outcome, CommandError> {
    let connection = Connection::open(&args.connection)?;
    let request = request(&args);
    let updated = connection.repeated(|mut jobs| {
        let request = unary(request.clone());
        async move { jobs.update_job(request).await }
    });
    let answer = updated.await.map_err(|status| connection.refusal(&status))?;
    print(&answer, args.output, console)?;
    Ok(Outcome::Success)
}

fn request(args: &ScaleArgs) -> UpdateJobRequest {
    let changes = [
        (args.min, "spec.resources.workers.min"),
        (args.max, "spec.resources.workers.max"),
        (args.priority, "spec.scheduling.priority"),
    ];
    let named = changes.into_iter().filter(|(value, _)| value.is_some());
    UpdateJobRequest {
        name: resource_name(&args.job),
        job: Some(FineTuneJob {
            spec: Some(JobSpec {
                resources: Some(ResourcesSpec {
                    workers: Some(WorkersSpec {
                        min: args.min,
                        max: args.max,
                    }),
                    ..ResourcesSpec::default()
                }),
                scheduling: Some(SchedulingSpec {
                    priority: args.priority,
                    ..SchedulingSpec::default()
                }),
                ..JobSpec::default()
            }),
            ..FineTuneJob::default()
        }),
        update_mask: Some(FieldMask {
            paths: named.map(|(_, path)| path.to_owned()).collect(),
        }),
        request_id: Uuid::new_v4().to_string(),
    }
}
