//! Which job a record is of, told from its text alone: without knowing the records of every build, and without reading all of a long one.

use std::borrow::Cow;
use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

/// What a text tells of its place in the strand of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Membership {
    /// Of this job.
    pub(super) job: String,
    /// As what.
    pub(super) part: Part,
}

/// What a record is in the strand of its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// A record like others: its text goes when the job is deleted.
    Ordinary,
    /// It says that the job is deleted: its text stays.
    Tombstone,
    /// It says that nothing is left of the job: its text stays, and the strand ends with it.
    End,
}

impl Membership {
    /// `None`: the record is of no job.
    pub(super) fn of(json: &[u8]) -> Option<Self> {
        let text: Text<'_> = serde_json::from_slice(json).ok()?;
        let of_job = text.event.job?;
        Some(Self {
            job: of_job.job.into_owned(),
            part: of_job.event.0,
        })
    }
}

#[derive(Deserialize)]
struct Text<'a> {
    #[serde(borrow)]
    event: Event<'a>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, default, rename = "Job")]
    job: Option<OfJob<'a>>,
}

#[derive(Deserialize)]
struct OfJob<'a> {
    #[serde(borrow)]
    job: Cow<'a, str>,
    event: Kind,
}

/// The name of the variant, of which all else is passed over.
struct Kind(Part);

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an event of a job")
    }

    fn visit_str<E>(self, name: &str) -> Result<Kind, E> {
        Ok(Kind(Part::named(name)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kind, A::Error> {
        let mut part = Part::Ordinary;
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            part = Part::named(&name);
            map.next_value::<IgnoredAny>()?;
        }
        Ok(Kind(part))
    }
}

impl Part {
    fn named(name: &str) -> Self {
        match name {
            "Deleted" => Self::Tombstone,
            "Erased" => Self::End,
            _ => Self::Ordinary,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Option<(String, Part)> {
        Membership::of(json.as_bytes()).map(|found| (found.job, found.part))
    }

    #[test]
    fn the_job_is_told_from_the_text_alone() {
        let job = |name: &str, part| Some((name.to_owned(), part));
        let later =
            r#"{"at":1,"event":{"Job":{"job":"a","event":{"OfALaterBuild":{"x":[1,{"y":2}]}},"more":3}},"z":4}"#;
        assert_eq!(of(later), job("a", Part::Ordinary));
        assert_eq!(
            of(r#"{"event":{"Job":{"event":{"Deleted":{"reason":"Asked"}},"job":"a\"b"}}}"#),
            job("a\"b", Part::Tombstone)
        );
        assert_eq!(
            of(r#"{"at":1,"event":{"Job":{"job":"a","event":"Erased"}}}"#),
            job("a", Part::End)
        );
    }

    #[test]
    fn what_is_of_no_job_has_none() {
        assert_eq!(of(r#"{"at":1,"event":{"CoordinatorStarted":{"epoch":1}}}"#), None);
        assert_eq!(of(r#""some text""#), None);
        assert_eq!(of("no json"), None);
    }
}
