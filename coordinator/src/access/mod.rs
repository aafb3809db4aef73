//! Who may do what.
//!
//! A call passes two questions. The [`Gate`] asks who calls (a bearer token, see [`Directory`]) and whether such a caller may make this call at
//! all: the table in [`rights`] says so for every method of every service, and a method without a row is refused. What the call touches stands
//! in its message, so the method itself asks the second question, [`Caller::sees`]: whether that is within the caller's scope.
//!
//! What a caller may not see does not exist for it: a single job is NOT_FOUND, lists leave it out. What it may see and not do is
//! PERMISSION_DENIED, and the answer names the right that is missing.

mod directory;
mod gate;
pub mod rights;

use std::collections::HashMap;

use firn_core::{
    State,
    identifiers::JobId,
    state::{Role, Scope, Serves},
};
use tonic::{Code, Request, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

pub(crate) use directory::SHORTEST_TOKEN;
pub use directory::{Directory, FileTokens};
pub use gate::{Gate, Guarded};

/// `google.rpc.ErrorInfo.domain` of all refusals.
const DOMAIN: &str = "firn.dev";

/// Who calls: a role, and what it extends to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// What it may do.
    pub role: Role,
    /// On what.
    pub scope: Scope,
}

impl Caller {
    /// May do everything: the bearers of tokens of the token file that says no less, and all callers where no token is asked for.
    pub const ADMINISTRATOR: Self = Self {
        role: Role::Administrator,
        scope: Scope::All,
    };

    /// The one that the gate has found. A call that came by no gate is refused.
    pub(crate) fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        let found = request.extensions().get::<Self>().cloned();
        found.ok_or_else(|| Status::internal("this call was not asked for its rights: it is refused"))
    }

    /// Whether a job of that namespace is within the scope.
    pub(crate) fn sees(&self, job: &JobId, namespace: &str) -> bool {
        match &self.scope {
            Scope::All => true,
            Scope::Namespace(own) => own == namespace,
            Scope::Job(own) => own == job,
        }
    }

    /// Whether a job is within the scope, as the state knows it.
    pub(crate) fn sees_in(&self, state: &State, job: &JobId) -> bool {
        self.scope == Scope::All
            || state
                .namespace_of(job)
                .is_some_and(|namespace| self.sees(job, namespace))
    }

    /// Whether a namespace is within the scope.
    pub(crate) fn may_use(&self, namespace: &str) -> Result<(), Status> {
        match &self.scope {
            Scope::All => Ok(()),
            Scope::Namespace(own) if own == namespace => Ok(()),
            _ => Err(missing(format!(
                "this token is one of {self}: namespace `{namespace}` is not within its scope"
            ))),
        }
    }

    /// Whether everything is within the scope.
    pub(crate) fn may_do_everywhere(&self, what: &str) -> Result<(), Status> {
        match &self.scope {
            Scope::All => Ok(()),
            _ => Err(missing(format!(
                "this token is one of {self}: {what} needs one of everything"
            ))),
        }
    }

    /// Whether a worker is there for jobs of the scope alone.
    pub(crate) fn owns(&self, state: &State, serves: &Serves) -> bool {
        match &self.scope {
            Scope::All => true,
            Scope::Namespace(own) => {
                let of_job = serves.job.as_ref().and_then(|job| state.namespace_of(job));
                of_job.or(serves.namespace.as_deref()) == Some(own)
            }
            Scope::Job(own) => serves.job.as_ref() == Some(own),
        }
    }

    /// Whether a worker may be given jobs of the scope.
    pub(crate) fn may_be_served(&self, state: &State, serves: &Serves) -> bool {
        let is_of = |namespace: Option<&str>| serves.namespace.as_deref().is_none_or(|only| Some(only) == namespace);
        match &self.scope {
            Scope::All => true,
            Scope::Namespace(own) => {
                let job_fits = |job| state.namespace_of(job) == Some(own);
                is_of(Some(own)) && serves.job.as_ref().is_none_or(job_fits)
            }
            Scope::Job(own) => serves.job.as_ref().is_none_or(|only| only == own) && is_of(state.namespace_of(own)),
        }
    }

    /// Whom a worker serves that attaches: what it says, within the scope.
    pub(crate) fn let_serve(&self, serves: Serves) -> Result<Serves, Status> {
        match (&self.scope, &serves.job, &serves.namespace) {
            (Scope::All, ..) => Ok(serves),
            (Scope::Namespace(own), _, said) if said.as_ref().is_none_or(|said| said == own) => Ok(Serves {
                namespace: Some(own.clone()),
                ..serves
            }),
            (Scope::Namespace(own), ..) => Err(missing(format!(
                "this token is one of {self}: start the agent with --for-namespace {own}"
            ))),
            (Scope::Job(own), Some(said), _) if said == own => Ok(serves),
            // An agent that does not know what it is there for would not leave at its end.
            (Scope::Job(own), ..) => Err(missing(format!(
                "this token is one of {self}: start the agent with --for-job {own}"
            ))),
        }
    }

    /// The namespace that a job gets which names none.
    pub(crate) fn namespace(&self) -> Option<&str> {
        match &self.scope {
            Scope::Namespace(namespace) => Some(namespace),
            Scope::All | Scope::Job(_) => None,
        }
    }
}

impl std::fmt::Display for Caller {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let article = match self.role {
            Role::Administrator | Role::Agent => "an",
            Role::Submitter | Role::Reader => "a",
        };
        write!(formatter, "{article} {} of {}", self.role, self.scope)
    }
}

/// A right is missing.
pub(crate) fn missing(message: String) -> Status {
    let details = ErrorDetails::with_error_info("RIGHT_MISSING", DOMAIN, HashMap::new());
    Status::with_error_details(Code::PermissionDenied, message, details)
}
