//! The real `firn serve` on disks that are full, damaged or held, and killed at each fail point.

#![allow(
    clippy::unwrap_used,
    reason = "a test says what went wrong by failing there, and tells one story"
)]

mod deletion;
mod fail_points;
mod full_disk;
mod process;
mod refused_starts;
mod restoring;
mod stored_builds;
