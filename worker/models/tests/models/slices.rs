//! BatchNorm that trains in a strict job: slices of a batch, wherever they are computed.

use std::ops::Range;

use firn_core::spec::Architecture;
use firn_models::{Dropout, Expected, Features, Input, Model, SharedBatch};
use tch::Tensor;

use crate::{
    shared_batches::{Rank, largest_distance, of_batch, on_ranks},
    support::*,
    training::cross_entropy,
};

/// What a slice gives: its outputs and loss, then its gradients by name.
type OfSlice = (Vec<Tensor>, Vec<(String, Tensor)>);

/// Slices of so many samples, those of `own` on this rank, of `pixels` in order; what each gives, and the statistics after the step.
fn sliced(
    make: &dyn Fn() -> Model,
    rank: &Rank<'_>,
    (sizes, own): (&[usize], &Range<usize>),
    pixels: &Tensor,
) -> (Vec<OfSlice>, Vec<Tensor>) {
    let model = make();
    let begin = |slice: usize| sizes[..slice].iter().sum::<usize>();
    let samples = begin(own.start)..begin(own.end);
    let named: Vec<u64> = samples.clone().map(|sample| sample as u64).collect();
    let dropout = Dropout {
        seed: 3,
        epoch: 0,
        samples: &named,
    };
    let present: Vec<usize> = own.clone().filter(|&slice| sizes[slice] > 0).collect();
    let of_slice = |&slice: &usize| pixels.narrow(0, begin(slice) as i64, sizes[slice] as i64);
    let features: Vec<Features> = match present.is_empty() {
        true => vec![model.features(&Input::Images(pixels.narrow(0, 0, 0))).unwrap()],
        false => present
            .iter()
            .map(|slice| model.features(&Input::Images(of_slice(slice))).unwrap())
            .collect(),
    };
    let trainable: Vec<&Tensor> = model.trainable().iter().map(|(_, tensor)| tensor).collect();
    let batch = SharedBatch::of_slices(rank, &sizes[own.clone()], &trainable).unwrap();
    let outputs = model
        .shared_outputs(&Features::joined(&features).unwrap(), &dropout, &batch)
        .unwrap();
    let losses: Vec<Tensor> = match present.is_empty() {
        true => vec![outputs[0].head.sum(tch::Kind::Float)],
        false => present
            .iter()
            .zip(&outputs)
            .map(|(&slice, outputs)| {
                let labels: Vec<i64> = (begin(slice)..begin(slice + 1))
                    .map(|sample| sample as i64 % 2)
                    .collect();
                outputs.sums(&cross_entropy(), Expected::Classes(&labels)).unwrap().loss
            })
            .collect(),
    };
    losses.iter().sum::<Tensor>().backward();
    batch.backward().unwrap();
    let mut given = outputs.into_iter().zip(&losses).map(|(outputs, loss)| {
        let auxiliary = outputs.auxiliary.map(|(_, outputs)| outputs);
        std::iter::once(outputs.head)
            .chain(auxiliary)
            .chain([loss.shallow_clone()])
            .collect::<Vec<_>>()
    });
    let of_slices = own.clone().enumerate().map(|(place, slice)| {
        let gradients = model.trainable().iter().map(|(name, tensor)| {
            let gradient = batch.gradient(place, tensor);
            (name.clone(), gradient.unwrap_or_else(|| tensor.detach().zeros_like()))
        });
        let gradients = gradients.collect();
        match sizes[slice] {
            0 => (Vec::new(), gradients),
            _ => (given.next().unwrap(), gradients),
        }
    });
    let of_slices = of_slices.collect();
    (of_slices, statistics_of(&model))
}

/// The running statistics.
fn statistics_of(model: &Model) -> Vec<Tensor> {
    let state = model.trainable_state().into_iter();
    let statistics = state.filter(|(name, _)| name.contains("running"));
    statistics.map(|(_, tensor)| tensor.copy()).collect()
}

/// Networks, the last stage that is frozen, pixels a side, and the samples of each slice.
const CASES: [(Architecture, &str, usize, &[usize]); 6] = [
    // One pixel is left at the end.
    (Architecture::Resnet18, "layer3", 32, &[2, 1, 0, 3, 1]),
    (Architecture::MobilenetV2, "features.15", 32, &[1, 2, 1, 0]),
    (Architecture::MobilenetV3Small, "features.8", 64, &[2, 1, 2]),
    (Architecture::EfficientnetB0, "features.6", 64, &[2, 1]),
    // The shortcut takes every second pixel.
    (Architecture::Resnet20Cifar, "layer2", 32, &[2, 1, 2]),
    (Architecture::InceptionV3, "Mixed_6d", 299, &[1, 2]),
];

/// That many slices on one rank, on two, and each on a rank of its own, which may have no sample at all.
fn divisions(slices: usize) -> [Vec<Range<usize>>; 3] {
    let one = std::iter::once(0..slices).collect();
    let two = vec![0..slices / 2, slices / 2..slices];
    [one, two, (0..slices).map(|slice| slice..slice + 1).collect()]
}

fn are_equal(one: &[Tensor], other: &[Tensor]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.equal(other))
}

/// Depthwise kernels, gates, wide layers with dropout, branches and an auxiliary head.
#[test]
fn what_a_slice_gives_is_the_same_to_the_last_bit_whichever_rank_has_it() {
    for (architecture, cut, side, sizes) in CASES {
        let spec = spec(architecture, None, through(cut));
        let make = || load_with(&spec, true).unwrap();
        let pixels = || {
            let Input::Images(two) = images(side, side) else {
                panic!("images")
            };
            let image = |sample: usize| two.narrow(0, sample as i64 % 2, 1) * (1.0 - 0.2 * sample as f64);
            Tensor::cat(&(0..sizes.iter().sum()).map(image).collect::<Vec<_>>(), 0)
        };
        let [alone, divided @ ..] = divisions(sizes.len()).map(|parts| {
            let ranks = on_ranks(&parts, |rank, own| sliced(&make, rank, (sizes, own), &pixels()));
            let (slices, statistics): (Vec<Vec<OfSlice>>, Vec<Vec<Tensor>>) = ranks.into_iter().unzip();
            assert!(
                statistics.iter().all(|rank| are_equal(rank, &statistics[0])),
                "{architecture:?}"
            );
            (
                slices.into_iter().flatten().collect::<Vec<_>>(),
                statistics.into_iter().next().unwrap(),
            )
        });
        for (slices, statistics) in &divided {
            assert!(are_equal(statistics, &alone.1), "{architecture:?}: statistics");
            for (slice, (found, expected)) in slices.iter().zip(&alone.0).enumerate() {
                assert!(
                    are_equal(&found.0, &expected.0),
                    "{architecture:?}: outputs of slice {slice}"
                );
                for ((name, one), (_, other)) in found.1.iter().zip(&expected.1) {
                    assert!(one.equal(other), "{architecture:?}: {name} of slice {slice}");
                }
            }
        }
        let of_place = |place: usize| alone.0.iter().map(|(_, gradients)| &gradients[place].1).sum::<Tensor>();
        let names = alone.0[0].1.iter().map(|(name, _)| name.clone());
        let summed: Vec<_> = names.enumerate().map(|(place, name)| (name, of_place(place))).collect();
        let whole = of_batch(&make, &pixels());
        let (of_rounding, _) = largest_distance(&whole, &of_batch(&make, &(pixels() * (1.0 + 3e-7))));
        let (difference, name) = largest_distance(&whole, &summed);
        println!(
            "{architecture:?} at {side}: {difference:.2e} of the norm of {name}; a last bit of the pixels changes {of_rounding:.2e}"
        );
        assert!(
            difference < 1e-5 + 5.0 * of_rounding,
            "{architecture:?}: {name} differs by {difference:.2e} of its norm from that of the whole batch"
        );
    }
}
