//! Reading the fields of a message: what is wrong is noted with its path, and reading goes on.

pub use firn_core::spec::Violation;
use firn_core::spec::{Word, nearest};

use super::uri;

/// The violations found so far.
#[derive(Debug, Default)]
pub(super) struct Fields {
    violations: Vec<Violation>,
}

impl Fields {
    pub(super) fn violation(&mut self, field: &str, message: impl Into<String>) {
        self.violations.push(Violation {
            field: field.to_owned(),
            message: message.into(),
        });
    }

    /// Notes a violation unless `holds`.
    pub(super) fn require(&mut self, holds: bool, field: &str, message: impl FnOnce() -> String) {
        if !holds {
            self.violation(field, message());
        }
    }

    /// Notes a violation if a field is set that has no meaning here; `reason` says why.
    pub(super) fn absent(&mut self, is_set: bool, field: &str, reason: &str) {
        self.require(!is_set, field, || format!("must be left out: {reason}"));
    }

    /// The choice that a word names; `None` (noted) if it names none.
    pub(super) fn word<W: Word>(&mut self, field: &str, written: &str) -> Option<W> {
        let choice = W::from_word(written);
        if choice.is_none() {
            let words: Vec<&str> = W::WORDS.iter().map(|(word, _)| *word).collect();
            self.unknown_word(field, written, &words);
        }
        choice
    }

    /// The choice that a word names; `default` if nothing is written, or (noted) if it names none.
    pub(super) fn word_or<W: Word>(&mut self, field: &str, written: &str, default: W) -> W {
        if written.is_empty() {
            default
        } else {
            self.word(field, written).unwrap_or(default)
        }
    }

    /// Notes that a word is none of the valid ones.
    pub(super) fn unknown_word(&mut self, field: &str, written: &str, words: &[&str]) {
        let valid = words
            .iter()
            .map(|word| format!("`{word}`"))
            .collect::<Vec<_>>()
            .join(", ");
        let message = match (written, nearest(written, words.iter().copied())) {
            ("", _) if words.len() == 1 => format!("is required: {valid}"),
            ("", _) => format!("is required; one of {valid}"),
            (_, Some(meant)) if words.len() > 1 => {
                format!("must be one of {valid}, found `{written}`; did you mean `{meant}`?")
            }
            _ if words.len() == 1 => format!("must be {valid}, found `{written}`"),
            _ => format!("must be one of {valid}, found `{written}`"),
        };
        self.violation(field, message);
    }

    /// The absolute path that a URI or path names; `None` if nothing is written, or (noted) if it is not on a local disk.
    pub(super) fn path(&mut self, field: &str, written: &str) -> Option<String> {
        if written.is_empty() {
            return None;
        }
        uri::path(written)
            .map_err(|message| self.violation(field, message))
            .ok()
    }

    /// Whether nothing is wrong with a field, nor with what it stands in, nor with what stands in it.
    fn is_sound(&self, field: &str) -> bool {
        !self
            .violations
            .iter()
            .any(|found| within(&found.field, field) || within(field, &found.field))
    }

    /// Adds what the rules of a whole spec found, less what follows from a field that is wrong already or unreliable.
    pub(super) fn add_rules(&mut self, found: Vec<Violation>, unreliable: &[&str]) {
        let sound: Vec<Violation> = found
            .into_iter()
            .filter(|rule| self.is_sound(&rule.field) && !unreliable.iter().any(|field| within(&rule.field, field)))
            .collect();
        self.violations.extend(sound);
    }

    pub(super) fn into_violations(self) -> Vec<Violation> {
        self.violations
    }
}

/// Whether a path is `whole` or stands in it.
fn within(field: &str, whole: &str) -> bool {
    field
        .strip_prefix(whole)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}
