//! The predictions file: one line a sample, so that anyone can recompute the metrics.
//!
//! Header `index,sample,label,predicted`, then `probability_{class}` for each class in the order of the model's outputs. Label and
//! prediction are class names. Probabilities are written with the fewest digits that read back to the same double.

use std::io::Write;

use firn_proto::v1alpha1::{EvaluationReport, Prediction};

use super::ArtifactError;

/// The class with the highest score; of equals, the first. `None` without scores.
pub fn predicted_class(scores: &[f64]) -> Option<usize> {
    let mut best = None;
    for (class, score) in scores.iter().enumerate() {
        if best.is_none_or(|best: usize| *score > scores[best]) {
            best = Some(class);
        }
    }
    best
}

/// Writes predictions as CSV, report by report.
pub struct PredictionsWriter<'a, W: Write> {
    classes: &'a [String],
    csv: csv::Writer<W>,
}

impl<'a, W: Write> PredictionsWriter<'a, W> {
    /// Writes the header.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn new(out: W, classes: &'a [String]) -> Result<Self, ArtifactError> {
        let mut csv = csv::Writer::from_writer(out);
        let mut header: Vec<String> = ["index", "sample", "label", "predicted"].map(str::to_owned).to_vec();
        header.extend(classes.iter().map(|class| format!("probability_{class}")));
        csv.write_record(&header)?;
        Ok(Self { classes, csv })
    }

    /// Writes the predictions of one shard, whose labels and scores have been checked against the classes.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn write(&mut self, report: &EvaluationReport) -> Result<(), ArtifactError> {
        for prediction in &report.predictions {
            self.write_one(prediction)?;
        }
        Ok(())
    }

    fn write_one(&mut self, prediction: &Prediction) -> Result<(), csv::Error> {
        let name = |class: Option<usize>| {
            class
                .and_then(|class| self.classes.get(class))
                .map_or("", String::as_str)
        };
        let mut row = vec![
            prediction.index.to_string(),
            prediction.sample.clone(),
            name(usize::try_from(prediction.label).ok()).to_owned(),
            name(predicted_class(&prediction.scores)).to_owned(),
        ];
        // `{:?}` is the shortest text that reads back to the same double, with an exponent where that is shorter.
        row.extend(prediction.scores.iter().map(|score| format!("{score:?}")));
        self.csv.write_record(&row)
    }

    /// Flushes what is buffered.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn finish(mut self) -> Result<(), ArtifactError> {
        Ok(self.csv.flush().map_err(csv::Error::from)?)
    }
}
