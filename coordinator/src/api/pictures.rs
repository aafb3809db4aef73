//! What is shown of a job in pictures, beside its model card: how its losses and its best metric went, and which classes were taken for which.

use firn_core::{
    metrics::{MetricName, Watched},
    state::{Evaluation, Job, SplitName},
    task::{Detail, Schema, classification::matrix_of_cells},
};

use super::documents::training_loss;
use crate::charts::{Line, LineChart, Matrix};

/// More classes than a picture has room for have none.
const MOST_CLASSES: usize = 30;

/// A picture of a job.
pub(crate) struct Picture {
    /// Of its file.
    pub(crate) name: &'static str,
    /// What it shows, in words.
    pub(crate) shows: String,
    /// SVG.
    pub(crate) content: String,
}

/// All of a job whose training has ended.
pub(crate) fn of(job: &Job, schema: Schema<'_>) -> Vec<Picture> {
    [losses(job), best_metric(job), confusion(job, schema)]
        .into_iter()
        .flatten()
        .collect()
}

/// A metric of all validations, by epoch.
fn validation(job: &Job, metric: Watched<'_>) -> Vec<(f64, f64)> {
    let schema = job.run.schema_of(SplitName::Validation);
    let validations = job.run.evaluations.iter();
    let validations = validations.filter(|evaluation| evaluation.split == SplitName::Validation);
    let point = |evaluation: &Evaluation| {
        let value = evaluation.metrics.value(metric, schema)?;
        Some((f64::from(evaluation.epoch), value))
    };
    validations.filter_map(point).collect()
}

fn curves(job: &Job, title: &str, lines: Vec<Line>) -> Option<String> {
    let best = job.run.best_epoch;
    LineChart {
        title,
        x_axis: "epoch",
        lines,
        mark: best.map(|epoch| (f64::from(epoch), format!("best epoch ({epoch})"))),
    }
    .svg()
}

fn losses(job: &Job) -> Option<Picture> {
    let trained =
        (0..job.run.epochs_concluded).filter_map(|epoch| Some((f64::from(epoch), training_loss(job, epoch)?)));
    let lines = [
        ("training", trained.collect()),
        ("validation", validation(job, Watched::new(MetricName::LOSS, None))),
    ];
    let lines = lines.map(|(name, points): (&str, Vec<_>)| Line {
        name: name.to_owned(),
        points,
    });
    let lines = lines.into_iter().filter(|line| !line.points.is_empty()).collect();
    Some(Picture {
        name: "loss.svg",
        shows: "Loss by epoch".to_owned(),
        content: curves(job, "Loss", lines)?,
    })
}

/// What chose the best epoch, unless that is the loss, which has its own.
fn best_metric(job: &Job) -> Option<Picture> {
    let metric = job.spec.training.watched_for_best();
    if metric.metric == MetricName::LOSS {
        return None;
    }
    let title = format!("validation/{metric}");
    let line = Line {
        name: title.clone(),
        points: validation(job, metric),
    };
    Some(Picture {
        name: "best_metric.svg",
        shows: format!("{title} by epoch, which chose the best one"),
        content: curves(job, &title, vec![line])?,
    })
}

/// Of the test split, or else of validation at the best epoch.
fn confusion(job: &Job, schema: Schema<'_>) -> Option<Picture> {
    let epoch = job.run.best_epoch?;
    let classes = schema.classes.len();
    if classes == 0 || classes > MOST_CLASSES {
        return None;
    }
    let splits = [SplitName::Test, SplitName::Validation];
    let evaluation = splits.into_iter().find_map(|split| job.run.evaluation(split, epoch))?;
    let Detail::Classification { confusion } = &evaluation.metrics.detail else {
        return None;
    };
    let title = format!("Confusion ({})", evaluation.split);
    let matrix = Matrix {
        title: &title,
        names: schema.classes,
        counts: matrix_of_cells(classes, confusion),
    };
    Some(Picture {
        name: "confusion.svg",
        shows: format!("Confusion matrix of {}", evaluation.split),
        content: matrix.svg(),
    })
}
