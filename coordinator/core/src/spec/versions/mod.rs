//! The spec as other builds wrote it, and as they know it.
//!
//! What was stored once is read for ever, and means the same: each earlier form is a file of its own ([`initial`]), which has how it says what the
//! document says, and how a job is said in it. And ranks of earlier builds read what they know: those of revision 1 the first form, later ones
//! the document less what is newer than they are (`known.rs`).

pub mod initial;
mod known;

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::{
    Determinism, JobSpec, hub,
    schema::{self, join},
};
use crate::revision::Revision;

/// The job as ranks of a revision read it.
///
/// # Errors
/// If it asks for something that they do not know: path of the field.
pub fn known_to(revision: Revision, spec: &JobSpec) -> Result<Value, Cow<'static, str>> {
    if revision < SHARED_STATISTICS && shares_statistics(spec) {
        return Err("spec.training.batchNorm".into());
    }
    if revision < HUB && is_of_the_hub(spec) {
        return Err("spec.model.weights".into());
    }
    match revision {
        Revision::OLDEST => initial::of(&needed_by_ranks(spec)),
        older if older < Revision::CURRENT => known::document(&needed_by_ranks(spec), older),
        _ => Ok(spec.to_document()),
    }
}

/// The first revision whose ranks fetch models from the Hub.
const HUB: Revision = Revision(5);

/// Whether weights or tokenizer are no file of the workers.
fn is_of_the_hub(spec: &JobSpec) -> bool {
    let places = [&spec.model.weights, &spec.model.tokenizer];
    places.into_iter().flatten().any(|place| place.starts_with(hub::SCHEME))
}

/// The first revision whose ranks normalise by a batch that others have parts of.
const SHARED_STATISTICS: Revision = Revision(5);

/// Whether BatchNorm trains on more than one rank, or in a strict job. Ranks that know the word, and nothing of this, would each normalise by their own part;
/// a single one of a strict job by the whole batch at once, in other bits.
fn shares_statistics(spec: &JobSpec) -> bool {
    let resources = &spec.resources;
    let has_other_ranks = resources.workers.max > 1 || resources.slots_per_worker > 1;
    spec.training.train_batch_norm && (has_other_ranks || spec.training.determinism == Determinism::Strict)
}

/// The job with the defaults in place of what only the coordinator reads; one that could not be read back, as it is.
pub fn needed_by_ranks(spec: &JobSpec) -> JobSpec {
    let mut document = spec.to_document();
    schema::leave_out(schema::document(), &mut document, &|field| !field.for_ranks);
    serde_json::from_value(document).unwrap_or_else(|_| spec.clone())
}

/// `told` itself, if it says the same as the spec: what it leaves out, builds that do not know it take as this one does.
///
/// # Errors
/// If something is lost: path of the field.
fn said_by(spec: &JobSpec, told: Value) -> Result<Value, Cow<'static, str>> {
    let back: Option<JobSpec> = serde_json::from_value(told.clone()).ok();
    if back.as_ref() == Some(spec) {
        return Ok(told);
    }
    let back = back.map(|back| back.to_document()).unwrap_or_default();
    let lost = difference("", &spec.to_document(), &back);
    Err(lost.map_or("spec".into(), Cow::Owned))
}

/// Path of the first field in which documents differ.
fn difference(path: &str, one: &Value, other: &Value) -> Option<String> {
    match (one, other) {
        (Value::Object(fields), Value::Object(others)) => {
            let of = |object: &Map<String, Value>, name| object.get(name).cloned().unwrap_or_default();
            let mut names = fields.keys().chain(others.keys());
            names.find_map(|name| difference(&join(path, name), &of(fields, name), &of(others, name)))
        }
        _ => (one != other).then(|| path.to_owned()),
    }
}
