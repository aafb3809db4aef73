//! The verbs that people type; one file each. They speak only gRPC.
//!
//! A verb is a function from its arguments and a `Console` to an [`Outcome`] or a [`CommandError`]; `main` turns
//! either into an exit code. Nothing below prints on its own or ends the process.

use clap::{CommandFactory as _, Parser, Subcommand};

mod backup;
mod cancel;
mod clock;
mod connection;
mod console;
mod deadline;
mod delete;
mod download;
mod drain;
mod error;
mod explain;
mod follow;
mod get;
mod list;
mod logs;
mod lr_find;
mod models;
mod outcome;
mod predict;
mod queueing;
mod quota;
mod run;
mod scale;
mod serve;
mod settings;
mod submit;
mod suspend;
pub mod tether;
pub(crate) mod time_span;
mod token;
mod validate;
mod verify;
mod view;
mod wait;
mod watch;
mod worker_program;
mod workers;

pub use connection::{AccessClient, Connection, JobsClient, unary};
use console::Console;
pub use error::{CommandError, Trust, broken_trust, told};
pub use outcome::Outcome;
pub use settings::ConnectionArgs;

const EXIT_CODES: &str = "\
Exit codes:
  0  success
  1  the job failed, is not proven, or something on the way failed
  2  wrong usage, an invalid spec, or a request that the coordinator refuses
  3  the job was cancelled
  4  the coordinator cannot be reached
  5  --timeout passed before the job ended

Settings: flags over FIRN_… environment variables over ~/.config/firn/config.toml (coordinator, ca, token, token-file).";

/// Fine-tunes pretrained networks on many machines.
#[derive(Debug, Parser)]
#[command(name = "firn", version, about, max_term_width = 120, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What `firn` can be asked to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Runs the coordinator
    Serve(crate::serve::settings::ServeArgs),
    /// Runs a job on this machine, from start to end
    Run(run::RunArgs),
    /// Queues a job
    Submit(submit::SubmitArgs),
    /// Suggests a learning rate for a job
    LrFind(lr_find::LrFindArgs),
    /// Lists jobs, newest first
    List(list::ListArgs),
    /// Shows one job in full
    Get(get::GetArgs),
    /// Follows a job until it has ended
    Watch(watch::WatchArgs),
    /// Prints what the ranks of a job wrote
    Logs(logs::LogsArgs),
    /// Waits until a job has ended
    Wait(wait::WaitArgs),
    /// Ends jobs
    Cancel(cancel::CancelArgs),
    /// Lets jobs give their slots back, without a lost step
    Suspend(suspend::SuspendArgs),
    /// Lets suspended jobs go on
    Resume(suspend::ResumeArgs),
    /// Changes between how many workers a job has while it goes on
    Scale(scale::ScaleArgs),
    /// Removes jobs that have ended
    Delete(delete::DeleteArgs),
    /// Lists the workers and their slots
    Workers(workers::WorkersArgs),
    /// Takes workers out of use, or back into it
    Drain(drain::DrainArgs),
    /// Says how much namespaces may hold at once
    Quota(quota::QuotaArgs),
    /// Says who may do what: issues, lists, replaces and takes back tokens
    Token(token::TokenArgs),
    /// Downloads the files that a job left
    Download(download::DownloadArgs),
    /// Puts new samples through a network that a job left
    Predict(predict::PredictArgs),
    /// Scores labelled samples with a network that a job left
    Evaluate(predict::EvaluateArgs),
    /// Proves what every sample of a job was used for
    Verify(verify::VerifyArgs),
    /// Copies the folder of a coordinator that does not run, and proves the copy
    Backup(backup::BackupArgs),
    /// Puts a backup into the folder of a coordinator, and proves it
    Restore(backup::RestoreArgs),
    /// Says what is wrong with a spec, or prints it with every default
    Validate(validate::ValidateArgs),
    /// Lists the architectures, or says what a weights file is
    Models(models::ModelsArgs),
    /// Explains a field of the spec
    Explain(explain::ExplainArgs),
    /// Prints the completions of a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Becomes another program that dies with its parent
    #[command(hide = true)]
    Tether(tether::TetherArgs),
}

/// Does what was asked, and returns when that is done.
///
/// The runtime is made here and not in `main`: what the futures of all verbs stand on is then compiled with this crate, and not once more with
/// the binary. They run on the thread that calls, which `firn run` relies on: what it starts dies with the thread that started it.
///
/// # Errors
/// Whatever kept the verb from doing it; a job that fails is an outcome, not an error.
pub fn perform(verb: Verb) -> Result<Outcome, CommandError> {
    // Before any other thread exists: it replaces this process.
    if let Verb::Tether(args) = verb {
        return Err(tether::become_command(args));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CommandError::Local(format!("cannot start the runtime: {error}")))?;
    runtime.block_on(execute(verb))
}

async fn execute(verb: Verb) -> Result<Outcome, CommandError> {
    let console = &mut Console::standard();
    match verb {
        Verb::Serve(args) => serve::run(args).await,
        Verb::Run(args) => run::run(args, console).await,
        Verb::Submit(args) => submit::run(args, console).await,
        Verb::LrFind(args) => lr_find::run(args, console).await,
        Verb::List(args) => list::run(args, console).await,
        Verb::Get(args) => get::run(args, console).await,
        Verb::Watch(args) => watch::run(args, console).await,
        Verb::Logs(args) => logs::run(args, console).await,
        Verb::Wait(args) => wait::run(args, console).await,
        Verb::Cancel(args) => cancel::run(args, console).await,
        Verb::Suspend(args) => suspend::run(args, console).await,
        Verb::Resume(args) => suspend::resume(args, console).await,
        Verb::Scale(args) => scale::run(args, console).await,
        Verb::Delete(args) => delete::run(args, console).await,
        Verb::Workers(args) => workers::run(args, console).await,
        Verb::Drain(args) => drain::run(args, console).await,
        Verb::Quota(args) => quota::run(args, console).await,
        Verb::Token(args) => token::run(args, console).await,
        Verb::Download(args) => download::run(args, console).await,
        Verb::Predict(args) => predict::run(&args, console),
        Verb::Evaluate(args) => predict::evaluate(&args, console),
        Verb::Verify(args) => verify::run(args, console).await,
        Verb::Backup(args) => backup::run(&args, console),
        Verb::Restore(args) => backup::restore(&args, console),
        Verb::Validate(args) => validate::run(&args, console),
        Verb::Models(args) => models::run(&args, console),
        Verb::Explain(args) => explain::run(&args, console),
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "firn", &mut script);
            console.data(&String::from_utf8_lossy(&script))?;
            Ok(Outcome::Success)
        }
        Verb::Tether(args) => Err(tether::become_command(args)),
    }
}
