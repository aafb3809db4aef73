//! One schema: the `.proto` file, the types of the core and the reference page say the same.

#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

mod comments;

use std::{fs, path::Path};

use firn::spec_reference;
use firn_core::spec::schema::{Field, Kind, document, join};
use prost::Message as _;
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};

use comments::{Comments, comment, with_comments};

/// What the coordinator writes into a message and no spec holds.
const WRITTEN_BY_COORDINATOR: [&str; 3] = ["status", "metadata.resourceName", "metadata.createTime"];

#[test]
fn the_reference_page_is_that_of_the_schema() {
    holds("SPEC.md", |_| spec_reference::page());
}

#[test]
fn the_comments_of_the_messages_are_the_words_of_the_schema() {
    let files = FileDescriptorSet::decode(firn_proto::FILE_DESCRIPTOR_SET).unwrap();
    let messages: Vec<&DescriptorProto> = files.file.iter().flat_map(|file| &file.message_type).collect();
    let mut comments = Comments::new();
    collect(&messages, "FineTuneJob", document(), &mut comments);
    holds("firn/v1alpha1/job.proto", |proto| with_comments(proto, &comments));
}

/// A message that stands in several places has the words of the last.
fn collect(messages: &[&DescriptorProto], name: &str, fields: &[Field], comments: &mut Comments) {
    let message = messages.iter().find(|message| message.name() == name).unwrap();
    for field in fields {
        let Some(found) = message.field.iter().find(|found| found.json_name() == field.name) else {
            continue;
        };
        let of_message = comments.entry(name.to_owned()).or_default();
        of_message.insert(found.name().to_owned(), comment(field));
        if let Kind::Object(inner) = &field.kind {
            collect(messages, found.type_name().rsplit('.').next().unwrap(), inner, comments);
        }
    }
}

/// Whether a file below `proto` is what the schema makes of it; with `BLESS` it becomes that.
fn holds(name: &str, made: impl FnOnce(&str) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto").join(name);
    let found = fs::read_to_string(&path).unwrap_or_default();
    let made = made(&found);
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, made).unwrap();
        return;
    }
    assert!(
        found == made,
        "proto/{name} is stale; write it anew with: BLESS=1 cargo test --release -p firn --test spec_reference"
    );
}

#[test]
fn every_field_has_an_explanation() {
    fn check(path: &str, fields: &[Field]) {
        for field in fields {
            let here = join(path, &field.name);
            assert!(!field.explanation.is_empty(), "{here}");
            check(&here, field.kind.fields());
        }
    }
    check("", document());
}

#[test]
fn the_messages_of_the_wire_have_the_fields_of_the_schema_and_no_others() {
    let files = FileDescriptorSet::decode(firn_proto::FILE_DESCRIPTOR_SET).unwrap();
    let messages: Vec<&DescriptorProto> = files.file.iter().flat_map(|file| &file.message_type).collect();
    let mut differences = Vec::new();
    compare(&messages, "FineTuneJob", "", document(), &mut differences);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

fn compare(messages: &[&DescriptorProto], name: &str, path: &str, fields: &[Field], differences: &mut Vec<String>) {
    let message = messages.iter().find(|message| message.name() == name).unwrap();
    for found in &message.field {
        let here = join(path, found.json_name());
        let known = fields.iter().any(|field| field.name == found.json_name());
        if !known && !WRITTEN_BY_COORDINATOR.contains(&here.as_str()) {
            differences.push(format!("{here}: only in the .proto file"));
        }
    }
    for field in fields {
        let here = join(path, &field.name);
        let Some(found) = message.field.iter().find(|found| found.json_name() == field.name) else {
            differences.push(format!("{here}: only in the schema"));
            continue;
        };
        if !is_of_kind(message, found, &field.kind) {
            differences.push(format!(
                "{here}: {:?} in the .proto file, {:?} in the schema",
                found.r#type(),
                field.kind
            ));
        }
        if let Kind::Object(inner) = &field.kind {
            let name = found.type_name().rsplit('.').next().unwrap();
            compare(messages, name, &here, inner, differences);
        }
    }
}

fn is_of_kind(message: &DescriptorProto, found: &FieldDescriptorProto, kind: &Kind) -> bool {
    let is_list = found.label() == Label::Repeated;
    match kind {
        Kind::Map(inner) => {
            let entry = message
                .nested_type
                .iter()
                .find(|entry| found.type_name().ends_with(entry.name()));
            let value = entry.and_then(|entry| entry.field.iter().find(|field| field.number() == 2));
            is_list && value.is_some_and(|value| is_scalar(value.r#type(), inner))
        }
        Kind::List { item, .. } => is_list && is_scalar(found.r#type(), item),
        kind => !is_list && is_scalar(found.r#type(), kind),
    }
}

fn is_scalar(found: Type, kind: &Kind) -> bool {
    match kind {
        Kind::Text(_) | Kind::Choice(_) => found == Type::String,
        Kind::Boolean => found == Type::Bool,
        Kind::Integer { bits: 64, .. } => found == Type::Uint64,
        Kind::Integer { .. } => found == Type::Uint32,
        Kind::Number(_) => found == Type::Double,
        Kind::Object(_) => found == Type::Message,
        Kind::List { .. } | Kind::Map(_) => false,
    }
}

#[test]
fn a_path_that_leads_nowhere_is_told_with_the_nearest_name() {
    for (path, said) in [
        (
            "spec.training.optimzer",
            "spec.training.optimzer: unknown field; did you mean `spec.training.optimizer`?",
        ),
        ("epochs", "epochs: unknown field; did you mean `spec.training.epochs`?"),
        (
            "spec.training.epochs.x",
            "`spec.training.epochs` has no fields, found `spec.training.epochs.x`",
        ),
    ] {
        assert_eq!(spec_reference::unknown(path), said);
    }
}

#[test]
fn what_belongs_to_one_choice_and_its_defaults_are_explained() {
    let said = |path: &str| spec_reference::explanation(path, firn_core::spec::schema::find(path), false);
    let beta1 = said("spec.training.optimizer.beta1");
    assert!(beta1.contains("only with: type `adamw`"), "{beta1}");
    assert!(beta1.contains("range: at least 0 and below 1"), "{beta1}");
    let decay = said("spec.training.optimizer.weightDecay");
    assert!(decay.contains("0.0 for `sgd`, 0.01 for `adamw`"), "{decay}");
}
