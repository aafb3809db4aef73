//! Jobs page by page, newest first.
//!
//! A page token holds the submission number below which the next page begins, so jobs that come in meanwhile neither repeat nor hide any.

use firn_core::{State, identifiers::JobId, state::PastJob};
use firn_proto::v1alpha1 as proto;
use tonic::Status;

use super::{
    context::Context,
    past_jobs,
    refusal::invalid,
    wire::job_status::{self, Detail, JobSnapshot},
};
use crate::access::Caller;

const DEFAULT_PAGE: usize = 100;
const LARGEST_PAGE: usize = 1_000;

pub(super) async fn list(
    context: &Context,
    caller: Caller,
    request: &proto::ListJobsRequest,
) -> Result<proto::ListJobsResponse, Status> {
    let size = match request.page_size as usize {
        0 => DEFAULT_PAGE,
        size => size.min(LARGEST_PAGE),
    };
    let below = parse_token(&request.page_token)?;
    let namespace = request.namespace.clone();
    let (rows, is_last) = context
        .engine
        .ask(move |state| page(state, (&caller, &namespace), (below, size)))
        .await?;
    let glances = shown(context, rows).await?;
    let next_page_token = match glances.last() {
        Some(last) if !is_last => token(last.job.sequence),
        _ => String::new(),
    };
    let now = context.clock.now();
    let jobs = glances
        .iter()
        .map(|snapshot| job_status::job_to_wire(snapshot, Detail::Overview, now))
        .collect();
    Ok(proto::ListJobsResponse { jobs, next_page_token })
}

/// A job of a page: its place in the order of submission, and what the state has of it.
type Row = (u64, JobId, Result<JobSnapshot, PastJob>);

/// The rows of a page, and whether it is the last one. Of all jobs that the caller sees, or those of one namespace.
fn page(state: &State, (caller, namespace): (&Caller, &str), (below, size): (u64, usize)) -> (Vec<Row>, bool) {
    let at_hand = state.jobs.values().map(|job| (job.sequence, &job.id));
    let past = state.past.iter().map(|(id, past)| (past.sequence, id));
    let is_listed = |(sequence, id): &(u64, &JobId)| {
        let is_of_namespace = namespace.is_empty() || state.namespace_of(id) == Some(namespace);
        *sequence < below && !state.erasing.contains(*id) && caller.sees_in(state, id) && is_of_namespace
    };
    let mut jobs: Vec<(u64, &JobId)> = at_hand.chain(past).filter(is_listed).collect();
    jobs.sort_unstable_by_key(|(sequence, _)| std::cmp::Reverse(*sequence));
    let is_last = jobs.len() <= size;
    let rows = jobs.into_iter().take(size).filter_map(|(sequence, id)| {
        let found = match job_status::snapshot(state, id) {
            Some(snapshot) => Ok(snapshot),
            None => Err(state.past.get(id)?.clone()),
        };
        Some((sequence, id.clone(), found))
    });
    (rows.collect(), is_last)
}

/// How the jobs of a page are shown; those of which the state has but a row are folded from their records.
async fn shown(context: &Context, rows: Vec<Row>) -> Result<Vec<JobSnapshot>, Status> {
    let (mut shown, mut past) = (Vec::with_capacity(rows.len()), Vec::new());
    for (_, id, found) in rows {
        match found {
            Ok(snapshot) => shown.push(snapshot),
            Err(row) => past.push((id, row)),
        }
    }
    shown.extend(past_jobs::fold_all(context, past, job_status::snapshot).await?);
    shown.sort_unstable_by_key(|snapshot| std::cmp::Reverse(snapshot.job.sequence));
    Ok(shown)
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
