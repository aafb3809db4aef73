//! Names of the stages of a network, in one description for all its sizes.

/// Names of stages that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Named(&'static [&'static str]),
    /// The prefix with 0, 1, … below the count.
    Numbered(&'static str, usize),
    /// The prefix with the number of each layer; how many there are, only the `config.json` of the weights says.
    Layers(&'static str),
}
use Part::{Layers, Named, Numbered};

/// All names, input side first, of a network whose configuration asks for so many layers.
pub(super) fn names(parts: &[Part], layers: usize) -> Vec<String> {
    let names = |part: &Part| -> Vec<String> {
        let numbered = |prefix: &str, count| (0..count).map(|number| format!("{prefix}{number}")).collect();
        match *part {
            Named(names) => names.iter().map(|&name| name.to_owned()).collect(),
            Numbered(prefix, count) => numbered(prefix, count),
            Layers(prefix) => numbered(prefix, layers),
        }
    };
    parts.iter().flat_map(names).collect()
}

/// Whether only a `config.json` says how many there are.
pub(super) fn are_counted_elsewhere(parts: &[Part]) -> bool {
    parts.iter().any(|part| matches!(part, Layers(_)))
}

/// Where a stage of this name stands in a network of some number of layers: which part, and where in it. Stages on the input side are less.
pub(super) fn place(parts: &[Part], stage: &str) -> Option<(usize, usize)> {
    let within = |part: &Part| match *part {
        Named(names) => names.iter().position(|known| *known == stage),
        Numbered(prefix, count) => number(stage, prefix).filter(|number| *number < count),
        Layers(prefix) => number(stage, prefix),
    };
    let mut places = parts.iter().enumerate();
    places.find_map(|(part, stages)| Some((part, within(stages)?)))
}

/// What follows the prefix, as a number that is written as usual.
fn number(stage: &str, prefix: &str) -> Option<usize> {
    let written = stage.strip_prefix(prefix)?;
    let number: u16 = written.parse().ok()?;
    (number.to_string() == written).then_some(usize::from(number))
}

/// The names as people read them.
pub(super) fn in_words(parts: &[Part]) -> String {
    let mut words = Vec::new();
    for part in parts {
        match *part {
            Named(names) => words.extend(names.iter().map(|&name| name.to_owned())),
            Numbered(prefix, count) => words.push(format!("{prefix}0 to {prefix}{}", count - 1)),
            Layers(prefix) => words.push(format!("{prefix}0, {prefix}1, …")),
        }
    }
    match words.split_last() {
        Some((last, before)) if parts.len() > 1 => format!("{} and {last}", before.join(", ")),
        _ => words.join(", "),
    }
}
