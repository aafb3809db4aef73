//! The learning-rate range test (Smith 2015, arXiv 1506.01186): the rate rises exponentially from step to step, and the loss tells at which rates
//! the network learns, and from which on it falls apart.
//!
//! Smoothing, end and suggestions are those of fastai's `LRFinder`: an average of the losses that keeps 0.98 of itself at each step, corrected for
//! its beginning; it has diverged where it is above four times its smallest value so far. A step that was skipped, because a number was not
//! finite, ends the test, too.

use crate::spec::ScheduleShape;
use crate::state::Job;

/// What the average of the losses keeps of itself at each step.
const SMOOTHING: f64 = 0.98;
/// Times the smallest average so far, above which it has diverged.
const DIVERGENCE: f64 = 4.0;
/// Points at the end that suggest nothing; at the beginning it is the tenth part of all steps.
const LAST_POINTS: usize = 5;

/// A step that was taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Taken {
    /// Of its update.
    pub learning_rate: f64,
    /// Before the update.
    pub loss: f64,
    /// The loss or the gradient was not finite, so nothing was updated.
    pub skipped: bool,
}

/// A step of the curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Of its update.
    pub learning_rate: f64,
    /// Before the update.
    pub loss: f64,
    /// The average of the losses up to this one.
    pub smoothed_loss: f64,
}

/// Why a test is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// All its steps are taken.
    AllSteps,
    /// The average of the losses is above four times its smallest value.
    Diverged,
    /// A loss or a gradient was not finite.
    NotFinite,
}

impl End {
    /// For programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::AllSteps => "AllSteps",
            Self::Diverged => "Diverged",
            Self::NotFinite => "NotFinite",
        }
    }

    /// For people.
    pub fn describe(self) -> &'static str {
        match self {
            Self::AllSteps => "after all its steps",
            Self::Diverged => "when the loss had diverged",
            Self::NotFinite => "when a loss or a gradient was not finite",
        }
    }
}

/// A test, as far as it has come.
#[derive(Debug, Clone, PartialEq)]
pub struct RangeTest {
    /// Steps that it was to have.
    steps: usize,
    points: Vec<Point>,
    end: Option<End>,
}

impl RangeTest {
    /// Of the first steps of a test of so many; what comes after its end is left out.
    pub fn of(steps: u32, taken: impl IntoIterator<Item = Taken>) -> Self {
        let mut test = Self {
            steps: steps as usize,
            points: Vec::new(),
            end: None,
        };
        let (mut average, mut kept, mut smallest) = (0.0, 1.0, f64::INFINITY);
        for step in taken {
            if step.skipped {
                test.end = Some(End::NotFinite);
                break;
            }
            average = SMOOTHING * average + (1.0 - SMOOTHING) * step.loss;
            kept *= SMOOTHING;
            let smoothed_loss = average / (1.0 - kept);
            smallest = smoothed_loss.min(smallest);
            test.points.push(Point {
                learning_rate: step.learning_rate,
                loss: step.loss,
                smoothed_loss,
            });
            if smoothed_loss > DIVERGENCE * smallest {
                test.end = Some(End::Diverged);
                break;
            }
            if test.points.len() == test.steps {
                test.end = Some(End::AllSteps);
                break;
            }
        }
        test
    }

    /// Of a job that is one.
    pub(crate) fn of_job(job: &Job) -> Option<Self> {
        match job.spec.training.schedule.shape {
            ScheduleShape::RangeTest { steps, .. } => {
                let taken = job.run.ledger.from_step(0).map(|committed| Taken {
                    learning_rate: committed.step.learning_rate,
                    loss: committed.step.loss,
                    skipped: committed.step.skipped,
                });
                Some(Self::of(steps, taken))
            }
            _ => None,
        }
    }

    /// Steps that it was to have.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Those that were taken, in order.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// Why it is over; `None`: it goes on.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// The rate at which the average falls most for a change of the rate's logarithm: fastai's `steep`, and Lightning's suggestion. `None` of too few
    /// points.
    pub fn steepest(&self) -> Option<f64> {
        let slope = |pair: &[Point]| {
            let rise = pair[1].smoothed_loss - pair[0].smoothed_loss;
            rise / (pair[1].learning_rate.ln() - pair[0].learning_rate.ln())
        };
        let slopes = self
            .telling()
            .windows(2)
            .map(|pair| (pair[0].learning_rate, slope(pair)));
        let steepest = slopes.min_by(|(_, a), (_, b)| a.total_cmp(b));
        steepest.filter(|(_, slope)| *slope < 0.0).map(|(rate, _)| rate)
    }

    /// A tenth of the rate at which the average was smallest: fastai's `minimum`.
    pub fn tenth_of_minimum(&self) -> Option<f64> {
        let telling = self.telling().iter();
        let smallest = telling.min_by(|a, b| a.smoothed_loss.total_cmp(&b.smoothed_loss));
        smallest.map(|point| point.learning_rate / 10.0)
    }

    /// The points between the first, of which the average knows too little, and the last, at which it may have been diverging.
    fn telling(&self) -> &[Point] {
        let end = self.points.len().saturating_sub(LAST_POINTS);
        &self.points[(self.steps / 10).min(end)..end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(learning_rate: f64, loss: f64) -> Taken {
        Taken {
            learning_rate,
            loss,
            skipped: false,
        }
    }

    /// A loss that falls most at the 60th of 100 steps, and rises after the 80th.
    fn valley(number: u64) -> Taken {
        let place = number as f64;
        let loss = 2.0 - 1.5 / (1.0 + (-(place - 60.0) / 4.0).exp()) + ((place - 80.0) / 2.0).exp();
        step(1e-6 * 10f64.powf(place / 16.5), loss)
    }

    #[test]
    fn the_suggestions_lie_where_the_loss_falls_and_before_it_rises() {
        let test = RangeTest::of(100, (0..100).map(valley));
        assert_eq!(test.end(), Some(End::Diverged));
        let (steepest, minimum) = (test.steepest().unwrap(), test.tenth_of_minimum().unwrap());
        let rate = |number: u64| valley(number).learning_rate;
        assert!(rate(55) < steepest && steepest < rate(75), "{steepest}");
        assert!(rate(60) / 10.0 < minimum && minimum < rate(90) / 10.0, "{minimum}");
    }

    #[test]
    fn a_test_ends_after_its_steps_and_what_comes_later_is_none_of_its_points() {
        let flat = |_| step(1e-3, 1.0);
        let goes_on = RangeTest::of(20, (0..19).map(flat));
        assert_eq!((goes_on.end(), goes_on.points().len()), (None, 19));
        let over = RangeTest::of(20, (0..30).map(flat));
        assert_eq!((over.end(), over.points().len()), (Some(End::AllSteps), 20));
        assert_eq!(over.steepest(), None, "it falls nowhere");
        assert_eq!(RangeTest::of(20, (0..3).map(flat)).tenth_of_minimum(), None);
    }

    #[test]
    fn what_is_not_finite_ends_a_test() {
        let broken = |number| Taken {
            skipped: number == 4,
            ..step(1e-3, 1.0)
        };
        let test = RangeTest::of(20, (0..10).map(broken));
        assert_eq!((test.end(), test.points().len()), (Some(End::NotFinite), 4));
    }
}
