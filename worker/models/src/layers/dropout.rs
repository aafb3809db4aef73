//! Dropout whose mask is a function of seed, epoch, sample, unit and layer.
//!
//! So a sample loses the same units on whichever rank, in whichever micro-batch and however often it is computed; torch's own generator
//! would tie the result to the number of ranks.

use firn_core::spec::{ModelSpec, StageDropout};
use tch::Tensor;

use crate::{error::ModelError, random::Stream};

/// Marks a pass as training, and names what the dropout masks depend on.
#[derive(Debug, Clone, Copy)]
pub struct Dropout<'a> {
    /// The job's seed.
    pub seed: u64,
    /// Epoch, from 0.
    pub epoch: u32,
    /// What names each sample of the batch in the epoch: its index in the manifest of its split where it comes once.
    pub samples: &'a [u64],
}

/// Drops units of `features` `(n, width)` with this probability and scales what is left by 1/(1-p). `layer` tells the masks of several
/// layers of a network apart.
///
/// # Errors
/// Unless `dropout` names one sample for each row.
pub(crate) fn drop_units(
    features: &Tensor,
    probability: f64,
    layer: &str,
    dropout: &Dropout<'_>,
) -> Result<Tensor, ModelError> {
    Ok(features.f_mul(&mask(features, probability, layer, dropout)?)?)
}

/// Drops units of states `(samples, …)` with this probability, as [`drop_units`] does, where the pass is one of training. A unit is known by its place
/// within its sample, row by row: so padding behind the tokens shifts nobody. The first dimension may be a multiple of the samples, where each has several
/// rows one after the other.
///
/// # Errors
/// Unless the rows can be divided among the samples.
pub(crate) fn drop_states(
    states: Tensor,
    probability: f64,
    layer: &str,
    dropout: Option<&Dropout<'_>>,
) -> Result<Tensor, ModelError> {
    let Some(dropout) = dropout.filter(|_| probability > 0.0) else {
        return Ok(states);
    };
    let samples = dropout.samples.len() as i64;
    let rows = states.size().first().copied().unwrap_or_default();
    if samples == 0 && rows == 0 {
        return Ok(states);
    }
    if samples == 0 || rows % samples != 0 {
        return Err(unnamed(rows, dropout));
    }
    let units = states.numel() / dropout.samples.len();
    let coin = Coin::new(probability);
    let mut mask = Vec::with_capacity(states.numel());
    for &sample in dropout.samples {
        let key = key_of(sample, layer, dropout);
        mask.extend((0..units as u64).map(|unit| coin.toss(key, unit)));
    }
    let mask = Tensor::f_from_slice(&mask)?.f_view(states.size().as_slice())?;
    Ok(states.f_mul(&mask.f_to_device(states.device())?)?)
}

/// The places of attention weights in a row are counted as if every text had so many tokens.
const MOST_TOKENS: u64 = 1 << 24;

/// Drops attention weights `(samples, heads, queries, keys)` in the same way. A weight is known by head, query and key.
///
/// # Errors
/// Unless `dropout` names one sample for each row.
pub(crate) fn drop_weights(
    weights: Tensor,
    probability: f64,
    layer: &str,
    dropout: &Dropout<'_>,
) -> Result<Tensor, ModelError> {
    let (rows, heads, queries, keys) = weights.size4()?;
    if rows as usize != dropout.samples.len() {
        return Err(unnamed(rows, dropout));
    }
    let coin = Coin::new(probability);
    let mut mask = Vec::with_capacity(weights.numel());
    for &sample in dropout.samples {
        let key = key_of(sample, layer, dropout);
        for row in (0..heads as u64).flat_map(|head| (0..queries as u64).map(move |query| head * MOST_TOKENS + query)) {
            let first = row * MOST_TOKENS;
            mask.extend((first..first + keys as u64).map(|place| coin.toss(key, place)));
        }
    }
    let mask = Tensor::f_from_slice(&mask)?.f_view([rows, heads, queries, keys])?;
    Ok(weights.f_mul(&mask.f_to_device(weights.device())?)?)
}

/// How often units are dropped inside the stages of a network.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Probabilities {
    /// Of states.
    pub(crate) states: f64,
    /// Of attention weights.
    pub(crate) attention: f64,
}

impl Probabilities {
    /// Those of a configuration, where the spec asks for them.
    pub(crate) fn of(spec: &ModelSpec, configured: Self) -> Self {
        match spec.dropout {
            StageDropout::Configuration => configured,
            StageDropout::None => Self::default(),
        }
    }
}

/// A unit is dropped, or kept and made larger.
struct Coin {
    threshold: u64,
    kept: f32,
}

impl Coin {
    fn new(probability: f64) -> Self {
        Self {
            threshold: (probability * 4_294_967_296.0) as u64,
            kept: (1.0 / (1.0 - probability)) as f32,
        }
    }

    /// Of a place in the stream of a key.
    fn toss(&self, key: u64, place: u64) -> f32 {
        let number = mixed(key.wrapping_add(place.wrapping_add(1).wrapping_mul(GOLDEN_RATIO)));
        match number >> 32 < self.threshold {
            true => 0.0,
            false => self.kept,
        }
    }
}

/// 2⁶⁴ / φ.
const GOLDEN_RATIO: u64 = 0x9e37_79b9_7f4a_7c15;

/// The output of splitmix64 (Steele, Lea & Flood 2014): a place of a stream can be asked for without those before it.
fn mixed(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The stream of a sample in a layer and an epoch. The layer's name counts as its FNV-1a of 64 bits.
fn key_of(sample: u64, layer: &str, dropout: &Dropout<'_>) -> u64 {
    let name = layer.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    let parts = [u64::from(dropout.epoch), sample, name];
    parts.into_iter().fold(mixed(dropout.seed), |key, part| {
        mixed(key.wrapping_add(GOLDEN_RATIO) ^ part)
    })
}

fn unnamed(rows: i64, dropout: &Dropout<'_>) -> ModelError {
    ModelError::Mismatch {
        what: "samples named for dropout".to_owned(),
        expected: format!("{rows}, one for each row of the batch"),
        found: dropout.samples.len().to_string(),
    }
}

/// 0 with the probability, else 1/(1-p).
fn mask(features: &Tensor, probability: f64, layer: &str, dropout: &Dropout<'_>) -> Result<Tensor, ModelError> {
    let (batch, width) = features.size2()?;
    if batch as usize != dropout.samples.len() {
        return Err(unnamed(batch, dropout));
    }
    let kept = (1.0 / (1.0 - probability)) as f32;
    let threshold = (probability * 4_294_967_296.0) as u64;
    let mut mask = Vec::with_capacity((batch * width) as usize);
    for &sample in dropout.samples {
        let mut stream = Stream::new("dropout", &[dropout.seed, u64::from(dropout.epoch), sample], layer);
        mask.extend((0..width).map(|_| {
            if u64::from(stream.bits()) < threshold {
                0.0
            } else {
                kept
            }
        }));
    }
    Ok(Tensor::f_from_slice(&mask)?
        .f_view([batch, width])?
        .f_to_device(features.device())?)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    fn ones(rows: i64) -> Tensor {
        Tensor::ones([rows, 512], (Kind::Float, Device::Cpu))
    }

    fn masked(probability: f64, layer: &str, epoch: u32, samples: &[u64]) -> Tensor {
        let dropout = Dropout {
            seed: 1,
            epoch,
            samples,
        };
        drop_units(&ones(samples.len() as i64), probability, layer, &dropout).unwrap()
    }

    #[test]
    fn a_sample_loses_the_same_units_in_whichever_batch_it_is() {
        let (one, other) = (masked(0.3, "", 2, &[5, 6, 7]), masked(0.3, "", 2, &[7, 5, 9]));
        assert!(one.get(0).equal(&other.get(1)) && one.get(2).equal(&other.get(0)));
        assert!(!one.get(1).equal(&other.get(2)));
    }

    #[test]
    fn dropout_keeps_the_mean_and_drops_its_share() {
        let samples: Vec<u64> = (0..64).collect();
        let mask = masked(0.25, "", 0, &samples);
        let dropped = mask.eq(0.0).to_kind(Kind::Float).mean(Kind::Float).double_value(&[]);
        assert!((dropped - 0.25).abs() < 0.01, "dropped {dropped}");
        assert!((mask.mean(Kind::Float).double_value(&[]) - 1.0).abs() < 0.015);
    }

    fn states(samples: &[u64], tokens: i64, layer: &str) -> Tensor {
        let dropout = Dropout {
            seed: 1,
            epoch: 2,
            samples,
        };
        let ones = Tensor::ones([samples.len() as i64, tokens, 32], (Kind::Float, Device::Cpu));
        drop_states(ones, 0.3, layer, Some(&dropout)).unwrap()
    }

    #[test]
    fn a_token_loses_the_same_units_beside_longer_texts() {
        let (long, short) = (states(&[5, 6], 9, "a"), states(&[6], 4, "a"));
        assert!(long.get(1).narrow(0, 0, 4).equal(&short.get(0)));
        assert!(!long.get(0).equal(&long.get(1)));
        assert!(!long.equal(&states(&[5, 6], 9, "b")), "each layer drops others");
        let rows = states(&[5, 6], 8, "a").view([4, 4, 32]);
        let dropout = Dropout {
            seed: 1,
            epoch: 2,
            samples: &[5, 6],
        };
        let ones = Tensor::ones([4, 4, 32], (Kind::Float, Device::Cpu));
        let windows = drop_states(ones, 0.3, "a", Some(&dropout)).unwrap();
        assert!(windows.equal(&rows), "rows of a sample follow each other");
        let odd = Tensor::ones([3, 4, 32], (Kind::Float, Device::Cpu));
        assert!(drop_states(odd, 0.3, "a", Some(&dropout)).is_err());
    }

    #[test]
    fn states_keep_their_mean_and_lose_their_share() {
        let samples: Vec<u64> = (0..32).collect();
        let mask = states(&samples, 16, "a");
        let dropped = mask.eq(0.0).to_kind(Kind::Float).mean(Kind::Float).double_value(&[]);
        assert!((dropped - 0.3).abs() < 0.01, "dropped {dropped}");
        assert!((mask.mean(Kind::Float).double_value(&[]) - 1.0).abs() < 0.015);
    }

    #[test]
    fn a_new_epoch_and_another_layer_drop_other_units() {
        let first = masked(0.5, "", 0, &[4]);
        assert!(!first.equal(&masked(0.5, "", 1, &[4])));
        assert!(!first.equal(&masked(0.5, "classifier.0", 0, &[4])));
    }
}
