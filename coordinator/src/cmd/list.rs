//! `firn list`: the jobs, newest first, page by page.

use clap::Args;
use firn_proto::v1alpha1::{FineTuneJob, ListJobsRequest};

use super::{
    clock,
    connection::{Connection, unary},
    console::Console,
    error::CommandError,
    outcome::Outcome,
    settings::ConnectionArgs,
    view::{Format, document, lists},
};

const LARGEST_PAGE: u32 = 500;

/// Lists jobs, newest first
#[derive(Debug, Args)]
pub struct ListArgs {
    /// At most this many jobs; 0 lists all
    #[arg(short = 'n', long, value_name = "JOBS", default_value_t = 100)]
    limit: u32,
    /// Only jobs of this namespace
    #[arg(long)]
    namespace: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn run(args: ListArgs, console: &mut Console) -> Result<Outcome, CommandError> {
    let connection = Connection::open(&args.connection)?;
    let (jobs, more) = newest_jobs(&connection, args.limit, args.namespace.as_deref()).await?;
    if args.output.is_human() {
        if jobs.is_empty() {
            console.say("no jobs");
        } else {
            console.data(&lists::jobs(&jobs, args.output, clock::now()))?;
        }
        if more {
            console.say(&format!(
                "older jobs are not shown; --limit 0 lists all, --limit {} some",
                args.limit.saturating_mul(2)
            ));
        }
    } else {
        console.data(&document::render(&document::jobs(&jobs), args.output)?)?;
    }
    Ok(Outcome::Success)
}

/// The newest `limit` jobs (0: all) of a namespace, or of all, and whether there are more.
async fn newest_jobs(
    connection: &Connection,
    limit: u32,
    namespace: Option<&str>,
) -> Result<(Vec<FineTuneJob>, bool), CommandError> {
    let limit = if limit == 0 { usize::MAX } else { limit as usize };
    let mut jobs = Vec::new();
    let mut page_token = String::new();
    loop {
        let wanted = u32::try_from(limit - jobs.len()).unwrap_or(u32::MAX).min(LARGEST_PAGE);
        let answer = connection
            .jobs()
            .list_jobs(unary(ListJobsRequest {
                page_size: wanted,
                page_token,
                namespace: namespace.unwrap_or_default().to_owned(),
            }))
            .await;
        let page = connection.answer(answer)?;
        jobs.extend(page.jobs);
        page_token = page.next_page_token;
        if page_token.is_empty() || jobs.len() >= limit {
            jobs.truncate(limit);
            return Ok((jobs, !page_token.is_empty()));
        }
    }
}
