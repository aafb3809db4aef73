//! Why a job failed, as a person needs it: the first cause, where it happened, and what was written there last.

use firn_proto::v1alpha1::{FineTuneJob, JobStatus};

use super::table::indent;
use crate::cmd::{connection::job_id, console::Paint, outcome::Outcome};

/// The first cause of a failed job; empty text for a job that has not failed.
pub(crate) fn failure(job: &FineTuneJob, paint: Paint) -> String {
    let (Some(Outcome::JobFailed), Some(status)) = (Outcome::of_job(job), job.status.as_ref()) else {
        return String::new();
    };
    let (reason, message) = cause(status);
    let mut text = format!(
        "{} {}\n",
        paint.bad(&format!("job {} failed:", name(job))),
        paint.bold(&reason)
    );
    text.push_str(&indent(&message, "  "));
    let Some(failure) = &status.failure else { return text };
    if let Some(rank) = failure.rank {
        let worker = status
            .ranks
            .iter()
            .find(|placed| placed.rank == rank)
            .map(|placed| format!(", worker {}", placed.worker));
        let host = if failure.host.is_empty() {
            String::new()
        } else {
            format!(" on {}", failure.host)
        };
        text.push_str(&format!(
            "  first cause: rank {rank}{host}{}\n",
            worker.unwrap_or_default()
        ));
    } else if !failure.host.is_empty() {
        text.push_str(&format!("  first cause: host {}\n", failure.host));
    }
    if !failure.last_log_lines.is_empty() {
        text.push_str("  last log lines:\n");
        text.push_str(&indent(&failure.last_log_lines.join("\n"), "    | "));
    }
    text
}

/// Reason and message; the condition speaks where no failure was recorded.
fn cause(status: &JobStatus) -> (String, String) {
    if let Some(failure) = &status.failure {
        return (failure.reason.clone(), failure.message.clone());
    }
    let condition = status.conditions.iter().rfind(|condition| condition.r#type == "Failed");
    condition
        .map(|failed| (failed.reason.clone(), failed.message.clone()))
        .unwrap_or_default()
}

/// The id of a job.
pub(crate) fn name(job: &FineTuneJob) -> &str {
    job.metadata.as_ref().map_or("", |metadata| {
        if metadata.resource_name.is_empty() {
            &metadata.name
        } else {
            job_id(&metadata.resource_name)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::view::samples;

    #[test]
    fn a_failure_names_reason_rank_host_and_last_words() {
        let expected = "\
job reviews failed: BadData
  cannot decode sample ants/7.jpg: not a JPEG or PNG
  first cause: rank 1 on host-a, worker local-1
  last log lines:
    | epoch 1 step 20
    | error: cannot decode sample ants/7.jpg
";
        assert_eq!(failure(&samples::failed(), Paint::default()), expected);
    }

    #[test]
    fn a_failure_without_details_says_what_the_condition_says() {
        let mut job = samples::failed();
        job.status.as_mut().unwrap().failure = None;
        let expected = "job reviews failed: BadData\n  rank 1 on host-a found a corrupt sample\n";
        assert_eq!(failure(&job, Paint::default()), expected);
    }

    #[test]
    fn a_job_that_has_not_failed_has_no_failure() {
        for job in [samples::running(), samples::succeeded(), samples::cancelled()] {
            assert_eq!(failure(&job, Paint::default()), "");
        }
    }
}
