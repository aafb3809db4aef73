//! `firn watch JOB`: follows a job until it has ended, and exits with its outcome.

use std::time::Duration;

use clap::Args;

use super::{
    connection::Connection,
    console::Console,
    error::CommandError,
    follow::{Event, Follower},
    outcome::Outcome,
    settings::ConnectionArgs,
    time_span,
    view::{Format, document, failure::failure, progress::ProgressView, report},
};

/// Follows a job until it has ended
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Id of the job
    job: String,
    /// Stop watching after this time (exit code 5), such as 90s, 10m or 1h30m
    #[arg(long, value_name = "TIME", value_parser = time_span::parse)]
    timeout: Option<Duration>,
    /// How to print; json and yaml print every snapshot
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn run(args: WatchArgs, console: &mut Console) -> Result<Outcome, CommandError> {
    let connection = Connection::open(&args.connection)?;
    watch(&connection, &args.job, args.timeout, args.output, console).await
}

/// Follows `job` on the console and ends with what it achieved, or why it failed.
pub(crate) async fn watch(
    connection: &Connection,
    job: &str,
    limit: Option<Duration>,
    format: Format,
    console: &mut Console,
) -> Result<Outcome, CommandError> {
    let mut follower = Follower::new(connection, job, limit);
    let mut view = if format.is_human() {
        ProgressView::new(console)
    } else {
        ProgressView::silent()
    };
    loop {
        match follower.next().await? {
            Event::Snapshot(job) => {
                view.show(&job, console);
                if !format.is_human() {
                    console.data(&document::render_next(&document::job(&job), format)?)?;
                }
                if let Some(outcome) = Outcome::of_job(&job) {
                    view.finish();
                    if format.is_human() {
                        console.say(&failure(&job, console.talk_paint));
                        console.data(&report::headline(&job, console.paint))?;
                        console.data(&report::results(&job))?;
                    }
                    return Ok(outcome);
                }
            }
            event => {
                if let Some(limit_passed) = tell(&event, &view, console) {
                    return Ok(limit_passed);
                }
            }
        }
    }
}

/// Says what happened to the connection. The outcome, if it ends the watch.
pub(crate) fn tell(event: &Event, view: &ProgressView, console: &mut Console) -> Option<Outcome> {
    match event {
        Event::Lost(reason) => view.note(
            &format!("lost the coordinator ({reason}); the job runs on, trying again"),
            console,
        ),
        Event::Back => view.note("the coordinator is back", console),
        Event::Snapshot(_) => {}
        Event::TimeLimit => {
            view.finish();
            console.say("the time limit passed; the job runs on");
            return Some(Outcome::TimeLimit);
        }
    }
    None
}
