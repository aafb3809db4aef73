//! The step as ranks run it, over real rings of threads and a real model.

use std::{ops::Range, thread, time::Duration};

use firn_collective::{RingListener, RingOptions};
use firn_core::{
    order::SampleOrder,
    spec::{Determinism, TrainingSpec},
};
use tch::Tensor;

use super::run;
use crate::rank::{
    learner::{
        fixtures::{Disturbance, batch, learner, training},
        micro_batch_plan,
        outcome::{Outcome, Position},
    },
    membership::gang::Gang,
    stop_reason::{Interruption, StopReason},
};

const SOON: Duration = Duration::from_secs(60);
/// The last of three steps has 5 samples, fewer than there are slices.
const SAMPLES: u64 = 37;

/// The ranks of a gang, connected.
pub(crate) fn ring(world: u32) -> Vec<Gang> {
    let listeners: Vec<_> = (0..world).map(|_| RingListener::bind("127.0.0.1").unwrap()).collect();
    let addresses: Vec<_> = listeners.iter().map(RingListener::address).collect();
    let options = RingOptions {
        deadline: SOON,
        connect_deadline: SOON,
        session: 7,
    };
    let connected = on_all((0..world).zip(listeners).collect(), |(rank, listener)| {
        listener.connect(rank, &addresses, 1, options).unwrap()
    });
    connected.into_iter().map(|ring| Gang::over(Box::new(ring))).collect()
}

/// Runs `work` for all at once, a thread each; the results in order.
pub(crate) fn on_all<T: Send, R: Send>(all: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let work = &work;
    thread::scope(|scope| {
        let running: Vec<_> = all.into_iter().map(|one| scope.spawn(move || work(one))).collect();
        running.into_iter().map(|result| result.join().unwrap()).collect()
    })
}

pub(crate) fn bits(tensor: &Tensor) -> Vec<u32> {
    let numbers = Vec::<f32>::try_from(tensor.contiguous().view(-1)).unwrap();
    numbers.into_iter().map(f32::to_bits).collect()
}

/// What a rank has after an epoch: the outcomes of its steps, and the digest of its state before each of them and at the end.
struct Trained {
    outcomes: Vec<Outcome>,
    digests: Vec<String>,
    /// Of the running statistics that the model trains.
    statistics: Vec<Vec<u32>>,
}

impl Trained {
    fn last(&self) -> &str {
        self.digests.last().unwrap()
    }

    /// Everything that is reported, as bits.
    fn reported(&self) -> Vec<(u64, u64, u32)> {
        let outcomes = self.outcomes.iter();
        outcomes
            .map(|outcome| (outcome.loss.to_bits(), outcome.gradient_norm.to_bits(), outcome.samples))
            .collect()
    }
}

fn train(training: &TrainingSpec, gang: Gang, disturbance: Disturbance) -> Trained {
    tch::set_num_threads(1);
    let mut gang = gang;
    let mut learner = learner(training, SAMPLES, disturbance);
    let order = SampleOrder::new(training.seed, 0, SAMPLES);
    let mut trained = Trained {
        outcomes: Vec::new(),
        digests: vec![learner.hash().unwrap()],
        statistics: Vec::new(),
    };
    for step in 0..learner.steps_per_epoch() {
        // More than one micro-batch in a part; where BatchNorm trains there must not be.
        let micro_batch = match training.determinism {
            _ if training.train_batch_norm => 16,
            Determinism::Strict => 1,
            Determinism::Default => 3,
        };
        let place = (gang.rank, gang.world_size);
        let summands = micro_batch_plan::of_rank(training, micro_batch, place, learner.global_batch(step));
        let counts: Vec<usize> = summands.iter().map(Vec::len).collect();
        let batches = summands.into_iter().flatten().map(|range: Range<u64>| {
            let samples = range.map(|place| order.position(place));
            let good: Vec<u64> = samples.filter(|sample| Some(*sample) != disturbance.missing).collect();
            Ok::<_, StopReason>(batch(&good, disturbance))
        });
        let position = learner.position(0, None);
        assert_eq!(position.step, step);
        if disturbance.interrupted == Some(step) {
            let cut = std::iter::once_with(|| Err(Interruption::NewGeneration(2).into()));
            let batches = batches.clone().take(1).chain(cut);
            let reason = run(&mut learner, &mut gang, position, &[9], batches).unwrap_err();
            assert!(matches!(reason, StopReason::Interrupted(_)), "{reason}");
        }
        trained
            .outcomes
            .push(run(&mut learner, &mut gang, position, &counts, batches).unwrap());
        trained.digests.push(learner.hash().unwrap());
    }
    let state = learner.model().trainable_state();
    trained.statistics = state[learner.model().trainable().len()..]
        .iter()
        .map(|(_, tensor)| bits(tensor))
        .collect();
    trained
}

fn train_on(world: u32, training: &TrainingSpec, disturbance: Disturbance) -> Vec<Trained> {
    on_all(ring(world), |gang| train(training, gang, disturbance))
}

/// The same state and reports on all ranks of a gang; those of its first rank.
fn agreed(ranks: Vec<Trained>) -> Trained {
    for rank in &ranks {
        assert_eq!(rank.digests, ranks[0].digests);
        assert_eq!(rank.reported(), ranks[0].reported());
    }
    ranks.into_iter().next().unwrap()
}

#[test]
fn a_strict_job_is_the_same_to_the_last_bit_on_1_2_3_4_and_8_ranks() {
    for texts in [false, true] {
        let (training, usual) = (
            training(Determinism::Strict),
            Disturbance {
                texts,
                ..Disturbance::default()
            },
        );
        let alone = agreed(train_on(1, &training, usual));
        let samples: Vec<u32> = alone.outcomes.iter().map(|outcome| outcome.samples).collect();
        assert_eq!(samples, [16, 16, 5]);
        assert!(
            alone
                .outcomes
                .iter()
                .all(|outcome| outcome.loss > 0.0 && outcome.gradient_norm > 0.0)
        );
        for world in [2, 3, 4, 8] {
            let together = agreed(train_on(world, &training, usual));
            assert_eq!(together.digests, alone.digests, "{world} ranks");
            assert_eq!(together.reported(), alone.reported(), "{world} ranks");
        }
    }
}

#[test]
fn batch_norm_that_trains_in_a_strict_job_is_the_same_to_the_last_bit_on_1_2_3_4_and_8_ranks() {
    let mut training = training(Determinism::Strict);
    training.train_batch_norm = true;
    let missing = Disturbance {
        missing: Some(SampleOrder::new(training.seed, 0, SAMPLES).position(3)),
        ..Disturbance::default()
    };
    for (disturbance, expected) in [(Disturbance::default(), [16, 16, 5]), (missing, [15, 16, 5])] {
        let alone = agreed(train_on(1, &training, disturbance));
        let samples: Vec<u32> = alone.outcomes.iter().map(|outcome| outcome.samples).collect();
        assert_eq!(samples, expected);
        assert!(!alone.statistics.is_empty());
        // With 8 ranks, three of the last step have no sample.
        for world in [2, 3, 4, 8] {
            let together = agreed(train_on(world, &training, disturbance));
            assert_eq!(together.digests, alone.digests, "{world} ranks");
            assert_eq!(together.reported(), alone.reported(), "{world} ranks");
            assert_eq!(together.statistics, alone.statistics, "{world} ranks");
        }
        training.determinism = Determinism::Default;
        let whole = agreed(train_on(1, &training, disturbance));
        training.determinism = Determinism::Strict;
        assert_ne!(
            whole.last(),
            alone.last(),
            "slices show in the last bits, and nowhere else"
        );
        for (one, other) in alone.outcomes.iter().zip(&whole.outcomes) {
            assert!(
                (one.loss - other.loss).abs() < 1e-4 * other.loss,
                "{} {}",
                one.loss,
                other.loss
            );
        }
    }
}

#[test]
fn without_strict_mode_the_number_of_ranks_shows_in_the_last_bits_and_nowhere_else() {
    let training = training(Determinism::Default);
    let alone = agreed(train_on(1, &training, Disturbance::default()));
    let three = agreed(train_on(3, &training, Disturbance::default()));
    assert_ne!(three.last(), alone.last(), "this test would not notice a difference");
    for (one, other) in alone.outcomes.iter().zip(&three.outcomes) {
        assert!((one.loss - other.loss).abs() < 1e-4 * one.loss);
    }
}

#[test]
fn a_sample_that_is_set_aside_shifts_nobody() {
    let training = training(Determinism::Strict);
    let missing = Disturbance {
        missing: Some(SampleOrder::new(training.seed, 0, SAMPLES).position(3)),
        ..Disturbance::default()
    };
    let alone = agreed(train_on(1, &training, missing));
    assert_eq!(alone.outcomes[0].samples, 15);
    assert_eq!(agreed(train_on(3, &training, missing)).digests, alone.digests);
    assert_ne!(
        agreed(train_on(1, &training, Disturbance::default())).last(),
        alone.last()
    );
}

#[test]
fn a_step_that_is_not_finite_is_skipped_by_all_ranks_and_leaves_no_trace() {
    let first_of_second_step = SampleOrder::new(5, 0, SAMPLES).position(16);
    for determinism in [Determinism::Default, Determinism::Strict] {
        let odd = Disturbance {
            odd: Some((first_of_second_step, f32::NAN)),
            ..Disturbance::default()
        };
        // Only one of the three ranks meets that sample.
        let trained = agreed(train_on(3, &training(determinism), odd));
        let skipped: Vec<bool> = trained.outcomes.iter().map(|outcome| outcome.skipped).collect();
        assert_eq!(skipped, [false, true, false], "{determinism:?}");
        assert_eq!(trained.digests[1], trained.digests[2]);
        assert_ne!(trained.digests[2], trained.digests[3]);
        let position = Position {
            epoch: 0,
            step: 1,
            learning_rate: 0.1,
        };
        let record = trained.outcomes[1].into_record(position, SOON);
        assert!(record.skipped && record.loss == 0.0 && record.gradient_norm == 0.0);
        assert_eq!((record.step, record.samples), (1, 16));
        assert_eq!(trained.outcomes[1].offender().0, "loss");
    }
}

#[test]
fn a_skipped_step_leaves_the_running_statistics_alone() {
    for (determinism, world) in [(Determinism::Default, 1), (Determinism::Strict, 2)] {
        let mut training = training(determinism);
        training.train_batch_norm = true;
        let odd = Disturbance {
            odd: Some((SampleOrder::new(5, 0, SAMPLES).position(33), f32::NAN)),
            ..Disturbance::default()
        };
        let trained = agreed(train_on(world, &training, odd));
        assert!(trained.outcomes[2].skipped && !trained.outcomes[1].skipped);
        assert_eq!(trained.digests[2], trained.digests[3]);
        assert!(!trained.statistics.is_empty());
        let is_finite = |number: &u32| f32::from_bits(*number).is_finite();
        assert!(trained.statistics.iter().flatten().all(is_finite));
    }
}

#[test]
fn a_step_that_was_interrupted_leaves_no_trace() {
    for (determinism, train_batch_norm) in [
        (Determinism::Default, false),
        (Determinism::Default, true),
        (Determinism::Strict, false),
        (Determinism::Strict, true),
    ] {
        let mut training = training(determinism);
        training.train_batch_norm = train_batch_norm;
        let interrupted = Disturbance {
            interrupted: Some(1),
            ..Disturbance::default()
        };
        let undisturbed = agreed(train_on(1, &training, Disturbance::default()));
        let disturbed = agreed(train_on(1, &training, interrupted));
        assert_eq!(
            disturbed.digests, undisturbed.digests,
            "{determinism:?}, {train_batch_norm}"
        );
        assert_eq!(disturbed.statistics, undisturbed.statistics);
    }
}
