//! The network that a job left, and what it predicts.

use std::sync::Arc;

use firn_core::{compatibility::DataRules, spec::Preprocessing};
use firn_data::{Preprocessor, TextLimits};
use firn_models::{Model, Objective};

use super::Artifact;
use crate::rank::{self, failure::RankFailure, learner::inputs::Inputs, scoring::Scorer};

/// The network, and how samples get into it.
pub(crate) struct Network {
    model: Model,
    objective: Objective,
    preprocessor: Arc<Preprocessor>,
    inputs: Inputs,
}

impl Network {
    /// Of what a job left; `rules`: by which the job reads its data.
    ///
    /// # Errors
    /// What is missing in the folder or does not fit together, by name; those of libtorch.
    pub(crate) fn new(artifact: &Artifact, device: tch::Device, rules: DataRules) -> Result<Self, RankFailure> {
        let spec = &artifact.spec;
        let model = artifact.model(device)?;
        if let Preprocessing::Image { crop, .. } = spec.data.preprocessing {
            model.check_crop(crop)?;
        }
        let limits = TextLimits {
            longest: model.max_length(),
            vocabulary: model.vocabulary(),
            pairs: spec.data.format.has_pairs(),
            words: spec.data.format.has_words(),
            rules,
        };
        let tokenizer = artifact.tokenizer()?;
        let preprocessor = Preprocessor::new(&spec.data.preprocessing, tokenizer.as_deref(), limits)?;
        Ok(Self {
            objective: rank::task::plain_objective(spec, &artifact.outputs.targets, device)?,
            inputs: Inputs::new(&spec.data.preprocessing, device)?,
            preprocessor: Arc::new(preprocessor),
            model,
        })
    }

    /// How samples are prepared for it.
    pub(crate) fn preprocessor(&self) -> Arc<Preprocessor> {
        Arc::clone(&self.preprocessor)
    }

    /// What scores samples with it.
    pub(crate) fn scorer(&self) -> Scorer<'_> {
        Scorer {
            model: &self.model,
            objective: &self.objective,
            inputs: &self.inputs,
        }
    }
}
