//! Models of the Hugging Face Hub: `hf://org/name@revision`, and, once the commit is known, `hf://org/name@commit/file`.
//!
//! A branch or a tag may name another commit tomorrow. Who submits a job, or else the coordinator, asks the Hub which one it is now; the stored spec holds the
//! commit, so the same job always means the same weights. Ranks fetch the files of that commit.

use std::fmt;

/// What such a place begins with.
pub const SCHEME: &str = "hf://";

/// The branch that is meant where none is named.
const MAIN: &str = "main";

/// A repository of the Hub at a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubModel {
    /// `org/name`, or `name` alone for a few old ones.
    pub id: String,
    /// A branch, a tag or a commit.
    pub revision: String,
}

impl HubModel {
    /// What `hf://org/name@revision` names.
    ///
    /// # Errors
    /// What was expected and what was found.
    pub fn parse(written: &str) -> Result<Self, String> {
        let malformed = || format!("must be `hf://org/name` or `hf://org/name@revision`, found `{written}`");
        let rest = written.strip_prefix(SCHEME).ok_or_else(malformed)?;
        let (id, revision) = rest.split_once('@').unwrap_or((rest, MAIN));
        let parts: Vec<&str> = id.split('/').collect();
        let is_id = parts.len() <= 2 && parts.iter().all(|part| is_name(part));
        match is_id && revision.split('/').all(is_name) {
            true => Ok(Self {
                id: id.to_owned(),
                revision: revision.to_owned(),
            }),
            false => Err(malformed()),
        }
    }

    /// Whether the revision is a commit, which never means anything else.
    pub fn is_pinned(&self) -> bool {
        is_commit(&self.revision)
    }
}

impl fmt::Display for HubModel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{SCHEME}{}@{}", self.id, self.revision)
    }
}

/// A file of a commit, or the whole of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubPlace {
    /// Its revision is a commit.
    pub model: HubModel,
    /// Within the repository; empty: all of it.
    pub file: String,
}

impl fmt::Display for HubPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.model, self.file)
    }
}

impl HubPlace {
    /// What `hf://org/name@commit/file` names; `None`: it is no place of the Hub at all.
    pub fn parse(written: &str) -> Option<Result<Self, String>> {
        let rest = written.strip_prefix(SCHEME)?;
        let (commit, file) = match rest.split_once('@') {
            Some((_, place)) => place.split_once('/').unwrap_or((place, "")),
            None => ("", ""),
        };
        let is_file = file.is_empty() || file.split('/').all(is_name);
        if !is_commit(commit) || !is_file {
            return Some(Err(format!(
                "must name a commit, as `hf://org/name@` and 40 hex digits; `uri: hf://org/name@revision` in place of architecture and weights \
                 finds it out, found `{written}`"
            )));
        }
        let end = written.len() - file.len() - usize::from(rest.ends_with('/') || !file.is_empty());
        let model = HubModel::parse(&written[..end]);
        Some(model.map(|model| Self {
            model,
            file: file.to_owned(),
        }))
    }
}

/// Letters, digits, `.`, `_` and `-`; nothing that leads out of a folder.
fn is_name(part: &str) -> bool {
    let letters = part
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    letters && (1..=96).contains(&part.len()) && !part.starts_with(['.', '-'])
}

fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn a_model_has_an_owner_and_a_revision() {
        for (written, id, revision) in [
            (
                "hf://google-bert/bert-base-uncased",
                "google-bert/bert-base-uncased",
                "main",
            ),
            ("hf://gpt2", "gpt2", "main"),
            ("hf://org/name@v1.0", "org/name", "v1.0"),
            ("hf://org/name@refs/pr/3", "org/name", "refs/pr/3"),
        ] {
            let model = HubModel::parse(written).unwrap();
            assert_eq!((model.id.as_str(), model.revision.as_str()), (id, revision));
            assert!(!model.is_pinned());
        }
        assert!(HubModel::parse(&format!("hf://org/name@{COMMIT}")).unwrap().is_pinned());
        for written in [
            "hf://",
            "hf://a/b/c",
            "hf://../b",
            "hf://org/na me",
            "hf://org/name@",
            "hf://org/name@../main",
            "/org/name",
        ] {
            let message = HubModel::parse(written).unwrap_err();
            assert!(message.starts_with("must be `hf://org/name`"), "{message}");
        }
    }

    #[test]
    fn a_place_is_in_a_commit() {
        for (tail, file) in [
            ("", ""),
            ("/", ""),
            ("/tokenizer.json", "tokenizer.json"),
            ("/onnx/a.json", "onnx/a.json"),
        ] {
            let place = HubPlace::parse(&format!("hf://org/name@{COMMIT}{tail}"))
                .unwrap()
                .unwrap();
            assert_eq!(
                (place.model.id.as_str(), place.model.revision.as_str()),
                ("org/name", COMMIT)
            );
            assert_eq!(place.file, file);
            // A folder is told to be one.
            assert_eq!(place.to_string(), format!("hf://org/name@{COMMIT}/{file}"));
        }
        assert_eq!(HubPlace::parse("/models/bert/"), None);
        for written in [
            "hf://org/name",
            "hf://org/name@main/",
            &format!("hf://org/name@{COMMIT}/../a"),
        ] {
            assert!(
                HubPlace::parse(written)
                    .unwrap()
                    .unwrap_err()
                    .starts_with("must name a commit"),
                "{written}"
            );
        }
    }
}
