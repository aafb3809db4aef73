//! The coordinator and the command line of Firn.
//!
//! `serve` is the shell around `firn-core`: one engine task owns the state, a journal makes its records durable, and thin gRPC services
//! translate. The client verbs speak only gRPC.

pub mod access;
pub mod api;
pub mod artifacts;
pub mod backup;
mod charts;
pub mod cmd;
pub mod engine;
pub mod fail_point;
pub mod journal;
mod location;
pub mod logs;
pub mod metrics;
pub mod model_folder;
pub mod serve;
pub mod spec_file;
pub mod spec_reference;
pub mod verification;
