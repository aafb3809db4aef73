//! A real Kubernetes control plane for tests: etcd and the programs of Kubernetes, on free loopback ports, without a container engine.
//!
//! `tests/kubernetes/programs.sh` builds them once a machine, into the user's cache folder. Where they are not, tests that need them
//! say so and are counted as skipped.
//!
//! A [`ControlPlane`] is an API server alone; a [`Cluster`] has controllers, a scheduler and nodes, too ([`node`]).

mod answer;
mod api_server;
mod cert_manager;
mod cluster;
mod controllers;
mod helm;
mod keys;
mod kubectl;
mod kueue;
mod neighbour;
pub mod node;
pub mod probes;
mod process;
mod programs;
mod subnet;

pub use answer::Answer;
pub use api_server::ControlPlane;
pub use cert_manager::CertManager;
pub use cluster::Cluster;
pub use helm::{Helm, documents};
pub use kubectl::Kubectl;
pub use kueue::install_kueue;
pub use programs::Programs;
