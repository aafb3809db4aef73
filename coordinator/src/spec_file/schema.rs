//! What the reader needs of the spec's schema beyond its fields.

use firn_core::spec::schema::{Field, Kind};

/// What the coordinator writes. It is ignored in a file, so that a job that was printed can be submitted again.
const WRITTEN_BY_COORDINATOR: [(&str, &str); 3] =
    [("", "status"), ("metadata", "resourceName"), ("metadata", "createTime")];

/// Whether a field of the object at `path` is the coordinator's.
pub(super) fn is_ignored(path: &str, name: &str) -> bool {
    WRITTEN_BY_COORDINATOR.contains(&(path, name))
}

/// How a text in the place of an object was probably meant: its first field, if that is a text.
pub(super) fn first_text(fields: &[Field]) -> Option<&str> {
    let first = fields.first()?;
    matches!(first.kind, Kind::Text(_) | Kind::Choice(_)).then_some(first.name.as_str())
}
