//! Agents whose programs do not fit this coordinator: they are refused at their hello, and listed with the reason, so that whoever upgrades a
//! fleet sees whom it has left behind. Nothing of this is stored: an agent that is refused asks again.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use firn_core::{compatibility::refuses_agent, state::WorkerDescription};
use firn_proto::v1alpha1::Worker;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// Those that are listed at most.
const MOST_LISTED: usize = 1_000;

/// The agents that were refused, by the name that they gave.
#[derive(Debug, Clone, Default)]
pub struct RefusedAgents(Arc<Mutex<BTreeMap<String, Worker>>>);

impl RefusedAgents {
    /// Checks that this coordinator can serve an agent.
    ///
    /// # Errors
    /// FAILED_PRECONDITION with both revisions and what to do. From then on the agent is listed.
    pub(super) fn check(&self, agent: &WorkerDescription) -> Result<(), Status> {
        let mut refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let name = agent.name.to_string();
        let Some(reason) = refuses_agent(agent.protocol, &agent.version) else {
            refused.remove(&name);
            return Ok(());
        };
        let message = format!("worker {name}: {reason}");
        if refused.len() < MOST_LISTED {
            let worker = Worker {
                name: name.clone(),
                host: agent.host.clone(),
                state: "Refused".to_owned(),
                version: agent.version.clone(),
                reason,
                ..Worker::default()
            };
            refused.insert(name, worker);
        }
        let details = ErrorDetails::with_error_info(
            "UNKNOWN_REVISION",
            super::refusal::DOMAIN,
            [("worker", agent.name.to_string())].map(|(key, value)| (key.to_owned(), value)),
        );
        Err(Status::with_error_details(Code::FailedPrecondition, message, details))
    }

    /// Those that no attached worker has the name of.
    pub(super) fn beside(&self, attached: &[Worker]) -> Vec<Worker> {
        let refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_attached = |name: &str| attached.iter().any(|worker| worker.name == name);
        refused
            .values()
            .filter(|worker| !is_attached(&worker.name))
            .cloned()
            .collect()
    }
}
