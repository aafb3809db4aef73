//! The step as ranks run it, over real rings of threads and a real model.

use std::{ops::Range, thread, time::Duration};

use firn_collective::{RingListener, RingOptions};
use firn_core::{
    order::{self, SampleOrder},
    spec::{
        Architecture, ClassWeights, Determinism, Freeze, HeadSpec, LossSpec, MetricName, ModelSpec, OptimizerSpec,
        Pooling, ScheduleShape, ScheduleSpec, TrainingSpec, Warmup,
    },
};
use firn_data::{Batch, BatchTensors, Targets};
use firn_models::{Model, ModelOptions, Objective, Optimizer, state_digest};
use tch::{Device, Tensor};

use super::{Learner, Outcome, Position, run};
use crate::rank::{
    gang::Gang,
    halt::{Halt, Interruption},
    units,
};

const SOON: Duration = Duration::from_secs(60);
const CLASSES: i64 = 3;
/// The last of three steps has 5 samples, fewer than there are slices.
const SAMPLES: u64 = 37;
const SIDE: usize = 32;

/// The ranks of a gang, connected.
pub(super) fn ring(world: u32) -> Vec<Gang> {
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
pub(super) fn on_all<T: Send, R: Send>(all: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let work = &work;
    thread::scope(|scope| {
        let running: Vec<_> = all.into_iter().map(|one| scope.spawn(move || work(one))).collect();
        running.into_iter().map(|result| result.join().unwrap()).collect()
    })
}

pub(super) fn bits(tensor: &Tensor) -> Vec<u32> {
    let numbers = Vec::<f32>::try_from(tensor.contiguous().view(-1)).unwrap();
    numbers.into_iter().map(f32::to_bits).collect()
}

fn training(determinism: Determinism) -> TrainingSpec {
    TrainingSpec {
        epochs: 1,
        batch_size: 16,
        micro_batch_size: None,
        seed: 5,
        optimizer: OptimizerSpec::AdamW {
            learning_rate: 1e-3,
            weight_decay: 0.01,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
        },
        schedule: ScheduleSpec {
            shape: ScheduleShape::Constant,
            warmup: Warmup::Steps(0),
        },
        loss: LossSpec {
            label_smoothing: 0.1,
            class_weights: ClassWeights::Uniform,
        },
        early_stopping: None,
        best_metric: MetricName::Loss,
        train_batch_norm: false,
        max_gradient_norm: Some(0.5),
        checkpoint_interval_ms: 0,
        determinism,
    }
}

/// A small encoder of two layers, the upper one to train, from random weights.
fn text_model(training: &TrainingSpec) -> Model {
    let folder = tempfile::tempdir().unwrap();
    let config =
        r#"{"hidden_size":48,"num_hidden_layers":2,"num_attention_heads":3,"intermediate_size":96,"vocab_size":200}"#;
    std::fs::write(folder.path().join("config.json"), config).unwrap();
    load(
        training,
        ModelSpec {
            architecture: Architecture::Bert,
            weights: None,
            tokenizer: Some(folder.path().join("tokenizer.json").to_string_lossy().into_owned()),
            freeze: Freeze::Through("layer.0".to_owned()),
            head: HeadSpec { dropout: 0.2 },
            pooling: Pooling::Mean,
        },
    )
}

/// MobileNetV2 with its last convolution to train, from random weights.
fn image_model(training: &TrainingSpec) -> Model {
    load(
        training,
        ModelSpec {
            architecture: Architecture::MobilenetV2,
            weights: None,
            tokenizer: None,
            freeze: Freeze::Through("features.17".to_owned()),
            head: HeadSpec { dropout: 0.2 },
            pooling: Pooling::Mean,
        },
    )
}

fn load(training: &TrainingSpec, spec: ModelSpec) -> Model {
    Model::load(&ModelOptions {
        spec: &spec,
        classes: CLASSES as usize,
        seed: training.seed,
        device: Device::Cpu,
        train_batch_norm: training.train_batch_norm,
    })
    .unwrap()
}

/// A value in [-1, 1) for each pixel of a sample (Knuth's multiplicative hash).
fn pixel(sample: u64, index: usize) -> f32 {
    let hash = ((sample as u32) << 16 ^ index as u32).wrapping_mul(2_654_435_769);
    f32::from((hash >> 16) as u16) / 32_768.0 - 1.0
}

/// How a run differs from the usual one.
#[derive(Clone, Copy, Default)]
struct Disturbance {
    /// The network reads texts in place of images.
    texts: bool,
    /// This sample is set aside.
    missing: Option<u64>,
    /// This sample has this pixel.
    odd: Option<(u64, f32)>,
    /// This step is begun, interrupted after its first micro-batch, and taken again.
    interrupted: Option<u64>,
}

fn batch(samples: &[u64], disturbance: Disturbance) -> Batch {
    Batch {
        indices: samples.to_vec(),
        targets: Targets::Classes(samples.iter().map(|sample| *sample as i64 % CLASSES).collect()),
        tensors: match disturbance.texts {
            true => tokens(samples),
            false => pixels(samples, disturbance.odd),
        },
        corrupt: Vec::new(),
    }
}

fn pixels(samples: &[u64], odd: Option<(u64, f32)>) -> BatchTensors {
    let mut pixels = Vec::new();
    for &sample in samples {
        let mut image: Vec<f32> = (0..SIDE * SIDE * 3).map(|index| pixel(sample, index)).collect();
        if let Some((_, value)) = odd.filter(|(odd, _)| *odd == sample) {
            image[100] = value;
        }
        pixels.extend(image);
    }
    BatchTensors::Images {
        pixels,
        height: SIDE,
        width: SIDE,
    }
}

/// Sample i has 3 + i mod 11 tokens, padded to the longest of the batch.
fn tokens(samples: &[u64]) -> BatchTensors {
    let own = |sample: u64| 3 + (sample % 11) as usize;
    let length = samples.iter().map(|sample| own(*sample)).max().unwrap_or(0);
    let places = || {
        samples
            .iter()
            .flat_map(|sample| (0..length).map(|place| (*sample, place)))
    };
    BatchTensors::Tokens {
        ids: places()
            .map(|(sample, place)| {
                if place < own(sample) {
                    (sample as i64 * 7 + place as i64 * 13) % 200
                } else {
                    0
                }
            })
            .collect(),
        mask: places().map(|(sample, place)| i64::from(place < own(sample))).collect(),
        length,
    }
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
    let model = match disturbance.texts {
        true => text_model(training),
        false => image_model(training),
    };
    let loss = Objective::cross_entropy(Some(&[0.5, 1.0, 3.0]), training.loss.label_smoothing, Device::Cpu).unwrap();
    let mut optimizer = Optimizer::new(&training.optimizer, model.trainable()).unwrap();
    let order = SampleOrder::new(training.seed, 0, SAMPLES);
    let mut trained = Trained {
        outcomes: Vec::new(),
        digests: vec![state_digest(&model, &optimizer).unwrap()],
        statistics: Vec::new(),
    };
    for step in 0..order::steps_per_epoch(SAMPLES, training.batch_size) {
        let global = order::global_batch(step, training.batch_size, SAMPLES);
        // More than one micro-batch in a part; where BatchNorm trains there must not be.
        let micro_batch = match training.determinism {
            _ if training.train_batch_norm => 16,
            Determinism::Strict => 1,
            Determinism::Default => 3,
        };
        let units = units::of_rank(training, micro_batch, (gang.rank, gang.world_size), global);
        let counts: Vec<usize> = units.iter().map(Vec::len).collect();
        let batches = units.into_iter().flatten().map(|range: Range<u64>| {
            let samples = range.map(|place| order.position(place));
            let good: Vec<u64> = samples.filter(|sample| Some(*sample) != disturbance.missing).collect();
            Ok::<_, Halt>(batch(&good, disturbance))
        });
        let mut learner = Learner {
            model: &model,
            loss: &loss,
            optimizer: &mut optimizer,
            training,
            gang: &mut gang,
        };
        let position = Position {
            epoch: 0,
            step,
            learning_rate: training.optimizer.learning_rate(),
        };
        if disturbance.interrupted == Some(step) {
            let cut = std::iter::once_with(|| Err(Interruption::NewGeneration(2).into()));
            let batches = batches.clone().take(1).chain(cut);
            let halt = run(&mut learner, position, &[9], batches).unwrap_err();
            assert!(matches!(halt, Halt::Interrupted(_)), "{halt}");
        }
        trained
            .outcomes
            .push(run(&mut learner, position, &counts, batches).unwrap());
        trained.digests.push(state_digest(&model, &optimizer).unwrap());
    }
    let state = model.trainable_state();
    trained.statistics = state[model.trainable().len()..].iter().map(|(_, t)| bits(t)).collect();
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
    let mut training = training(Determinism::Default);
    training.train_batch_norm = true;
    let odd = Disturbance {
        odd: Some((SampleOrder::new(5, 0, SAMPLES).position(33), f32::NAN)),
        ..Disturbance::default()
    };
    let trained = agreed(train_on(1, &training, odd));
    assert!(trained.outcomes[2].skipped && !trained.outcomes[1].skipped);
    assert_eq!(trained.digests[2], trained.digests[3]);
    assert!(!trained.statistics.is_empty());
    let is_finite = |number: &u32| f32::from_bits(*number).is_finite();
    assert!(trained.statistics.iter().flatten().all(is_finite));
}

#[test]
fn a_step_that_was_interrupted_leaves_no_trace() {
    for (determinism, train_batch_norm) in [
        (Determinism::Default, false),
        (Determinism::Default, true),
        (Determinism::Strict, false),
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
