//! The command line against a coordinator whose answers the test decides: exit codes, data on standard output, talk on
//! standard error.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod downloads;
mod draining;
mod fake;
mod firn;
mod following;
mod jobs;
mod listing;
mod quotas;
mod submitting;
mod suspending;
mod tether;
mod usage;
