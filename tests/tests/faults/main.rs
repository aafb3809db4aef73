//! The fault matrix: something breaks while a job trains, and afterwards nothing is lost.
//!
//! Every test here starts the real binaries, breaks one thing at a moment that an event tells, and ends with `firn verify` and a comparison
//! with an undisturbed run. `make faults` runs these alone; `FIRN_TEST_DEFAULT_TIMES=1` lets leases and time-outs be those that users have.
//! `tests/FAULTS.md` has one row for each.

mod elastic;
mod failing_workers;
mod flipped_bits;
mod full_disk;
mod hanging_ranks;
mod killed_agents;
mod killed_coordinator;
mod killed_ranks;
mod network;
mod out_of_memory;
mod preemption;
mod stopped_processes;
mod strange_calls;
