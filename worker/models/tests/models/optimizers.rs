//! Optimizers follow those of PyTorch, and LAMB that of timm.

use firn_core::spec::{Decayed, OptimizerSpec};
use firn_models::Optimizer;
use serde_json::Value;
use tch::Tensor;

use crate::support::*;

const fn adam(learning_rate: f64, weight_decay: f64, beta1: f64, beta2: f64, epsilon: f64) -> OptimizerSpec {
    OptimizerSpec::AdamW {
        learning_rate,
        weight_decay,
        beta1,
        beta2,
        epsilon,
    }
}

const fn sgd(weight_decay: f64, momentum: f64, nesterov: bool) -> OptimizerSpec {
    OptimizerSpec::Sgd {
        learning_rate: 0.1,
        weight_decay,
        momentum,
        nesterov,
    }
}

const fn rms_prop(weight_decay: f64, momentum: f64, centered: bool) -> OptimizerSpec {
    OptimizerSpec::RmsProp {
        learning_rate: 0.01,
        weight_decay,
        alpha: 0.9,
        momentum,
        centered,
        epsilon: 1e-6,
    }
}

const fn lamb(weight_decay: f64) -> OptimizerSpec {
    OptimizerSpec::Lamb {
        learning_rate: 0.05,
        weight_decay,
        beta1: 0.9,
        beta2: 0.98,
        epsilon: 1e-6,
    }
}

const CLASSIC: OptimizerSpec = OptimizerSpec::Adam {
    learning_rate: 0.01,
    weight_decay: 0.05,
    beta1: 0.9,
    beta2: 0.98,
    epsilon: 1e-8,
};

/// Rules, and which tensors decay.
const RULES: [(&str, OptimizerSpec, Decayed); 19] = [
    ("adamw", adam(0.01, 0.05, 0.9, 0.98, 1e-8), Decayed::All),
    ("adamw_large_epsilon", adam(0.1, 0.0, 0.5, 0.9, 1e-2), Decayed::All),
    ("sgd", sgd(0.0, 0.0, false), Decayed::All),
    ("sgd_decay", sgd(0.03, 0.0, false), Decayed::All),
    ("sgd_momentum", sgd(0.03, 0.9, false), Decayed::All),
    ("sgd_nesterov", sgd(0.01, 0.8, true), Decayed::All),
    ("adam", CLASSIC, Decayed::All),
    ("rmsprop", rms_prop(0.0, 0.0, false), Decayed::All),
    ("rmsprop_momentum", rms_prop(0.03, 0.9, false), Decayed::All),
    ("rmsprop_centered", rms_prop(0.0, 0.0, true), Decayed::All),
    ("rmsprop_centered_momentum", rms_prop(0.03, 0.9, true), Decayed::All),
    ("lamb", lamb(0.02), Decayed::All),
    ("lamb_without_decay", lamb(0.0), Decayed::All),
    ("adamw_weights", adam(0.01, 0.05, 0.9, 0.98, 1e-8), Decayed::Weights),
    ("sgd_weights", sgd(0.03, 0.9, false), Decayed::Weights),
    ("lamb_weights", lamb(0.02), Decayed::Weights),
    ("adamw_late", adam(0.01, 0.05, 0.9, 0.98, 1e-8), Decayed::All),
    ("sgd_momentum_late", sgd(0.03, 0.9, false), Decayed::All),
    (
        "rmsprop_centered_momentum_late",
        rms_prop(0.03, 0.9, true),
        Decayed::All,
    ),
];

/// Of a rule of this name. Where it is `…_late`, the second parameter has no gradient before the eighth step, and learns at half the rate.
fn optimizer(name: &str, rule: &OptimizerSpec, decayed: Decayed, parameters: &[(String, Tensor)]) -> Optimizer {
    let optimizer = Optimizer::new(rule, decayed, parameters).unwrap();
    match name.ends_with("_late") {
        true => optimizer
            .with_rates([1.0, 0.5].into_iter())
            .with_late([false, true].into_iter()),
        false => optimizer,
    }
}

const SHAPES: [&[i64]; 2] = [&[3, 4], &[5]];

fn parameters() -> Vec<(String, Tensor)> {
    let named = SHAPES
        .iter()
        .enumerate()
        .map(|(i, shape)| (format!("parameter.{i}"), shape));
    named
        .map(|(name, shape)| (name.clone(), fill(&name, shape).set_requires_grad(true)))
        .collect()
}

fn step(optimizer: &mut Optimizer, name: &str, peak: f64, step: usize) {
    let gradient = |i: usize| {
        let shape = SHAPES[i];
        tensor(
            &uniform(&format!("gradient.{step}.{i}"), shape.iter().product::<i64>() as usize),
            shape,
        )
    };
    let is_frozen = name.ends_with("_late") && step < 7;
    let second = (!is_frozen).then(|| gradient(1));
    optimizer
        .step(peak * (1.0 - step as f64 / 25.0), &[Some(gradient(0)), second])
        .unwrap();
}

#[test]
fn optimizers_follow_torch_optims_trajectories() {
    let golden: Value = golden("optimizers");
    for (name, rule, decayed) in RULES {
        let parameters = parameters();
        let mut optimizer = optimizer(name, &rule, decayed, &parameters);
        let (mut trajectory, mut reference) = (Vec::new(), Vec::new());
        for at in 0..20 {
            step(&mut optimizer, name, rule.learning_rate(), at);
            for (i, (_, parameter)) in parameters.iter().enumerate() {
                trajectory.push(parameter.detach().copy().view(-1));
                reference.extend(floats(&golden[name][at][i]));
            }
        }
        close(
            &format!("{name}: 20 steps"),
            &Tensor::cat(&trajectory, 0),
            &reference,
            2e-6,
        );
    }
}

#[test]
fn an_optimizer_restored_in_the_middle_goes_on_bit_for_bit() {
    for (name, rule, decayed) in RULES {
        let undisturbed = parameters();
        let mut first = optimizer(name, &rule, decayed, &undisturbed);
        (0..9).for_each(|at| step(&mut first, name, rule.learning_rate(), at));
        let resumed: Vec<_> = undisturbed
            .iter()
            .map(|(name, tensor)| (name.clone(), tensor.detach().copy().set_requires_grad(true)))
            .collect();
        let mut second = optimizer(name, &rule, decayed, &resumed);
        second.load_state(&first.state()).unwrap();
        assert_eq!(second.steps(), 9);
        for at in 9..14 {
            step(&mut first, name, rule.learning_rate(), at);
            step(&mut second, name, rule.learning_rate(), at);
        }
        assert!(
            undisturbed.iter().zip(&resumed).all(|((_, a), (_, b))| a.equal(b)),
            "{name}"
        );
    }
}

#[test]
fn a_state_of_another_optimizer_is_refused() {
    let adam = Optimizer::new(&adam(0.01, 0.05, 0.9, 0.98, 1e-8), Decayed::All, &parameters()).unwrap();
    let mut sgd = Optimizer::new(&sgd(0.03, 0.9, false), Decayed::All, &parameters()).unwrap();
    let error = sgd.load_state(&adam.state()).unwrap_err().to_string();
    assert_eq!(
        error,
        "optimizer state: expected `momentum_buffer.parameter.0` of shape [3, 4], found `exp_avg.parameter.0` of shape [3, 4]"
    );
}
