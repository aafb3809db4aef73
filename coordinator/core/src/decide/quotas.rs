//! The most that namespaces may hold. Set by a person, and asked when slots are given: what runs is left alone.

use super::decision_builder::DecisionBuilder;
use super::settle;
use crate::identifiers::Namespace;
use crate::queue::quota::Quota;
use crate::record::Event;
use crate::reject::Reject;
use crate::reply::Reply;
use crate::spec::is_label;

pub(super) fn set(
    draft: &mut DecisionBuilder<'_>,
    namespace: Namespace,
    quota: Option<Quota>,
) -> Result<Reply, Reject> {
    if !is_label(namespace.as_str()) {
        let reason = format!("expected lower-case letters, digits and `-`, at most 63, found `{namespace}`");
        return Err(Reject::Invalid {
            field: "namespace",
            reason,
        });
    }
    let quota = quota.filter(|quota| *quota != Quota::default());
    if draft.base().quotas.get(&namespace).copied() != quota {
        draft.record(Event::QuotaChanged { namespace, quota });
        settle(draft);
    }
    Ok(Reply::Done)
}
