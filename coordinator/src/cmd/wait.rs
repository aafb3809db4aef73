//! `firn wait JOB`: waits in silence until a job has ended, and exits with its outcome.

use std::time::Duration;

use clap::Args;

use super::{
    connection::Connection,
    console::Console,
    error::CommandError,
    follow::Follower,
    outcome::Outcome,
    settings::ConnectionArgs,
    time_span,
    view::{Format, document, failure::failure, report},
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
    let Some((job, outcome)) = follower.until_ended().await? else {
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
