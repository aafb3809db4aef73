//! Records as text.

use firn_core::{Event, Record};
use serde::{Serialize, de::DeserializeOwned};

use super::{RecordDigest, membership::Membership};

/// What a journal can hold.
pub trait Recordable: Serialize + DeserializeOwned {
    /// Whether it is of a kind that may lose its text in a compaction. The chain says so from then on.
    fn may_be_compacted(&self) -> bool;
}

impl Recordable for Record {
    fn may_be_compacted(&self) -> bool {
        matches!(
            self.event,
            Event::CoordinatorStarted { .. }
                | Event::WorkerAttached(_)
                | Event::WorkerLost { .. }
                | Event::WorkerForgotten { .. }
        )
    }
}

/// The text of a record, and how its digest enters the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    json: Vec<u8>,
    is_compactable: bool,
    membership: Option<Membership>,
}

impl Encoded {
    pub(super) fn of<R: Recordable>(record: &R) -> Result<Self, serde_json::Error> {
        let json = serde_json::to_vec(record)?;
        serde_json::from_slice::<R>(&json)?;
        Ok(Self {
            membership: Membership::of(&json),
            json,
            is_compactable: record.may_be_compacted(),
        })
    }

    /// Some text, which need not be that of a record.
    #[cfg(test)]
    pub(crate) fn raw(json: &[u8]) -> Self {
        Self {
            membership: Membership::of(json),
            json: json.to_vec(),
            is_compactable: false,
        }
    }

    /// Length of the text.
    pub fn bytes(&self) -> u64 {
        self.json.len() as u64
    }

    pub(super) fn json(&self) -> &[u8] {
        &self.json
    }

    /// Whose record it is.
    pub(super) fn membership(&self) -> Option<&Membership> {
        self.membership.as_ref()
    }

    pub(super) fn digest(&self) -> RecordDigest {
        let digest = RecordDigest::of(&self.json);
        match self.is_compactable {
            true => digest.compactable(),
            false => digest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Recordable;

    impl Recordable for String {
        fn may_be_compacted(&self) -> bool {
            !self.starts_with("of a job")
        }
    }

    impl Recordable for f64 {
        fn may_be_compacted(&self) -> bool {
            false
        }
    }
}
