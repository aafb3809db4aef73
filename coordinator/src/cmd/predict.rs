//! `firn predict ARTIFACT DATA` and `firn evaluate ARTIFACT DATA`: what a job left, put to use on this machine without a coordinator.
//!
//! The network runs in a `firn-worker` of its own; what it predicts is checked, written and scored here, by the code that does so for jobs.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::PathBuf,
};

use clap::{Args, ValueEnum};
use firn_core::{
    spec::{JobSpec, Task},
    task::{Metrics, Schema, Statistics, regression::Target},
};
use firn_proto::v1alpha1::{self as proto, EvaluationReport};
use serde_json::{Value, json};

use super::{
    console::Console,
    error::CommandError,
    outcome::Outcome,
    view::{Format, document, report},
};
use crate::{
    api::{documents, task, wire::job_status},
    artifacts::{
        ArtifactError,
        predictions::{self, Form, PredictionsWriter},
    },
};
use description::Description;
use worker::Worker;

mod description;
mod worker;

/// Samples that were set aside and are named one by one.
const NAMED: usize = 20;

/// What runs the network, and on what.
#[derive(Debug, Args)]
struct Subject {
    /// Folder that the job left, with spec.json, config.json and head.safetensors
    artifact: PathBuf,
    /// A folder of images, one image, or a table or JSON lines as the job had them; `-`: one text a line from standard input, or two with a tab between them, or words with spaces between them
    data: PathBuf,
    /// Where the network computes: cpu or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Threads that compute [default: those of a rank of the job: other numbers may change the last digits]
    #[arg(long, value_name = "N")]
    threads: Option<u16>,
    /// Samples that the network takes at once [default: as in the job]
    #[arg(long, value_name = "N")]
    micro_batch: Option<u32>,
}

/// How predictions are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum PredictionsFormat {
    /// A table with a header line, as the predictions of a job
    #[default]
    Csv,
    /// One JSON object a line
    Jsonl,
}

/// Puts new samples through a network that a job left
///
/// Where the data has labels, they stand beside the predictions: on the job's own test data the output is its predictions_test.csv.
#[derive(Debug, Args)]
pub struct PredictArgs {
    #[command(flatten)]
    subject: Subject,
    /// How to write predictions
    #[arg(short, long, value_enum, default_value_t)]
    output: PredictionsFormat,
    /// File to write to [default: standard output]
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

/// Scores labelled samples with a network that a job left
///
/// The metrics and their intervals are those of the job, by the same definitions and the same seed.
#[derive(Debug, Args)]
pub struct EvaluateArgs {
    #[command(flatten)]
    subject: Subject,
    /// How to print the metrics
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// File to write the predictions to, as CSV
    #[arg(long, value_name = "FILE")]
    predictions: Option<PathBuf>,
}

pub(super) fn run(args: &PredictArgs, console: &mut Console) -> Result<Outcome, CommandError> {
    let description = Description::read(&args.subject.artifact)?;
    let mut worker = Worker::start(&args.subject, false)?;
    warn(&worker, console);
    let is_labelled = worker.found.is_labelled;
    let form = match args.output {
        PredictionsFormat::Csv => Form::Csv,
        PredictionsFormat::Jsonl => Form::JsonLines,
    };
    let out: Box<dyn Write> = match &args.to {
        Some(path) => Box::new(BufWriter::new(
            File::create(path).map_err(CommandError::file("create", path))?,
        )),
        None => Box::new(BufWriter::new(io::stdout())),
    };
    let (task, schema) = (description.spec.task, description.schema());
    let mut writer = PredictionsWriter::in_form(out, form, (task, schema), is_labelled).map_err(unwritten)?;
    let mut aside = Vec::new();
    while let Some(report) = worker.next()? {
        check(&report, task, schema)?;
        writer.write(&report).map_err(unwritten)?;
        aside.extend(report.corrupt);
    }
    writer.finish().map_err(unwritten)?;
    Ok(tell_aside(&aside, console))
}

pub(super) fn evaluate(args: &EvaluateArgs, console: &mut Console) -> Result<Outcome, CommandError> {
    let description = Description::read(&args.subject.artifact)?;
    let mut worker = Worker::start(&args.subject, true)?;
    warn(&worker, console);
    let (spec, schema) = (&description.spec, description.schema());
    let (mut parts, mut reports, mut aside) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(report) = worker.next()? {
        parts.push(check(&report, spec.task, schema)?);
        aside.extend(report.corrupt.iter().cloned());
        reports.push(report);
    }
    if let Some(path) = &args.predictions {
        let out = BufWriter::new(File::create(path).map_err(CommandError::file("create", path))?);
        let mut writer = PredictionsWriter::new(out, spec.task, schema).map_err(unwritten)?;
        reports
            .iter()
            .try_for_each(|report| writer.write(report))
            .and_then(|()| writer.finish())
            .map_err(unwritten)?;
    }
    let metrics = metrics(spec, schema, &parts, &reports)?;
    match args.output.is_human() {
        true => console.data(&report::results(&as_job(&metrics, &description)))?,
        false => {
            let mut shown = documents::evaluation(&spec.training, &metrics, schema);
            let named = aside
                .iter()
                .map(|sample| json!({"sample": sample.sample, "reason": sample.reason}));
            shown["quarantined"] = named.collect::<Value>();
            console.data(&document::render(&shown, args.output)?)?;
        }
    }
    Ok(tell_aside(&aside, console))
}

fn warn(worker: &Worker, console: &mut Console) {
    for warning in &worker.found.warnings {
        console.say(&format!("warning: {warning}"));
    }
}

/// The statistics of a report; what cannot have been predicted is refused.
fn check(report: &EvaluationReport, of: Task, schema: Schema<'_>) -> Result<Statistics, CommandError> {
    let statistics = task::statistics(report, of, schema);
    statistics
        .map_err(|status| CommandError::Local(format!("firn-worker predicted what cannot be: {}", status.message())))
}

fn metrics(
    spec: &JobSpec,
    schema: Schema<'_>,
    parts: &[Statistics],
    reports: &[EvaluationReport],
) -> Result<Metrics, CommandError> {
    let walk = |each: &mut dyn FnMut(&proto::Prediction)| {
        reports.iter().flat_map(|report| &report.predictions).for_each(each);
        Ok(())
    };
    let nothing = || CommandError::Local("no sample could be read".to_owned());
    let statistics = Statistics::merged(parts).ok_or_else(nothing)?;
    let more = predictions::metrics(spec.task, schema, statistics.samples(), &walk).map_err(unwritten)?;
    let metrics = statistics.evaluate(schema, &more).ok_or_else(nothing)?;
    let of = (spec.task, spec.training.loss.distance());
    let intervals = predictions::intervals::of(of, schema, spec.training.seed, &walk).map_err(unwritten)?;
    Ok(metrics.within(intervals))
}

/// As a job shows what it achieved on its test split.
fn as_job(metrics: &Metrics, description: &Description) -> proto::FineTuneJob {
    let target = |target: &Target| proto::TargetSummary {
        name: target.name.clone(),
        mean: target.mean,
        std: target.std,
    };
    let dataset = proto::DatasetSummary {
        classes: description.outputs.classes.clone(),
        targets: description.outputs.targets.iter().map(target).collect(),
        ..Default::default()
    };
    proto::FineTuneJob {
        status: Some(proto::JobStatus {
            dataset: Some(dataset),
            evaluations: vec![job_status::evaluation(
                &description.spec.training,
                metrics,
                description.schema(),
            )],
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Names samples that could not be read; that some could not is a failure.
fn tell_aside(aside: &[proto::QuarantinedSample], console: &mut Console) -> Outcome {
    for sample in aside.iter().take(NAMED) {
        console.say(&format!("set aside {}: {}", sample.sample, sample.reason));
    }
    if aside.len() > NAMED {
        console.say(&format!("and {} more", aside.len() - NAMED));
    }
    match aside.is_empty() {
        true => Outcome::Success,
        false => Outcome::Incomplete,
    }
}

fn unwritten(error: ArtifactError) -> CommandError {
    match error {
        ArtifactError::PredictionsFile(error) if matches!(error.kind(), csv::ErrorKind::Io(_)) => {
            match error.into_kind() {
                csv::ErrorKind::Io(error) => CommandError::Output(error),
                _ => unreachable!("it was one of input and output"),
            }
        }
        other => CommandError::Local(other.to_string()),
    }
}
