//! What namespaces may hold, and what they do.

use std::mem;

use firn_core::{
    Input, Reply, State,
    identifiers::{JobId, Namespace},
    queries::{self, NamespaceUse},
    queue::quota::{Quota, Use},
};
use firn_proto::v1alpha1 as proto;
use tonic::Status;
use tracing::info;

use super::{context::Context, refusal::unexpected, requests::mark};
use crate::access::Caller;

pub(super) async fn set(
    context: &Context,
    caller: &Caller,
    mut request: proto::SetQuotaRequest,
) -> Result<proto::NamespaceUse, Status> {
    caller.may_do_everywhere("SetQuota")?;
    let mark = mark("SetQuota", mem::take(&mut request.request_id), &request)?;
    let namespace = Namespace::from(request.namespace.as_str());
    let quota = request.quota.map(|quota| Quota {
        slots: quota.slots,
        jobs: quota.jobs,
    });
    let set = Input::SetQuota {
        namespace: namespace.clone(),
        quota,
    };
    let asked = namespace.clone();
    let look = move |reply, state: &State| (reply, of_namespace(state, &asked));
    let (reply, used) = context.engine.tell_and_look(mark.on(set), look).await?;
    match reply {
        Reply::Done => info!(%namespace, ?quota, "a quota was set"),
        other => return Err(unexpected(&other)),
    }
    Ok(to_wire(&used))
}

/// Those within the caller's scope.
pub(super) async fn list(context: &Context, caller: Caller) -> Result<proto::ListQuotasResponse, Status> {
    let namespaces = context.engine.ask(queries::namespaces).await?;
    let seen = namespaces
        .iter()
        .filter(|used| caller.may_use(used.namespace.as_str()).is_ok());
    Ok(proto::ListQuotasResponse {
        namespaces: seen.map(to_wire).collect(),
    })
}

/// How many jobs would get slots before this one, if it waits.
pub(super) async fn jobs_ahead(context: &Context, job: JobId) -> Result<Option<u64>, Status> {
    let ahead = move |state: &State| state.job(&job).and_then(|job| queries::jobs_ahead(state, job));
    Ok(context.engine.ask(ahead).await?)
}

/// Also where it has neither a quota nor jobs.
fn of_namespace(state: &State, namespace: &Namespace) -> NamespaceUse {
    let known = queries::namespaces(state);
    let found = known.into_iter().find(|used| used.namespace == *namespace);
    found.unwrap_or_else(|| NamespaceUse {
        namespace: namespace.clone(),
        quota: None,
        used: Use::default(),
        waiting: 0,
    })
}

fn to_wire(used: &NamespaceUse) -> proto::NamespaceUse {
    proto::NamespaceUse {
        namespace: used.namespace.to_string(),
        quota: used.quota.map(|quota| proto::Quota {
            slots: quota.slots,
            jobs: quota.jobs,
        }),
        slots: used.used.slots,
        jobs: used.used.jobs,
        waiting: used.waiting,
    }
}
