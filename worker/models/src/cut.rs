//! Where the cut stands in which epoch: the spec's words for it, resolved against the stages of the architecture.

use std::collections::BTreeSet;

use firn_core::spec::{Architecture, Freeze, ModelSpec, Word};
use regex::Regex;

use crate::{
    error::ModelError,
    parameter_builder::{NamedTensor, Role},
    stage::Stages,
    weights::naming::Naming,
};

/// Epochs in a row in which the cut stands at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Phase {
    /// The first of them, from 0.
    pub(crate) epoch: u32,
    /// The number of frozen stages.
    pub(crate) cut: usize,
}

/// All phases of a job, the first one first. Each has its cut below that of the one before.
#[derive(Debug)]
pub(crate) struct Phases(Vec<Phase>);

impl Phases {
    /// Those that the spec asks for. Stages without parameters just above a named one have nothing to train, so they are computed below the
    /// cut: the result is the same, and pooled features are smaller.
    pub(crate) fn of(spec: &ModelSpec, names: &[String], entries: &[NamedTensor]) -> Result<Self, ModelError> {
        let above = |named: usize| {
            (named..names.len())
                .find(|&stage| trains(entries, stage))
                .unwrap_or(names.len())
        };
        let place = |stage: &str| {
            let found = names.iter().position(|name| name == stage);
            found.ok_or_else(|| unknown_stage(spec.architecture, stage, names))
        };
        let named = match &spec.freeze.through {
            Freeze::All => names.len(),
            Freeze::Nothing => 0,
            Freeze::Through(stage) => place(stage)? + 1,
        };
        let unfrozen = spec.freeze.unfreeze.iter();
        let mut unfrozen = unfrozen
            .map(|(stage, epoch)| Ok((*epoch, above(place(stage)?))))
            .collect::<Result<Vec<_>, ModelError>>()?;
        unfrozen.sort_unstable();
        let mut phases = vec![Phase {
            epoch: 0,
            cut: above(named),
        }];
        for (epoch, cut) in unfrozen {
            let last = phases.last_mut().expect("a job begins with a phase");
            match cut < last.cut {
                true if last.epoch == epoch => last.cut = cut,
                true => phases.push(Phase { epoch, cut }),
                false => {}
            }
        }
        Ok(Self(phases))
    }

    pub(crate) fn first(&self) -> Phase {
        self.0[0]
    }

    /// The number of stages that never train.
    pub(crate) fn lowest_cut(&self) -> usize {
        self.0.last().expect("a job begins with a phase").cut
    }

    /// The one to which an epoch belongs.
    pub(crate) fn at(&self, epoch: u32) -> Phase {
        let begun = self.0.iter().rev().find(|phase| phase.epoch <= epoch);
        *begun.expect("the first phase begins with the first epoch")
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Phase> {
        self.0.iter()
    }
}

fn trains(entries: &[NamedTensor], stage: usize) -> bool {
    let mut of_stage = entries.iter().filter(|entry| entry.stage == stage);
    of_stage.any(|entry| entry.role == Role::Parameter)
}

/// Stages with weights from each stage up to the head, itself included. A stage of biases and scales alone, as a norm behind the last layer is one,
/// belongs to the layer before it, as in timm.
pub(crate) fn distances(stages: usize, entries: &[NamedTensor]) -> Vec<u32> {
    let has_weights = |entry: &&NamedTensor| entry.role == Role::Parameter && entry.tensor.dim() >= 2;
    let layers: BTreeSet<usize> = entries.iter().filter(has_weights).map(|entry| entry.stage).collect();
    let above = |stage: usize| layers.range(stage + 1..).count() as u32;
    (0..stages).map(|stage| 1 + above(stage)).collect()
}

/// Holds the parameters above the cut whose exported names the patterns find.
///
/// # Errors
/// A pattern that finds none.
pub(crate) fn hold(
    patterns: &[String],
    (entries, lowest_cut): (&mut [NamedTensor], usize),
    naming: &Naming,
) -> Result<(), ModelError> {
    for (place, pattern) in patterns.iter().enumerate() {
        let field = || format!("spec.model.freeze.parameters[{place}]");
        let compiled = Regex::new(pattern).map_err(|error| ModelError::Mismatch {
            what: field(),
            expected: "a regular expression".to_owned(),
            found: format!("`{pattern}`: {error}"),
        })?;
        let (mut found, mut example) = (0, None);
        for entry in entries.iter_mut() {
            if entry.role != Role::Parameter || entry.stage < lowest_cut {
                continue;
            }
            let name = naming.exported(&entry.key);
            if compiled.is_match(&name) {
                (entry.is_held, found) = (true, found + 1);
            }
            example = Some(name);
        }
        if found == 0 {
            let such = example.map_or_else(String::new, |name| format!(", such as `{name}`"));
            return Err(ModelError::Mismatch {
                what: field(),
                expected: format!("a pattern that finds a parameter above the cut{such}"),
                found: format!("`{pattern}`, which finds none"),
            });
        }
    }
    Ok(())
}

/// Lets gradients flow to the parameters that train above the cut, and to nothing else.
pub(crate) fn mark_trained(entries: &[NamedTensor], cut: usize) -> Result<(), ModelError> {
    for entry in entries {
        let _ = entry.tensor.f_set_requires_grad(entry.trains_above(cut))?;
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
