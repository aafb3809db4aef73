//! The person who runs the simulation: what the environment asks for, and the files that are left. Nothing else here looks at the world.

#![expect(
    clippy::disallowed_methods,
    reason = "a test run is set up by its environment, and a story that fails is written down; the core does neither"
)]

use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// A number that the environment gives, or the usual one.
pub(crate) fn setting(name: &str, usual: u64) -> u64 {
    match env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name}: expected a number, found `{text}`")),
        Err(_) => usual,
    }
}

/// A file that the environment names.
pub(crate) fn file(name: &str) -> Option<PathBuf> {
    env::var(name).ok().map(PathBuf::from)
}

/// Leaves lines in a file.
pub(crate) fn leave(path: &Path, lines: &[String]) -> io::Result<()> {
    fs::write(path, lines.join("\n") + "\n")
}
