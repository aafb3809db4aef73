//! The predictions file: one line a sample, or a word of it, so that anyone can recompute the metrics; and those metrics that need it.
//!
//! Header `index,sample`, then what the task keeps of a prediction. Numbers are written with the fewest digits that read
//! back to the same double. A task has its own file here; how lines are written is `writer`'s.

pub mod classification;
pub mod intervals;
pub mod multi_label;
mod regression;
pub mod tokens;
mod writer;

use std::{collections::BTreeMap, io::Read};

use firn_core::task::{Schema, Statistics, Task};
use firn_proto::v1alpha1::Prediction;

use super::ArtifactError;
pub use writer::{Form, PredictionsWriter};

/// Gives all predictions of a pass, in manifest order, each time that it is called: they need not fit in memory.
pub type Walk<'a> = dyn Fn(&mut dyn FnMut(&Prediction)) -> Result<(), ArtifactError> + 'a;

/// The metrics that need single predictions, by name; undefined ones are left out.
///
/// # Errors
/// When the predictions cannot be read.
pub fn metrics(
    task: Task,
    schema: Schema<'_>,
    samples: u64,
    walk: &Walk<'_>,
) -> Result<BTreeMap<String, f64>, ArtifactError> {
    match task {
        Task::Classification => classification::metrics(schema.classes.len(), samples, walk),
        Task::Regression => regression::metrics(schema.targets.len(), walk),
        Task::MultiLabel(labels) => multi_label::metrics((schema.classes.len(), labels.of(schema)), samples, walk),
        Task::Tokens => Ok(tokens::metrics()),
    }
}

/// The threshold of each label with the highest F1, where the job tunes them; else none.
///
/// # Errors
/// When the predictions cannot be read.
pub fn tuned_thresholds(
    task: Task,
    schema: Schema<'_>,
    samples: u64,
    walk: &Walk<'_>,
) -> Result<Vec<f64>, ArtifactError> {
    match task {
        Task::MultiLabel(labels) if labels.tune_thresholds => {
            multi_label::tuned((schema.classes.len(), labels.of(schema)), samples, walk)
        }
        Task::Classification | Task::Regression | Task::MultiLabel(_) | Task::Tokens => Ok(Vec::new()),
    }
}

/// What the predictions of a split of this schema say, without the loss, which no file holds.
///
/// # Errors
/// When the predictions cannot be read.
pub fn statistics(task: Task, schema: Schema<'_>, walk: &Walk<'_>) -> Result<Statistics, ArtifactError> {
    match task {
        Task::Classification => classification::statistics(walk).map(Statistics::Classification),
        Task::Regression => regression::statistics(walk).map(Statistics::Regression),
        Task::MultiLabel(labels) => {
            multi_label::statistics((schema.classes.len(), labels.of(schema)), walk).map(Statistics::MultiLabel)
        }
        Task::Tokens => tokens::statistics(schema.classes, walk).map(Statistics::Tokens),
    }
}

/// Reads a predictions file back.
///
/// # Errors
/// What is wrong with it.
pub fn read(
    task: Task,
    schema: Schema<'_>,
    file: impl Read,
    each: &mut dyn FnMut(&Prediction),
) -> Result<(), ArtifactError> {
    let mut csv = csv::Reader::from_reader(std::io::BufReader::new(file));
    if task == Task::Tokens {
        return tokens::read(&mut csv, schema.classes, each);
    }
    let classes = classification::Parser::new(schema.classes);
    let parse = |row: &csv::StringRecord| match task {
        Task::Classification => classes.parse(row),
        Task::Regression => regression::parse(row, schema.targets.len()),
        Task::MultiLabel(labels) => multi_label::parse(row, schema.classes.len(), labels.of(schema)),
        Task::Tokens => None,
    };
    let mut row = csv::StringRecord::new();
    while csv.read_record(&mut row)? {
        let prediction = parse(&row).ok_or_else(|| ArtifactError::Predictions {
            line: row.position().map_or(0, csv::Position::line),
        })?;
        each(&prediction);
    }
    Ok(())
}
