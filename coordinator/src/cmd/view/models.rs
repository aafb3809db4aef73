//! Architectures and weights files, as people and programs read them.

use firn_core::spec::{Architecture, Crops, Modality, Pooling, Preprocessing, StageFacts, Word};
use serde_json::{Value, json};

use super::{
    Format,
    humanise::{bytes, count, counted},
    table::{table as numbers, text_table},
};

/// All architectures, one a line.
pub(crate) fn table(format: Format) -> String {
    let rows = Architecture::WORDS.iter().map(|&(word, architecture)| {
        let facts = architecture.facts();
        let mut row = vec![
            word.to_owned(),
            millions(parameters(facts)),
            facts.last().map_or(0, StageFacts::width).to_string(),
            match architecture.sizes_are_configured() {
                true => "by size".to_owned(),
                false => facts.len().to_string(),
            },
            expected(architecture),
        ];
        if format == Format::Wide {
            row.push(widths(facts));
        }
        row
    });
    let mut headers = vec!["ARCHITECTURE", "PARAMETERS", "FEATURES", "STAGES", "INPUT"];
    if format == Format::Wide {
        headers.push("FEATURES AT EACH CUT");
    }
    text_table(&headers, rows.collect())
}

/// One architecture, a stage a line.
pub(crate) fn stages(architecture: Architecture) -> String {
    let facts = architecture.facts();
    let mut below = 0;
    let rows = facts.iter().map(|stage| {
        below += stage.parameters;
        vec![
            stage.name.clone(),
            shape(&stage.features),
            stage.width().to_string(),
            count(stage.parameters),
            count(below),
        ]
    });
    let headers = [
        "STAGE",
        "FEATURES OF A SAMPLE",
        "WIDTH",
        "PARAMETERS",
        "FROZEN THROUGH IT",
    ];
    let stages = numbers(&headers, rows.collect(), 2);
    let sizes = match architecture.sizes_are_configured() {
        true => " (with the sizes that it has without a `config.json`)",
        false => "",
    };
    format!(
        "{}: {} parameters besides the head{sizes}\ninput: {}\n\n{stages}",
        architecture.word(),
        count(parameters(facts)),
        expected(architecture),
    )
}

/// `{"architectures": [architecture, …]}`.
pub(crate) fn documents() -> Value {
    let all = Architecture::WORDS
        .iter()
        .map(|&(_, architecture)| document(architecture));
    json!({"architectures": all.collect::<Vec<_>>()})
}

/// One architecture. `features` is the shape of what one sample is at the cut behind a stage.
pub(crate) fn document(architecture: Architecture) -> Value {
    let facts = architecture.facts();
    let stages = facts.iter().map(|stage| {
        json!({
            "name": stage.name,
            "parameters": stage.parameters,
            "features": stage.features,
            "width": stage.width(),
        })
    });
    let poolings = architecture.poolings().iter().map(Pooling::word);
    let is_text = architecture.modality() == Modality::Text;
    json!({
        "architecture": architecture.word(),
        "input": if is_text { "text" } else { "images" },
        "parameters": parameters(facts),
        "sizes": if architecture.sizes_are_configured() { "config.json" } else { "fixed" },
        "stages": stages.collect::<Vec<_>>(),
        "preprocessing": architecture.default_preprocessing(),
        "poolings": if is_text { poolings.collect::<Vec<_>>() } else { Vec::new() },
        "hasBatchNorm": architecture.has_batch_norm(),
    })
}

fn parameters(facts: &[StageFacts]) -> u64 {
    facts.iter().map(|stage| stage.parameters).sum()
}

fn millions(parameters: u64) -> String {
    format!("{:.1} M", parameters as f64 / 1e6)
}

fn shape(features: &[u64]) -> String {
    let sizes: Vec<String> = features.iter().map(u64::to_string).collect();
    sizes.join("×")
}

/// `stem 64, layer1 64`; stages that follow each other with the same width are told once.
fn widths(facts: &[StageFacts]) -> String {
    let alike = facts.chunk_by(|one, next| one.width() == next.width());
    let words = alike.map(|stages| match stages {
        [only] => format!("{} {}", only.name, only.width()),
        [first, .., last] => format!("{}–{} {}", first.name, last.name, first.width()),
        [] => String::new(),
    });
    words.collect::<Vec<_>>().join(", ")
}

/// What its published weights take.
fn expected(architecture: Architecture) -> String {
    match architecture.default_preprocessing() {
        Preprocessing::Image {
            resize,
            interpolation,
            crop,
            mean,
            ..
        } => {
            let only = match architecture.crops() {
                Crops::Only(_) => ", no other size",
                Crops::From(_) => "",
            };
            let mean: Vec<String> = mean.iter().map(f64::to_string).collect();
            format!(
                "images of {crop} px from {resize} ({}, mean {}){only}",
                interpolation.word(),
                mean.join(" ")
            )
        }
        Preprocessing::Text { .. } => {
            let poolings: Vec<&str> = architecture.poolings().iter().map(Pooling::word).collect();
            format!("text, pooled by {}", poolings.join(" or "))
        }
    }
}

/// Names that are shown of a long list, unless all are asked for.
const SHOWN: usize = 6;

/// What a weights file is.
pub(crate) fn inspection(found: &Value, format: Format) -> String {
    let text = |field: &str| found[field].as_str().unwrap_or("-").to_owned();
    let number = |field: &str| found[field].as_u64().unwrap_or_default();
    let is_known = found["architecture"].is_string();
    let verdict = match (is_known, found["fits"] == true) {
        (false, _) => "like none that Firn knows".to_owned(),
        (true, true) => text("architecture"),
        (true, false) => format!("most like {}, which it does not fit", text("architecture")),
    };
    let mut rows = vec![("Architecture", verdict)];
    if is_known {
        rows.push(("Names of", text("library")));
    }
    if let Some(layers) = found["layers"].as_u64() {
        rows.push(("Layers", layers.to_string()));
    }
    if let Some(output) = found["output"].as_object() {
        let outputs = output["outputs"].as_u64().unwrap_or_default();
        let name = output["name"].as_str().unwrap_or_default();
        rows.push(("Output", format!("`{name}`, {}", counted(outputs, "output"))));
    }
    let dtypes = found["dtypes"].as_object().into_iter().flatten();
    let dtypes: Vec<String> = dtypes.map(|(dtype, tensors)| format!("{dtype} {tensors}")).collect();
    rows.push((
        "Tensors",
        format!(
            "{} ({}), {} numbers",
            number("tensors"),
            dtypes.join(", "),
            count(number("parameters"))
        ),
    ));
    rows.push((
        "File",
        format!(
            "{} ({} in {})",
            text("path"),
            bytes(number("bytes")),
            counted(number("files"), "file")
        ),
    ));
    rows.push(("BLAKE3", text("digest")));
    let mut lines: Vec<String> = rows.iter().map(|(name, value)| format!("{name:<13} {value}")).collect();
    for (title, field) in [
        ("Notes", "notes"),
        ("Problems", "problems"),
        ("Not used by it", "extra"),
    ] {
        lines.extend(section(title, &found[field], format));
    }
    lines.join("\n")
}

/// A list below its title; nothing where it is empty.
fn section(title: &str, list: &Value, format: Format) -> Vec<String> {
    let items: Vec<&str> = list
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if items.is_empty() {
        return Vec::new();
    }
    let shown = if format == Format::Wide { items.len() } else { SHOWN };
    let mut lines = vec![format!("{title} ({})", items.len())];
    lines.extend(items.iter().take(shown).map(|item| format!("  {item}")));
    if items.len() > shown {
        lines.push(format!("  and {} more; -o wide lists all", items.len() - shown));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_architecture_is_a_line_and_a_document() {
        assert_eq!(table(Format::Table).lines().count(), Architecture::WORDS.len() + 1);
        assert_eq!(
            documents()["architectures"].as_array().map(Vec::len),
            Some(Architecture::WORDS.len())
        );
    }

    #[test]
    fn the_stages_of_a_resnet_are_told_with_what_is_frozen_through_them() {
        assert_eq!(
            stages(Architecture::Resnet18),
            "resnet18: 11,176,512 parameters besides the head\n\
             input: images of 224 px from 256 (bilinear, mean 0.485 0.456 0.406)\n\n\
             STAGE    FEATURES OF A SAMPLE   WIDTH   PARAMETERS   FROZEN THROUGH IT\n\
             stem     64×56×56                  64        9,536               9,536\n\
             layer1   64×56×56                  64      147,968             157,504\n\
             layer2   128×28×28                128      525,568             683,072\n\
             layer3   256×14×14                256    2,099,712           2,782,784\n\
             layer4   512×7×7                  512    8,393,728          11,176,512\n\
             pool     512                      512            0          11,176,512\n"
        );
    }

    #[test]
    fn stages_of_one_width_are_told_once() {
        assert_eq!(
            widths(Architecture::Resnet18.facts()),
            "stem–layer1 64, layer2 128, layer3 256, layer4–pool 512"
        );
    }

    #[test]
    fn a_file_is_told_with_what_is_wrong_with_it() {
        let found = json!({
            "path": "/m/w.safetensors", "files": 1, "bytes": 2048, "digest": "ab", "tensors": 3, "dtypes": {"F32": 3},
            "parameters": 512, "architecture": "resnet18", "fits": false, "library": "torchvision", "layers": null,
            "output": {"name": "fc", "outputs": 10}, "notes": [],
            "problems": ["`conv1.weight` of shape [64, 3, 7, 7] is missing"],
            "extra": ["a", "b", "c", "d", "e", "f", "g"],
        });
        assert_eq!(
            inspection(&found, Format::Table),
            "Architecture  most like resnet18, which it does not fit\n\
             Names of      torchvision\n\
             Output        `fc`, 10 outputs\n\
             Tensors       3 (F32 3), 512 numbers\n\
             File          /m/w.safetensors (2.0 KiB in 1 file)\n\
             BLAKE3        ab\n\
             Problems (1)\n  `conv1.weight` of shape [64, 3, 7, 7] is missing\n\
             Not used by it (7)\n  a\n  b\n  c\n  d\n  e\n  f\n  and 1 more; -o wide lists all"
        );
    }
}
