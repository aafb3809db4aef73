//! Of a tag for each word: a line a word, `index,sample,position,word,label,predicted,probability,probability_label`. `position` counts the words of a
//! text from 0; label and prediction are tags. A word that was cut off, or gives no token, has no prediction: the last three fields are empty. Two texts
//! differ in `index`. As JSON lines, a line is a text, and the fields of its words are arrays.

use std::{
    collections::{BTreeMap, HashMap},
    io::Read,
};

use firn_core::{
    metrics::{RedrawnSentences, TagSet, Tagged},
    task::TokenStatistics,
};
use firn_proto::v1alpha1::Prediction;
use serde_json::{Map, Value, json};

use super::{ArtifactError, Walk};

/// Columns that say something of the true tags.
pub(super) const LABEL_COLUMNS: [usize; 2] = [4, 7];

const COLUMNS: [&str; 8] = [
    "index",
    "sample",
    "position",
    "word",
    "label",
    "predicted",
    "probability",
    "probability_label",
];

pub(super) fn header() -> Vec<String> {
    COLUMNS.map(str::to_owned).to_vec()
}

/// The true tags of the words that were predicted, in their order.
pub fn true_tags(prediction: &Prediction) -> Vec<u32> {
    let tag = |place: &u32| prediction.labels.get(*place as usize).copied();
    prediction.places.iter().filter_map(tag).collect()
}

/// Words that were not predicted.
pub fn left_out(prediction: &Prediction) -> u64 {
    (prediction.words.len() - prediction.places.len()) as u64
}

/// What is predicted of a word: the tag, its probability, and that of the true tag.
fn by_word(prediction: &Prediction) -> impl Iterator<Item = Option<(u32, f64, f64)>> {
    let predicted = prediction.places.len();
    let mut places = prediction.places.iter().enumerate().peekable();
    (0..prediction.words.len() as u32).map(move |word| {
        let (place, _) = places.next_if(|(_, own)| **own == word)?;
        let (scores, tag) = (&prediction.scores, *prediction.classes.get(place)?);
        Some((tag, *scores.get(place)?, *scores.get(predicted + place)?))
    })
}

fn name(tags: &[String], tag: u32) -> String {
    tags.get(tag as usize).cloned().unwrap_or_default()
}

pub(super) fn rows(prediction: &Prediction, tags: &[String]) -> Vec<Vec<String>> {
    let words = prediction.words.iter().zip(&prediction.labels).zip(by_word(prediction));
    let rows = words.enumerate().map(|(position, ((word, label), predicted))| {
        let mut row = vec![
            prediction.index.to_string(),
            prediction.sample.clone(),
            position.to_string(),
            word.clone(),
            name(tags, *label),
        ];
        row.extend(match predicted {
            // `{:?}` is the shortest text that reads back to the same double, with an exponent where that is shorter.
            Some((tag, own, of_label)) => [name(tags, tag), format!("{own:?}"), format!("{of_label:?}")],
            None => [const { String::new() }; 3],
        });
        row
    });
    rows.collect()
}

/// A text as one object.
pub(super) fn object(prediction: &Prediction, tags: &[String], is_labelled: bool) -> Map<String, Value> {
    let predicted: Vec<Option<(u32, f64, f64)>> = by_word(prediction).collect();
    let of_words = |field: &dyn Fn(&(u32, f64, f64)) -> Value| -> Value {
        let words = predicted.iter();
        words.map(|word| word.as_ref().map_or(Value::Null, field)).collect()
    };
    let labels = prediction.labels.iter().map(|label| name(tags, *label));
    let fields = [
        ("index", prediction.index.into()),
        ("sample", prediction.sample.clone().into()),
        ("words", json!(prediction.words)),
        ("labels", labels.collect()),
        ("predicted", of_words(&|(tag, ..)| name(tags, *tag).into())),
        ("probability", of_words(&|(_, own, _)| json!(own))),
        ("probability_label", of_words(&|(.., of_label)| json!(of_label))),
    ];
    let fields = fields.map(|(name, value)| (name.to_owned(), value)).into_iter();
    fields
        .filter(|(name, _)| is_labelled || !matches!(name.as_str(), "labels" | "probability_label"))
        .collect()
}

/// No metric needs more than the counts.
pub(super) fn metrics() -> BTreeMap<String, f64> {
    BTreeMap::new()
}

pub(super) fn statistics(tags: &[String], walk: &Walk<'_>) -> Result<TokenStatistics, ArtifactError> {
    let set = TagSet::of(tags);
    let mut statistics = TokenStatistics::new(&set);
    walk(&mut |prediction| add(&mut statistics, &set, prediction))?;
    Ok(statistics)
}

/// Adds a text without its loss.
pub fn add(statistics: &mut TokenStatistics, set: &TagSet, prediction: &Prediction) {
    let tagged = Tagged {
        tags: &true_tags(prediction),
        predicted: &prediction.classes,
    };
    statistics.add(set, tagged, left_out(prediction));
}

/// Texts as they are drawn again; their losses are those of the probabilities.
pub(super) fn redrawn(tags: &[String], walk: &Walk<'_>) -> Result<RedrawnSentences, ArtifactError> {
    let mut redrawn = RedrawnSentences::new(tags);
    walk(&mut |prediction| {
        let of_labels = prediction.scores.iter().skip(prediction.places.len());
        let loss = of_labels.map(|probability| -probability.ln()).sum();
        let tagged = Tagged {
            tags: &true_tags(prediction),
            predicted: &prediction.classes,
        };
        redrawn.add(tagged, loss);
    })?;
    Ok(redrawn)
}

/// Reads lines back, and calls `each` for every text.
pub(super) fn read(
    csv: &mut csv::Reader<impl Read>,
    tags: &[String],
    each: &mut dyn FnMut(&Prediction),
) -> Result<(), ArtifactError> {
    let numbers: HashMap<&str, u32> = tags.iter().map(String::as_str).zip(0..).collect();
    let mut open: Option<Open> = None;
    let mut row = csv::StringRecord::new();
    while csv.read_record(&mut row)? {
        let wrong = || ArtifactError::Predictions {
            line: row.position().map_or(0, csv::Position::line),
        };
        let word = Word::parse(&row, &numbers).ok_or_else(wrong)?;
        if let Some(closed) = open.take_if(|open| open.prediction.index != word.index) {
            each(&closed.close());
        }
        let is_next = open.get_or_insert_with(|| Open::new(&word)).add(word);
        is_next.then_some(()).ok_or_else(wrong)?;
    }
    if let Some(last) = open {
        each(&last.close());
    }
    Ok(())
}

/// A line.
struct Word<'a> {
    index: u64,
    sample: &'a str,
    position: usize,
    word: &'a str,
    label: u32,
    predicted: Option<(u32, f64, f64)>,
}

impl<'a> Word<'a> {
    /// `None`: the line is not what [`rows`] writes.
    fn parse(row: &'a csv::StringRecord, numbers: &HashMap<&str, u32>) -> Option<Self> {
        let tag = |place: usize| numbers.get(row.get(place)?).copied();
        let number = |place: usize| row.get(place)?.parse::<f64>().ok();
        let is_left_out = (5..8).all(|place| row.get(place) == Some(""));
        Some(Self {
            index: row.get(0)?.parse().ok()?,
            sample: row.get(1)?,
            position: row.get(2)?.parse().ok()?,
            word: row.get(3)?,
            label: tag(4)?,
            predicted: match is_left_out {
                true => None,
                false => Some((tag(5)?, number(6)?, number(7)?)),
            },
        })
    }
}

/// A text of which lines may be missing.
struct Open {
    prediction: Prediction,
    of_labels: Vec<f64>,
}

impl Open {
    fn new(first: &Word<'_>) -> Self {
        Self {
            prediction: Prediction {
                index: first.index,
                sample: first.sample.to_owned(),
                ..Prediction::default()
            },
            of_labels: Vec::new(),
        }
    }

    /// Whether it is the next word of the text.
    fn add(&mut self, word: Word<'_>) -> bool {
        let prediction = &mut self.prediction;
        let is_next = word.position == prediction.words.len() && word.sample == prediction.sample;
        if let Some((tag, own, of_label)) = word.predicted {
            prediction.places.push(word.position as u32);
            prediction.classes.push(tag);
            prediction.scores.push(own);
            self.of_labels.push(of_label);
        }
        prediction.words.push(word.word.to_owned());
        prediction.labels.push(word.label);
        is_next
    }

    fn close(mut self) -> Prediction {
        self.prediction.scores.append(&mut self.of_labels);
        self.prediction
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prediction(index: u64) -> Prediction {
        Prediction {
            index,
            sample: format!("news.jsonl:{index}"),
            words: ["Ada, \"the\"", "\u{200b}", "was", "here"].map(str::to_owned).to_vec(),
            labels: vec![0, 1, 1, 1],
            places: vec![0, 2],
            classes: vec![0, 0],
            scores: vec![1.0 / 3.0, 0.75, 1.0 / 3.0, 0.25],
            ..Prediction::default()
        }
    }

    fn tags() -> Vec<String> {
        ["B-PER", "O"].map(str::to_owned).to_vec()
    }

    fn written(texts: &[Prediction]) -> String {
        let mut csv = csv::Writer::from_writer(Vec::new());
        csv.write_record(header()).unwrap();
        for row in texts.iter().flat_map(|text| rows(text, &tags())) {
            csv.write_record(row).unwrap();
        }
        String::from_utf8(csv.into_inner().unwrap()).unwrap()
    }

    fn read_back(text: &str) -> Result<Vec<Prediction>, ArtifactError> {
        let mut found = Vec::new();
        let mut csv = csv::Reader::from_reader(text.as_bytes());
        read(&mut csv, &tags(), &mut |prediction| found.push(prediction.clone()))?;
        Ok(found)
    }

    #[test]
    fn lines_read_back_to_the_same_texts() {
        let texts = [prediction(7), prediction(8)];
        let text = written(&texts);
        assert_eq!(
            text.lines().nth(1).unwrap(),
            r#"7,news.jsonl:7,0,"Ada, ""the""",B-PER,B-PER,0.3333333333333333,0.3333333333333333"#
        );
        assert_eq!(text.lines().nth(2).unwrap(), "7,news.jsonl:7,1,\u{200b},O,,,");
        assert_eq!(read_back(&text).unwrap(), texts);
        let other = text.replacen(",2,was", ",3,was", 1);
        assert!(matches!(read_back(&other), Err(ArtifactError::Predictions { line: 4 })));
        let unknown = text.replacen("O,B-PER,0.75", "O,B-LOC,0.75", 1);
        assert!(matches!(
            read_back(&unknown),
            Err(ArtifactError::Predictions { line: 4 })
        ));
    }

    #[test]
    fn a_text_is_one_object_in_which_words_that_were_left_out_are_null() {
        let shown = Value::Object(object(&prediction(7), &tags(), false));
        assert_eq!(
            shown,
            json!({
                "index": 7,
                "sample": "news.jsonl:7",
                "words": ["Ada, \"the\"", "\u{200b}", "was", "here"],
                "predicted": ["B-PER", null, "B-PER", null],
                "probability": [1.0 / 3.0, null, 0.75, null],
            })
        );
        let labelled = object(&prediction(7), &tags(), true);
        assert_eq!(labelled["labels"], json!(["B-PER", "O", "O", "O"]));
        assert_eq!(labelled["probability_label"], json!([1.0 / 3.0, null, 0.25, null]));
    }

    #[test]
    fn words_that_were_left_out_are_counted_and_not_scored() {
        let walk = |each: &mut dyn FnMut(&Prediction)| {
            each(&prediction(7));
            Ok(())
        };
        let told = statistics(&tags(), &walk).unwrap();
        assert_eq!((told.words, told.right, told.left_out), (2, 1, 2));
        assert_eq!((told.entities[0].right, told.entities[0].predicted), (1, 2));
    }
}
