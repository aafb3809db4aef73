//! What is done about a resource: decided from what is seen, then carried out.
//!
//! [`plan`] is a pure function of the resource, of what the coordinator says of its job and of the Job that holds its pods; so whatever was
//! interrupted is taken up by the next look. The rest carries plans out and says when to look again.

mod board;
mod coordinator;
mod followed;
mod hindrance;
mod lease;
mod let_go;
mod making;
pub mod plan;
mod pods;
mod reconcile;
mod remote;
mod report;
mod run;
mod status;
mod sweep;
mod tokens;
mod waiting;
mod workloads;

pub use plan::{Observed, Plan, Remote, Silence, Step, plan};
pub use pods::PodsSeen;
pub use run::{RunArgs, run};
pub use waiting::{Outlook, Waited};
pub use workloads::{Workload, WorkloadStatus};

/// Holds a resource until its job at the coordinator has ended.
pub const FINALIZER: &str = "firn.dev/coordinator";
/// `spec.managedBy` of resources that this operator looks after; also those that name nobody.
pub const MANAGER: &str = "firn.dev/operator";
