//! Entities in sequences of tags, found and counted as seqeval's default mode does (`seqeval.metrics.sequence_labeling.get_entities`): the first
//! letter of a tag says where in an entity a word stands (IOB1, IOB2, IOE, IOBES), what follows the first `-` is the type of the entity.
//!
//! A sequence need not be well-formed: an entity begins at an `I` after an `O`, too, and where the type changes. seqeval counts per type; its averages
//! are over the types that are true or predicted somewhere in the split, with `zero_division=0`.
//!
//! seqeval joins all sentences into one sequence before it looks for entities. Here each stands for itself, so that counts add up. Both are the same
//! unless a tag is a single letter other than `O`, `B`, `I`, `E` and `S`.

use std::collections::BTreeSet;

use super::counts::ClassCounts;

/// Of a tag that names none.
const NO_TYPE: &str = "_";

/// The tags of a training schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagSet {
    types: Vec<String>,
    /// In the order of the schema.
    tags: Vec<Tag>,
    /// The number of [`NO_TYPE`], which is what stands before a sequence.
    none: u32,
}

/// What a tag says of its word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tag {
    place: char,
    /// Place among the types; those of words outside of entities come after them.
    kind: u32,
}

/// Consecutive words of one sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entity {
    /// Place in [`TagSet::types`].
    pub kind: u32,
    /// Its first word.
    pub first: usize,
    /// Its last word.
    pub last: usize,
}

/// Whether a word stands in no entity, whatever its neighbours are.
fn is_outside(place: char) -> bool {
    matches!(place, 'O' | '.')
}

/// `B-PER` to `B` and `PER`; `O` to `O` and `_`.
fn parsed(tag: &str) -> (char, &str) {
    let mut letters = tag.chars();
    let place = letters.next().unwrap_or('O');
    let rest = letters.as_str();
    let kind = rest.split_once('-').map_or(rest, |(_, kind)| kind);
    (place, if kind.is_empty() { NO_TYPE } else { kind })
}

impl TagSet {
    /// Of tags in the order of the model's outputs.
    pub fn of(names: &[String]) -> Self {
        let tags: Vec<(char, &str)> = names.iter().map(|name| parsed(name)).collect();
        let inside = tags.iter().filter(|(place, _)| !is_outside(*place));
        let types: BTreeSet<&str> = inside.map(|(_, kind)| *kind).collect();
        let mut known: Vec<&str> = types.iter().copied().collect();
        for kind in tags.iter().map(|(_, kind)| *kind).chain([NO_TYPE]) {
            if !known.contains(&kind) {
                known.push(kind);
            }
        }
        let number = |kind: &str| (0..).zip(&known).find(|(_, known)| **known == kind);
        let number = |kind: &str| number(kind).map_or(0, |(number, _)| number);
        Self {
            types: types.into_iter().map(str::to_owned).collect(),
            none: number(NO_TYPE),
            tags: tags
                .iter()
                .map(|(place, kind)| Tag {
                    place: *place,
                    kind: number(kind),
                })
                .collect(),
        }
    }

    /// The types that an entity may have, in alphabetical order.
    pub fn types(&self) -> &[String] {
        &self.types
    }

    /// The type of the entities that a tag of the schema stands in; `None` of one that stands outside of them.
    pub fn type_of(&self, tag: usize) -> Option<&str> {
        let tag = self.tags.get(tag).filter(|tag| !is_outside(tag.place))?;
        self.types.get(tag.kind as usize).map(String::as_str)
    }

    /// The entities of one sequence of tags of the schema, in their order.
    pub fn entities(&self, tags: impl IntoIterator<Item = u32>) -> Vec<Entity> {
        let outside = Tag {
            place: 'O',
            kind: self.none,
        };
        let of_schema = |tag: u32| self.tags.get(tag as usize).copied().unwrap_or(outside);
        let sequence = tags.into_iter().map(of_schema).chain([outside]);
        let (mut before, mut first, mut entities) = (outside, 0, Vec::new());
        for (word, tag) in sequence.enumerate() {
            if ends(before, tag) {
                entities.push(Entity {
                    kind: before.kind,
                    first,
                    last: word.saturating_sub(1),
                });
            }
            if begins(before, tag) {
                first = word;
            }
            before = tag;
        }
        entities
    }

    /// How often each type is true, predicted, and both, in one sequence: an entity is right if its type and both ends are. Those that do not occur are
    /// left out.
    pub fn counts(&self, tags: &[u32], predicted: &[u32]) -> Vec<(u32, ClassCounts)> {
        let truth: BTreeSet<Entity> = self.entities(tags.iter().copied()).into_iter().collect();
        let mut counts: Vec<(u32, ClassCounts)> = Vec::new();
        let mut add = |kind: u32, is_true: bool, is_predicted: bool| {
            let place = counts.iter().position(|(known, _)| *known == kind);
            let place = place.unwrap_or_else(|| {
                counts.push((kind, ClassCounts::default()));
                counts.len() - 1
            });
            counts[place].1.add(is_true, is_predicted, 1);
        };
        let predicted: BTreeSet<Entity> = self.entities(predicted.iter().copied()).into_iter().collect();
        for entity in truth.union(&predicted) {
            add(entity.kind, truth.contains(entity), predicted.contains(entity));
        }
        counts.sort_unstable_by_key(|(kind, _)| *kind);
        counts
    }
}

/// Whether an entity ends between two neighbours.
fn ends(before: Tag, tag: Tag) -> bool {
    match (before.place, tag.place) {
        ('E' | 'S', _) | ('B' | 'I', 'B' | 'S' | 'O') => true,
        (place, _) => !is_outside(place) && before.kind != tag.kind,
    }
}

/// Whether an entity begins with the second of two neighbours.
fn begins(before: Tag, tag: Tag) -> bool {
    match (before.place, tag.place) {
        (_, 'B' | 'S') | ('E' | 'S' | 'O', 'E' | 'I') => true,
        (_, place) => !is_outside(place) && before.kind != tag.kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag_set(names: &[&str]) -> TagSet {
        TagSet::of(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn types_are_those_of_entities_in_alphabetical_order() {
        assert_eq!(
            tag_set(&["O", "B-PER", "I-PER", "B-LOC-CITY", "S"]).types(),
            ["LOC-CITY", "PER", "_"]
        );
        assert!(tag_set(&["O", "Other"]).types().is_empty());
    }

    #[test]
    fn an_entity_begins_without_a_b_and_ends_where_the_type_changes() {
        let set = tag_set(&["O", "B-PER", "I-PER", "I-LOC"]);
        let found = set.entities([2, 2, 3, 0, 1, 1, 2]);
        let entity = |kind, first, last| Entity { kind, first, last };
        assert_eq!(
            found,
            [entity(1, 0, 1), entity(0, 2, 2), entity(1, 4, 4), entity(1, 5, 6)]
        );
    }

    #[test]
    fn an_entity_is_right_if_both_ends_are() {
        let set = tag_set(&["O", "B-PER", "I-PER"]);
        let counts = set.counts(&[1, 2, 0, 1], &[1, 0, 0, 1]);
        let expected = ClassCounts {
            right: 1,
            labelled: 2,
            predicted: 2,
        };
        assert_eq!(counts, [(0, expected)]);
        assert!(set.counts(&[0, 0], &[0, 0]).is_empty());
    }
}
