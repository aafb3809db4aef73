//! The document as builds of a revision know it: less the fields that are newer, if the job is the same without them.
//!
//! What is newer says so where it is defined, with `x-firn-since`. A field that is not there means to a later build what builds before the field
//! did, and that is what an older rank does. So a default that changes what is learned, once its field is left out, keeps the job from older ranks
//! like any other value.

use std::borrow::Cow;

use serde_json::Value;

use super::said_by;
use crate::revision::Revision;
use crate::spec::{
    JobSpec,
    schema::{self, Field, Kind, join},
};

pub(super) fn document(spec: &JobSpec, revision: Revision) -> Result<Value, Cow<'static, str>> {
    let mut document = spec.to_document();
    schema::leave_out(schema::document(), &mut document, &|field| field.since > revision);
    match newer_word("", schema::document(), &document, revision) {
        Some(path) => Err(path.into()),
        None => said_by(spec, document),
    }
}

/// Path of the first field that holds a word which is newer.
fn newer_word(path: &str, fields: &[Field], value: &Value, revision: Revision) -> Option<String> {
    fields.iter().find_map(|field| {
        let (here, held) = (join(path, &field.name), value.get(&field.name)?);
        let is_newer = |kind: &Kind, held: &Value| match kind {
            Kind::Choice(choices) => {
                let mut newer = choices.iter().filter(|choice| choice.since > revision);
                newer.any(|choice| *held == choice.word)
            }
            _ => false,
        };
        let is_newer = match (&field.kind, held) {
            (Kind::List { item, .. }, Value::Array(items)) => items.iter().any(|held| is_newer(item, held)),
            (Kind::Map(kind), Value::Object(values)) => values.values().any(|held| is_newer(kind, held)),
            (kind, held) => is_newer(kind, held),
        };
        match is_newer {
            true => Some(here),
            false => newer_word(&here, field.kind.fields(), held, revision),
        }
    })
}
