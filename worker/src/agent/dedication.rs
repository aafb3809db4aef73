//! For whom an agent is there, and what it has heard of the job that it is there for.

use std::{collections::BTreeMap, process::ExitCode};

use firn_proto::v1alpha1::{AgentHello, JobEnded};
use tracing::{info, warn};

use super::exit_status::ExitStatus;

/// What an agent says of itself beside its machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dedication {
    /// The job that it is there for alone, without `jobs/`.
    pub(crate) job: Option<String>,
    /// The namespace whose jobs alone it is there for.
    pub(crate) namespace: Option<String>,
    /// What jobs may select.
    pub(crate) labels: BTreeMap<String, String>,
    /// How the job ended, once it has.
    outcome: Option<String>,
}

impl Dedication {
    /// As given.
    pub(crate) fn new(job: Option<String>, namespace: Option<String>, labels: BTreeMap<String, String>) -> Self {
        Self {
            job,
            namespace,
            labels,
            outcome: None,
        }
    }

    /// Puts it into what opens a stream.
    pub(super) fn introduce(&self, hello: AgentHello) -> AgentHello {
        AgentHello {
            labels: self.labels.clone(),
            for_job: self.job.as_ref().map(|job| format!("jobs/{job}")).unwrap_or_default(),
            for_namespace: self.namespace.clone().unwrap_or_default(),
            ..hello
        }
    }

    /// The coordinator says that a job is over. Told twice, it says the same.
    pub(super) fn job_ended(&mut self, ended: &JobEnded) {
        let own = self.job.as_ref().map(|job| format!("jobs/{job}"));
        if own.as_ref() != Some(&ended.job) {
            warn!(
                job = ended.job,
                "not leaving at the end of a job that this agent is not there for"
            );
        } else if self.outcome.is_none() {
            info!(
                job = ended.job,
                outcome = ended.outcome,
                "the job that this agent is there for has ended; it leaves when its ranks have ended"
            );
            self.outcome = Some(ended.outcome.clone());
        }
    }

    /// Whether the job is over, so that the agent is to leave.
    pub(super) fn is_over(&self) -> bool {
        self.outcome.is_some()
    }

    /// With which status an agent ends that has seen its ranks off: `when_stopped` if it is there for all.
    pub(super) fn exit_code(&self, when_stopped: ExitStatus) -> ExitCode {
        let status = match (&self.job, &self.outcome) {
            (Some(job), Some(outcome)) => {
                println!("job {job} is over: {outcome}");
                ExitStatus::Done
            }
            (Some(job), None) => {
                warn!(
                    job,
                    status = ExitStatus::Interrupted.code(),
                    "told to stop before the job was over"
                );
                ExitStatus::Interrupted
            }
            (None, _) => when_stopped,
        };
        status.into()
    }
}
