//! Optimizers follow those of PyTorch.

use firn_core::spec::OptimizerSpec;
use firn_models::Optimizer;
use serde_json::Value;
use tch::Tensor;

use crate::support::*;

fn rules() -> Vec<(&'static str, OptimizerSpec)> {
    let adam = |learning_rate, weight_decay, beta1, beta2, epsilon| OptimizerSpec::AdamW {
        learning_rate,
        weight_decay,
        beta1,
        beta2,
        epsilon,
    };
    let sgd = |weight_decay, momentum, nesterov| OptimizerSpec::Sgd {
        learning_rate: 0.1,
        weight_decay,
        momentum,
        nesterov,
    };
    vec![
        ("adamw", adam(0.01, 0.05, 0.9, 0.98, 1e-8)),
        ("adamw_large_epsilon", adam(0.1, 0.0, 0.5, 0.9, 1e-2)),
        ("sgd", sgd(0.0, 0.0, false)),
        ("sgd_decay", sgd(0.03, 0.0, false)),
        ("sgd_momentum", sgd(0.03, 0.9, false)),
        ("sgd_nesterov", sgd(0.01, 0.8, true)),
    ]
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

fn step(optimizer: &mut Optimizer, peak: f64, step: usize) {
    let gradient = |i: usize| {
        let shape = SHAPES[i];
        tensor(
            &uniform(&format!("gradient.{step}.{i}"), shape.iter().product::<i64>() as usize),
            shape,
        )
    };
    optimizer
        .step(peak * (1.0 - step as f64 / 25.0), &[gradient(0), gradient(1)])
        .unwrap();
}

#[test]
fn optimizers_follow_torch_optims_trajectories() {
    let golden: Value = golden("optimizers");
    for (name, rule) in rules() {
        let parameters = parameters();
        let mut optimizer = Optimizer::new(&rule, &parameters).unwrap();
        let (mut trajectory, mut reference) = (Vec::new(), Vec::new());
        for at in 0..20 {
            step(&mut optimizer, rule.learning_rate(), at);
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
    for (name, rule) in rules() {
        let undisturbed = parameters();
        let mut first = Optimizer::new(&rule, &undisturbed).unwrap();
        (0..7).for_each(|at| step(&mut first, rule.learning_rate(), at));
        let resumed: Vec<_> = undisturbed
            .iter()
            .map(|(name, tensor)| (name.clone(), tensor.detach().copy().set_requires_grad(true)))
            .collect();
        let mut second = Optimizer::new(&rule, &resumed).unwrap();
        second.load_state(&first.state()).unwrap();
        assert_eq!(second.steps(), 7);
        for at in 7..12 {
            step(&mut first, rule.learning_rate(), at);
            step(&mut second, rule.learning_rate(), at);
        }
        assert!(
            undisturbed.iter().zip(&resumed).all(|((_, a), (_, b))| a.equal(b)),
            "{name}"
        );
    }
}

#[test]
fn a_state_of_another_optimizer_is_refused() {
    let rules = rules();
    let adam = Optimizer::new(&rules[0].1, &parameters()).unwrap();
    let mut sgd = Optimizer::new(&rules[4].1, &parameters()).unwrap();
    let error = sgd.load_state(&adam.state()).unwrap_err().to_string();
    assert_eq!(
        error,
        "optimizer state: expected `momentum_buffer.parameter.0` of shape [3, 4], found `exp_avg.parameter.0` of shape [3, 4]"
    );
}
