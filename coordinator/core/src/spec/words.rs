//! The words that people write for the choices of a spec.
//!
//! One table for each choice serves reading, writing and the list of valid words in an error, so that the three cannot disagree.

use super::word::Word;
use super::{
    CropMode, DataFormat, Decayed, Determinism, DeviceRequest, InputColumn, Interpolation, MetricName, Modality,
    OneCycleSpec, PlateauSpec, Pooling, PreemptionPolicy, RowLayout, ScheduleShape, Task, ThresholdMode,
};
use crate::metrics::NAMES;
use crate::task::LabelThresholds;

impl Word for Task {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("classification", Self::Classification),
        ("regression", Self::Regression),
        ("multi_label_classification", Self::MultiLabel(LabelThresholds::DEFAULT)),
        ("token_classification", Self::Tokens),
    ];

    fn word(&self) -> &'static str {
        word_of_kind(self)
    }
}

/// The word of a choice, whatever its settings.
fn word_of_kind<T: Word>(choice: &T) -> &'static str {
    let is_of_kind = |known: &T| std::mem::discriminant(known) == std::mem::discriminant(choice);
    let entry = T::WORDS.iter().find(|(_, known)| is_of_kind(known));
    entry.expect("every choice stands in the table of its words").0
}

impl Word for Pooling {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("mean", Self::Mean),
        ("cls", Self::Cls),
        ("last", Self::Last),
        ("max", Self::Max),
        ("attention", Self::Attention),
        ("none", Self::None),
    ];
}

impl Word for CropMode {
    const WORDS: &'static [(&'static str, Self)] = &[("center", Self::Center), ("squash", Self::Squash)];
}

impl Word for Interpolation {
    const WORDS: &'static [(&'static str, Self)] = &[("bilinear", Self::Bilinear), ("bicubic", Self::Bicubic)];
}

impl Word for ScheduleShape {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("constant", Self::Constant),
        ("linear", Self::Linear),
        ("cosine", Self::Cosine),
        ("plateau", Self::Plateau(PlateauSpec::DEFAULT)),
        (
            "cosine_restarts",
            Self::CosineRestarts {
                cycles: 1,
                min_learning_rate: 0.0,
            },
        ),
        (
            "polynomial",
            Self::Polynomial {
                power: 1.0,
                min_learning_rate: 0.0,
            },
        ),
        (
            "step",
            Self::Step {
                step_size: 10,
                gamma: 0.1,
            },
        ),
        (
            "multi_step",
            Self::MultiStep {
                milestones: Vec::new(),
                gamma: 0.1,
            },
        ),
        ("exponential", Self::Exponential { gamma: 0.95 }),
        ("one_cycle", Self::OneCycle(OneCycleSpec::DEFAULT)),
        ("inverse_sqrt", Self::InverseSqrt { timescale: None }),
        (
            "range_test",
            Self::RangeTest {
                start_learning_rate: 1e-7,
                steps: 100,
            },
        ),
    ];

    fn word(&self) -> &'static str {
        word_of_kind(self)
    }
}

impl Word for ThresholdMode {
    const WORDS: &'static [(&'static str, Self)] = &[("rel", Self::Relative), ("abs", Self::Absolute)];
}

impl Word for Determinism {
    const WORDS: &'static [(&'static str, Self)] = &[("default", Self::Default), ("strict", Self::Strict)];
}

impl Word for Decayed {
    const WORDS: &'static [(&'static str, Self)] = &[("all", Self::All), ("weights", Self::Weights)];
}

impl Word for PreemptionPolicy {
    const WORDS: &'static [(&'static str, Self)] = &[("lower_priority", Self::LowerPriority), ("never", Self::Never)];
}

impl Word for DeviceRequest {
    const WORDS: &'static [(&'static str, Self)] = &[("auto", Self::Auto), ("cpu", Self::Cpu), ("gpu", Self::Gpu)];
}

impl Word for MetricName {
    const WORDS: &'static [(&'static str, Self)] = NAMES;
}

impl DataFormat {
    /// What the samples of a format are, if it is one. Rows hold texts, or the paths of images.
    pub(super) fn modality_of_word(word: &str, has_image_column: bool) -> Option<Modality> {
        match word {
            "imagefolder" => Some(Modality::Image),
            "csv" | "tsv" | "jsonl" if has_image_column => Some(Modality::Image),
            "csv" | "tsv" | "jsonl" | "conll" => Some(Modality::Text),
            _ => None,
        }
    }

    /// What its samples are.
    pub fn modality(&self) -> Modality {
        match self {
            Self::ImageFolder => Modality::Image,
            Self::Rows(rows) => match rows.input {
                InputColumn::Text(_) | InputColumn::TextPair(_) | InputColumn::Words(_) => Modality::Text,
                InputColumn::Image { .. } => Modality::Image,
            },
        }
    }

    /// The word that people write for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::ImageFolder => "imagefolder",
            Self::Rows(rows) => rows.layout.word(),
        }
    }
}

impl RowLayout {
    /// The word that people write for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Delimited { delimiter: '\t', .. } => "tsv",
            Self::Delimited { .. } => "csv",
            Self::JsonLines => "jsonl",
            Self::Conll => "conll",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words_and_choices_are_one_to_one<W: Word + std::fmt::Debug>() {
        for (i, (word, choice)) in W::WORDS.iter().enumerate() {
            assert_eq!(W::from_word(word).as_ref(), Some(choice));
            assert_eq!(choice.word(), *word);
            assert!(W::WORDS[..i].iter().all(|(other, _)| other != word));
        }
        assert_eq!(W::from_word("nonsense"), None);
    }

    #[test]
    fn every_word_has_one_choice_and_every_choice_one_word() {
        words_and_choices_are_one_to_one::<Task>();
        words_and_choices_are_one_to_one::<crate::spec::Architecture>();
        words_and_choices_are_one_to_one::<Pooling>();
        words_and_choices_are_one_to_one::<CropMode>();
        words_and_choices_are_one_to_one::<Interpolation>();
        words_and_choices_are_one_to_one::<ScheduleShape>();
        words_and_choices_are_one_to_one::<ThresholdMode>();
        words_and_choices_are_one_to_one::<DeviceRequest>();
        words_and_choices_are_one_to_one::<MetricName>();
    }

    #[test]
    fn the_words_are_those_of_the_stored_json() {
        for &(word, metric) in MetricName::WORDS {
            assert_eq!(serde_json::to_value(metric).unwrap(), word);
        }
        for &(word, device) in DeviceRequest::WORDS {
            assert_eq!(serde_json::to_value(device).unwrap(), word);
        }
    }
}
