//! The fault matrix: something breaks while a job trains, and afterwards nothing is lost.
//!
//! Every test here starts the real binaries, breaks one thing at a moment that an event tells, and ends with `firn verify` and a comparison
//! with an undisturbed run. `make faults` runs these alone; `FIRN_TEST_DEFAULT_TIMES=1` lets leases and time-outs be those that users have.
//! `tests/FAULTS.md` has one row for each.

mod dedicated_workers;
mod elastic;
mod failing_workers;
mod flipped_bits;
mod full_disk;
mod hanging_ranks;
mod killed_agents;
mod killed_coordinator;
mod killed_ranks;
mod network;
mod options;
mod out_of_memory;
mod preemption;
mod priorities;
mod reduced_rates;
mod replaced_tokens;
mod stopped_processes;
mod strange_calls;
mod suspension;

use firn_proto::v1alpha1::JobStatus;
use firn_tests::submission::Ended;

/// Where everything was lost at once, the job went on from its newest checkpoint.
fn at_most_an_epoch_was_lost(name: &str, ended: &Ended) {
    let lost = ended.receipt.steps_taken_back();
    println!("measured: {name}: {lost} steps taken back");
    assert!(
        lost <= 4,
        "a checkpoint is stored every 4 steps, and {lost} steps were taken back"
    );
}

/// Whether the gang has fewer workers than the spec asks for, and says so.
fn waits_for_workers(status: &JobStatus) -> bool {
    let mut conditions = status.conditions.iter();
    conditions.any(|condition| condition.r#type == "Running" && condition.reason == "WaitingForWorkers")
}
