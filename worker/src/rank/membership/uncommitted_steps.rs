//! The records of steps that may not be in the ledger yet.
//!
//! Rank 0 writes the ledger, but every rank keeps the records: whoever becomes rank 0 after a loss fills the gap that the lost one left
//! between what was trained and what was committed.

use std::collections::VecDeque;

use firn_proto::v1alpha1::Step;

/// Consecutive steps, oldest first, up to the newest that this process has applied.
#[derive(Debug, Default)]
pub(crate) struct UncommittedSteps {
    steps: VecDeque<Step>,
}

impl UncommittedSteps {
    /// Those of another rank.
    pub(crate) fn taken_over(steps: Vec<Step>) -> Self {
        Self { steps: steps.into() }
    }

    /// Keeps the record of the next step.
    pub(crate) fn push(&mut self, step: Step) {
        debug_assert!(self.steps.back().is_none_or(|last| last.step + 1 == step.step));
        self.steps.push_back(step);
    }

    /// Forgets what is in the ledger.
    pub(crate) fn forget_committed(&mut self, steps_committed: u64) {
        while self.steps.front().is_some_and(|step| step.step < steps_committed) {
            self.steps.pop_front();
        }
    }

    /// Forgets everything: the state is another one.
    pub(crate) fn clear(&mut self) {
        self.steps.clear();
    }

    /// What is kept, oldest first.
    pub(crate) fn to_vec(&self) -> Vec<Step> {
        self.steps.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: u64) -> Step {
        Step {
            step,
            ..Step::default()
        }
    }

    fn numbers(kept: &UncommittedSteps) -> Vec<u64> {
        kept.to_vec().iter().map(|step| step.step).collect()
    }

    #[test]
    fn what_is_not_known_as_committed_is_kept() {
        let mut kept = UncommittedSteps::default();
        (5..9).for_each(|number| kept.push(step(number)));
        kept.forget_committed(5);
        assert_eq!(numbers(&kept), [5, 6, 7, 8]);
        kept.forget_committed(7);
        assert_eq!(numbers(&kept), [7, 8]);
        // The ledger is ahead of this rank: nothing is left, and nothing breaks.
        kept.forget_committed(20);
        assert!(numbers(&kept).is_empty());
    }

    #[test]
    fn records_that_are_taken_over_go_on_with_the_next_step() {
        let mut kept = UncommittedSteps::taken_over(vec![step(3), step(4)]);
        kept.push(step(5));
        assert_eq!(numbers(&kept), [3, 4, 5]);
        kept.clear();
        kept.push(step(0));
        assert_eq!(numbers(&kept), [0]);
    }
}
