//! `firn workers`: the workers that are attached, or were.

use clap::Args;
use firn_proto::v1alpha1::{ListWorkersRequest, Worker};

use super::{
    clock,
    connection::{Connection, unary},
    console::Console,
    error::CommandError,
    outcome::Outcome,
    settings::ConnectionArgs,
    view::{Format, document, lists},
};

/// Lists the workers and their slots
#[derive(Debug, Args)]
pub struct WorkersArgs {
    /// How to print; wide has a line for each slot
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn run(args: WorkersArgs, console: &mut Console) -> Result<Outcome, CommandError> {
    let connection = Connection::open(&args.connection)?;
    let workers = all(&connection).await?;
    if !args.output.is_human() {
        console.data(&document::render(&document::workers(&workers), args.output)?)?;
    } else if workers.is_empty() {
        console.say("no workers; start one with: firn-worker agent --coordinator URL");
    } else {
        console.data(&lists::workers(&workers, args.output, clock::now()))?;
        for worker in workers.iter().filter(|worker| !worker.reason.is_empty()) {
            console.say(&format!("{}: {}", worker.name, worker.reason));
        }
    }
    Ok(Outcome::Success)
}

/// Every worker that the coordinator knows.
pub(crate) async fn all(connection: &Connection) -> Result<Vec<Worker>, CommandError> {
    let answer = connection.jobs().list_workers(unary(ListWorkersRequest {})).await;
    Ok(connection.answer(answer)?.workers)
}
