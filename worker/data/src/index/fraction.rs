//! Validation and test splits that are a fraction of train: stratified, seeded, and independent of how the disk lists its files.
//!
//! Each sample gets a key, the BLAKE3 hash of (seed, id). Within a class, samples in key order go to test first, then to validation, and
//! the rest stays in train. A hash instead of a shuffle means that adding or removing samples of one class leaves the others where they
//! were, and moves only those at the edge of their own class.

use std::collections::{BTreeMap, BTreeSet};

use firn_core::spec::{DataSpec, SplitSource};

use crate::digest::update_with_length;
use crate::labels::Labels;
use crate::{DataError, Sample, Split, SplitName, Target};

/// Takes the drawn splits out of `train`. All splits stay in manifest order.
pub(super) fn draw(
    train: &mut Split,
    data: &DataSpec,
    labels: &Labels,
    seed: u64,
    warnings: &mut Vec<String>,
) -> Result<BTreeMap<SplitName, Split>, DataError> {
    let wanted = |source: &Option<SplitSource>| match source {
        Some(SplitSource::FractionOfTrain(fraction)) => *fraction,
        _ => 0.0,
    };
    let fractions = [
        (SplitName::Test, wanted(&data.test)),
        (SplitName::Validation, wanted(&data.validation)),
    ];
    let total: f64 = fractions.iter().map(|(_, fraction)| fraction).sum();
    if total >= 1.0 {
        return Err(DataError::FractionsTooLarge {
            fraction: format!("{total}"),
        });
    }
    if total <= 0.0 {
        return Ok(BTreeMap::new());
    }
    let goals = assign(train, fractions, seed);
    let samples = std::mem::take(&mut train.samples);
    let count = samples.len();
    let mut drawn: BTreeMap<SplitName, Split> = fractions
        .iter()
        .filter(|(_, fraction)| *fraction > 0.0)
        .map(|(name, _)| {
            (
                *name,
                Split {
                    name: *name,
                    samples: Vec::new(),
                },
            )
        })
        .collect();
    for (sample, goal) in samples.into_iter().zip(goals) {
        drawn.get_mut(&goal).unwrap_or(train).samples.push(sample);
    }
    for (name, fraction) in fractions {
        let Some(split) = drawn.get(&name) else { continue };
        if split.is_empty() {
            return Err(DataError::EmptyFraction {
                split: name,
                fraction: format!("{fraction}"),
                samples: count,
            });
        }
        warnings.extend(labels.warnings_of_drawn(split));
    }
    Ok(drawn)
}

/// Where each sample of `train` goes. Samples without a class are drawn from together; of those with several labels, or tags, train keeps the last one of
/// each label in key order, where it would keep none.
fn assign(train: &Split, fractions: [(SplitName, f64); 2], seed: u64) -> Vec<SplitName> {
    let mut by_class: BTreeMap<Option<u32>, Vec<([u8; 32], usize)>> = BTreeMap::new();
    for (place, sample) in train.samples.iter().enumerate() {
        let members = by_class.entry(sample.target.class()).or_default();
        members.push((key(seed, sample), place));
    }
    let mut goals = vec![SplitName::Train; train.samples.len()];
    for mut members in by_class.into_values() {
        members.sort_unstable();
        let count = members.len();
        let mut members = members.into_iter();
        let mut left = count;
        for (name, fraction) in fractions {
            let taken = share(count, fraction).min(left.saturating_sub(1));
            left -= taken;
            for (_, place) in members.by_ref().take(taken) {
                goals[place] = name;
            }
        }
    }
    keep_labels(train, &mut goals, seed);
    goals
}

fn keep_labels(train: &Split, goals: &mut [SplitName], seed: u64) {
    let labels = |place: usize| match &train.samples[place].target {
        Target::Labels(labels) | Target::Tags(labels) => labels.as_slice(),
        Target::Class(_) | Target::Numbers(_) => &[],
    };
    let mut kept: BTreeSet<u32> = BTreeSet::new();
    let mut drawn = Vec::new();
    for (place, goal) in goals.iter().enumerate() {
        match goal {
            SplitName::Train => kept.extend(labels(place)),
            _ if labels(place).is_empty() => {}
            _ => drawn.push((key(seed, &train.samples[place]), place)),
        }
    }
    drawn.sort_unstable();
    for (_, place) in drawn.into_iter().rev() {
        if labels(place).iter().any(|label| !kept.contains(label)) {
            kept.extend(labels(place));
            goals[place] = SplitName::Train;
        }
    }
}

/// The nearest whole number of samples, but at least one: a class that a split lacks is not measured.
fn share(count: usize, fraction: f64) -> usize {
    if fraction <= 0.0 {
        return 0;
    }
    ((count as f64 * fraction).round() as usize).max(1)
}

fn key(seed: u64, sample: &Sample) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"firn fraction v1");
    hasher.update(&seed.to_le_bytes());
    update_with_length(&mut hasher, sample.id.as_bytes());
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Source;

    fn samples(count: usize) -> Split {
        let sample = |i: usize| Sample {
            id: format!("{i:04}.jpg"),
            target: Target::Class(u32::from(i.is_multiple_of(5))),
            source: Source::Text(String::new()),
        };
        Split {
            name: SplitName::Train,
            samples: (0..count).map(sample).collect(),
        }
    }

    const FRACTIONS: [(SplitName, f64); 2] = [(SplitName::Test, 0.1), (SplitName::Validation, 0.2)];

    #[test]
    fn every_class_gives_its_share() {
        let split = samples(500);
        let goals = assign(&split, FRACTIONS, 7);
        for (label, count) in [(0, 400), (1, 100)] {
            let of = |name| {
                split
                    .samples
                    .iter()
                    .zip(&goals)
                    .filter(|(s, goal)| s.target == Target::Class(label) && **goal == name)
                    .count()
            };
            assert_eq!(
                (of(SplitName::Test), of(SplitName::Validation)),
                (count / 10, count / 5)
            );
        }
    }

    #[test]
    fn a_sample_keeps_its_split_when_the_listing_is_reversed() {
        let split = samples(300);
        let mut reversed = split.clone();
        reversed.samples.reverse();
        let mut goals = assign(&reversed, FRACTIONS, 7);
        goals.reverse();
        assert_eq!(goals, assign(&split, FRACTIONS, 7));
        assert_ne!(goals, assign(&split, FRACTIONS, 8), "the seed matters");
    }

    #[test]
    fn train_keeps_the_last_sample_of_a_class() {
        let goals = assign(&samples(6), [(SplitName::Test, 0.45), (SplitName::Validation, 0.5)], 0);
        for label in [0, 1] {
            assert!(
                samples(6)
                    .samples
                    .iter()
                    .zip(&goals)
                    .any(|(s, goal)| s.target == Target::Class(label) && *goal == SplitName::Train)
            );
        }
    }
}
