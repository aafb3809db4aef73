//! A tag for each word of a text: what is predicted of a word is read at its first token. Cross-entropy in training, the mean over words; softmax
//! probabilities in evaluation. Other tokens, padding and words that were cut off count for nothing.

use firn_core::{
    metrics::{TagSet, Tagged},
    task::TokenStatistics,
};
use firn_data::{Batch, Dataset, RawTensor, Source, Split, Values};
use firn_proto::v1alpha1 as wire;
use tch::{Device, Kind, Tensor};

use super::{Outputs, of_sample};
use crate::rank::failure::RankFailure;

/// The words of a batch that have a token, sample by sample.
pub(crate) struct Words {
    /// Of each, the place of its first token among all tokens of the batch, padding included.
    tokens: Vec<i64>,
    /// Of each sample, places of these words in it.
    places: Vec<Vec<usize>>,
}

impl Words {
    /// `None`: the samples of the batch are no lists of words.
    pub(super) fn of(batch: &Batch) -> Option<Self> {
        let mut arrays = batch.tensors.arrays.iter();
        let RawTensor { shape, values, .. } = arrays.find(|array| array.name == "words")?;
        let (&[length], Values::Integers(values)) = (&shape[..], values) else {
            return None;
        };
        let tokens = values.iter().enumerate().filter(|(_, word)| **word > 0);
        let places = values.chunks(length.max(1)).map(|row| {
            let begins = row.iter().filter(|word| **word > 0);
            begins.map(|word| *word as usize - 1).collect()
        });
        Some(Self {
            tokens: tokens.map(|(token, _)| token as i64).collect(),
            places: places.collect(),
        })
    }

    /// From what a network gives of each token, `(samples, tokens, tags)`, to that of each word, `(words, tags)`.
    pub(super) fn select(&self, outputs: &Tensor) -> Result<Tensor, RankFailure> {
        let (_, _, tags) = outputs.size3()?;
        let tokens = Tensor::f_from_slice(&self.tokens)?.f_to_device(outputs.device())?;
        Ok(outputs.f_reshape([-1, tags])?.f_index_select(0, &tokens)?)
    }

    /// The tag of each word.
    pub(super) fn tags(&self, tags: &[Vec<u32>]) -> Vec<i64> {
        let of_sample = |(places, tags): (&Vec<usize>, &Vec<u32>)| -> Vec<i64> {
            places.iter().map(|place| i64::from(tags[*place])).collect()
        };
        self.places.iter().zip(tags).flat_map(of_sample).collect()
    }
}

pub(super) fn describe(dataset: &Dataset) -> Outputs {
    let tags = dataset.classes.iter().enumerate();
    let lines: Vec<String> = tags.map(|(index, tag)| format!("- {index}: {tag}")).collect();
    Outputs {
        names: dataset.classes.clone(),
        more: Vec::new(),
        learned: format!("one of {} tags for each word", dataset.classes.len()),
        section: format!(
            "## Tags\n\nThe tag of a word is read at its first token. Precision, recall and F1 are of whole entities, as seqeval counts them; accuracy is \
             of words.\n\n{}",
            lines.join("\n")
        ),
    }
}

/// Adds the predicted tag of each word with its probability and that of the true tag, and the cross-entropy, both in double precision.
pub(super) fn score(
    outputs: &Tensor,
    (batch, tags): (&Batch, &[Vec<u32>]),
    split: &Split,
    report: &mut wire::EvaluationReport,
) -> Result<(), RankFailure> {
    let words = Words::of(batch).ok_or_else(|| RankFailure::Internal("tags are of texts without words".to_owned()))?;
    let log_probabilities = {
        let _no_grad = tch::no_grad_guard();
        let logits = words.select(outputs)?.f_to_kind(Kind::Double)?;
        let log_probabilities = logits.f_log_softmax(-1, Kind::Double)?.f_to_device(Device::Cpu)?;
        Vec::<f64>::try_from(log_probabilities.f_contiguous()?.f_view(-1)?)?
    };
    let width = outputs.size3()?.2 as usize;
    let mut rows = log_probabilities.chunks(width);
    for ((&index, own), places) in batch.indices.iter().zip(tags).zip(&words.places) {
        let (mut predicted, mut scores, mut of_labels) = (Vec::new(), Vec::new(), Vec::new());
        for (place, row) in places.iter().zip(rows.by_ref()) {
            let (tag, score) = likeliest(row);
            let of_label = row[own[*place] as usize];
            predicted.push(tag);
            scores.push(score.exp());
            of_labels.push(of_label.exp());
            report.loss_sum -= of_label;
        }
        scores.append(&mut of_labels);
        report.samples += 1;
        report.predictions.push(wire::Prediction {
            words: match &split.samples[index as usize].source {
                Source::Words(words) => words.clone(),
                _ => Vec::new(),
            },
            labels: own.clone(),
            places: places.iter().map(|place| *place as u32).collect(),
            classes: predicted,
            scores,
            ..of_sample(split, index)
        });
    }
    Ok(())
}

/// The statistics of what was predicted.
pub(super) fn statistics(report: &wire::EvaluationReport, tags: &[String]) -> TokenStatistics {
    let set = TagSet::of(tags);
    let mut statistics = TokenStatistics::new(&set);
    statistics.loss_sum = report.loss_sum;
    for prediction in &report.predictions {
        let (places, labels) = (&prediction.places, &prediction.labels);
        let own: Vec<u32> = places.iter().map(|place| labels[*place as usize]).collect();
        let tagged = Tagged {
            tags: &own,
            predicted: &prediction.classes,
        };
        let left_out = prediction.words.len() - places.len();
        statistics.add(&set, tagged, left_out as u64);
    }
    statistics
}

/// The place of the largest value, and the value; of equals the first.
fn likeliest(row: &[f64]) -> (u32, f64) {
    let mut best = (0, f64::NEG_INFINITY);
    for (tag, value) in (0..).zip(row) {
        if *value > best.1 {
            best = (tag, *value);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use firn_data::{Targets, Tensors};

    use super::*;

    /// Two texts: `[CLS] a ##b c [SEP]`, whose second word gives no token, and `[CLS] d [SEP]` with padding.
    fn batch() -> Batch {
        Batch {
            indices: vec![4, 9],
            turns: vec![4, 9],
            targets: Targets::Tags(vec![vec![2, 0, 1], vec![1]]),
            tensors: Tensors {
                samples: 2,
                arrays: vec![RawTensor {
                    name: "words",
                    shape: vec![5],
                    values: Values::Integers(vec![0, 1, 0, 3, 0, 0, 1, 0, 0, 0]),
                }],
            },
            corrupt: Vec::new(),
        }
    }

    #[test]
    fn a_word_is_its_first_token_and_one_without_a_token_is_none() {
        let batch = batch();
        let words = Words::of(&batch).unwrap();
        let outputs = Tensor::arange(2 * 5 * 3, (Kind::Float, Device::Cpu)).view([2, 5, 3]);
        let selected = words.select(&outputs).unwrap();
        assert_eq!(
            Vec::<f32>::try_from(selected.view(-1)).unwrap(),
            [3.0, 4.0, 5.0, 9.0, 10.0, 11.0, 18.0, 19.0, 20.0]
        );
        let Targets::Tags(tags) = &batch.targets else {
            unreachable!("they are tags")
        };
        assert_eq!(words.tags(tags), [2, 1, 1]);
    }

    #[test]
    fn of_equal_probabilities_the_first_tag_is_predicted() {
        assert_eq!(likeliest(&[-2.0, -1.0, -1.0]), (1, -1.0));
    }
}
