//! `firn cancel JOB`: ends a job.

use clap::Args;
use firn_proto::v1alpha1::{CancelJobRequest, FineTuneJob};
use uuid::Uuid;

use super::{
    connection::{Connection, resource_name, unary},
    console::Console,
    error::CommandError,
    follow::Follower,
    outcome::Outcome,
    settings::ConnectionArgs,
    view::{Format, document, failure::name},
};

/// Ends jobs: their ranks are stopped
#[derive(Debug, Args)]
pub struct CancelArgs {
    /// Ids of the jobs
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<String>,
    /// Wait until the jobs have ended
    #[arg(long)]
    wait: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn run(args: CancelArgs, console: &mut Console) -> Result<Outcome, CommandError> {
    let connection = Connection::open(&args.connection)?;
    for job in &args.jobs {
        let mut answer = cancel(&connection, job).await?;
        if args.wait
            && let Some((ended, _)) = Follower::new(&connection, job, None).until_ended().await?
        {
            answer = ended;
        }
        if args.output.is_human() {
            console.data(&format!(
                "{} {}",
                name(&answer),
                answer.status.as_ref().map_or("", |status| &status.summary)
            ))?;
        } else {
            console.data(&document::render_next(&document::job(&answer), args.output)?)?;
        }
    }
    Ok(Outcome::Success)
}

/// Asks the coordinator to end `job`; the answer is the job as it is then.
pub(crate) async fn cancel(connection: &Connection, job: &str) -> Result<FineTuneJob, CommandError> {
    let request = CancelJobRequest {
        name: resource_name(job),
        request_id: Uuid::new_v4().to_string(),
    };
    let cancelled = connection.repeated(|mut jobs| {
        let request = unary(request.clone());
        async move { jobs.cancel_job(request).await }
    });
    cancelled.await.map_err(|status| connection.refusal(&status))
}
