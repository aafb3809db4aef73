//! What is frozen, and until when.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is frozen, and until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FreezeSpec {
    /// The cut: `all` (only the head trains), `none` (everything trains), or the name of the last frozen stage of the architecture.
    #[schemars(with = "String", extend("x-firn-default" = "`none` with `model.lora`, else `all`"))]
    pub through: Freeze,
    /// Gradual unfreezing: stages below the cut by name, each with the epoch, from 0, from which it and all stages above it train.
    #[serde(default)]
    #[schemars(extend("x-firn-default" = "none: the cut stays where it is", "x-firn-since" = 5))]
    pub unfreeze: BTreeMap<String, u32>,
    /// Regular expressions of the `regex` crate, found anywhere in a name: parameters above the cut that stay frozen all the same. Names are those of
    /// the exported model; the head always trains.
    #[serde(default)]
    #[schemars(extend("x-firn-default" = "none", "x-firn-since" = 5))]
    pub parameters: Vec<String>,
}

impl FreezeSpec {
    /// Whether no stage of the network ever trains.
    pub fn trains_head_alone(&self) -> bool {
        self.through == Freeze::All && self.unfreeze.is_empty()
    }

    /// How many of a network's `stages`, input side first, train in no epoch.
    pub fn never_trained(&self, stages: &[String]) -> usize {
        let place = |name: &String| stages.iter().position(|stage| stage == name);
        let cut = match &self.through {
            Freeze::All => stages.len(),
            Freeze::Nothing => 0,
            Freeze::Through(last) => place(last).map_or(0, |last| last + 1),
        };
        self.unfreeze.keys().filter_map(place).fold(cut, usize::min)
    }
}

impl From<Freeze> for FreezeSpec {
    /// A cut that stays where it is.
    fn from(through: Freeze) -> Self {
        Self {
            through,
            unfreeze: BTreeMap::new(),
            parameters: Vec::new(),
        }
    }
}

/// The cut: everything below is frozen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Freeze {
    /// Only the head trains.
    All,
    /// Up to and including this stage of the architecture.
    Through(String),
    /// Everything trains.
    Nothing,
}

impl From<String> for Freeze {
    fn from(written: String) -> Self {
        match written.as_str() {
            "all" => Self::All,
            "none" => Self::Nothing,
            _ => Self::Through(written),
        }
    }
}

impl From<Freeze> for String {
    fn from(freeze: Freeze) -> Self {
        match freeze {
            Freeze::All => "all".to_owned(),
            Freeze::Nothing => "none".to_owned(),
            Freeze::Through(stage) => stage,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_that_are_unfrozen_later_are_no_part_of_what_never_trains() {
        let stages = ["stem", "layer1", "layer2"].map(str::to_owned);
        let of = |through: &str, unfreeze: &[&str]| {
            let mut freeze = FreezeSpec::from(Freeze::from(through.to_owned()));
            freeze.unfreeze = unfreeze.iter().map(|stage| ((*stage).to_owned(), 1)).collect();
            freeze.never_trained(&stages)
        };
        assert_eq!([of("all", &[]), of("none", &[]), of("layer1", &[])], [3, 0, 2]);
        assert_eq!([of("all", &["layer2"]), of("layer1", &["layer1", "stem"])], [2, 0]);
    }
}
