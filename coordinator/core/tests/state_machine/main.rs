//! The state machine from outside: whole stories told in inputs, and chaos with invariants.

mod bench;
mod data;
mod losses;
mod passes;
mod queue;
mod rendezvous;
mod restart;
mod simulation;
mod status;
mod timers;
mod training;
mod workers;
