//! `firn run SPEC`: everything on this machine. Starts a coordinator and workers on a private loopback port, submits,
//! shows progress, and exits with the job's outcome.
//!
//! Its journal and states lie beside the artifacts until the job has ended well, so that `--resume` can go on with a run whose processes
//! were all killed, from the newest checkpoint.
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
use firn_proto::v1alpha1::{CreateJobRequest, FineTuneJob};
use tokio::time::timeout;

use super::{
    cancel,
    connection::Connection,
    console::Console,
    download,
    error::CommandError,
    follow::{Event, Follower},
    outcome::Outcome,
    queueing::QueueingArgs,
    submit,
    view::{
        Format, document,
        failure::{failure, name},
        progress::ProgressView,
        report,
    },
    watch,
};
use cluster::{Cluster, Programs};
use folder::RunFolder;
use interrupts::Interrupts;
use preparation::{Beginning, Prepared};
use record::RunRecord;
use shares::Share;

mod child;
mod cluster;
mod folder;
mod interrupts;
mod plan;
mod preparation;
mod record;
mod resume;
mod shares;

/// How long a cancelled job may take to end before its processes are killed.
const CANCEL_LIMIT: Duration = Duration::from_secs(60);

/// Runs a job on this machine, from start to end
#[derive(Debug, Args)]
pub struct RunArgs {
    /// YAML file of the job
    #[arg(value_name = "SPEC", required_unless_present = "resume")]
    spec: Option<PathBuf>,
    /// Go on with a run that was interrupted, from its newest checkpoint [default: the one below ./firn-artifacts]
    #[arg(long, conflicts_with_all = ["workers", "slots_per_worker", "anew"])]
    resume: bool,
    /// Forget an unfinished run of the same artifacts, and begin at step 0
    #[arg(long)]
    anew: bool,
    #[command(flatten)]
    queueing: QueueingArgs,
    /// Workers to start [default: the spec's resources.workers.max, else 1]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    workers: Option<u32>,
    /// Ranks on each worker [default: the spec's resources.slotsPerWorker, else 1]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=1024))]
    slots_per_worker: Option<u32>,
    /// Folder for the artifacts [default: the spec's artifacts.uri, else ./firn-artifacts/JOB]
    #[arg(long, value_name = "DIR")]
    artifacts: Option<PathBuf>,
    /// Keep journal, states and logs in this folder [default: .firn-run beside the artifacts, until the job has ended well]
    #[arg(long, value_name = "DIR")]
    keep_data: Option<PathBuf>,
    /// How to print the job at the end
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// A run that has been prepared.
struct Run {
    beginning: Beginning,
    shares: Vec<Share>,
    programs: Programs,
    record: RunRecord,
    /// The job is on its way: an interrupt ends it.
    is_under_way: bool,
    format: Format,
}

pub(crate) async fn run(args: RunArgs, console: &mut Console) -> Result<Outcome, CommandError> {
    let Prepared {
        folder,
        record,
        beginning,
        shares,
        programs,
    } = preparation::prepare(&args)?;
    let mut run = Run {
        beginning,
        shares,
        programs,
        record,
        is_under_way: false,
        format: args.output,
    };
    let interrupts = Interrupts::listen()?;
    let result = tokio::select! {
        result = run.execute(folder.path(), &interrupts, console) => Some(result),
        // Dropping the other branch kills what it started.
        () = interrupts.reached(2) => None,
    };
    let result = result.unwrap_or_else(|| {
        console.say("interrupted again: all processes of the run have been killed");
        Ok(Outcome::Cancelled)
    });
    run.part_with(folder, &result, args.keep_data.is_some(), console)?;
    result
}

impl Run {
    async fn execute(
        &mut self,
        folder: &Path,
        interrupts: &Interrupts,
        console: &mut Console,
    ) -> Result<Outcome, CommandError> {
        let started = tokio::select! {
            cluster = self.start(folder, console) => Some(cluster?),
            () = interrupts.reached(1) => None,
        };
        let Some((mut cluster, id)) = started else {
            return Ok(self.interrupted_early(console));
        };
        let (job, outcome) = self.follow(&mut cluster, &id, interrupts, console).await?;
        self.tell(&cluster.connection, &job, outcome, console).await?;
        cluster.stop().await;
        Ok(outcome)
    }

    fn interrupted_early(&self, console: &mut Console) -> Outcome {
        match self.beginning {
            Beginning::Submit { .. } => console.say("interrupted before the job was submitted"),
            Beginning::Resume(_) => console.say("interrupted before the job went on"),
        }
        Outcome::Cancelled
    }

    /// Brings up the cluster, and the job on it; answers with the job's id.
    async fn start(&mut self, folder: &Path, console: &mut Console) -> Result<(Cluster, String), CommandError> {
        let mut cluster = Cluster::start(folder, &self.programs).await?;
        let id = match &self.beginning {
            Beginning::Resume(id) => {
                let id = id.clone();
                self.resume(&mut cluster, &id, console).await?;
                id
            }
            Beginning::Submit { file, job } => {
                cluster.add_agents(&self.shares)?;
                cluster.wait_for_workers(console).await?;
                let connection = cluster.connection.clone();
                let request = CreateJobRequest {
                    job: Some((**job).clone()),
                    ..CreateJobRequest::default()
                };
                let submitted = tokio::select! {
                    submitted = submit::submit(&connection, file, request) => submitted?,
                    end = cluster.unexpected_end() => return Err(end.error),
                };
                name(&submitted).to_owned()
            }
        };
        self.is_under_way = true;
        self.record.job = Some(id.clone());
        self.record.write(folder)?;
        Ok((cluster, id))
    }

    /// Brings the workers back, so that the job goes on where it was.
    async fn resume(&self, cluster: &mut Cluster, id: &str, console: &mut Console) -> Result<(), CommandError> {
        let connection = cluster.connection.clone();
        let (job, outcome) = resume::job(&connection, id).await?;
        if outcome.is_some() {
            console.say(&format!("job {id} had ended already"));
            return Ok(());
        }
        console.say(&resume::describe(id, &job));
        let mut released = resume::release(&connection).await?;
        cluster.add_agents(&self.shares)?;
        // A worker that had been replaced does not come back; its ranks are gone when its lease ends.
        released.retain(|name| cluster.has_agent(name));
        tokio::select! {
            taken = resume::take_back(&connection, &released) => taken?,
            end = cluster.unexpected_end() => return Err(end.error),
        }
        cluster.wait_for_workers(console).await
    }

    /// Keeps what somebody may want to see or to go on with, and removes the rest.
    fn part_with(
        mut self,
        folder: RunFolder,
        result: &Result<Outcome, CommandError>,
        is_named: bool,
        console: &mut Console,
    ) -> Result<(), CommandError> {
        let path = folder.path().display().to_string();
        let go_on = format!(
            "the job can go on from its newest checkpoint: {}",
            self.record.command("--resume")
        );
        let is_resumed = matches!(self.beginning, Beginning::Resume(_));
        if is_resumed && !self.is_under_way && matches!(result, Ok(Outcome::Cancelled)) {
            console.say(&go_on);
            return Ok(());
        }
        self.record.ended = match result {
            Ok(Outcome::Success) => Some("Succeeded".to_owned()),
            Ok(Outcome::JobFailed) => Some("Failed".to_owned()),
            Ok(Outcome::Cancelled) => Some("Cancelled".to_owned()),
            Ok(Outcome::TimeLimit | Outcome::NotProven | Outcome::Incomplete) | Err(_) => None,
        };
        match result {
            Ok(Outcome::JobFailed) => console.say(&format!("logs of the coordinator and the workers: {path}")),
            Ok(_) if is_named => console.say(&format!("journal, states and logs: {path}")),
            Ok(_) => return folder.remove(),
            // Refused before anything was trained: there is nothing to keep.
            Err(_) if self.record.job.is_none() && is_refusal(result) => return folder.remove(),
            Err(_) => {
                console.say(&format!("logs of the coordinator and the workers: {path}"));
                if self.record.unfinished().is_some() {
                    console.say(&go_on);
                }
            }
        }
        self.record.write(folder.path())
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
        let places = download::fetch_all(connection, name(job), &artifacts, &self.record.artifacts).await?;
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

/// Whether somebody asked for what cannot be had.
fn is_refusal(result: &Result<Outcome, CommandError>) -> bool {
    matches!(
        result,
        Err(CommandError::Refused { .. } | CommandError::Usage(_) | CommandError::Spec(_))
    )
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
