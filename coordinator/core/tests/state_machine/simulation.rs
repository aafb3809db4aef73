//! Chaos: random stories of agents that die, ranks that exit, messages that are late, repeated or stale, and a coordinator that is killed.
//!
//! The world outside is a model of agents, processes and a shell. After every action the invariants hold; and when the faults stop, every
//! job ends. A case that fails prints what happened. `PROPTEST_CASES` makes the run longer.

mod invariants;
mod outside;

use proptest::prelude::*;

use outside::{Action, Outside};

/// Actions with their weights; the numbers choose among what is there when the action comes.
fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        3 => (1..4u32, 0..4u32, 0..3u32).prop_map(|(workers, restarts, splits)| Action::Submit { workers, restarts, splits }),
        1 => any::<u8>().prop_map(Action::Cancel),
        6 => any::<u8>().prop_map(Action::Attach),
        3 => any::<u8>().prop_map(Action::Detach),
        1 => any::<u8>().prop_map(Action::KillAgent),
        1 => any::<u8>().prop_map(Action::Leave),
        1 => any::<u8>().prop_map(Action::FallSilent),
        8 => any::<u8>().prop_map(Action::DeliverToAgent),
        8 => any::<u8>().prop_map(Action::DeliverToCoordinator),
        3 => (any::<u8>(), 0..8u8).prop_map(|(rank, how)| Action::Exit { rank, how }),
        1 => any::<u8>().prop_map(Action::ReportFailure),
        40 => any::<u8>().prop_map(Action::Advance),
        6 => any::<u8>().prop_map(Action::Repeat),
        6 => any::<u8>().prop_map(Action::Score),
        2 => Just(Action::CrashCoordinator),
        6 => prop_oneof![4 => Just(10u64), 4 => Just(500), 4 => Just(2_000), 1 => Just(11_000)].prop_map(Action::Pass),
        12 => (1..8u8).prop_map(Action::Calm),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_invariants_hold_and_every_job_ends(actions in prop::collection::vec(action(), 1..600)) {
        let mut outside = Outside::new();
        for action in actions {
            outside.act(&action);
        }
        outside.heal();
    }
}
