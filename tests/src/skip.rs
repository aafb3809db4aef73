//! Tests for which this machine lacks something.

use std::io::Write as _;

/// Says why a test does nothing here: past the capture of the test harness, so that it is seen.
pub fn skipped(reason: &str) {
    // Nobody is left to tell if standard error is closed.
    let _ = writeln!(std::io::stderr(), "skipped: {reason}");
}
