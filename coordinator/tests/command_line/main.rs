//! The command line against a coordinator whose answers the test decides: exit codes, data on standard output, talk on standard error.

mod downloads;
mod fake;
mod firn;
mod following;
mod jobs;
mod listing;
mod submitting;
mod tether;
mod usage;
