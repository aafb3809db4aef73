//! New output layers: dropout, then one linear layer, several with activations between them, cosines, or the thresholds of ranks.

mod attention;
mod layers;

use firn_core::spec::{HeadSpec, Pooling};
use tch::{Device, Tensor};

pub(crate) use self::attention::POOLING;
use self::{
    attention::AttentionPooling,
    layers::{Affine, Cosine, Draws, Mlp, Ordinal, dropped},
};
use crate::{error::ModelError, layers::dropout::Dropout, shared_batch::Leaves, stage::Features};

/// Firn's name of the output layer that every model has.
pub(crate) const HEAD: &str = "head";

/// The output layers of a model, behind a dropout.
pub(crate) struct Head {
    name: &'static str,
    spec: HeadSpec,
    /// What makes one vector of token states, where that is learned.
    pooling: Option<AttentionPooling>,
    layers: Layers,
}

enum Layers {
    Linear(Affine),
    Mlp(Mlp),
    Cosine(Cosine),
    Ordinal(Ordinal),
}

impl Head {
    /// `shape`: outputs, inputs. Weights and biases begin as `torch.nn.Linear` draws them, uniform in ±1/√inputs, from the seed. `has_bias` counts for one
    /// linear layer alone: the library that loads it may have no place for one.
    pub(crate) fn new(
        name: &'static str,
        (seed, device): (u64, Device),
        shape: [i64; 2],
        has_bias: bool,
        spec: &HeadSpec,
    ) -> Result<Self, ModelError> {
        let draws = Draws { name, seed, device };
        let [outputs, inputs] = shape;
        let layers = match spec {
            HeadSpec::Linear { .. } => Layers::Linear(Affine::new(&draws, String::new(), shape, has_bias)?),
            HeadSpec::Mlp {
                hidden_sizes,
                activation,
                ..
            } => {
                let hidden = hidden_sizes.iter().map(|&size| i64::from(size));
                let widths: Vec<i64> = std::iter::once(inputs).chain(hidden).chain([outputs]).collect();
                Layers::Mlp(Mlp::new(&draws, &widths, *activation)?)
            }
            HeadSpec::Cosine { scale, learn_scale, .. } => {
                Layers::Cosine(Cosine::new(&draws, shape, (*scale, *learn_scale))?)
            }
            HeadSpec::Ordinal { .. } => Layers::Ordinal(Ordinal::new(&draws, shape)?),
        };
        Ok(Self {
            name,
            spec: spec.clone(),
            pooling: None,
            layers,
        })
    }

    /// The same head of token states of this length, which it attends to, where they are pooled so.
    pub(crate) fn of_states(
        mut self,
        pooling: Pooling,
        hidden: i64,
        (seed, device): (u64, Device),
    ) -> Result<Self, ModelError> {
        if pooling == Pooling::Attention {
            let draws = Draws {
                name: POOLING,
                seed,
                device,
            };
            self.pooling = Some(AttentionPooling::new(&draws, hidden)?);
        }
        Ok(self)
    }

    /// What it was made from.
    pub(crate) fn spec(&self) -> &HeadSpec {
        &self.spec
    }

    /// Where it computes.
    pub(crate) fn device(&self) -> Device {
        match &self.layers {
            Layers::Linear(layer) => layer.weight.device(),
            Layers::Mlp(layers) => layers.tensors()[0].1.device(),
            Layers::Cosine(layer) => layer.weight.device(),
            Layers::Ordinal(layer) => layer.weight.device(),
        }
    }

    /// What trains of it, by Firn's names.
    pub(crate) fn tensors(&self) -> Vec<(String, Tensor)> {
        let tensors = match &self.layers {
            Layers::Linear(layer) => layer.tensors(),
            Layers::Mlp(layers) => layers.tensors(),
            Layers::Cosine(layer) => {
                let scale = layer.learns_scale.then_some(("scale".to_owned(), &layer.scale));
                std::iter::once(("weight".to_owned(), &layer.weight))
                    .chain(scale)
                    .collect()
            }
            Layers::Ordinal(layer) => {
                let tensors = [("weight", &layer.weight), ("cutpoints", &layer.cutpoints)];
                tensors.map(|(tail, tensor)| (tail.to_owned(), tensor)).into()
            }
        };
        let pooling = self.pooling.iter().flat_map(AttentionPooling::tensors);
        let pooling = pooling.map(|(tail, tensor)| (format!("{POOLING}.{tail}"), tensor.shallow_clone()));
        pooling.chain(self.named(tensors)).collect()
    }

    /// What does not train and is part of it all the same: the spec says it, and who loads the whole network needs it.
    pub(crate) fn constants(&self) -> Vec<(String, Tensor)> {
        match &self.layers {
            Layers::Cosine(layer) if !layer.learns_scale => self.named(vec![("scale".to_owned(), &layer.scale)]),
            _ => Vec::new(),
        }
    }

    fn named(&self, tensors: Vec<(String, &Tensor)>) -> Vec<(String, Tensor)> {
        let named = |(tail, tensor): (String, &Tensor)| (format!("{}.{tail}", self.name), tensor.shallow_clone());
        tensors.into_iter().map(named).collect()
    }

    /// The same head with the leaves of a slice in place of its parameters.
    pub(crate) fn with(&self, leaves: Leaves<'_>) -> Self {
        Self {
            name: self.name,
            spec: self.spec.clone(),
            pooling: self.pooling.as_ref().map(|pooling| pooling.with(leaves)),
            layers: match &self.layers {
                Layers::Linear(layer) => Layers::Linear(layer.with(leaves)),
                Layers::Mlp(layers) => Layers::Mlp(layers.with(leaves)),
                Layers::Cosine(layer) => Layers::Cosine(layer.with(leaves)),
                Layers::Ordinal(layer) => Layers::Ordinal(layer.with(leaves)),
            },
        }
    }

    /// Pooled features `(n, width)`, or the states of tokens that it attends to, to logits `(n, classes)`; states that nothing pools, `(n, tokens, width)`,
    /// to those of each token, `(n, tokens, classes)`.
    pub(crate) fn forward(&self, features: &Features, dropout: Option<&Dropout<'_>>) -> Result<Tensor, ModelError> {
        let features = match &self.pooling {
            Some(pooling) => pooling.forward(&features.tensor, features.needed_mask()?)?,
            None => features.tensor.shallow_clone(),
        };
        let probability = self.spec.dropout();
        let dropout = dropout.filter(|_| probability > 0.0);
        let features = match dropout {
            Some(dropout) => dropped(features, probability, "", dropout)?,
            None => features,
        };
        match &self.layers {
            Layers::Linear(layer) => layer.forward(&features),
            Layers::Mlp(layers) => layers.forward(features, probability, dropout),
            Layers::Cosine(layer) => layer.forward(&features),
            Layers::Ordinal(layer) => layer.forward(&features),
        }
    }
}

#[cfg(test)]
mod tests {
    use firn_core::spec::HeadActivation;
    use tch::Kind;

    use super::*;

    fn head(dropout: f64) -> Head {
        Head::new(HEAD, (3, Device::Cpu), [4, 512], true, &HeadSpec::Linear { dropout }).unwrap()
    }

    /// Weight and bias of a linear head.
    fn tensors(head: &Head) -> [Tensor; 2] {
        let tensors: Vec<_> = head.tensors().into_iter().map(|(_, tensor)| tensor).collect();
        tensors.try_into().unwrap()
    }

    /// Of features that are pooled.
    fn forward(head: &Head, features: &Tensor, dropout: Option<&Dropout<'_>>) -> Result<Tensor, ModelError> {
        head.forward(&Features::unmasked(features.shallow_clone()), dropout)
    }

    #[test]
    fn padding_gets_no_attention() {
        let spec = HeadSpec::Linear { dropout: 0.0 };
        let head = Head::new(HEAD, (3, Device::Cpu), [4, 16], true, &spec).unwrap();
        let head = head.of_states(Pooling::Attention, 16, (3, Device::Cpu)).unwrap();
        let states = Tensor::arange(2 * 5 * 16, (Kind::Float, Device::Cpu)).view([2, 5, 16]) / 160.0;
        let mask = Tensor::from_slice2(&[[1_i64, 1, 1, 1, 1], [1, 1, 1, 0, 0]]);
        let of = |tensor: Tensor, mask: Tensor| {
            let mask = Some(mask);
            let types = None;
            head.forward(&Features { tensor, mask, types }, None).unwrap()
        };
        let both = of(states.shallow_clone(), mask.shallow_clone());
        let alone = of(
            states.narrow(0, 1, 1).narrow(1, 0, 3),
            mask.narrow(0, 1, 1).narrow(1, 0, 3),
        );
        let difference = (both.narrow(0, 1, 1) - alone).abs().max().double_value(&[]);
        assert!(difference < 1e-6, "difference {difference}");
        let shapes: Vec<_> = head
            .tensors()
            .into_iter()
            .map(|(name, tensor)| (name, tensor.size()))
            .collect();
        let expected = [
            ("pooling.projection.weight", vec![16, 16]),
            ("pooling.projection.bias", vec![16]),
            ("pooling.context.weight", vec![1, 16]),
            ("head.weight", vec![4, 16]),
            ("head.bias", vec![4]),
        ];
        assert_eq!(shapes, expected.map(|(name, shape)| (name.to_owned(), shape)));
    }

    #[test]
    fn evaluation_drops_nothing() {
        let head = head(0.9);
        let [weight, bias] = tensors(&head);
        let ones = Tensor::ones([1, 512], (Kind::Float, Device::Cpu));
        let expected = weight.sum_dim_intlist([1_i64].as_slice(), false, Kind::Float) + bias;
        let difference = (head.forward(&Features::unmasked(ones), None).unwrap() - expected)
            .abs()
            .max()
            .double_value(&[]);
        assert!(difference < 1e-4, "difference {difference}");
    }

    #[test]
    fn the_initialisation_is_that_of_a_linear_layer() {
        let head = head(0.0);
        let bound = 1.0 / 512_f64.sqrt();
        let [weight, _] = tensors(&head);
        let (low, high) = (weight.min().double_value(&[]), weight.max().double_value(&[]));
        assert!(
            low >= -bound && high <= bound && low < -0.98 * bound && high > 0.98 * bound,
            "{low} {high}"
        );
        assert!(weight.equal(&tensors(&self::head(0.0))[0]), "the seed alone decides");
    }

    #[test]
    fn a_wrong_number_of_samples_is_refused() {
        let ones = Tensor::ones([2, 512], (Kind::Float, Device::Cpu));
        let error = head(0.5)
            .forward(
                &Features::unmasked(ones),
                Some(&Dropout {
                    seed: 0,
                    epoch: 0,
                    samples: &[1],
                }),
            )
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "samples named for dropout: expected 2, one for each row of the batch, found 1"
        );
    }

    #[test]
    fn states_of_tokens_that_nothing_pools_have_outputs_of_their_own_and_padding_shifts_no_mask() {
        let spec = HeadSpec::Mlp {
            dropout: 0.5,
            hidden_sizes: vec![8],
            activation: HeadActivation::Gelu,
        };
        let head = Head::new(HEAD, (3, Device::Cpu), [4, 16], true, &spec).unwrap();
        let states = Tensor::arange(2 * 5 * 16, (Kind::Float, Device::Cpu)).view([2, 5, 16]) / 160.0;
        let plain = forward(&head, &states, None).unwrap();
        assert_eq!(plain.size(), [2, 5, 4]);
        let rows = forward(&head, &states.view([10, 16]), None).unwrap();
        assert!((plain.view([10, 4]) - rows).abs().max().double_value(&[]) < 1e-6);
        let both = forward(&head, &states, Some(&dropout_of(&[7, 8]))).unwrap();
        let short = forward(&head, &states.narrow(0, 1, 1).narrow(1, 0, 3), Some(&dropout_of(&[8]))).unwrap();
        let difference = (both.narrow(0, 1, 1).narrow(1, 0, 3) - short).abs().max();
        assert!(difference.double_value(&[]) < 1e-6);
        assert!((both - plain).abs().max().double_value(&[]) > 1e-3, "units are dropped");
    }

    fn dropout_of<'a>(samples: &'a [u64]) -> Dropout<'a> {
        Dropout {
            seed: 4,
            epoch: 1,
            samples,
        }
    }

    #[test]
    fn a_sample_loses_the_same_units_of_every_layer_beside_other_samples() {
        let spec = HeadSpec::Mlp {
            dropout: 0.5,
            hidden_sizes: vec![64, 32],
            activation: HeadActivation::Tanh,
        };
        let head = Head::new(HEAD, (3, Device::Cpu), [4, 16], true, &spec).unwrap();
        let features = Tensor::arange(3 * 16, (Kind::Float, Device::Cpu)).view([3, 16]) / 48.0;
        let all = forward(&head, &features, Some(&dropout_of(&[7, 8, 9]))).unwrap();
        let two = forward(&head, &features.narrow(0, 1, 2), Some(&dropout_of(&[8, 9]))).unwrap();
        let difference = (all.narrow(0, 1, 2) - two).abs().max().double_value(&[]);
        assert!(difference < 1e-6, "difference {difference}");
        let alike = features.narrow(0, 0, 1).expand([2, 16], false);
        let other = forward(&head, &alike, Some(&dropout_of(&[7, 8]))).unwrap();
        assert!(!other.get(0).equal(&other.get(1)), "each sample loses other units");
        let names: Vec<_> = head
            .tensors()
            .into_iter()
            .map(|(name, tensor)| (name, tensor.size()))
            .collect();
        let expected = [
            ("head.1.weight", vec![64, 16]),
            ("head.1.bias", vec![64]),
            ("head.4.weight", vec![32, 64]),
            ("head.4.bias", vec![32]),
            ("head.7.weight", vec![4, 32]),
            ("head.7.bias", vec![4]),
        ];
        assert_eq!(names, expected.map(|(name, shape)| (name.to_owned(), shape)));
    }

    #[test]
    fn probabilities_of_ranks_add_up_and_are_alike_at_first() {
        let spec = HeadSpec::Ordinal { dropout: 0.0 };
        for ranks in [2, 3, 7] {
            let head = Head::new(HEAD, (3, Device::Cpu), [ranks, 16], true, &spec).unwrap();
            let nothing = Tensor::zeros([1, 16], (Kind::Float, Device::Cpu));
            let alike = forward(&head, &nothing, None).unwrap().exp() * ranks as f64;
            assert!((alike - 1.0).abs().max().double_value(&[]) < 1e-5, "{ranks}");
            let far = nothing.ones_like() * Tensor::from_slice(&[-900.0_f32, -3.0, 0.5, 900.0]).view([4, 1]);
            let outputs = forward(&head, &far, None).unwrap();
            assert_eq!(outputs.size(), [4, ranks]);
            assert_eq!(outputs.isfinite().all().int64_value(&[]), 1, "{outputs:?}");
            let sums = outputs.exp().sum_dim_intlist([1_i64].as_slice(), false, Kind::Float) - 1.0;
            assert!(sums.abs().max().double_value(&[]) < 1e-5, "{ranks}");
        }
        let refused = Head::new(HEAD, (3, Device::Cpu), [1, 16], true, &spec)
            .err()
            .unwrap()
            .to_string();
        assert!(
            refused.contains("spec.model.head.type: expected two classes or more"),
            "{refused}"
        );
    }

    #[test]
    fn cosines_forget_lengths_and_no_feature_is_divided_by_nothing() {
        let cosine = |learn_scale| {
            let spec = HeadSpec::Cosine {
                dropout: 0.0,
                scale: 5.0,
                learn_scale,
            };
            Head::new(HEAD, (3, Device::Cpu), [4, 16], true, &spec).unwrap()
        };
        let head = cosine(true);
        let features = Tensor::arange(2 * 16, (Kind::Float, Device::Cpu)).view([2, 16]) - 9.0;
        let (one, other) = (
            forward(&head, &features, None).unwrap(),
            forward(&head, &(&features * 7.0), None).unwrap(),
        );
        assert!((&one - other).abs().max().double_value(&[]) < 1e-5);
        assert!(one.abs().max().double_value(&[]) <= 5.0);
        let nothing = forward(&head, &features.zeros_like(), None).unwrap();
        assert_eq!(nothing.abs().max().double_value(&[]), 0.0);
        let [learned, fixed] =
            [true, false].map(|learn| (cosine(learn).tensors().len(), cosine(learn).constants().len()));
        assert_eq!((learned, fixed), ((2, 0), (1, 1)));
    }
}
