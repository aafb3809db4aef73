//! A real Kubernetes control plane for tests: etcd and the programs of Kubernetes, on free loopback ports, without a container engine.
//!
//! `tests/kubernetes/programs.sh` builds them once a machine, into the user's cache folder. Where they are not, tests that need them
//! say so and are counted as skipped.

mod answer;
mod api_server;
mod helm;
mod kubectl;
mod process;
mod programs;

pub use answer::Answer;
pub use api_server::ControlPlane;
pub use helm::{Helm, documents};
pub use kubectl::Kubectl;
pub use programs::Programs;
