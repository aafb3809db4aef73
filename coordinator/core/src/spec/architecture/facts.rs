//! What each architecture is in numbers. They stand in `facts.json`, which a test of `firn-models` writes from the networks and holds to
//! them: who reads them here need not link libtorch.

use std::{collections::BTreeMap, sync::OnceLock};

use serde::{Deserialize, Serialize};

use super::Architecture;
use crate::spec::Word;

/// A stage in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageFacts {
    /// As `freeze.through` names it.
    pub name: String,
    /// Numbers that gradients would train.
    pub parameters: u64,
    /// The shape of what comes out of it for one sample, where the cut can stand: channels, rows and columns of a square image of the published
    /// weights' size, or rows, columns and channels where the network computes with the channels last; tokens and width; the width of each token of a text; or, behind the pool, the width alone.
    pub features: Vec<u64>,
}

impl StageFacts {
    /// Length of a feature vector: channels of an image, or numbers of a token's state.
    pub fn width(&self) -> u64 {
        match self.features.as_slice() {
            [channels, rows, columns] if rows == columns => *channels,
            [.., width] => *width,
            [] => 0,
        }
    }
}

impl Architecture {
    /// Its stages, input side first. Those of texts are of the sizes that a network without a `config.json` has. Of TorchScript, where only the
    /// file says them, there are none.
    pub fn facts(self) -> &'static [StageFacts] {
        static FACTS: OnceLock<BTreeMap<String, Vec<StageFacts>>> = OnceLock::new();
        let facts = FACTS.get_or_init(|| {
            serde_json::from_str(include_str!("facts.json")).expect("a test has written the file and read it")
        });
        facts.get(self.word()).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_width_is_that_of_the_channels_wherever_they_stand() {
        assert_eq!(Architecture::Resnet18.facts()[0].width(), 64);
        assert_eq!(Architecture::SwinT.facts()[0].width(), 96);
        assert_eq!(Architecture::VitB16.facts()[0].width(), 768);
    }

    #[test]
    fn every_architecture_has_its_stages_and_ends_in_one_vector() {
        for &(word, architecture) in Architecture::WORDS {
            let facts = architecture.facts();
            if architecture == Architecture::TorchScript {
                assert_eq!(facts, []);
                continue;
            }
            let [.., last] = facts else {
                panic!("{word} has no stages")
            };
            assert_eq!(last.features.len(), 1, "{word}");
            assert!(facts.iter().all(|stage| stage.width() > 0), "{word}");
            assert!(
                facts.iter().all(|stage| architecture.may_have_stage(&stage.name)),
                "{word}"
            );
        }
    }
}
