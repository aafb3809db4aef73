//! The learner by itself: no gang, no coordinator, no thread.

use firn_core::spec::{Determinism, EmaSpec, TrainingSpec};
use tch::Tensor;

use super::{
    Learner,
    computation::Computation,
    fixtures::{Disturbance, batch, learner, training},
    non_finite::Verdict,
    outcome::{Outcome, Position, Spent},
};
use crate::rank::failure::RankFailure;

const SAMPLES: u64 = 40;

fn odd(sample: u64, value: f32) -> Disturbance {
    Disturbance {
        odd: Some((sample, value)),
        ..Disturbance::default()
    }
}

/// The sums over some samples, in two micro-batches.
fn sums(computation: &Computation, position: Position, samples: &[u64], disturbance: Disturbance) -> Tensor {
    let batches = samples.chunks(samples.len().div_ceil(2));
    let batches = batches.map(|samples| Ok::<_, RankFailure>(batch(samples, disturbance)));
    computation.sums(position, batches, &mut Spent::default()).unwrap()
}

fn step(learner: &mut Learner, samples: &[u64], disturbance: Disturbance) -> Outcome {
    let position = learner.position(0, None);
    let taken = learner.step(position, |computation, _| {
        Ok::<_, RankFailure>(sums(computation, position, samples, disturbance))
    });
    taken.unwrap()
}

fn state(learner: &Learner) -> Vec<(String, Tensor)> {
    learner.model().trainable_state()
}

#[test]
fn two_learners_with_half_the_batch_each_learn_what_one_learns_from_all_of_it() {
    tch::set_num_threads(1);
    for texts in [false, true] {
        let kind = Disturbance {
            texts,
            ..Disturbance::default()
        };
        let new = || learner(&training(Determinism::Default), SAMPLES, kind);
        let (mut one, mut two) = (new(), [new(), new()]);
        for begin in [0, 16] {
            let samples: Vec<u64> = (begin..begin + 16).collect();
            let whole = step(&mut one, &samples, kind);
            let position = two[0].position(0, None);
            // Halves of different size: what counts is the sum, not the share.
            let halves = [&samples[..5], &samples[5..]];
            let parts: Vec<Tensor> = two
                .iter_mut()
                .zip(halves)
                .map(|(learner, half)| sums(&learner.computation, position, half, kind))
                .collect();
            let summed = &parts[0] + &parts[1];
            for half in &mut two {
                let gather = |_: &Computation, _: &mut Spent| Ok::<_, RankFailure>(summed.copy());
                let outcome = half.step(position, gather).unwrap();
                assert_eq!(outcome.samples, whole.samples);
                assert!((outcome.loss - whole.loss).abs() < 1e-5 * whole.loss);
                assert!((outcome.gradient_norm - whole.gradient_norm).abs() < 1e-4 * whole.gradient_norm);
            }
        }
        assert_eq!(two[0].hash().unwrap(), two[1].hash().unwrap());
        assert_eq!((one.steps_done(), two[0].steps_done()), (2, 2));
        for ((name, whole), (_, half)) in state(&one).iter().zip(&state(&two[0])) {
            let difference = f64::try_from((whole - half).abs().max()).unwrap();
            // AdamW divides the gradient by its own size, which makes much of the last bits of a small one.
            assert!(difference < 2e-5, "{name}: {difference}");
        }
    }
}

#[test]
fn a_state_goes_on_in_another_learner_as_in_its_own() {
    tch::set_num_threads(1);
    let usual = Disturbance::default();
    let new = || learner(&training(Determinism::Strict), SAMPLES, usual);
    let (mut one, mut other) = (new(), new());
    let samples: Vec<u64> = (0..16).collect();
    step(&mut one, &samples, usual);
    let bytes = one.encode().unwrap();
    assert!(bytes.len() as u64 <= one.encoded_size());
    other.load(&bytes, Some("digest")).unwrap();
    assert_eq!(other.encode().unwrap(), bytes);
    assert!(other.holds("digest") && !one.holds("digest"));
    step(&mut one, &samples, usual);
    step(&mut other, &samples, usual);
    assert!(!other.holds("digest"), "it has learned since");
    assert_eq!(one.hash().unwrap(), other.hash().unwrap());
    assert_eq!((other.steps_done(), other.epochs_done()), (2, 0));

    let untouched = new();
    one.start_over().unwrap();
    assert!(one.is_at_the_beginning() && untouched.is_at_the_beginning());
    assert_eq!(one.hash().unwrap(), untouched.hash().unwrap());
}

/// A learner of an average, and what it trains on.
fn averaging(decay: f64) -> Learner {
    let ema = Some(EmaSpec { decay, warmup: false });
    let spec = TrainingSpec {
        ema,
        ..training(Determinism::Strict)
    };
    learner(&spec, SAMPLES, Disturbance::default())
}

fn values(learner: &Learner) -> Vec<Tensor> {
    state(learner).into_iter().map(|(_, tensor)| tensor.copy()).collect()
}

#[test]
fn the_average_is_that_of_the_states_after_each_step_and_is_shown_without_a_trace() {
    tch::set_num_threads(1);
    let mut one = averaging(0.75);
    let samples: Vec<u64> = (0..16).collect();
    let mut expected: Option<Vec<Tensor>> = None;
    for number in 0..4 {
        // One that is skipped is no step of the average.
        let disturbance = if number == 2 {
            odd(3, f32::NAN)
        } else {
            Disturbance::default()
        };
        if step(&mut one, &samples, disturbance).skipped {
            continue;
        }
        let now = values(&one);
        expected = Some(match expected {
            None => now,
            Some(before) => before
                .iter()
                .zip(&now)
                .map(|(before, now)| before * 0.75 + now * 0.25)
                .collect(),
        });
    }
    let (trained, bytes, hash) = (values(&one), one.encode().unwrap(), one.hash().unwrap());
    assert!(bytes.len() as u64 <= one.encoded_size());
    one.show_average().unwrap();
    let mut apart = 0.0_f64;
    for ((shown, expected), trained) in values(&one).iter().zip(expected.unwrap()).zip(&trained) {
        let difference = f64::try_from((shown - expected).abs().max()).unwrap();
        assert!(difference < 1e-6, "{difference}");
        apart = apart.max(f64::try_from((shown - trained).abs().max()).unwrap());
    }
    assert!(
        apart > 1e-4,
        "this test would not notice a model that shows what was trained: {apart}"
    );
    assert_eq!((one.encode().unwrap(), one.hash().unwrap()), (bytes, hash));
    one.show_average().unwrap();
    one.hide_average().unwrap();
    one.hide_average().unwrap();
    assert!(values(&one).iter().zip(&trained).all(|(now, before)| now.equal(before)));
}

#[test]
fn an_average_goes_on_in_another_learner_as_in_its_own() {
    tch::set_num_threads(1);
    let (mut one, mut other) = (averaging(0.9), averaging(0.9));
    let samples: Vec<u64> = (0..16).collect();
    let beginning = one.hash().unwrap();
    for _ in 0..2 {
        step(&mut one, &samples, Disturbance::default());
    }
    one.show_average().unwrap();
    other.load(&one.encode().unwrap(), None).unwrap();
    one.hide_average().unwrap();
    for learner in [&mut one, &mut other] {
        step(learner, &samples, Disturbance::default());
        learner.show_average().unwrap();
    }
    assert!(
        values(&one)
            .iter()
            .zip(values(&other))
            .all(|(one, other)| one.equal(&other))
    );
    assert_eq!(one.hash().unwrap(), other.hash().unwrap());
    let without = learner(&training(Determinism::Strict), SAMPLES, Disturbance::default());
    let refused = one.load(&without.encode().unwrap(), None).unwrap_err().to_string();
    assert!(
        refused.ends_with("average of the trained state: expected one, found none"),
        "{refused}"
    );
    one.start_over().unwrap();
    assert_eq!(one.hash().unwrap(), beginning);
}

#[test]
fn a_step_that_is_not_finite_changes_nothing_but_the_count() {
    tch::set_num_threads(1);
    let mut one = learner(&training(Determinism::Default), SAMPLES, Disturbance::default());
    let samples: Vec<u64> = (0..16).collect();
    let before = one.hash().unwrap();
    for (number, verdict) in [(1, Verdict::Proceed), (2, Verdict::Proceed), (3, Verdict::RollBack)] {
        let outcome = step(&mut one, &samples, odd(3, f32::NAN));
        assert!(outcome.skipped);
        assert_eq!(
            (one.steps_done(), one.non_finite().observe(outcome.skipped)),
            (number, verdict)
        );
    }
    assert_eq!(one.hash().unwrap(), before);
    assert!(!step(&mut one, &samples, odd(3, 0.5)).skipped);
    assert_ne!(one.hash().unwrap(), before);
}

#[test]
fn the_batch_of_a_step_does_not_depend_on_who_computes_which_part() {
    let one = learner(&training(Determinism::Default), SAMPLES, Disturbance::default());
    assert_eq!(one.steps_per_epoch(), 3);
    assert_eq!(one.global_batch(2), 32..40);
    for world in [1, 2, 3] {
        let places = (0..world)
            .flat_map(|rank| one.micro_batch_plan((rank, world), 1))
            .flatten();
        assert_eq!(places.flatten().collect::<Vec<_>>(), (16..32).collect::<Vec<_>>());
    }
}

fn no_room(samples: usize, fits: Option<usize>) -> RankFailure {
    RankFailure::OutOfMemory {
        field: "spec.training.microBatchSize",
        samples,
        device: "cuda:0".to_owned(),
        fits,
    }
}

/// Sizes of the micro-batches of the first step, alone.
fn micro_batches(learner: &Learner) -> Vec<u64> {
    let summands = learner.micro_batch_plan((0, 1), 0);
    summands
        .into_iter()
        .flatten()
        .map(|places| places.end - places.start)
        .collect()
}

#[test]
fn a_step_that_does_not_fit_is_taken_again_in_the_micro_batches_that_do() {
    tch::set_num_threads(1);
    let usual = Disturbance::default();
    let new = || learner(&training(Determinism::Default), SAMPLES, usual);
    let (mut tight, mut roomy) = (new(), new());
    assert_eq!(micro_batches(&tight), [16]);
    let position = tight.position(0, None);
    let samples: Vec<u64> = (0..16).collect();
    let failed = tight.step(position, |computation, _| {
        // What was added up before the memory ran out counts for nothing.
        let batches = [Ok(batch(&samples[..8], usual)), Err(no_room(16, Some(8)))];
        computation.sums(position, batches.into_iter(), &mut Spent::default())
    });
    assert!(tight.make_do(&failed.unwrap_err()));
    assert_eq!((micro_batches(&tight), tight.steps_done()), (vec![8, 8], 0));
    let (again, once) = (step(&mut tight, &samples, usual), step(&mut roomy, &samples, usual));
    assert_eq!((again.loss, again.samples), (once.loss, 16));
    assert_eq!(tight.hash().unwrap(), roomy.hash().unwrap());
    // A longer text may need still less.
    assert!(tight.make_do(&no_room(8, Some(2))));
    assert_eq!(micro_batches(&tight), [2; 8]);
    assert!(!tight.make_do(&no_room(2, None)), "nothing fits");
    assert!(!tight.make_do(&no_room(2, Some(2))), "it would be the same again");
}

#[test]
fn a_micro_batch_that_is_given_or_part_of_the_result_is_kept() {
    let given = TrainingSpec {
        micro_batch_size: Some(16),
        ..training(Determinism::Default)
    };
    let whole = TrainingSpec {
        train_batch_norm: true,
        ..training(Determinism::Default)
    };
    for spec in [given, whole, training(Determinism::Strict)] {
        let mut learner = learner(&spec, SAMPLES, Disturbance::default());
        let before = micro_batches(&learner);
        assert!(!learner.make_do(&no_room(16, Some(1))));
        assert_eq!(micro_batches(&learner), before);
    }
}
