//! Every architecture has the tensors of its library, also those that are too large to be computed here.

use firn_core::spec::{Architecture, Freeze, Modality, Word};
use firn_models::Library;
use serde_json::Value;

use super::libraries;
use crate::support::*;

/// FNV-1a of 64 bits.
fn digest(text: &str) -> String {
    let value = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    format!("{value:016x}")
}

/// `expected`: the number of tensors, and the digest of their names and shapes.
fn check_lines(what: &str, found: &[(String, Vec<i64>)], expected: &Value) {
    let mut lines: Vec<String> = found.iter().map(|(name, shape)| format!("{name} {shape:?}")).collect();
    lines.sort();
    let advice = format!("compare with `reference/parity.py shapes {what}`: {lines:#?}");
    assert_eq!(
        lines.len() as u64,
        expected["tensors"].as_u64().unwrap(),
        "{what}: {advice}"
    );
    assert_eq!(digest(&lines.join("\n")), expected["digest"], "{what}: {advice}");
}

#[test]
fn every_architecture_of_images_has_the_tensors_of_its_library() {
    let shapes = golden("shapes");
    for &(word, architecture) in Architecture::WORDS {
        // Some have the sizes of a `config.json`, and TorchScript those of its file.
        if architecture.modality() == Modality::Text
            || architecture.sizes_are_configured()
            || architecture == Architecture::TorchScript
        {
            continue;
        }
        let mut compared = 0;
        for (name, library) in libraries() {
            let found = firn_models::tensors(&spec(architecture, None, Freeze::All), library).unwrap();
            let expected = shapes.get(format!("{word}.{name}"));
            let (found, expected) = match (found, expected) {
                (Some(found), Some(expected)) => (found, expected),
                (None, None) => continue,
                // Of a program that is no package there is no other list.
                (Some(_), None) if matches!(library, Library::Dinov2 | Library::PytorchResnetCifar10) => continue,
                (Some(_), None) => panic!("golden/shapes.json lacks {word}.{name}"),
                (None, Some(_)) => panic!("{word} knows no names of {name}"),
            };
            check_lines(&format!("{word} {name}"), &found, expected);
            compared += 1;
        }
        assert!(compared > 0, "golden/shapes.json lacks {word}");
    }
}

#[test]
fn text_networks_of_published_sizes_have_the_tensors_of_transformers() {
    for (name, published) in golden("published").as_object().unwrap() {
        let config = &published["config"];
        let architecture = Architecture::from_word(config["model_type"].as_str().unwrap()).unwrap();
        let shapes = shapes_of(architecture, Library::HuggingFace, config);
        check_lines(name, &shapes, published);
    }
}
