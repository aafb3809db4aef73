//! The document and the job: `{apiVersion, kind, metadata, spec}` → [`JobSpec`] and back.
//!
//! Reading finds everything that is wrong at once, in stages: what cannot stand together ([`written`]), each field by itself
//! ([`checks`]), the defaults, the typed value, and the rules between fields. What a rule would only say because a field is wrong already
//! is left out.

mod checks;
mod chosen;
mod written;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::{Map, Value};

use super::{API_VERSION, JobSpec, KIND, Violation, defaults, exact, validate, versions::initial};
use checks::Checks;
pub(super) use checks::not_finite;
pub use checks::unknown_field;
use chosen::Chosen;

impl JobSpec {
    /// The job that a document describes, every default filled in. Empty texts and lists mean that nothing was written.
    ///
    /// # Errors
    /// Everything that is wrong with it: first what the document says, field by field, then what does not go together.
    pub fn from_document(mut document: Value) -> Result<Self, Vec<Violation>> {
        checks::tidy(&mut document);
        let chosen = Chosen::of(&document);
        let mut checks = Checks::default();
        written::exclusions(&mut document, &chosen, &mut checks);
        checks.document(&mut document);
        chosen.stand_in(&mut document);
        defaults::fill(&mut document);
        let spec = match typed(document) {
            Ok(spec) => {
                checks.add_rules(validate(&spec), chosen.unreliable);
                Some(spec)
            }
            Err(error) => {
                // What the checks let pass and the types do not is told like any other mistake.
                if checks.violations.is_empty() {
                    checks.add("", error);
                }
                None
            }
        };
        match spec {
            Some(spec) if checks.violations.is_empty() => Ok(spec),
            _ => Err(checks.violations),
        }
    }

    /// The document that describes the job: [`Self::from_document`] of it is the same job. Every default is written out.
    pub fn to_document(&self) -> Value {
        let mut document = nested(self);
        defaults::leave_out(&mut document);
        drop_nothing(&mut document);
        document
    }
}

/// The document with the places of what is not there.
pub(super) fn nested(spec: &JobSpec) -> Value {
    // The derived form is private to this room: an inherent function, because the trait's is the document.
    struct Sections<'a>(&'a JobSpec);
    impl Serialize for Sections<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            JobSpec::serialize(self.0, serializer)
        }
    }
    let sections = exact::to_value(&Sections(spec)).expect("a spec is plain data");
    let Value::Object(mut sections) = sections else {
        unreachable!("a struct is an object")
    };
    let metadata = sections.shift_remove("metadata").unwrap_or_default();
    Value::Object(Map::from_iter([
        ("apiVersion".to_owned(), API_VERSION.into()),
        ("kind".to_owned(), KIND.into()),
        ("metadata".to_owned(), metadata),
        ("spec".to_owned(), Value::Object(sections)),
    ]))
}

/// The typed value of a document that has all its fields.
fn typed(mut document: Value) -> Result<JobSpec, String> {
    let metadata = document["metadata"].take();
    let mut sections = document["spec"].take();
    sections["metadata"] = metadata;
    JobSpec::deserialize(sections).map_err(|error| error.to_string())
}

/// Leaves out what is not there.
fn drop_nothing(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.retain(|_, value| {
            drop_nothing(value);
            !value.is_null() && value.as_object().is_none_or(|fields| !fields.is_empty())
        });
    }
}

impl Serialize for JobSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_document().serialize(serializer)
    }
}

/// Reads what is stored: the document, or the form before it. Rules are not asked again: what was taken in once stays a job.
impl<'de> Deserialize<'de> for JobSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut document = Value::deserialize(deserializer)?;
        if document.get("apiVersion").is_none() {
            document = initial::document(&document);
            drop_nothing(&mut document);
        }
        let mut checks = Checks::default();
        checks.document(&mut document);
        if let Some(violation) = checks.violations.first() {
            return Err(D::Error::custom(violation));
        }
        defaults::fill_stored(&mut document);
        defaults::fill(&mut document);
        typed(document).map_err(D::Error::custom)
    }
}
