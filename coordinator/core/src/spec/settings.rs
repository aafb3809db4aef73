//! The digest that names a job's settings in its checkpoints, so that a checkpoint of other settings is refused.
//!
//! It is made once, when the job is submitted, and recorded: a later program may write the same spec otherwise. Jobs of the first program
//! have none on record; their ranks hashed the JSON of the first form, which is made again here byte for byte. Jobs that the first form can
//! express are still named so, and then ranks of both programs agree.

use std::fmt::Write as _;

use serde_json::Value;

use super::{JobSpec, versions::initial};

/// BLAKE3, hex, of the first form's JSON, or, where it cannot express the job, of its document with sorted names.
pub(crate) fn digest(spec: &JobSpec) -> String {
    let canonical = match initial::of(spec) {
        Some(first) => serde_json::to_string(&first).expect("a spec is plain data with finite numbers"),
        None => {
            let mut text = String::new();
            write_sorted(&spec.to_document(), &mut text);
            text
        }
    };
    blake3::hash(canonical.as_bytes()).to_hex().to_string()
}

/// JSON whose names stand in alphabetic order, whatever the order of the fields in the types.
fn write_sorted(value: &Value, text: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut names: Vec<&String> = fields.keys().collect();
            names.sort();
            text.push('{');
            for (i, name) in names.into_iter().enumerate() {
                text.push_str(if i > 0 { "," } else { "" });
                write!(text, "{}:", Value::from(name.as_str())).expect("a text takes all that is written");
                write_sorted(&fields[name], text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (i, item) in items.iter().enumerate() {
                text.push_str(if i > 0 { "," } else { "" });
                write_sorted(item, text);
            }
            text.push(']');
        }
        scalar => write!(text, "{scalar}").expect("a text takes all that is written"),
    }
}
