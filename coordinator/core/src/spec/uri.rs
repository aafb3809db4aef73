//! Where files are: `file://` URIs or absolute paths, and of a model a place of the Hugging Face Hub. Nothing else is read yet, and a relative path would
//! mean another folder on each machine.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serializer, de::Error};

use super::hub::{self, HubPlace};

/// In the schema: a text that names a file or folder.
pub(super) struct Uri;

/// `format` of such a text.
pub(super) const FORMAT: &str = "file-uri";

impl JsonSchema for Uri {
    fn schema_name() -> Cow<'static, str> {
        "Uri".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": FORMAT})
    }

    fn inline_schema() -> bool {
        true
    }
}

/// Kept as a path, written as a URI.
pub(super) fn serialize<S: Serializer>(path: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&of_path(path))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let written = String::deserialize(deserializer)?;
    path(&written).map_err(D::Error::custom)
}

/// The same, where there may be none.
pub(super) mod optional {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(in crate::spec) fn serialize<S: Serializer>(path: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
        path.as_deref().map(super::of_path).serialize(serializer)
    }

    pub(in crate::spec) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
        let written = Option::<String>::deserialize(deserializer)?;
        written
            .as_deref()
            .map(super::path)
            .transpose()
            .map_err(D::Error::custom)
    }
}

/// The path that a URI or path names. A place of the Hub, which only fields of a model may hold, stays one.
///
/// # Errors
/// What was expected and what was found.
pub fn path(written: &str) -> Result<String, String> {
    if let Some(place) = HubPlace::parse(written) {
        return place.map(|place| place.to_string());
    }
    let path = match written.split_once("://") {
        Some((scheme, rest)) if is_scheme(scheme) => match (scheme.to_ascii_lowercase().as_str(), rest.split_once('/'))
        {
            ("file", Some(("" | "localhost", path))) => decode(&format!("/{path}"), written)?,
            ("file", _) => {
                return Err(format!(
                    "must be a `file:///` URI with an absolute path, found `{written}`"
                ));
            }
            _ => {
                return Err(format!(
                    "must be a `file://` URI or an absolute path: `{scheme}://` is not supported, found `{written}`"
                ));
            }
        },
        _ if written.starts_with('/') => written.to_owned(),
        _ => {
            return Err(format!(
                "must be an absolute path on the workers, or a `file://` URI, found `{written}`"
            ));
        }
    };
    if path.contains('\0') {
        return Err("must not hold a NUL character".to_owned());
    }
    Ok(path)
}

/// RFC 3986: a letter, then letters, digits, `+`, `-` and `.`.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '+' | '-' | '.'))
}

fn decode(encoded: &str, written: &str) -> Result<String, String> {
    let malformed =
        || format!("must be a `file://` URI whose `%` are followed by two hex digits of UTF-8, found `{written}`");
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let (high, low) = (digit().ok_or_else(malformed)?, digit().ok_or_else(malformed)?);
            bytes.push((high * 16 + low) as u8);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).map_err(|_| malformed())
}

/// The `file://` URI of an absolute path; a place of the Hub is one already.
pub(super) fn of_path(path: &str) -> String {
    if path.starts_with(hub::SCHEME) {
        return path.to_owned();
    }
    let mut uri = String::from("file://");
    for byte in path.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&byte);
        if plain {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn uris_and_absolute_paths_name_a_path() {
        for (written, expected) in [
            ("file:///data/train", "/data/train"),
            ("file://localhost/data", "/data"),
            ("FILE:///data", "/data"),
            ("file:///data/with%20space/%C3%A9", "/data/with space/é"),
            ("/data/100%/a b", "/data/100%/a b"),
        ] {
            assert_eq!(path(written).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn everything_else_is_refused_and_quoted() {
        for written in [
            "data/train",
            "./data",
            "~/data",
            "file:data",
            "file://data/train",
            "s3://bucket/key",
            "file:///a%2",
            "file:///%ff",
            "file:///%00",
            "file://",
        ] {
            let message = path(written).unwrap_err();
            assert!(message.starts_with("must "), "{message}");
        }
        assert_eq!(
            path("s3://bucket/key").unwrap_err(),
            "must be a `file://` URI or an absolute path: `s3://` is not supported, found `s3://bucket/key`"
        );
    }

    proptest! {
        #[test]
        fn every_path_has_a_uri_that_names_it(tail in "[^\0]{0,40}") {
            let whole = format!("/{tail}");
            prop_assert_eq!(path(&of_path(&whole)), Ok(whole));
        }
    }
}
