//! Names and contents of the agent's files.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
};

/// Writes a file so that it is there whole or not at all.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let partial = path.with_extension("partial");
    File::create(&partial)?.write_all(bytes)?;
    fs::rename(partial, path)
}

/// Identifiers come from the coordinator; whatever they hold, they stay one name in one folder.
pub(super) fn file_name(identifier: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_');
    if !identifier.is_empty() && identifier.chars().all(plain) && identifier.len() <= 120 {
        return identifier.to_owned();
    }
    format!("x-{}", &blake3::hash(identifier.as_bytes()).to_hex()[..32])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_identifier_leads_out_of_the_folder() {
        for identifier in ["../../etc", "a/b", "", ".", "..", "x y"] {
            let name = file_name(identifier);
            assert!(name.starts_with("x-") && !name.contains('/'), "{identifier} -> {name}");
        }
        assert_eq!(file_name("reviews-1_2"), "reviews-1_2");
    }
}
