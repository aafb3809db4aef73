//! BatchNorm that trains where several ranks have parts of a batch: PyTorch's on the whole batch, in one process.

use std::{
    cell::Cell,
    sync::{Barrier, Mutex},
};

use firn_core::spec::Architecture;
use firn_models::{Dropout, Exchange, Expected, Input, Model, ModelError, SharedBatch};
use tch::Tensor;

use crate::{support::*, training::cross_entropy};

/// Ranks that are threads.
struct Table {
    rows: Mutex<Vec<Vec<f64>>>,
    barrier: Barrier,
}

struct Rank<'a> {
    table: &'a Table,
    rank: usize,
    exchanges: Cell<usize>,
}

impl Exchange for Rank<'_> {
    fn rows(&self, row: &Tensor) -> Result<Tensor, ModelError> {
        self.exchanges.set(self.exchanges.get() + 1);
        self.table.rows.lock().unwrap()[self.rank] = Vec::try_from(row)?;
        self.table.barrier.wait();
        let rows = self.table.rows.lock().unwrap().clone();
        self.table.barrier.wait();
        Ok(Tensor::from_slice(&rows.concat()).view([rows.len() as i64, -1]))
    }
}

/// What a rank has after a step: gradients and statistics, by name, and how often it heard from the others.
struct Step {
    gradients: Vec<(String, Tensor)>,
    statistics: Vec<(String, Tensor)>,
    exchanges: usize,
}

/// Images `begin..end` of the reference's two, on a rank of its own.
fn step(make: &dyn Fn() -> Model, rank: &Rank<'_>, (begin, end): (i64, i64), side: [usize; 2]) -> Step {
    let model = make();
    let Input::Images(pixels) = images(side[0], side[1]) else {
        panic!("images")
    };
    let input = Input::Images(pixels.narrow(0, begin, end - begin));
    let samples: Vec<u64> = (begin as u64..end as u64).collect();
    let dropout = Dropout {
        seed: 0,
        epoch: 0,
        samples: &samples,
    };
    let batch = SharedBatch::new(rank);
    let outputs = model
        .shared_outputs(&model.features(&input).unwrap(), &dropout, &batch)
        .unwrap();
    let labels: Vec<i64> = (begin..end).collect();
    let loss = match labels.is_empty() {
        true => {
            outputs.head.sum(tch::Kind::Float)
                + outputs
                    .auxiliary
                    .map_or(Tensor::from(0.0_f32), |(_, outputs)| outputs.sum(tch::Kind::Float))
        }
        false => outputs.sums(&cross_entropy(), Expected::Classes(&labels)).unwrap().loss,
    };
    loss.backward();
    batch.backward().unwrap();
    let gradients = model.trainable().iter().map(|(name, tensor)| {
        let gradient = tensor.grad();
        (
            name.clone(),
            if gradient.defined() {
                gradient
            } else {
                tensor.detach().zeros_like()
            },
        )
    });
    let statistics = model
        .trainable_state()
        .into_iter()
        .filter(|(name, _)| name.contains("running"));
    Step {
        gradients: gradients.collect(),
        statistics: statistics.collect(),
        exchanges: rank.exchanges.get(),
    }
}

fn steps(make: &(dyn Fn() -> Model + Sync), parts: &[(i64, i64)], side: [usize; 2]) -> Vec<Step> {
    let table = Table {
        rows: Mutex::new(vec![Vec::new(); parts.len()]),
        barrier: Barrier::new(parts.len()),
    };
    std::thread::scope(|scope| {
        let spawned: Vec<_> = parts
            .iter()
            .enumerate()
            .map(|(rank, part)| {
                let table = &table;
                scope.spawn(move || {
                    tch::set_num_threads(1);
                    let rank = Rank {
                        table,
                        rank,
                        exchanges: Cell::new(0),
                    };
                    step(make, &rank, *part, side)
                })
            })
            .collect();
        spawned.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

/// The gradients of all ranks, added up.
fn summed(steps: &[Step]) -> Vec<(String, Tensor)> {
    let named = steps[0].gradients.iter().enumerate();
    named
        .map(|(place, (name, first))| {
            let others = steps[1..].iter().map(|step| &step.gradients[place].1);
            (name.clone(), others.fold(first.copy(), |sum, gradient| sum + gradient))
        })
        .collect()
}

#[test]
fn gradients_and_statistics_of_two_and_three_ranks_are_pytorchs_of_the_whole_batch() {
    let reference = &golden("cut_resnet")["train"];
    let make = || {
        let file = WeightsFolder::new(&filled(&golden("images")["resnet18"]["tensors"]));
        let spec = spec(Architecture::Resnet18, Some(file.weights()), through("layer3"));
        with_head(load_with(&spec, true).unwrap(), "fc")
    };
    for parts in [&[(0, 1), (1, 2)][..], &[(0, 2), (2, 2)], &[(0, 0), (0, 1), (1, 2)]] {
        println!("parts {parts:?}");
        let steps = steps(&make, parts, [96, 80]);
        close_summary(
            &summed(&steps),
            &reference["gradients"],
            |name| name.replace("head.", "fc."),
            5e-4,
        );
        for step in &steps {
            close_summary(&step.statistics, &reference["statistics"], str::to_owned, 1e-4);
            assert_eq!(step.exchanges, steps[0].exchanges, "all ranks exchange as often");
            // Five BatchNorms of layer4, forwards and backwards.
            assert_eq!(step.exchanges, 2 * 5);
        }
    }
}

/// Branches and an auxiliary head, excitations, depthwise kernels: the whole batch on one rank, by libtorch's own gradient.
#[test]
fn every_network_with_batch_norm_learns_from_shared_batches_what_it_learns_from_whole_ones() {
    for (architecture, cut, side) in [
        (Architecture::Resnet50, "layer3", [64, 64]),
        (Architecture::MobilenetV2, "features.15", [64, 64]),
        (Architecture::MobilenetV3Small, "features.9", [64, 64]),
        (Architecture::EfficientnetB0, "features.6", [64, 64]),
        (Architecture::Vgg11Bn, "block4", [64, 64]),
        (Architecture::InceptionV3, "Mixed_6d", [299, 299]),
    ] {
        let spec = spec(architecture, None, through(cut));
        let make = || load_with(&spec, true).unwrap();
        let whole = {
            let model = make();
            let dropout = Dropout {
                seed: 0,
                epoch: 0,
                samples: &[0, 1],
            };
            let features = model.features(&images(side[0], side[1])).unwrap();
            let outputs = model.outputs(&features, &dropout).unwrap();
            outputs
                .sums(&cross_entropy(), Expected::Classes(&[0, 1]))
                .unwrap()
                .loss
                .backward();
            let gradients = model
                .trainable()
                .iter()
                .map(|(name, tensor)| (name.clone(), tensor.grad()));
            gradients.collect::<Vec<_>>()
        };
        let shared = summed(&steps(&make, &[(0, 1), (1, 2)], side));
        let norm_of = |tensor: &Tensor| tensor.norm().double_value(&[]);
        let largest = whole.iter().map(|(_, gradient)| norm_of(gradient)).fold(0.0, f64::max);
        let mut worst: f64 = 0.0;
        for ((name, whole), (_, shared)) in whole.iter().zip(&shared) {
            // What a BatchNorm takes out again, such as a bias before it, has no gradient but rounding.
            let norm = norm_of(whole).max(1e-3 * largest);
            let difference = norm_of(&(whole - shared)) / norm;
            assert!(
                difference < 2e-3,
                "{architecture:?}: {name} differs by {difference:.2e} of its norm {norm:.2e}"
            );
            worst = worst.max(difference);
        }
        println!("{architecture:?}: largest difference {worst:.2e} of a norm");
    }
}
