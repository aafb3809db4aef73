//! `firn verify JOB`: proves from the journal what every sample of a job was used for.
//!
//! The coordinator does it while it runs; with `--data-dir` its folder is read by this process itself, which needs no coordinator and allows
//! none meanwhile.

use std::path::{Path, PathBuf};

use clap::Args;
use firn_core::identifiers::JobId;
use firn_proto::v1alpha1::{VerificationReceipt, VerifyJobRequest};

use super::{
    connection::{Connection, job_id, resource_name, unary},
    console::Console,
    error::CommandError,
    outcome::Outcome,
    settings::ConnectionArgs,
    view::{Format, document, receipt},
};
use crate::{
    api::wire::verification_to_wire,
    artifacts::ArtifactStore,
    journal::{ChainHash, FolderLock, JOURNAL_FILE, Journal, JournalError},
    verification::{self, Scope},
};

/// Proves from the journal that a job used and scored every sample once, and that its files are those it left
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Id of the job
    job: String,
    /// Read this folder of a coordinator that does not run, instead of asking one
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// Head of the journal that an earlier receipt printed: it must still be on the chain. Without it, nobody can tell whether the newest
    /// records were cut off since
    #[arg(long, value_name = "HASH", requires = "data_dir")]
    head: Option<ChainHash>,
    /// How to print; wide adds formations, checkpoints and whole digests
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn run(args: VerifyArgs, console: &mut Console) -> Result<Outcome, CommandError> {
    let found = match &args.data_dir {
        Some(folder) => read(folder, &args.job, args.head)?,
        None => ask(&Connection::open(&args.connection)?, &args.job).await?,
    };
    if args.output.is_human() {
        console.data(&receipt::describe(&found, args.output, console.paint))?;
    } else {
        console.data(&document::render(&receipt::document::receipt(&found), args.output)?)?;
        console.say(&receipt::verdict(&found, console.talk_paint));
    }
    Ok(match found.proven {
        true => Outcome::Success,
        false => Outcome::NotProven,
    })
}

async fn ask(connection: &Connection, job: &str) -> Result<VerificationReceipt, CommandError> {
    let name = resource_name(job);
    let answer = connection.jobs().verify_job(unary(VerifyJobRequest { name })).await;
    connection.answer(answer)
}

/// Without a coordinator: the folder is locked meanwhile, and nothing is written but its repair after a crash.
fn read(folder: &Path, job: &str, noted: Option<ChainHash>) -> Result<VerificationReceipt, CommandError> {
    if !folder.join(JOURNAL_FILE).is_file() {
        let shown = folder.display();
        return Err(CommandError::Usage(format!("--data-dir: {shown} holds no journal")));
    }
    let local = |error: JournalError| match error {
        JournalError::Held { .. } => CommandError::Usage(format!("{error}: ask it instead, without --data-dir")),
        error => CommandError::Local(error.to_string()),
    };
    let _lock = FolderLock::acquire(folder).map_err(local)?;
    let journal = Journal::open(folder).map_err(local)?;
    let store = ArtifactStore::new(folder.join("jobs"));
    let id = JobId::from(job_id(job));
    let verified = verification::verify(Scope::Chain { noted }, &journal.reader(), &store, &id);
    if !verified.knows_the_job() {
        return Err(CommandError::Usage(format!("the journal knows no job `{id}`")));
    }
    Ok(verification_to_wire(&verified))
}
