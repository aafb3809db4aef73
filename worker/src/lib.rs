//! The worker of Firn: one agent a machine, one rank process a slot, and a doctor that says what the machine can do.
//!
//! A library below a thin binary, so that tests in `worker/tests` can hold the agent against a coordinator of their own.

pub mod agent;
pub mod connection;
pub mod doctor;
pub mod inspect;
mod machine;
pub mod predict;
pub mod rank;
