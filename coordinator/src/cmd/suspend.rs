//! `firn suspend JOB` and `firn resume JOB`: a job gives its slots back without a lost step, and goes on later.

use std::time::Duration;

use clap::Args;
use firn_proto::v1alpha1::{FineTuneJob, ResumeJobRequest, SuspendJobRequest};
use uuid::Uuid;

use super::{
    connection::{Connection, resource_name, unary},
    console::Console,
    error::CommandError,
    follow::{Event, Follower},
    outcome::Outcome,
    settings::ConnectionArgs,
    time_span,
    view::{Format, document, failure::name},
};

/// Lets jobs give their slots back: their ranks hand over at the next step and leave, and no step is lost
#[derive(Debug, Args)]
pub struct SuspendArgs {
    /// Ids of the jobs
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<String>,
    /// Wait until the slots are free
    #[arg(long)]
    wait: bool,
    /// With --wait: stop waiting after this time (exit code 5), such as 90s, 10m or 1h30m
    #[arg(long, value_name = "TIME", requires = "wait", value_parser = time_span::parse)]
    timeout: Option<Duration>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Lets suspended jobs go on, in their turn
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// Ids of the jobs
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn run(args: SuspendArgs, console: &mut Console) -> Result<Outcome, CommandError> {
    let connection = Connection::open(&args.connection)?;
    let mut outcome = Outcome::Success;
    for job in &args.jobs {
        let mut answer = suspend(&connection, job).await?;
        if args.wait {
            match until_settled(&connection, job, args.timeout).await? {
                Some(settled) => answer = settled,
                None => {
                    console.say("the time limit passed; the job is being suspended on");
                    outcome = Outcome::TimeLimit;
                }
            }
        }
        print(&answer, args.output, console)?;
    }
    Ok(outcome)
}

pub(crate) async fn resume(args: ResumeArgs, console: &mut Console) -> Result<Outcome, CommandError> {
    let connection = Connection::open(&args.connection)?;
    for job in &args.jobs {
        let request = ResumeJobRequest {
            name: resource_name(job),
            request_id: Uuid::new_v4().to_string(),
        };
        let resumed = connection.repeated(|mut jobs| {
            let request = unary(request.clone());
            async move { jobs.resume_job(request).await }
        });
        let answer = resumed.await.map_err(|status| connection.refusal(&status))?;
        print(&answer, args.output, console)?;
    }
    Ok(Outcome::Success)
}

async fn suspend(connection: &Connection, job: &str) -> Result<FineTuneJob, CommandError> {
    let request = SuspendJobRequest {
        name: resource_name(job),
        request_id: Uuid::new_v4().to_string(),
    };
    let suspended = connection.repeated(|mut jobs| {
        let request = unary(request.clone());
        async move { jobs.suspend_job(request).await }
    });
    suspended.await.map_err(|status| connection.refusal(&status))
}

/// The job once it holds no slots, has ended, or was resumed by somebody; `None`: the limit passed first.
async fn until_settled(
    connection: &Connection,
    job: &str,
    limit: Option<Duration>,
) -> Result<Option<FineTuneJob>, CommandError> {
    let mut follower = Follower::new(connection, job, limit);
    loop {
        match follower.next().await? {
            Event::Snapshot(job) => {
                if Outcome::of_job(&job).is_some() || !is_on_its_way(&job) {
                    return Ok(Some(*job));
                }
            }
            Event::Lost(_) | Event::Back => {}
            Event::TimeLimit => return Ok(None),
        }
    }
}

/// Whether the job is to be suspended and its ranks are still there.
fn is_on_its_way(job: &FineTuneJob) -> bool {
    let conditions = job.status.iter().flat_map(|status| &status.conditions);
    conditions
        .filter(|condition| condition.r#type == "Suspended")
        .any(|condition| condition.status == "True" && condition.reason == "Suspending")
}

pub(super) fn print(job: &FineTuneJob, format: Format, console: &mut Console) -> Result<(), CommandError> {
    if format.is_human() {
        let summary = job.status.as_ref().map_or("", |status| &status.summary);
        return console.data(&format!("{} {summary}", name(job)));
    }
    console.data(&document::render_next(&document::job(job), format)?)
}
