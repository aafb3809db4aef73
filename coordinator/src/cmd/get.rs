//! `firn get JOB`: one job in full.

use clap::Args;

use super::{
    clock,
    connection::Connection,
    console::Console,
    error::CommandError,
    outcome::Outcome,
    settings::ConnectionArgs,
    view::{Format, document, job},
};

/// Shows one job in full
#[derive(Debug, Args)]
pub struct GetArgs {
    /// Id of the job
    job: String,
    /// How to print; wide adds digests and the stored spec
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn run(args: GetArgs, console: &mut Console) -> Result<Outcome, CommandError> {
    let connection = Connection::open(&args.connection)?;
    let text = if args.output.is_human() {
        let found = connection.job(&args.job).await?;
        job::describe(&found, args.output, console.paint, clock::now())?
    } else {
        let found = connection.whole_job(&args.job).await?;
        document::render(&document::job(&found), args.output)?
    };
    console.data(&text)?;
    Ok(Outcome::Success)
}
