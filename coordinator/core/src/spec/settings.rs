//! The digest that names a job's settings in its checkpoints, so that a checkpoint of other settings is refused.
//!
//! It is made once, when the job is submitted, and recorded: a later program may write the same spec otherwise, or know a field that this
//! one does not. It may be made anew before the first formation, and never after it.
//!
//! It covers what the result can depend on. Left out is what cannot change it but for the order of floating-point sums: name and labels,
//! which only people read; where and on how many workers the job runs, and how many samples a rank computes at once; restarts and the
//! time between checkpoints, as a step that is taken again gives the same; how many samples may be corrupt before the job fails; where
//! artifacts go, and which. Each of these fields says so where it is defined, with `x-firn-result`; of a field that says nothing the result
//! depends.
//!
//! Ranks of the first program know no such digest: they hash the JSON of the spec in its first form, byte for byte. While a worker of
//! that program is known, a job that the first form can express is named so when its first gang is formed, and ranks of both programs agree.
//! Jobs that the first program took in have nothing on record, and are named so too, as their checkpoints are.

use std::fmt::Write as _;

use serde_json::Value;

use super::{JobSpec, schema, versions};
use crate::revision::Revision;

/// What a digest begins with that the first program could not have made.
const MARK: &str = "settings:";

/// Of a job, where `oldest` is the oldest revision that a known worker speaks.
pub(crate) fn digest(spec: &JobSpec, oldest: Revision) -> String {
    let first = (oldest == Revision::OLDEST).then(|| first_digest(spec)).flatten();
    first.unwrap_or_else(|| format!("{MARK}{}", hashed(&relevant(spec))))
}

/// Of a job that the first program took in.
pub(crate) fn digest_of_first_program(spec: &JobSpec) -> String {
    digest(spec, Revision::OLDEST)
}

/// Whether ranks of the first program would name the job otherwise.
pub(crate) fn is_new_to_first_program(digest: &str) -> bool {
    digest.starts_with(MARK)
}

fn first_digest(spec: &JobSpec) -> Option<String> {
    let first = versions::known_to(Revision::OLDEST, spec).ok()?;
    let json = serde_json::to_string(&first).expect("a spec is plain data with finite numbers");
    Some(hashed(&json))
}

fn hashed(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

/// What the result can depend on, as JSON with sorted names.
fn relevant(spec: &JobSpec) -> String {
    let mut document = spec.to_document();
    schema::leave_out(schema::document(), &mut document, &|field| !field.shapes_result);
    let mut text = String::new();
    write_sorted(&document, &mut text);
    text
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
