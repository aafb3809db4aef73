//! The operator between a real API server and a real coordinator. The test itself does what controllers and kubelets do elsewhere: it starts
//! the pods of a Job, as processes.

#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

mod life;
mod place;
mod refused;
mod scale;
mod trouble;
