//! `firn run SPEC`: everything on this machine. Starts a coordinator and workers on a private loopback port, submits,
//! shows progress, and exits with the job's outcome.
//!
//! However it ends, it leaves no process behind: a normal end stops them in order; any other way out drops the
//! [`Cluster`], which kills them; and if this process is killed itself, the kernel kills them
//! ([`tether`](super::tether)).

use std::{
    path::{Path, PathBuf},
    pin::pin,
    time::Duration,
};

use clap::Args;
use firn_proto::v1alpha1::FineTuneJob;
use tokio::time::timeout;

use super::{
    cancel,
    connection::Connection,
    console::Console,
    download,
    error::CommandError,
    follow::{Event, Follower},
    outcome::Outcome,
    submit, validate,
    view::{
        Format, document,
        failure::{failure, name},
        progress::ProgressView,
        report,
    },
    watch,
};
use crate::spec_file::{self, SpecFile};
use cluster::{Cluster, Programs};
use folder::RunFolder;
use interrupts::Interrupts;
use shares::{Machine, Share};

mod child;
mod cluster;
mod folder;
mod interrupts;
mod plan;
mod shares;

/// How long a cancelled job may take to end before its processes are killed.
const CANCEL_LIMIT: Duration = Duration::from_secs(60);

/// Runs a job on this machine, from start to end
#[derive(Debug, Args)]
pub struct RunArgs {
    /// YAML file of the job
    #[arg(value_name = "SPEC")]
    spec: PathBuf,
    /// Workers to start [default: the spec's resources.workers.max, else 1]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    workers: Option<u32>,
    /// Ranks on each worker [default: the spec's resources.slotsPerWorker, else 1]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=1024))]
    slots_per_worker: Option<u32>,
    /// Folder for the artifacts [default: the spec's artifacts.uri, else ./firn-artifacts/JOB]
    #[arg(long, value_name = "DIR")]
    artifacts: Option<PathBuf>,
    /// Keep journal, states and logs in this folder [default: a temporary one, kept only if the job fails]
    #[arg(long, value_name = "DIR")]
    keep_data: Option<PathBuf>,
    /// How to print the job at the end
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// What is decided before anything is started.
struct Run {
    file: SpecFile,
    /// The job of the file, fitted to this machine.
    job: FineTuneJob,
    shares: Vec<Share>,
    artifacts: PathBuf,
    programs: Programs,
    format: Format,
}

pub(crate) async fn run(args: RunArgs, console: &mut Console) -> Result<Outcome, CommandError> {
    let file = spec_file::read(&args.spec)?;
    let mut job = file.job.clone();
    let demand = plan::fit_workers(&mut job, args.workers, args.slots_per_worker);
    let shares = shares::divide(demand, plan::device(&job), &Machine::here())?;
    let artifacts = plan::place_artifacts(&mut job, args.artifacts.as_deref())?;
    // Before anything is started: the coordinator would say the same, a second later.
    validate::complete(&file, &job)?;
    let run = Run {
        file,
        job,
        shares,
        artifacts,
        programs: Programs::find()?,
        format: args.output,
    };

    let interrupts = Interrupts::listen()?;
    let folder = RunFolder::create(args.keep_data.as_deref())?;
    let result = tokio::select! {
        result = run.execute(folder.path(), &interrupts, console) => Some(result),
        // Dropping the other branch kills what it started.
        () = interrupts.reached(2) => None,
    };
    let result = result.unwrap_or_else(|| {
        console.say("interrupted again: all processes of the run have been killed");
        Ok(Outcome::Cancelled)
    });
    let logs_matter = match &result {
        Ok(outcome) => *outcome == Outcome::JobFailed,
        Err(CommandError::Refused { .. } | CommandError::Usage(_) | CommandError::Spec(_)) => false,
        Err(_) => true,
    };
    if logs_matter {
        let kept = folder.keep();
        console.say(&format!("logs of the coordinator and the workers: {}", kept.display()));
    } else if args.keep_data.is_some() {
        console.say(&format!("journal, states and logs: {}", folder.path().display()));
    }
    result
}

impl Run {
    async fn execute(
        self,
        folder: &Path,
        interrupts: &Interrupts,
        console: &mut Console,
    ) -> Result<Outcome, CommandError> {
        let started = tokio::select! {
            cluster = self.start(folder, console) => Some(cluster?),
            () = interrupts.reached(1) => None,
        };
        let Some((mut cluster, id)) = started else {
            console.say("interrupted before the job was submitted");
            return Ok(Outcome::Cancelled);
        };
        let (job, outcome) = self.follow(&mut cluster, &id, interrupts, console).await?;
        self.tell(&cluster.connection, &job, outcome, console).await?;
        cluster.stop().await;
        Ok(outcome)
    }

    /// Brings up the cluster and submits the job; answers with the job's id.
    async fn start(&self, folder: &Path, console: &mut Console) -> Result<(Cluster, String), CommandError> {
        let mut cluster = Cluster::start(folder, &self.programs, &self.shares).await?;
        cluster.wait_for_workers(console).await?;
        let connection = cluster.connection.clone();
        let submitted = tokio::select! {
            submitted = submit::submit(&connection, &self.file, self.job.clone(), None) => submitted?,
            end = cluster.unexpected_end() => return Err(end.error),
        };
        Ok((cluster, name(&submitted).to_owned()))
    }

    async fn follow(
        &self,
        cluster: &mut Cluster,
        id: &str,
        interrupts: &Interrupts,
        console: &mut Console,
    ) -> Result<(FineTuneJob, Outcome), CommandError> {
        let connection = cluster.connection.clone();
        let mut follower = Follower::new(&connection, id, None);
        let mut view = ProgressView::new(console);
        let mut cancelling = false;
        let mut cancelled_for_too_long = pin!(cancel_limit(interrupts));
        loop {
            tokio::select! {
                event = follower.next() => match event? {
                    Event::Snapshot(job) => {
                        view.show(&job, console);
                        if let Some(outcome) = Outcome::of_job(&job) {
                            return Ok((*job, outcome));
                        }
                    }
                    event => _ = watch::tell(&event, &view, console),
                },
                end = cluster.unexpected_end() => {
                    let warning = format!("warning: {}", end.error);
                    let name = cluster.replace(end)?;
                    view.note(&format!("{warning}\nstarted the {name} in its place"), console);
                }
                () = interrupts.reached(1), if !cancelling => {
                    cancelling = true;
                    view.note("cancelling the job; interrupt again to kill it", console);
                    cancel_now(&connection, id).await?;
                }
                () = &mut cancelled_for_too_long => {
                    let limit = CANCEL_LIMIT.as_secs();
                    return Err(CommandError::Local(format!("the job did not end within {limit} s after it was cancelled")));
                }
            }
        }
    }

    async fn tell(
        &self,
        connection: &Connection,
        job: &FineTuneJob,
        outcome: Outcome,
        console: &mut Console,
    ) -> Result<(), CommandError> {
        let artifacts = if outcome == Outcome::Success {
            download::list(connection, name(job)).await?
        } else {
            Vec::new()
        };
        let places = download::fetch_all(connection, name(job), &artifacts, &self.artifacts).await?;
        console.say(&failure(job, console.talk_paint));
        if !self.format.is_human() {
            return console.data(&document::render(&document::job(job), self.format)?);
        }
        let mut text = report::headline(job, console.paint);
        let results = report::results(job);
        if !results.is_empty() {
            text.push('\n');
            text.push_str(&results);
        }
        if !artifacts.is_empty() {
            text.push('\n');
            text.push_str(&download::artifact_table(&artifacts, &places));
        }
        console.data(&text)
    }
}

/// Asks for the end of a job; one that has just ended needs no asking.
async fn cancel_now(connection: &Connection, id: &str) -> Result<(), CommandError> {
    match cancel::cancel(connection, id).await {
        Err(CommandError::Refused {
            code: tonic::Code::FailedPrecondition,
            ..
        }) => Ok(()),
        result => result.map(|_| ()),
    }
}

/// Ends when a cancelled job has had its time.
async fn cancel_limit(interrupts: &Interrupts) {
    interrupts.reached(1).await;
    let _ = timeout(CANCEL_LIMIT, std::future::pending::<()>()).await;
}
