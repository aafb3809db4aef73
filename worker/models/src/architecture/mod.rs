//! The architectures that Firn builds itself, each as a sequence of named stages.

pub(crate) mod bert;
pub(crate) mod mobilenet;
pub(crate) mod resnet;

use firn_core::spec::Pooling;

use crate::{assembly::Assembly, error::ModelError, stage::Stage};

/// An architecture with all its sizes known.
pub(crate) enum Plan {
    Resnet(resnet::Depth),
    MobilenetV2,
    Bert(bert::BertConfig, Pooling),
}

impl Plan {
    /// Names of the stages, input side first.
    pub(crate) fn stage_names(&self) -> Vec<String> {
        match self {
            Self::Resnet(_) => resnet::STAGES.map(str::to_owned).to_vec(),
            Self::MobilenetV2 => mobilenet::stage_names(),
            Self::Bert(config, _) => bert::stage_names(config),
        }
    }

    /// Builds all stages, one for each name.
    pub(crate) fn build(&self, assembly: &mut Assembly<'_>) -> Result<Vec<Stage>, ModelError> {
        match self {
            Self::Resnet(depth) => resnet::build(*depth, assembly),
            Self::MobilenetV2 => mobilenet::build(assembly),
            Self::Bert(config, pooling) => bert::build(config, *pooling, assembly),
        }
    }

    /// Length of the pooled feature vector.
    pub(crate) fn feature_width(&self) -> i64 {
        match self {
            Self::Resnet(depth) => depth.feature_width(),
            Self::MobilenetV2 => mobilenet::FEATURE_WIDTH,
            Self::Bert(config, _) => config.hidden_size,
        }
    }
}
