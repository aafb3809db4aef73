//! Firn on Kubernetes: what a `FineTuneJob` is as a resource of a cluster, and which pods work for it.
//!
//! Nothing here decides about jobs: that is the coordinator's. And nothing here defines the spec: it is `firn-core`'s, and the resource is
//! generated from it.

pub mod controller;
pub mod resource;
pub mod workers;
