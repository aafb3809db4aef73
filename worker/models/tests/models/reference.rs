//! What is shared with the scripts in `tests/reference`: the formula that fills tensors, and the values of an output that are compared. Tests inside
//! the crate use it, too.

use tch::{Kind, Tensor};

/// Values in [-1, 1): a 32-bit integer hash of FNV-1a(name) + index * 2654435769.
pub(crate) fn uniform(name: &str, count: usize) -> Vec<f64> {
    let seed = name.bytes().fold(2_166_136_261_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(16_777_619)
    });
    (0..count as u32)
        .map(|index| {
            let mut x = index.wrapping_mul(2_654_435_769).wrapping_add(seed);
            x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
            x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
            x ^= x >> 16;
            f64::from(x) / 2_147_483_648.0 - 1.0
        })
        .collect()
}

pub(crate) fn tensor(values: &[f64], shape: &[i64]) -> Tensor {
    let single: Vec<f32> = values.iter().map(|&value| value as f32).collect();
    Tensor::from_slice(&single).view(shape)
}

/// A tensor at a scale that keeps activations near 1.
pub(crate) fn fill(name: &str, shape: &[i64]) -> Tensor {
    let count = shape.iter().product::<i64>() as usize;
    let ends = |tails: &[&str]| tails.iter().any(|tail| name.ends_with(tail));
    let (offset, scale) = if ends(&["running_var"]) {
        (1.0, 0.3)
    } else if ends(&["bias", "running_mean", "beta"]) {
        (0.0, 0.1)
    } else if name.contains("layer_scale") || name.ends_with("gamma") {
        (0.4, 0.1)
    } else if name.contains("embeddings") && shape.len() == 2 {
        (0.0, 0.5)
    } else if shape.len() >= 2 {
        let gain = if shape.len() == 4 { 2.0 } else { 1.0 };
        (0.0, (3.0 * gain * shape[0] as f64 / count as f64).sqrt())
    } else if ends(&["bn2.weight", "bn3.weight"]) {
        (0.4, 0.1)
    } else {
        (0.9, 0.2)
    };
    let values: Vec<f64> = uniform(name, count).into_iter().map(|u| offset + scale * u).collect();
    tensor(&values, shape)
}

/// Values that are compared of each sample.
const PLACES: i64 = 12;

/// The largest difference of an output, samples first, from what `spread` in `parity.py` keeps of it: the sum of all squares, which is compared
/// as a root mean square, and twelve values of each sample.
pub(crate) fn difference(output: &Tensor, expected: &[f64]) -> f64 {
    let flat = output.detach().to_kind(Kind::Double).flatten(1, -1).contiguous();
    let (samples, width) = flat.size2().unwrap();
    let places: Vec<i64> = (0..PLACES).map(|place| place * width / PLACES).collect();
    let values = flat.index_select(1, &Tensor::from_slice(&places)).contiguous().view(-1);
    let values: Vec<f64> = Vec::try_from(values).unwrap();
    assert_eq!(values.len() + 1, expected.len());
    let mean = |squares: f64| (squares / (samples * width) as f64).sqrt();
    let squares = flat.square().sum(Kind::Double).double_value(&[]);
    let pairs = values
        .iter()
        .zip(&expected[1..])
        .map(|(ours, theirs)| (ours - theirs).abs());
    pairs.fold((mean(squares) - mean(expected[0])).abs(), f64::max)
}
