//! How a command ended, and the exit code that tells scripts.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | success |
//! | 1 | the job failed, is not proven, or something on the way failed |
//! | 2 | wrong usage, an invalid spec, or a request that the coordinator refuses |
//! | 3 | the job was cancelled |
//! | 4 | the coordinator cannot be reached |
//! | 5 | `--timeout` passed before the job ended |
//!
//! Code 5 stands apart from 1 so that a script which waits in slices can tell "not yet" from "never".

use firn_proto::v1alpha1::FineTuneJob;

/// How a command ended without an error of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// What was asked for is done; a job that was followed has succeeded.
    Success,
    /// The job that was followed has failed.
    JobFailed,
    /// The job that was followed was cancelled, or the command was interrupted.
    Cancelled,
    /// The time limit passed first.
    TimeLimit,
    /// The job's records cannot be true.
    NotProven,
    /// Some of what was asked for could not be done, and was named; the rest is done.
    Incomplete,
}

impl Outcome {
    /// The exit code of the process.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::JobFailed | Self::NotProven | Self::Incomplete => 1,
            Self::Cancelled => 3,
            Self::TimeLimit => 5,
        }
    }

    /// The outcome of a job that has ended; `None` while it has not.
    ///
    /// Conditions decide; the summary word is only for tables.
    pub(crate) fn of_job(job: &FineTuneJob) -> Option<Self> {
        let conditions = &job.status.as_ref()?.conditions;
        let holds = |kind: &str| conditions.iter().rfind(|c| c.r#type == kind && c.status == "True");
        if holds("Succeeded").is_some() {
            return Some(Self::Success);
        }
        holds("Failed").map(|failed| {
            if failed.reason == "Cancelled" {
                Self::Cancelled
            } else {
                Self::JobFailed
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::view::samples;

    #[test]
    fn every_outcome_has_the_exit_code_of_the_table() {
        let table = [
            (Outcome::Success, 0),
            (Outcome::JobFailed, 1),
            (Outcome::Cancelled, 3),
            (Outcome::TimeLimit, 5),
            (Outcome::NotProven, 1),
        ];
        for (outcome, code) in table {
            assert_eq!(outcome.exit_code(), code, "{outcome:?}");
        }
    }

    #[test]
    fn the_outcome_of_a_job_comes_from_its_conditions() {
        assert_eq!(Outcome::of_job(&samples::queued()), None);
        assert_eq!(Outcome::of_job(&samples::running()), None);
        assert_eq!(Outcome::of_job(&samples::succeeded()), Some(Outcome::Success));
        assert_eq!(Outcome::of_job(&samples::failed()), Some(Outcome::JobFailed));
        assert_eq!(Outcome::of_job(&samples::cancelled()), Some(Outcome::Cancelled));
    }
}
