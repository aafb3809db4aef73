//! How jobs, workers and progress look to a person or a program.
//!
//! Everything here is a pure function from wire messages (and the time) to text, so that the exact output stands in
//! tests. Human views count epochs from 1; `-o json` and `-o yaml` keep the numbers of the wire, which count from 0.

pub(crate) mod document;
pub(crate) mod failure;
pub(crate) mod humanise;
pub(crate) mod job;
pub(crate) mod lists;
pub(crate) mod losses;
pub(crate) mod lr_find;
pub(crate) mod milestones;
pub(crate) mod models;
pub(crate) mod progress;
pub(crate) mod quotas;
pub(crate) mod receipt;
pub(crate) mod report;
#[cfg(test)]
pub(crate) mod samples;
pub(crate) mod table;
mod task;
pub(crate) mod tokens;

use clap::ValueEnum;

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Table,
    /// For people, with more columns
    Wide,
    /// For programs: the job as in its YAML, camelCase, with `status`
    Json,
    /// The same as YAML
    Yaml,
}

impl Format {
    /// Whether a person reads it.
    pub(crate) fn is_human(self) -> bool {
        matches!(self, Self::Table | Self::Wide)
    }
}
