//! Where the cut stands: the spec's word for it, resolved against the stages of the architecture.

use firn_core::spec::{Architecture, Freeze, ModelSpec, Word};

use crate::{
    architecture,
    error::ModelError,
    parameter_builder::{NamedTensor, Role},
    stage::Stages,
};

/// Names of the stages of the spec's architecture, input side first.
pub fn stages(spec: &ModelSpec) -> Result<Vec<String>, ModelError> {
    Ok(spec.architecture.stages(architecture::of(spec)?.layers()))
}

/// The number of stages up to the one that the spec names.
pub(crate) fn named_cut(spec: &ModelSpec, names: &[String]) -> Result<usize, ModelError> {
    match &spec.freeze {
        Freeze::All => Ok(names.len()),
        Freeze::Nothing => Ok(0),
        Freeze::Through(stage) => match names.iter().position(|name| name == stage) {
            Some(position) => Ok(position + 1),
            None => Err(unknown_stage(spec.architecture, stage, names)),
        },
    }
}

/// The number of frozen stages. Stages without parameters just above the named one have nothing to train, so they are computed
/// below the cut: the result is the same, and pooled features are smaller.
pub(crate) fn cut(named: usize, stages: usize, entries: &[NamedTensor]) -> usize {
    let trains = |stage| {
        let mut of_stage = entries.iter().filter(|entry| entry.stage == stage);
        of_stage.any(|entry| entry.role == Role::Parameter)
    };
    (named..stages).find(|&stage| trains(stage)).unwrap_or(stages)
}

/// Lets gradients flow to the parameters above the cut, and to nothing else.
pub(crate) fn mark_trained(entries: &[NamedTensor], cut: usize) -> Result<(), ModelError> {
    for entry in entries {
        let trains = entry.role == Role::Parameter && entry.stage >= cut;
        let _ = entry.tensor.f_set_requires_grad(trains)?;
    }
    Ok(())
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
pub(crate) fn split(mut stages: Stages, cut: usize) -> Result<(Stages, Stages), ModelError> {
    let trained = stages.split_off(cut);
    let fastest = |stage: Box<dyn crate::stage::Stage>| Ok(stage.folded()?.unwrap_or(stage));
    let frozen = stages.into_iter().map(fastest).collect::<Result<_, ModelError>>()?;
    Ok((frozen, trained))
}
