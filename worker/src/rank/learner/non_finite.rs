//! When a job whose numbers break goes back, and when it gives up.
//!
//! One step that is not finite is bad luck: one odd batch, one overflow. It is skipped, and nothing is lost but its samples. Several in a
//! row mean that what has been learned is itself broken, so that skipping cannot help; an older state may, once. All ranks see the same
//! outcomes, hence all come to the same verdict.

/// Steps in a row that are skipped before skipping is given up.
const IN_A_ROW: u32 = 3;

/// What follows from an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Go on with the next step.
    Proceed,
    /// Go back to the newest checkpoint, this once.
    RollBack,
    /// The numbers broke again after going back.
    Fail,
}

/// Counts the steps that were skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct NonFinitePolicy {
    in_a_row: u32,
    rolled_back: bool,
}

impl NonFinitePolicy {
    /// That of another rank: steps that it has skipped in a row, and whether the job has gone back to a checkpoint before because its
    /// numbers broke.
    pub(crate) fn of(in_a_row: u32, rolled_back: bool) -> Self {
        Self { in_a_row, rolled_back }
    }

    /// Steps skipped in a row, and whether the job has gone back before.
    pub(crate) fn counts(&self) -> (u32, bool) {
        (self.in_a_row, self.rolled_back)
    }

    /// The state is another one: its steps are counted anew.
    pub(crate) fn begin_anew(&mut self) {
        self.in_a_row = 0;
    }

    /// Takes the outcome of the next step.
    pub(crate) fn observe(&mut self, skipped: bool) -> Verdict {
        self.in_a_row = if skipped { self.in_a_row + 1 } else { 0 };
        if self.in_a_row < IN_A_ROW {
            return Verdict::Proceed;
        }
        self.give_up()
    }

    /// What has been learned is itself not finite: no later step can repair it.
    pub(crate) fn give_up(&mut self) -> Verdict {
        self.in_a_row = 0;
        match std::mem::replace(&mut self.rolled_back, true) {
            false => Verdict::RollBack,
            true => Verdict::Fail,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(policy: &mut NonFinitePolicy, outcomes: &str) -> String {
        let verdict = |outcome| match policy.observe(outcome == 's') {
            Verdict::Proceed => '.',
            Verdict::RollBack => 'R',
            Verdict::Fail => 'F',
        };
        outcomes.chars().map(verdict).collect()
    }

    #[test]
    fn three_steps_in_a_row_roll_back_once_and_then_fail() {
        assert_eq!(verdicts(&mut NonFinitePolicy::default(), "_sss_sss"), "...R...F");
    }

    #[test]
    fn a_step_that_is_fine_begins_the_count_anew() {
        assert_eq!(verdicts(&mut NonFinitePolicy::default(), "ss_ss_ss_s"), "..........");
    }

    #[test]
    fn after_going_back_the_count_begins_anew() {
        assert_eq!(verdicts(&mut NonFinitePolicy::default(), "ssssssss"), "..R..F..");
    }

    #[test]
    fn a_rank_that_is_told_that_the_job_went_back_before_fails_at_once() {
        assert_eq!(verdicts(&mut NonFinitePolicy::of(0, true), "sss"), "..F");
    }

    #[test]
    fn a_rank_that_takes_a_state_over_comes_to_the_same_verdict() {
        let mut root = NonFinitePolicy::default();
        assert_eq!(verdicts(&mut root, "sss_ss"), "..R...");
        let (in_a_row, rolled_back) = root.counts();
        let mut newcomer = NonFinitePolicy::of(in_a_row, rolled_back);
        assert_eq!(
            (verdicts(&mut root, "s"), verdicts(&mut newcomer, "s")),
            ("F".to_owned(), "F".to_owned())
        );
        newcomer.begin_anew();
        assert_eq!(verdicts(&mut newcomer, "ss"), "..");
    }

    #[test]
    fn a_broken_state_needs_no_three_steps() {
        let mut policy = NonFinitePolicy::default();
        assert_eq!(policy.give_up(), Verdict::RollBack);
        assert_eq!(verdicts(&mut policy, "ss"), "..");
        assert_eq!(policy.give_up(), Verdict::Fail);
    }
}
