//! How predictions are written, report by report: as CSV or as JSON lines, with labels or, where samples have none, without.

use std::io::{self, Write};

use firn_core::task::{Schema, Task, classification::MOST_SCORED_CLASSES};
use firn_proto::v1alpha1::{EvaluationReport, Prediction};
use serde_json::{Map, Number, Value};

use super::{classification, multi_label, regression, tokens};
use crate::artifacts::ArtifactError;

/// How a prediction is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A table with a header line.
    Csv,
    /// One JSON object a line, whose fields are the columns of the table.
    JsonLines,
}

/// Writes predictions.
pub struct PredictionsWriter<'a, W: Write> {
    task: Task,
    schema: Schema<'a>,
    is_labelled: bool,
    /// The places of the columns that are written, and their names.
    columns: Vec<(usize, String)>,
    out: Out<W>,
}

enum Out<W: Write> {
    Csv(Box<csv::Writer<W>>),
    JsonLines(W),
}

impl<'a, W: Write> PredictionsWriter<'a, W> {
    /// Writes the header of the file that a job leaves.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn new(out: W, task: Task, schema: Schema<'a>) -> Result<Self, ArtifactError> {
        Self::in_form(out, Form::Csv, (task, schema), true)
    }

    /// The same in another form, or of samples without labels, whose columns are left out.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn in_form(
        out: W,
        form: Form,
        (task, schema): (Task, Schema<'a>),
        is_labelled: bool,
    ) -> Result<Self, ArtifactError> {
        let names = match task {
            Task::Classification => classification::header(schema.classes),
            Task::Regression => regression::header(schema.targets),
            Task::MultiLabel(_) => multi_label::header(schema.classes),
            Task::Tokens => tokens::header(),
        };
        // A class may be called like a column of its file, so these are known by their places.
        let is_of_label = |place: usize, name: &str| match task {
            Task::Classification => place == 2 || place == 4 && schema.classes.len() > MOST_SCORED_CLASSES,
            Task::Regression => name.starts_with("value_"),
            Task::MultiLabel(_) => name.starts_with("label_"),
            Task::Tokens => tokens::LABEL_COLUMNS.contains(&place),
        };
        let columns = names.into_iter().enumerate();
        let columns: Vec<(usize, String)> = columns
            .filter(|(place, name)| is_labelled || !is_of_label(*place, name))
            .collect();
        let mut out = match form {
            Form::Csv => Out::Csv(Box::new(csv::Writer::from_writer(out))),
            Form::JsonLines => Out::JsonLines(out),
        };
        if let Out::Csv(csv) = &mut out {
            csv.write_record(columns.iter().map(|(_, name)| name))?;
        }
        Ok(Self {
            task,
            schema,
            is_labelled,
            columns,
            out,
        })
    }

    /// Writes the predictions of one shard, which have been checked against the schema.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn write(&mut self, report: &EvaluationReport) -> Result<(), ArtifactError> {
        for prediction in &report.predictions {
            let object = matches!(self.out, Out::JsonLines(_)).then(|| self.object(prediction));
            let rows = self.rows(prediction);
            match &mut self.out {
                Out::Csv(csv) => {
                    for row in rows {
                        csv.write_record(self.columns.iter().map(|(place, _)| row[*place].as_str()))?;
                    }
                }
                Out::JsonLines(out) => {
                    let written = serde_json::to_writer(&mut *out, &object).map_err(io::Error::from);
                    written.and_then(|()| out.write_all(b"\n")).map_err(csv::Error::from)?;
                }
            }
        }
        Ok(())
    }

    /// The lines of a table.
    fn rows(&self, prediction: &Prediction) -> Vec<Vec<String>> {
        match self.task {
            Task::Classification => vec![classification::row(prediction, self.schema.classes)],
            Task::Regression => vec![regression::row(prediction)],
            Task::MultiLabel(labels) => vec![multi_label::row(prediction, labels.of(self.schema))],
            Task::Tokens => tokens::rows(prediction, self.schema.classes),
        }
    }

    /// A line of JSON.
    fn object(&self, prediction: &Prediction) -> Map<String, Value> {
        if self.task == Task::Tokens {
            return tokens::object(prediction, self.schema.classes, self.is_labelled);
        }
        let row = self.rows(prediction).concat();
        let columns = self.columns.iter();
        columns
            .map(|(place, name)| (name.clone(), value(self.task, *place, name, &row[*place])))
            .collect()
    }

    /// Flushes what is buffered.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn finish(self) -> Result<(), ArtifactError> {
        let flushed = match self.out {
            Out::Csv(mut csv) => csv.flush(),
            Out::JsonLines(mut out) => out.flush(),
        };
        Ok(flushed.map_err(csv::Error::from)?)
    }
}

/// The sample and names of classes are texts, all else is a number.
fn value(task: Task, place: usize, name: &str, text: &str) -> Value {
    let is_class = task == Task::Classification && (matches!(place, 2 | 3) || name.starts_with("class_"));
    if place == 1 || is_class {
        return text.into();
    }
    match text.parse::<u64>() {
        Ok(whole) => whole.into(),
        Err(_) => text
            .parse()
            .ok()
            .and_then(Number::from_f64)
            .map_or(Value::Null, Value::Number),
    }
}

#[cfg(test)]
mod tests {
    use firn_core::task::LabelThresholds;

    use super::*;

    fn written(form: Form, task: Task, names: &[&str], prediction: Prediction, is_labelled: bool) -> String {
        let classes: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut bytes = Vec::new();
        let schema = Schema::of_classes(&classes);
        let mut writer = PredictionsWriter::in_form(&mut bytes, form, (task, schema), is_labelled).unwrap();
        let report = EvaluationReport {
            predictions: vec![prediction],
            ..EvaluationReport::default()
        };
        writer.write(&report).unwrap();
        writer.finish().unwrap();
        String::from_utf8(bytes).unwrap()
    }

    fn prediction() -> Prediction {
        Prediction {
            index: 3,
            sample: "7.jpg".to_owned(),
            label: 1,
            labels: vec![1],
            scores: vec![0.75, 0.25],
            ..Prediction::default()
        }
    }

    #[test]
    fn columns_of_labels_are_left_out_where_there_are_none() {
        let csv = |is_labelled| {
            written(
                Form::Csv,
                Task::Classification,
                &["7", "label"],
                prediction(),
                is_labelled,
            )
        };
        assert_eq!(
            csv(true),
            "index,sample,label,predicted,probability_7,probability_label\n3,7.jpg,label,7,0.75,0.25\n"
        );
        assert_eq!(
            csv(false),
            "index,sample,predicted,probability_7,probability_label\n3,7.jpg,7,0.75,0.25\n"
        );
        let task = Task::MultiLabel(LabelThresholds::DEFAULT);
        let labels = written(Form::Csv, task, &["a", "b"], prediction(), false);
        assert_eq!(
            labels,
            "index,sample,predicted_a,probability_a,predicted_b,probability_b\n3,7.jpg,1,0.75,0,0.25\n"
        );
    }

    #[test]
    fn of_many_classes_the_probability_of_the_true_one_is_left_out_too() {
        let names: Vec<String> = (0..2000).map(|class| format!("c{class}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let likeliest = Prediction {
            classes: (7..17).collect(),
            scores: vec![0.0625; 10],
            ..prediction()
        };
        let text = written(Form::Csv, Task::Classification, &names, likeliest, false);
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].starts_with("index,sample,predicted,class_1,probability_1,"),
            "{text}"
        );
        assert!(lines[1].starts_with("3,7.jpg,c7,c7,0.0625,c8,0.0625,"), "{text}");
        assert_eq!(lines[1].split(',').count(), lines[0].split(',').count());
    }

    #[test]
    fn json_lines_tell_names_from_numbers() {
        let line = |is_labelled| {
            written(
                Form::JsonLines,
                Task::Classification,
                &["7", "label"],
                prediction(),
                is_labelled,
            )
        };
        let end = r#""predicted":"7","probability_7":0.75,"probability_label":0.25}"#;
        assert_eq!(
            line(true),
            format!("{{\"index\":3,\"sample\":\"7.jpg\",\"label\":\"label\",{end}\n")
        );
        assert_eq!(line(false), format!("{{\"index\":3,\"sample\":\"7.jpg\",{end}\n"));
    }
}
