//! Jobs page by page, newest first.
//!
//! A page token holds the submission number below which the next page begins, so jobs that come in meanwhile neither repeat nor hide any.

use firn_core::state::Job;
use firn_proto::v1alpha1 as proto;
use tonic::Status;

use super::{
    context::Context,
    refusal::invalid,
    wire::job_status::{self, Detail},
};

const DEFAULT_PAGE: usize = 100;
const LARGEST_PAGE: usize = 1_000;

pub(super) async fn list(
    context: &Context,
    request: &proto::ListJobsRequest,
) -> Result<proto::ListJobsResponse, Status> {
    let size = match request.page_size as usize {
        0 => DEFAULT_PAGE,
        size => size.min(LARGEST_PAGE),
    };
    let below = parse_token(&request.page_token)?;
    let (glances, is_last) = context
        .engine
        .ask(move |state| {
            let mut jobs: Vec<&Job> = state
                .jobs
                .values()
                .map(AsRef::as_ref)
                .filter(|job| job.sequence < below)
                .collect();
            jobs.sort_unstable_by_key(|job| std::cmp::Reverse(job.sequence));
            let page = jobs
                .iter()
                .take(size)
                .filter_map(|job| job_status::glance(state, &job.id));
            (page.collect::<Vec<_>>(), jobs.len() <= size)
        })
        .await?;
    let next_page_token = match glances.last() {
        Some(last) if !is_last => token(last.job.sequence),
        _ => String::new(),
    };
    let now = context.clock.now();
    let jobs = glances
        .iter()
        .map(|glance| job_status::job_to_wire(glance, Detail::Overview, now))
        .collect();
    Ok(proto::ListJobsResponse { jobs, next_page_token })
}

fn token(sequence: u64) -> String {
    format!("before-{sequence}")
}

fn parse_token(token: &str) -> Result<u64, Status> {
    if token.is_empty() {
        return Ok(u64::MAX);
    }
    let sequence = token.strip_prefix("before-").and_then(|sequence| sequence.parse().ok());
    sequence.ok_or_else(|| {
        invalid(
            "page_token",
            format!("expected the next_page_token of an earlier answer, found `{token}`"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_was_not_given_out_is_refused() {
        assert_eq!(parse_token("").unwrap(), u64::MAX);
        assert_eq!(parse_token(&token(7)).unwrap(), 7);
        assert_eq!(
            parse_token("page2").unwrap_err().message(),
            "page_token: expected the next_page_token of an earlier answer, found `page2`"
        );
    }
}
