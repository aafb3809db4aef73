//! What an architecture is in numbers: the parameters of each stage and the features that stand at each cut.
//!
//! They are counted from the network itself, which is built without memory for its tensors and walked through once. `firn models` and whoever
//! else must not link libtorch reads what a test has written of them into `firn-core`.

use firn_core::spec::{Architecture, Freeze, HeadSpec, Modality, ModelSpec, StageDropout, StageFacts};
use tch::{Device, Kind, Tensor};

use crate::{
    architecture, error::ModelError, input::Input, parameter_builder::Role, stage::Pass, weights::naming::Naming,
};

/// Tokens of the text that is walked through a network of texts.
const TOKENS: i64 = 8;

/// The stages of an architecture, input side first; those of texts with the sizes that it has without a `config.json`. `walk`: an image of so
/// many pixels a side goes through it, or a short text; `None`: the shapes of its features are left out.
///
/// # Errors
/// Those of libtorch.
pub fn stage_facts(architecture: Architecture, walk: Option<u32>) -> Result<Vec<StageFacts>, ModelError> {
    let spec = ModelSpec {
        architecture,
        weights: None,
        tokenizer: None,
        freeze: Freeze::All.into(),
        lora: None,
        dropout: StageDropout::None,
        head: HeadSpec::Linear { dropout: 0.0 },
        pooling: architecture.poolings()[0],
    };
    let family = architecture::of(&spec)?;
    let (stages, entries) = architecture::inventory(family.as_ref(), &Naming::own(family.dialects()))?;
    let shapes = match walk {
        Some(crop) => {
            let input = sample(architecture.modality(), crop)?;
            let mut state = input.enter(architecture.modality(), family.longest_text())?;
            let mut walked = Vec::with_capacity(stages.len());
            for stage in &stages {
                state = tch::no_grad(|| stage.forward(state, &Pass::default()))?;
                walked.push(features(architecture.modality(), &state.tensor.size()));
            }
            walked
        }
        None => vec![Vec::new(); stages.len()],
    };
    let names = architecture.stages(family.layers()).into_iter();
    let facts = names.zip(shapes).enumerate().map(|(index, (name, features))| {
        let of_stage = entries
            .iter()
            .filter(|entry| entry.stage == index && entry.role == Role::Parameter);
        StageFacts {
            name,
            parameters: of_stage.map(|entry| entry.tensor.numel() as u64).sum(),
            features,
        }
    });
    Ok(facts.collect())
}

/// One sample: a square image, or a few tokens.
fn sample(modality: Modality, crop: u32) -> Result<Input, ModelError> {
    match modality {
        Modality::Image => {
            let pixels = Tensor::f_zeros([1, 3, crop.into(), crop.into()], (Kind::Float, Device::Cpu))?;
            Ok(Input::Images(pixels))
        }
        Modality::Text => {
            let tokens = [1; TOKENS as usize];
            Input::tokens(&tokens, &tokens, tokens.len(), Device::Cpu)
        }
    }
}

/// The shape of one sample's features; a text has one vector for each token, whose number is left out.
fn features(modality: Modality, shape: &[i64]) -> Vec<u64> {
    let of_sample = match (modality, shape) {
        (Modality::Text, [_, TOKENS, rest @ ..]) => rest,
        (_, [_, rest @ ..]) => rest,
        (_, []) => &[],
    };
    of_sample.iter().map(|&size| size as u64).collect()
}
