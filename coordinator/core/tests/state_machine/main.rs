//! The state machine from outside: whole stories told in inputs, and chaos with invariants.

#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

mod access;
mod bench;
mod causes;
mod corners;
mod crowds;
mod data;
mod dedicated;
mod deletion;
mod draining;
mod losses;
mod one_class;
mod passes;
mod plateau;
mod preemption;
mod priorities;
mod pulses;
mod queue;
mod quotas;
mod range_test;
mod release;
mod rendezvous;
mod reports;
mod restart;
mod restart_policy;
mod restoring;
mod rewinding;
mod run_policy;
mod scaling;
mod settings_digest;
mod simulation;
mod status;
mod timers;
mod training;
mod workers;
