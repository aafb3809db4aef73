//! Where the cut stands: the spec's word for it, resolved against the stages of the architecture.

use std::path::Path;

use firn_core::spec::{Architecture, Freeze, ModelSpec, Word};

use crate::{
    architecture::{Plan, bert::BertConfig, resnet::Depth},
    error::ModelError,
    stage::Stage,
};

/// Names of the stages of the spec's architecture, input side first.
pub fn stages(spec: &ModelSpec) -> Result<Vec<String>, ModelError> {
    Ok(plan(spec)?.stage_names())
}

/// The spec's architecture with all its sizes.
pub(crate) fn plan(spec: &ModelSpec) -> Result<Plan, ModelError> {
    Ok(match spec.architecture {
        Architecture::Resnet18 => Plan::Resnet(Depth::RESNET18),
        Architecture::Resnet34 => Plan::Resnet(Depth::RESNET34),
        Architecture::Resnet50 => Plan::Resnet(Depth::RESNET50),
        Architecture::Resnet101 => Plan::Resnet(Depth::RESNET101),
        Architecture::Resnet152 => Plan::Resnet(Depth::RESNET152),
        Architecture::MobilenetV2 => Plan::MobilenetV2,
        Architecture::Bert => Plan::Bert(bert_config(spec)?, spec.pooling),
    })
}

fn bert_config(spec: &ModelSpec) -> Result<BertConfig, ModelError> {
    let beside = |path: &String| Path::new(path).with_file_name("config.json");
    if let Some(weights) = &spec.weights {
        return BertConfig::read(&beside(weights));
    }
    match spec.tokenizer.as_ref().map(beside).filter(|path| path.exists()) {
        Some(path) => BertConfig::read(&path),
        None => Ok(BertConfig::default()),
    }
}

/// The number of frozen stages. Stages without parameters just above the named one have nothing to train, so they are computed
/// below the cut: the result is the same and the features are smaller.
pub(crate) fn cut(spec: &ModelSpec, names: &[String]) -> Result<usize, ModelError> {
    let named = match &spec.freeze {
        Freeze::All => names.len(),
        Freeze::Nothing => 0,
        Freeze::Through(stage) => match names.iter().position(|name| name == stage) {
            Some(position) => position + 1,
            None => return Err(unknown_stage(spec.architecture, stage, names)),
        },
    };
    // In every architecture here the only stage without parameters is the last, the pool.
    Ok(if named + 1 == names.len() { names.len() } else { named })
}

fn unknown_stage(architecture: Architecture, stage: &str, names: &[String]) -> ModelError {
    let distance = |name: &String| strsim::damerau_levenshtein(stage, name);
    ModelError::UnknownStage {
        architecture: architecture.word().to_owned(),
        stage: stage.to_owned(),
        nearest: names
            .iter()
            .min_by_key(|name| distance(name))
            .cloned()
            .unwrap_or_default(),
        stages: names.to_vec(),
    }
}

/// Stages below the cut in the form that computes fastest, and stages above it.
pub(crate) fn split(stages: Vec<Stage>, cut: usize) -> Result<(Vec<Stage>, Vec<Stage>), ModelError> {
    let mut frozen = Vec::with_capacity(cut);
    let mut trained = Vec::new();
    for (index, stage) in stages.into_iter().enumerate() {
        if index < cut {
            frozen.push(stage.folded()?)
        } else {
            trained.push(stage)
        }
    }
    Ok((frozen, trained))
}
