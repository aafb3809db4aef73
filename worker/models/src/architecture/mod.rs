//! The networks that Firn builds, one file a family, each as a sequence of stages under the names of its row in
//! `firn_core::spec::Architecture`. Variants of a family that are only other numbers differ in that row alone, which holds the numbers.

mod bert;
mod cifar_resnet;
mod configuration;
mod convnext;
mod decoder;
mod efficientnet;
mod gpt2;
mod inception;
mod mobilenet;
mod mobilenet_v3;
mod modernbert;
pub(crate) mod opened;
mod resnet;
mod swin;
mod torchscript;
mod vgg;
mod vit;

use firn_core::spec::{Configured, Convnext, ModelSpec, Network, Vit};
use serde_json::{Map, Value};
use tch::{Device, Tensor};

use self::configuration::Configuration;
pub use self::opened::{DenseClass, Opened};
use crate::{
    error::ModelError,
    parameter_builder::{NamedTensor, ParameterBuilder, Source},
    stage::Stages,
    weights::naming::{Dialect, Library, Naming},
};

/// A network with all its sizes known.
pub(crate) trait Family: Send {
    /// Builds all stages, one for each name; `builder` is told which one is being made.
    fn build(&self, builder: &mut ParameterBuilder<'_>) -> Result<Stages, ModelError>;

    /// Length of the feature vector that the head takes, in the form of the library whose names the weights have; `None` where only a
    /// trial tells it.
    fn feature_width(&self, library: Library) -> Option<i64>;

    /// Under which names files keep its tensors; Firn's own come last.
    fn dialects(&self) -> &'static [Dialect];

    /// Numbered layers that the configuration asks for.
    fn layers(&self) -> usize {
        0
    }

    /// Images: the pixels a side that they must have, where it takes no other ones.
    fn only_image(&self) -> Option<u32> {
        None
    }

    /// Text: the most tokens of one sample, special ones included.
    fn longest_text(&self) -> Option<u32> {
        None
    }

    /// Text: rows of the table of token embeddings; ids count from 0.
    fn vocabulary(&self) -> Option<u32> {
        None
    }

    /// Text: whether it tells the second text of a pair from the first by types of tokens.
    fn has_token_types(&self) -> bool {
        false
    }

    /// Images: samples that one thread of a CPU computes fastest at once. Early activations of a whole batch overflow the caches and are
    /// given back to the system after every layer (measured with `examples/speed.rs`: MobileNetV2 60 → 110 images/s, ResNet-18
    /// 28 → 31 at batch 32).
    fn samples_a_thread(&self) -> Option<i64> {
        None
    }

    /// Whether the head has a bias: the library that loads the export may have no place for one.
    fn head_has_bias(&self) -> bool {
        true
    }

    /// Name of the output layer in the class that opens what is exported, where it is not that of the weights' names.
    fn output_layer(&self) -> Option<&'static str> {
        None
    }

    /// What files of the library hold beside the weights and follows from the sizes alone, by Firn's names: the export has it, too.
    fn constants(&self, _library: Library) -> Result<Vec<(String, Tensor)>, ModelError> {
        Ok(Vec::new())
    }

    /// How transformers opens what is exported of it, where the names are transformers' and the head is that of the class. `entries`: what it was made of.
    fn opened(&self, _library: Library, _entries: &[NamedTensor]) -> Option<Opened> {
        None
    }

    /// What `config.json` says of it, so that the library that the weights came from can build it.
    fn configuration(&self, _library: Library) -> Map<String, Value> {
        Map::new()
    }
}

/// The network of the spec, with all its sizes.
pub(crate) fn of(spec: &ModelSpec) -> Result<Box<dyn Family>, ModelError> {
    let network: Box<dyn Family> = match spec.architecture.network() {
        Network::Resnet(sizes) => Box::new(sizes),
        Network::CifarResnet(sizes) => Box::new(sizes),
        Network::MobilenetV2 => Box::new(mobilenet::MobilenetV2),
        Network::MobilenetV3(sizes) => Box::new(sizes),
        Network::Efficientnet(sizes) => Box::new(sizes),
        Network::Vgg(sizes) => Box::new(sizes),
        Network::Convnext(sizes) => Box::new(sizes),
        Network::Vit(sizes) => Box::new(sizes),
        Network::Swin(sizes) => Box::new(sizes),
        Network::Configured(Configured::Vit) => Box::new(Configuration::described(spec, "vit", Vit::of_configuration)?),
        Network::Configured(Configured::Convnext) => {
            Box::new(Configuration::described(spec, "convnext", Convnext::of_configuration)?)
        }
        Network::InceptionV3 => Box::new(inception::InceptionV3),
        Network::Bert(kind) => Box::new(bert::Bert::of(kind, spec)?),
        Network::TorchScript => Box::new(torchscript::TorchScript::of(spec)),
        Network::ModernBert => Box::new(modernbert::ModernBert::of(spec)?),
        Network::Gpt2 => Box::new(gpt2::Gpt2::of(spec)?),
        Network::Decoder(kind) => Box::new(decoder::Decoder::of(kind, spec)?),
    };
    Ok(network)
}

/// What a network is made of, under the names of `naming`, without the memory for it.
pub(crate) fn inventory(family: &dyn Family, naming: &Naming) -> Result<(Stages, Vec<NamedTensor>), ModelError> {
    let mut builder = ParameterBuilder::new(Source::Shapes, naming, Device::Cpu);
    let stages = family.build(&mut builder)?;
    Ok((stages, builder.finish().entries))
}

/// Names and shapes of tensors.
pub type Shapes = Vec<(String, Vec<i64>)>;

/// Names and shapes of the tensors of a spec's network under the names of a library, the head left out; `None` where the family has no
/// names of this library.
///
/// # Errors
/// Those of the `config.json` of a text network.
pub fn tensors(spec: &ModelSpec, library: Library) -> Result<Option<Shapes>, ModelError> {
    let family = of(spec)?;
    let Some(naming) = Naming::of(family.dialects(), library) else {
        return Ok(None);
    };
    let (_, entries) = inventory(family.as_ref(), &naming)?;
    let tensors = entries.into_iter().map(|entry| (entry.key, entry.tensor.size()));
    Ok(Some(tensors.collect()))
}

#[cfg(test)]
mod tests {
    use firn_core::spec::{Architecture, Freeze, HeadSpec, StageDropout, Word};

    use super::*;
    use crate::parameter_builder::Role;

    /// Holds the rows of `firn-core` and what is built here together.
    #[test]
    fn what_is_built_is_what_the_row_of_the_architecture_says() {
        for &(word, architecture) in Architecture::WORDS {
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
            let family = of(&spec).unwrap();
            let naming = Naming::own(family.dialects());
            let (stages, entries) = inventory(family.as_ref(), &naming).unwrap();
            let names = architecture.stages(family.layers());
            assert_eq!(stages.len(), names.len(), "{word}");
            let has_batch_norm = entries.iter().any(|entry| entry.role == Role::Statistic);
            assert_eq!(has_batch_norm, architecture.has_batch_norm(), "{word}");
            assert_eq!(entries[0].key, family.dialects().last().unwrap().anchor, "{word}");
            let is_text = family.longest_text().is_some();
            assert_eq!(
                is_text,
                architecture.modality() == firn_core::spec::Modality::Text,
                "{word}"
            );
            assert!(architecture.may_have_stage(names.last().unwrap()), "{word}");
        }
    }
}
