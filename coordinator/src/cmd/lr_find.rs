//! `firn lr-find SPEC`: which learning rate suits a job.
//!
//! It is an ordinary job on the job's own gang, whose rate rises from step to step (`schedule: {type: range_test}`). The coordinator ends it after its
//! steps, or once the loss has diverged; it stores nothing of the model. This verb reads the steps, deletes the job, and shows what they tell.
//! If it is killed before that, the job ends by itself all the same, and is deleted an hour later.

use std::{fs, path::PathBuf, time::Duration};

use clap::Args;
use firn_core::range_test::{RangeTest, Taken};
use firn_proto::v1alpha1::{
    ArtifactsSpec, CreateJobRequest, DeleteJobRequest, FineTuneJob, ListStepsRequest, ScheduleSpec,
};
use uuid::Uuid;

use super::{
    cancel,
    connection::{Connection, resource_name, unary},
    console::Console,
    error::CommandError,
    follow::{Event, Follower},
    outcome::Outcome,
    queueing::QueueingArgs,
    settings::ConnectionArgs,
    submit, time_span,
    view::{
        Format, document,
        failure::{failure, name},
        lr_find as view,
        progress::ProgressView,
    },
    watch,
};
use crate::spec_file;

/// Seconds that the job is kept where nobody is left to delete it.
const KEPT_SECONDS: u32 = 3600;
/// What is added to the name of the job.
const SUFFIX: &str = "-lr-find";
/// Of a name.
const LONGEST_NAME: usize = 63;

/// Suggests a learning rate: takes some steps of the job at rates that rise, and looks where the loss falls fastest
#[derive(Debug, Args)]
pub struct LrFindArgs {
    /// YAML file of the job
    #[arg(value_name = "SPEC")]
    spec: PathBuf,
    #[command(flatten)]
    queueing: QueueingArgs,
    /// Rate of the first step
    #[arg(long, value_name = "RATE", default_value_t = 1e-7, value_parser = rate)]
    min: f64,
    /// Rate of the last step
    #[arg(long, value_name = "RATE", default_value_t = 1.0, value_parser = rate)]
    max: f64,
    /// Steps; it ends earlier where the loss diverges
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(20..=100_000))]
    steps: u32,
    /// Write the plot into this file, as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Folder that all workers can write, for states above 16 MiB; what lies there stays
    #[arg(long, value_name = "URI")]
    scratch: Option<String>,
    /// Give up after this time (exit code 5), such as 90s, 10m or 1h30m
    #[arg(long, value_name = "TIME", value_parser = time_span::parse)]
    timeout: Option<Duration>,
    /// How to print; wide adds a line for each step
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connection: ConnectionArgs,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if rate > 0.0 && f64::is_finite(rate) => Ok(rate),
        _ => Err(format!("expected a number above 0, found `{text}`")),
    }
}

pub(crate) async fn run(args: LrFindArgs, console: &mut Console) -> Result<Outcome, CommandError> {
    if args.min >= args.max {
        let (min, max) = (args.min, args.max);
        return Err(CommandError::Usage(format!(
            "--min: expected a rate below --max ({max}), found {min}"
        )));
    }
    let file = spec_file::read(&args.spec)?;
    submit::say_what_is_unseen(&file, console);
    let connection = Connection::open(&args.connection)?;
    let request = CreateJobRequest {
        job: Some(test_of(&file.job, &args)),
        ..CreateJobRequest::default()
    };
    let submitted = submit::submit(&connection, &file, request).await?;
    let id = name(&submitted).to_owned();
    let ended = tokio::select! {
        ended = follow(&connection, &id, &args, console) => ended,
        _ = tokio::signal::ctrl_c() => Ok(Outcome::Cancelled),
    };
    let steps = steps(&connection, &id).await;
    part_with(&connection, &id).await?;
    let test = RangeTest::of(args.steps, steps?);
    match ended? {
        // Its end is the coordinator's doing.
        Outcome::Cancelled if test.end().is_some() => tell(&test, &args, console),
        Outcome::Cancelled => {
            console.say("the test was cancelled before it was over");
            Ok(Outcome::Cancelled)
        }
        other => Ok(other),
    }
}

/// The job of a test: what it trains is what the job would train, and nothing is scored or left.
fn test_of(job: &FineTuneJob, args: &LrFindArgs) -> FineTuneJob {
    let mut job = job.clone();
    args.queueing.write_into(&mut job);
    let metadata = job.metadata.get_or_insert_default();
    // One that is no name is refused as it is.
    if metadata.name.is_ascii() && !metadata.name.is_empty() {
        metadata.name.truncate(LONGEST_NAME - SUFFIX.len());
        metadata.name.push_str(SUFFIX);
    }
    let spec = job.spec.get_or_insert_default();
    let data = spec.data.get_or_insert_default();
    (data.validation, data.test) = (None, None);
    let training = spec.training.get_or_insert_default();
    training.optimizer.get_or_insert_default().learning_rate = Some(args.max);
    training.schedule = Some(ScheduleSpec {
        r#type: "range_test".to_owned(),
        start_learning_rate: Some(args.min),
        steps: Some(args.steps),
        ..ScheduleSpec::default()
    });
    // An epoch has a step or more; stages that are unfrozen later need theirs.
    training.epochs = Some(args.steps.max(training.epochs.unwrap_or_default()));
    (training.early_stopping, training.ema) = (None, None);
    training.best_metric.clear();
    training.best_metric_class.clear();
    "0s".clone_into(&mut training.checkpoint_interval);
    spec.artifacts = Some(ArtifactsSpec {
        uri: args.scratch.clone().unwrap_or_default(),
        merged_model: Some(false),
    });
    let policy = spec.run_policy.get_or_insert_default();
    policy.ttl_seconds_after_finished = Some(KEPT_SECONDS);
    job
}

/// Follows the job until it has ended, or the time has passed.
async fn follow(
    connection: &Connection,
    id: &str,
    args: &LrFindArgs,
    console: &mut Console,
) -> Result<Outcome, CommandError> {
    let mut follower = Follower::new(connection, id, args.timeout);
    let mut view = match args.output.is_human() {
        true => ProgressView::new(console),
        false => ProgressView::silent(),
    };
    loop {
        match follower.next().await? {
            Event::Snapshot(job) => {
                view.show(&job, console);
                if let Some(outcome) = Outcome::of_job(&job) {
                    view.finish();
                    if outcome == Outcome::JobFailed {
                        console.say(&failure(&job, console.talk_paint));
                    }
                    return Ok(outcome);
                }
            }
            Event::TimeLimit => {
                view.finish();
                console.say("the time limit passed before the test was over");
                return Ok(Outcome::TimeLimit);
            }
            event => _ = watch::tell(&event, &view, console),
        }
    }
}

/// The steps of a job, in order.
async fn steps(connection: &Connection, id: &str) -> Result<Vec<Taken>, CommandError> {
    let mut taken: Vec<Taken> = Vec::new();
    loop {
        let request = ListStepsRequest {
            name: resource_name(id),
            first_step: taken.len() as u64,
            page_size: 0,
        };
        let answer = connection.jobs().list_steps(unary(request)).await;
        let page = connection.answer(answer)?.steps;
        if page.is_empty() {
            return Ok(taken);
        }
        taken.extend(page.iter().map(|step| Taken {
            learning_rate: step.learning_rate,
            loss: step.loss,
            skipped: step.skipped,
        }));
    }
}

/// Ends the job, if it has not ended, and deletes it.
async fn part_with(connection: &Connection, id: &str) -> Result<(), CommandError> {
    match cancel::cancel(connection, id).await {
        Ok(_) => {}
        // It has ended.
        Err(CommandError::Refused {
            code: tonic::Code::FailedPrecondition,
            ..
        }) => {}
        Err(error) => return Err(error),
    }
    let request = DeleteJobRequest {
        name: resource_name(id),
        request_id: Uuid::new_v4().to_string(),
    };
    let deleted = connection.repeated(|mut jobs| {
        let request = unary(request.clone());
        async move { jobs.delete_job(request).await }
    });
    deleted.await.map_err(|status| connection.refusal(&status))?;
    Ok(())
}

fn tell(test: &RangeTest, args: &LrFindArgs, console: &mut Console) -> Result<Outcome, CommandError> {
    if let Some(path) = &args.plot {
        fs::write(path, view::svg(test)).map_err(CommandError::file("write", path))?;
        console.say(&format!("the plot: {}", path.display()));
    }
    console.data(&match args.output.is_human() {
        true => view::report(test, args.output, console.paint),
        false => document::render(&view::document(test), args.output)?,
    })?;
    Ok(Outcome::Success)
}
