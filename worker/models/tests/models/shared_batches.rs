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

pub(crate) struct Rank<'a> {
    table: &'a Table,
    rank: usize,
    exchanges: Cell<usize>,
}

impl Exchange for Rank<'_> {
    fn rows(&self, own: &Tensor) -> Result<Tensor, ModelError> {
        self.exchanges.set(self.exchanges.get() + 1);
        self.table.rows.lock().unwrap()[self.rank] = Vec::try_from(own.reshape([-1]))?;
        self.table.barrier.wait();
        let rows = self.table.rows.lock().unwrap().concat();
        self.table.barrier.wait();
        Ok(Tensor::from_slice(&rows).view([-1, own.size()[1]]))
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
        seed: 3,
        epoch: 0,
        samples: &samples,
    };
    let batch = SharedBatch::new(rank);
    let mut outputs = model
        .shared_outputs(&model.features(&input).unwrap(), &dropout, &batch)
        .unwrap();
    assert_eq!(outputs.len(), 1, "the part is in one piece");
    let outputs = outputs.remove(0);
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
    on_ranks(parts, |rank, part| step(make, rank, *part, side))
}

/// Runs `work` for all parts at once, a rank each.
pub(crate) fn on_ranks<P: Sync, R: Send>(parts: &[P], work: impl Fn(&Rank<'_>, &P) -> R + Sync) -> Vec<R> {
    let table = Table {
        rows: Mutex::new(vec![Vec::new(); parts.len()]),
        barrier: Barrier::new(parts.len()),
    };
    let (table, work) = (&table, &work);
    std::thread::scope(|scope| {
        let spawned: Vec<_> = parts
            .iter()
            .enumerate()
            .map(|(rank, part)| {
                scope.spawn(move || {
                    tch::set_num_threads(1);
                    let exchanges = Cell::new(0);
                    work(&Rank { table, rank, exchanges }, part)
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

/// Of the two images on one rank, by libtorch's own gradient; the pixels times `scale`.
fn of_whole_batch(make: &dyn Fn() -> Model, side: [usize; 2], scale: f64) -> Vec<(String, Tensor)> {
    let Input::Images(pixels) = images(side[0], side[1]) else {
        panic!("images")
    };
    of_batch(make, &(pixels * scale))
}

/// Of a whole batch on one rank, by libtorch's own gradient.
pub(crate) fn of_batch(make: &dyn Fn() -> Model, pixels: &Tensor) -> Vec<(String, Tensor)> {
    let model = make();
    let samples: Vec<u64> = (0..pixels.size()[0] as u64).collect();
    let dropout = Dropout {
        seed: 3,
        epoch: 0,
        samples: &samples,
    };
    let labels: Vec<i64> = samples.iter().map(|&sample| sample as i64 % 2).collect();
    let features = model.features(&Input::Images(pixels.shallow_clone())).unwrap();
    let outputs = model.outputs(&features, &dropout).unwrap();
    let sums = outputs.sums(&cross_entropy(), Expected::Classes(&labels)).unwrap();
    sums.loss.backward();
    let trainable = model.trainable().iter();
    trainable.map(|(name, tensor)| (name.clone(), tensor.grad())).collect()
}

/// The largest distance of two gradients of the same tensor, as a part of its norm.
pub(crate) fn largest_distance(one: &[(String, Tensor)], other: &[(String, Tensor)]) -> (f64, String) {
    let norm_of = |tensor: &Tensor| tensor.norm().double_value(&[]);
    let largest = one.iter().map(|(_, gradient)| norm_of(gradient)).fold(0.0, f64::max);
    let distances = one.iter().zip(other).map(|((name, one), (_, other))| {
        // What a BatchNorm takes out again, such as a bias before it, has no gradient but rounding.
        let norm = norm_of(one).max(1e-3 * largest);
        (norm_of(&(one - other)) / norm, name.clone())
    });
    distances.max_by(|one, other| one.0.total_cmp(&other.0)).unwrap()
}

/// Branches and an auxiliary head, excitations, depthwise kernels. Statistics of two images make some networks ill-conditioned: what the last bits of
/// the pixels change is measured, and no more than a few times as much may come of the order of sums.
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
        let whole = of_whole_batch(&make, side, 1.0);
        let (of_rounding, _) = largest_distance(&whole, &of_whole_batch(&make, side, 1.0 + 3e-7));
        let shared = summed(&steps(&make, &[(0, 1), (1, 2)], side));
        let (difference, name) = largest_distance(&whole, &shared);
        println!(
            "{architecture:?}: {difference:.2e} of the norm of {name}; a last bit of the pixels changes {of_rounding:.2e}"
        );
        assert!(
            of_rounding < 0.1,
            "{architecture:?}: nothing can be told from gradients that rounding decides"
        );
        assert!(
            difference < 1e-5 + 5.0 * of_rounding,
            "{architecture:?}: {name} differs by {difference:.2e} of its norm"
        );
    }
}
