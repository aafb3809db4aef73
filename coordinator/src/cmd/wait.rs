//! `firn wait JOB`: waits until a job has ended, and exits with its outcome. It is silent, but for a suspension: nothing ends that by itself.

use std::time::Duration;

use clap::Args;

use firn_proto::v1alpha1::FineTuneJob;

use super::{
    connection::Connection,
    console::Console,
    error::CommandError,
    follow::{Event, Follower},
    outcome::Outcome,
    settings::ConnectionArgs,
    time_span,
    view::{
        Format, document,
        failure::{failure, name},
        report,
    },
};

/// Waits until a job has ended
#[derive(Debug, Args)]
pub struct WaitArgs {
    /// Id of the job
    job: String,
    /// Give up after this time (exit code 5), such as 90s, 10m or 1h30m
    #[arg(long, value_name = "TIME", value_parser = time_span::parse)]
    timeout: Option<Duration>,
    /// How to print the job at the end
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn run(args: WaitArgs, console: &mut Console) -> Result<Outcome, CommandError> {
    let connection = Connection::open(&args.connection)?;
    let mut follower = Follower::new(&connection, &args.job, args.timeout);
    let Some((job, outcome)) = until_ended(&mut follower, console).await? else {
        console.say(&format!("job {} has not ended; the time limit passed", args.job));
        return Ok(Outcome::TimeLimit);
    };
    if args.output.is_human() {
        console.say(&failure(&job, console.talk_paint));
        console.data(&report::headline(&job, console.paint))?;
    } else {
        console.data(&document::render(&document::job(&job), args.output)?)?;
    }
    Ok(outcome)
}

/// The job once it has ended; `None`: the time limit passed first.
async fn until_ended(
    follower: &mut Follower,
    console: &mut Console,
) -> Result<Option<(FineTuneJob, Outcome)>, CommandError> {
    let mut was_suspended = false;
    loop {
        match follower.next().await? {
            Event::Snapshot(job) => {
                if let Some(outcome) = Outcome::of_job(&job) {
                    return Ok(Some((*job, outcome)));
                }
                let is_suspended = job.status.as_ref().is_some_and(|status| status.summary == "Suspended");
                if is_suspended && !was_suspended {
                    let id = name(&job);
                    console.say(&format!("job {id} is suspended; let it go on with: firn resume {id}"));
                }
                was_suspended = is_suspended;
            }
            Event::Lost(_) | Event::Back => {}
            Event::TimeLimit => return Ok(None),
        }
    }
}
