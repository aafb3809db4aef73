//! The real coordinator on a loopback port, with agents and ranks that the tests play themselves.

#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "a test says what went wrong by failing there, and tells one story"
)]

mod access;
mod agent;
mod certificates;
mod crowd;
mod dedicated;
mod health;
mod history;
mod jobs;
mod limits;
mod many_classes;
mod patience;
mod quotas;
mod rank;
mod restart;
mod revisions;
mod rights;
mod server;
mod suspension;
mod twice;
mod verify;
mod whole_job;
mod workers;
