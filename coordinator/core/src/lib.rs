//! The heart of Firn: every decision, as a pure state machine.
//!
//! Nothing in here reads a clock, a file, a socket or a random number: time and events come in, records and effects go out.
//! So any history can be replayed, at any speed, to the same state.

pub mod metrics;
pub mod order;
pub mod random;
pub mod schedule;
pub mod spec;
