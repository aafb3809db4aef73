//! `firn submit SPEC`: queues a job. The id goes to standard output, so that `JOB=$(firn submit job.yaml)` works.

use std::path::PathBuf;

use clap::Args;
use firn_proto::v1alpha1::{CreateJobRequest, FineTuneJob};
use uuid::Uuid;

use super::{
    connection::{Connection, unary},
    console::Console,
    error::CommandError,
    outcome::Outcome,
    queueing::QueueingArgs,
    settings::ConnectionArgs,
    view::{Format, document, failure::name},
    watch,
};
use crate::{
    api::wire,
    spec_file::{self, SpecFile},
};

/// Queues a job
#[derive(Debug, Args)]
pub struct SubmitArgs {
    /// YAML file of the job
    #[arg(value_name = "SPEC")]
    spec: PathBuf,
    #[command(flatten)]
    queueing: QueueingArgs,
    /// Follow the job until it has ended, and exit with its outcome
    #[arg(short, long)]
    watch: bool,
    /// Do not place the job until it is resumed
    #[arg(long)]
    suspend: bool,
    /// Repeating a submit under the same id queues no second job [default: a new id]
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// How to print; json and yaml print the stored job, every default written out
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn run(args: SubmitArgs, console: &mut Console) -> Result<Outcome, CommandError> {
    let file = spec_file::read(&args.spec)?;
    say_what_is_unseen(&file, console);
    let connection = Connection::open(&args.connection)?;
    let mut job = file.job.clone();
    args.queueing.write_into(&mut job);
    let request = CreateJobRequest {
        job: Some(job),
        request_id: args.request_id.unwrap_or_default(),
        suspended: args.suspend,
    };
    let stored = submit(&connection, &file, request).await?;
    let id = name(&stored).to_owned();
    if args.output.is_human() {
        console.data(&id)?;
        console.say(&match args.suspend {
            true => format!("submitted and suspended; let it go on with: firn resume {id}"),
            false => format!("submitted; follow it with: firn watch {id}"),
        });
    } else if !args.watch {
        console.data(&document::render(&document::job(&stored), args.output)?)?;
    }
    if args.watch {
        return watch::watch(&connection, &id, None, args.output, console).await;
    }
    Ok(Outcome::Success)
}

/// Tells why this process has not read the folder of the model, which the coordinator tries next.
pub(crate) fn say_what_is_unseen(file: &SpecFile, console: &mut Console) {
    if let Some(unseen) = file.unseen() {
        console.say(&format!("{}; the coordinator is asked to look it up", unseen.message));
    }
}

/// Queues the job of `request`, which `file` holds or which was made from it; a request without an id gets one. The answer is the stored job. What the coordinator finds
/// wrong is told with the lines of the file.
pub(crate) async fn submit(
    connection: &Connection,
    file: &SpecFile,
    mut request: CreateJobRequest,
) -> Result<FineTuneJob, CommandError> {
    if request.request_id.is_empty() {
        request.request_id = Uuid::new_v4().to_string();
    }
    let submitted = connection.repeated(|mut jobs| {
        let request = unary(request.clone());
        async move { jobs.create_job(request).await }
    });
    submitted.await.map_err(|status| {
        let violations = wire::violations(&status);
        if violations.is_empty() {
            connection.refusal(&status)
        } else {
            file.explain(&violations).into()
        }
    })
}
