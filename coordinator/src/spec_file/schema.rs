//! The fields that a spec may have, read from the descriptors of the wire: names, types and nesting are written down once, in the
//! `.proto` file.

use std::{collections::BTreeMap, sync::LazyLock};

use prost::Message as _;
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};

/// The message that a spec file holds.
pub(super) const JOB: &str = ".firn.v1alpha1.FineTuneJob";

/// What the coordinator writes. It is ignored in a file, so that a job that was printed can be submitted again.
const WRITTEN_BY_COORDINATOR: [(&str, &str); 3] = [
    (JOB, "status"),
    (".firn.v1alpha1.Metadata", "resourceName"),
    (".firn.v1alpha1.Metadata", "createTime"),
];

/// Type of a field's value, or of each value of a list or map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Truth,
    /// A whole number from 0 to this.
    Whole(u64),
    Number,
    /// Full name of the message.
    Message(String),
    /// Not of a spec.
    Ignored,
}

/// How many values a field has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    One,
    List,
    /// Keyed by any text.
    Map,
}

#[derive(Debug, Clone)]
pub(super) struct Field {
    /// As people write it.
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) shape: Shape,
}

/// All messages of the package by full name, each with its fields in the order of the `.proto` file.
pub(super) struct Schema {
    messages: BTreeMap<String, Vec<Field>>,
}

/// The schema of the wire that this binary was built with.
pub(super) static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let files = FileDescriptorSet::decode(firn_proto::FILE_DESCRIPTOR_SET)
        .expect("the descriptors were encoded when this binary was built");
    Schema::new(&files)
});

impl Schema {
    fn new(files: &FileDescriptorSet) -> Self {
        let mut messages = BTreeMap::new();
        for file in &files.file {
            for message in &file.message_type {
                let name = format!(".{}.{}", file.package(), message.name());
                let fields = message.field.iter().map(|found| field(&name, message, found)).collect();
                messages.insert(name, fields);
            }
        }
        Self { messages }
    }

    /// The fields of a message that a spec may hold, and those that are ignored.
    pub(super) fn fields(&self, message: &str) -> &[Field] {
        self.messages.get(message).map_or(&[], Vec::as_slice)
    }

    /// Paths of all fields of this name in a job, besides free-form maps.
    pub(super) fn paths_of(&self, name: &str) -> Vec<String> {
        let mut found = Vec::new();
        self.search(JOB, "", name, &mut found);
        found
    }

    fn search(&self, message: &str, path: &str, name: &str, found: &mut Vec<String>) {
        for field in self.fields(message) {
            let here = super::join(path, &field.name);
            if field.name == name && field.kind != Kind::Ignored {
                found.push(here.clone());
            }
            if let Kind::Message(inner) = &field.kind {
                self.search(inner, &here, name, found);
            }
        }
    }
}

fn field(owner: &str, message: &DescriptorProto, found: &FieldDescriptorProto) -> Field {
    let name = found.json_name().to_owned();
    let ignored = WRITTEN_BY_COORDINATOR.contains(&(owner, name.as_str()));
    let entry = found.type_name().rsplit('.').next().and_then(|nested| {
        let is_entry = |candidate: &&DescriptorProto| {
            candidate.name() == nested && candidate.options.as_ref().is_some_and(|options| options.map_entry())
        };
        message.nested_type.iter().find(is_entry)
    });
    let (typed, shape) = match entry {
        // A map is a list of messages `{ key = 1; value = 2; }`.
        Some(entry) => (
            entry.field.iter().find(|field| field.number() == 2).unwrap_or(found),
            Shape::Map,
        ),
        None if found.label() == Label::Repeated => (found, Shape::List),
        None => (found, Shape::One),
    };
    let kind = match typed.r#type() {
        _ if ignored => Kind::Ignored,
        Type::String => Kind::Text,
        Type::Bool => Kind::Truth,
        Type::Uint32 => Kind::Whole(u64::from(u32::MAX)),
        Type::Uint64 => Kind::Whole(u64::MAX),
        Type::Double => Kind::Number,
        Type::Message => Kind::Message(typed.type_name().to_owned()),
        _ => Kind::Ignored,
    };
    Field { name, kind, shape }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_types_and_shapes_are_those_of_the_wire() {
        let field = |message: &str, name: &str| {
            let fields = SCHEMA.fields(&format!(".firn.v1alpha1.{message}"));
            let found = fields.iter().find(|field| field.name == name).unwrap();
            (found.kind.clone(), found.shape)
        };
        assert_eq!(field("OptimizerSpec", "learningRate"), (Kind::Number, Shape::One));
        assert_eq!(field("TrainingSpec", "seed"), (Kind::Whole(u64::MAX), Shape::One));
        assert_eq!(
            field("TrainingSpec", "batchSize"),
            (Kind::Whole(u64::from(u32::MAX)), Shape::One)
        );
        assert_eq!(field("PreprocessingSpec", "mean"), (Kind::Number, Shape::List));
        assert_eq!(field("LossSpec", "classWeights"), (Kind::Number, Shape::Map));
        assert_eq!(field("Metadata", "labels"), (Kind::Text, Shape::Map));
        assert_eq!(field("FineTuneJob", "status").0, Kind::Ignored);
        assert_eq!(
            field("FineTuneJob", "spec").0,
            Kind::Message(".firn.v1alpha1.JobSpec".to_owned())
        );
    }

    #[test]
    fn every_field_of_a_spec_is_of_a_type_that_the_reader_knows() {
        fn check(message: &str) {
            for field in SCHEMA.fields(message) {
                let written_by_coordinator = WRITTEN_BY_COORDINATOR.contains(&(message, field.name.as_str()));
                assert_eq!(
                    field.kind == Kind::Ignored,
                    written_by_coordinator,
                    "{message} {}",
                    field.name
                );
                if let Kind::Message(inner) = &field.kind {
                    assert_eq!(field.shape, Shape::One, "{message} {}", field.name);
                    check(inner);
                }
            }
        }
        check(JOB);
    }
}
