//! What `firn-core` says of each architecture in numbers is what is built.
//!
//! `BLESS=1 cargo test --release --workspace --test models facts` writes what differs anew, from a walk through the whole network.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use firn_core::spec::{Architecture, Crops, Preprocessing, StageFacts, Word};

/// Products of a walk through a network that is affordable in every run of the tests. Larger networks are walked through with a smaller image,
/// and then only the widths of their features are compared; where they take no other image, only their parameters.
const AFFORDABLE: u64 = 1_500_000_000;

/// All but TorchScript, of which only a file has numbers.
fn architectures() -> impl Iterator<Item = (&'static str, Architecture)> {
    let all = Architecture::WORDS.iter().copied();
    all.filter(|(_, architecture)| *architecture != Architecture::TorchScript)
}

fn file() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../coordinator/core/src/spec/architecture/facts.json")
}

/// Pixels a side of the images of its published weights.
fn published(architecture: Architecture) -> u32 {
    match architecture.default_preprocessing() {
        Preprocessing::Image { crop, .. } => crop,
        Preprocessing::Text { .. } => 0,
    }
}

/// The image that can be afforded.
fn affordable(architecture: Architecture, stored: &[StageFacts]) -> Option<u32> {
    let places = |stage: &StageFacts| stage.features.iter().product::<u64>() / stage.width().max(1);
    let products: u64 = stored.iter().map(|stage| stage.parameters * places(stage)).sum();
    match architecture.crops() {
        _ if products <= AFFORDABLE => Some(published(architecture)),
        Crops::From(smallest) if smallest > 0 => Some(smallest.max(published(architecture) / 4)),
        Crops::From(_) | Crops::Only(_) => None,
    }
}

/// What is wrong with the stored numbers; nothing where they are right.
fn difference(architecture: Architecture, stored: &[StageFacts]) -> Option<String> {
    let walk = affordable(architecture, stored);
    let mut found = firn_models::stage_facts(architecture, walk).unwrap();
    for (found, stored) in found.iter_mut().zip(stored) {
        let is_comparable = match walk {
            None => true,
            Some(crop) => crop != published(architecture) && found.width() == stored.width(),
        };
        if is_comparable {
            found.features.clone_from(&stored.features);
        }
    }
    (found != stored).then(|| format!("stored {stored:?}\nfound {found:?}"))
}

/// A stage a line: its name, its parameters, the shape of its features.
fn written(all: &[(&str, Vec<StageFacts>)]) -> String {
    let mut text = String::from("{\n");
    for (number, (word, stages)) in all.iter().enumerate() {
        let lines: Vec<String> = stages
            .iter()
            .map(|stage| serde_json::to_string(stage).unwrap())
            .collect();
        let end = if number + 1 == all.len() { "" } else { "," };
        writeln!(text, "\"{word}\": [\n{}\n]{end}", lines.join(",\n")).unwrap();
    }
    text + "}\n"
}

#[test]
fn the_numbers_of_each_architecture_are_those_of_its_network() {
    let stored = std::fs::read_to_string(file()).unwrap();
    let stored: BTreeMap<String, Vec<StageFacts>> = serde_json::from_str(&stored).unwrap();
    let of = |word: &str| stored.get(word).cloned().unwrap_or_default();
    if std::env::var_os("BLESS").is_some() {
        let anew = |(word, architecture): (&'static str, Architecture)| {
            let stored = of(word);
            let stages = match difference(architecture, &stored) {
                None => stored,
                Some(_) => firn_models::stage_facts(architecture, Some(published(architecture))).unwrap(),
            };
            (word, stages)
        };
        let all: Vec<_> = architectures().map(anew).collect();
        std::fs::write(file(), written(&all)).unwrap();
        return;
    }
    for (word, architecture) in architectures() {
        let difference = difference(architecture, &of(word));
        assert_eq!(difference, None, "{word}: `BLESS=1` writes {} anew", file().display());
    }
    assert_eq!(stored.len(), architectures().count());
}

/// The counts of torchvision, less the output layer of 1,000 classes.
#[test]
fn parameters_are_as_many_as_the_library_counts() {
    for (architecture, parameters) in [
        (Architecture::Resnet18, 11_689_512 - 513_000),
        (Architecture::Resnet50, 25_557_032 - 2_049_000),
        (Architecture::MobilenetV2, 3_504_872 - 1_281_000),
        (Architecture::EfficientnetB0, 5_288_548 - 1_281_000),
        (Architecture::Vgg16, 138_357_544 - 4_097_000),
        (Architecture::ConvnextTiny, 28_589_128 - 769_000),
        (Architecture::VitB16, 86_567_656 - 769_000),
    ] {
        let stages: &[StageFacts] = architecture.facts();
        let found: u64 = stages.iter().map(|stage| stage.parameters).sum();
        assert_eq!(found, parameters, "{}", architecture.word());
    }
}
