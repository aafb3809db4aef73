//! Auxiliary heads: an output layer beside a stage in the middle of a network, whose loss brings the gradient nearer to what is below it
//! (Szegedy et al. 2014, <https://arxiv.org/abs/1409.4842>).
//!
//! It is used in training alone, and only where its stage trains: else its loss could change nothing that the network computes. A frozen one
//! is carried through to the export. Its output layer has as many outputs as the head, so it begins anew like the head, from the seed.

use firn_core::spec::HeadSpec;
use tch::{Device, Tensor};

use crate::{
    error::ModelError,
    head::Head,
    objective::{Expected, LossSums, Objective},
    stage::{AuxiliaryOutput, Features, Pass, Stage, Stages},
};

/// It is one linear layer, whatever the head is.
const LINEAR: HeadSpec = HeadSpec::Linear { dropout: 0.0 };

/// The auxiliary output layer of a model.
pub(crate) struct AuxiliaryHead {
    pub(crate) output: AuxiliaryOutput,
    /// Index of the stage that it stands beside.
    pub(crate) stage: usize,
    /// Whether it does so in some epoch.
    pub(crate) trains: bool,
    pub(crate) head: Head,
}

impl AuxiliaryHead {
    /// The one that a stage has beside it; `outputs`: as many as the head has.
    pub(crate) fn beside(
        stages: &Stages,
        lowest_cut: usize,
        (seed, outputs, device): (u64, i64, Device),
    ) -> Result<Option<Self>, ModelError> {
        let mut numbered = stages.iter().enumerate();
        let found = numbered.find_map(|(stage, built)| Some((stage, built.auxiliary()?.output)));
        let made = found.map(|(stage, output)| {
            Ok(Self {
                output,
                stage,
                trains: stage >= lowest_cut,
                head: Head::new(output.name, (seed, device), [outputs, output.width], true, &LINEAR)?,
            })
        });
        made.transpose()
    }

    /// Refuses images that are too small to train it.
    pub(crate) fn check_crop(&self, crop: u32, stage_names: &[String]) -> Result<(), ModelError> {
        let AuxiliaryOutput {
            name, smallest_crop, ..
        } = self.output;
        if !self.trains || crop >= smallest_crop {
            return Ok(());
        }
        let stage = &stage_names[self.stage];
        Err(ModelError::Mismatch {
            what: "spec.data.preprocessing.crop".to_owned(),
            expected: format!(
                "at least {smallest_crop} where `{stage}` trains, whose auxiliary head `{name}` learns with it"
            ),
            found: crop.to_string(),
        })
    }
}

/// What a network gives in training.
#[derive(Debug)]
pub struct Outputs {
    /// Of the head: `(n, outputs)`.
    pub head: Tensor,
    /// Of the auxiliary head that trains, where there is one: what its loss weighs, and `(n, outputs)`.
    pub auxiliary: Option<(f64, Tensor)>,
}

impl Outputs {
    /// The sums of `objective`: the loss of an auxiliary head is added to that of the head with its weight.
    ///
    /// # Errors
    /// Those of [`Objective::sums`].
    pub fn sums(&self, objective: &Objective, expected: Expected<'_>) -> Result<LossSums, ModelError> {
        let mut sums = objective.sums(&self.head, expected)?;
        if let Some((weight, outputs)) = &self.auxiliary {
            let loss = objective.sums(outputs, expected)?.loss;
            sums.loss = sums.loss.f_add(&loss.f_mul_scalar(*weight)?)?;
        }
        Ok(sums)
    }
}

/// What the output layers take.
pub(crate) struct Vectors {
    /// Pooled features or states, for the head.
    pub(crate) head: Features,
    /// For the auxiliary head that trains, `(n, width)`.
    pub(crate) auxiliary: Option<Features>,
}

/// The stages above the cut one after the other, and the path to the auxiliary head beside them, if that is asked for.
pub(crate) fn walk(
    stages: &[Box<dyn Stage>],
    features: &Features,
    pass: &Pass<'_>,
    with_auxiliary: bool,
) -> Result<Vectors, ModelError> {
    let (mut state, mut auxiliary) = (features.shallow_clone(), None);
    for stage in stages {
        state = stage.forward(state, pass)?;
        state = state.map(|tensor| pass.statistics.branching(tensor))?;
        if let Some(beside) = stage.auxiliary().filter(|_| with_auxiliary) {
            auxiliary = Some(beside.path.forward(state.shallow_clone(), pass)?);
        }
    }
    Ok(Vectors { head: state, auxiliary })
}
