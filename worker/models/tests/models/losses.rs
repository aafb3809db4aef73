//! Losses equal PyTorch's.

use firn_models::{Distance, Expected, Objective, Scale};
use tch::{Device, Kind, Tensor};

use crate::support::*;

#[test]
fn losses_equal_cross_entropy_loss_with_weights_and_smoothing() {
    let logits = uniform("logits", 28)
        .into_iter()
        .map(|u| f64::from(u as f32 * 3.0))
        .collect::<Vec<_>>();
    let labels = [0, 1, 2, 3, 1, 1, 0];
    for case in golden("losses").as_array().unwrap() {
        let weights = case["weights"].as_array().map(|_| floats(&case["weights"]));
        let smoothing = case["smoothing"].as_f64().unwrap();
        let logits = tensor(&logits, &[7, 4]).set_requires_grad(true);
        let loss = Objective::cross_entropy(weights.as_deref(), smoothing, Device::Cpu).unwrap();
        // In two parts, as two ranks would.
        let parts = [(0, 3), (3, 4)].map(|(start, length)| {
            loss.sums(
                &logits.narrow(0, start, length),
                Expected::Classes(&labels[start as usize..][..length as usize]),
            )
            .unwrap()
        });
        let sum = &parts[0].loss + &parts[1].loss;
        let weight: f64 = parts.iter().map(|part| part.weight).sum();
        let what = format!("weights {weights:?}, smoothing {smoothing}");
        close(&format!("{what}: sum"), &sum, &[case["sum"].as_f64().unwrap()], 1e-5);
        close(
            &format!("{what}: mean"),
            &(&sum / weight),
            &[case["mean"].as_f64().unwrap()],
            1e-6,
        );
        let gradient = Tensor::run_backward(&[&sum], &[&logits], false, false).remove(0) / weight;
        close(
            &format!("{what}: gradient"),
            &gradient,
            &floats(&case["mean_gradient"]),
            1e-6,
        );
    }
}

#[test]
fn a_label_outside_the_classes_is_refused() {
    let loss = Objective::cross_entropy(None, 0.0, Device::Cpu).unwrap();
    let error = loss
        .sums(
            &Tensor::zeros([2, 3], (Kind::Float, Device::Cpu)),
            Expected::Classes(&[0, 3]),
        )
        .unwrap_err();
    assert_eq!(error.to_string(), "label 1 of the batch: expected 0 to 2, found 3");
}

#[test]
fn losses_of_standardised_numbers_equal_pytorchs() {
    let golden = golden("distances");
    let outputs: Vec<f64> = uniform("outputs", 14)
        .into_iter()
        .map(|u| f64::from(u as f32 * 2.0))
        .collect();
    let (values, means, stds) = (
        floats(&golden["values"]),
        floats(&golden["mean"]),
        floats(&golden["std"]),
    );
    let scales: Vec<Scale> = means
        .into_iter()
        .zip(stds)
        .map(|(mean, std)| Scale { mean, std })
        .collect();
    let distances = [
        ("mse", Distance::Squared),
        ("l1", Distance::Absolute),
        ("huber", Distance::Huber { delta: 1.0 }),
        ("huber_0.25", Distance::Huber { delta: 0.25 }),
    ];
    for (name, distance) in distances {
        let case = &golden["cases"][name];
        let loss = Objective::distances(distance, scales.clone());
        let leaf = tensor(&outputs, &[7, 2]).set_requires_grad(true);
        // In two parts, as two ranks would.
        let part = |begin: usize, length: usize| {
            let expected = Expected::Numbers(&values[2 * begin..][..2 * length]);
            loss.sums(&leaf.narrow(0, begin as i64, length as i64), expected)
                .unwrap()
        };
        let (first, second) = (part(0, 3), part(3, 4));
        let (sum, weight) = (&first.loss + &second.loss, first.weight + second.weight);
        let mean = case["mean"].as_f64().unwrap();
        close(&format!("{name}: mean"), &(&sum / weight), &[mean], 1e-6);
        let gradient = Tensor::run_backward(&[&sum], &[&leaf], false, false).remove(0) / weight;
        close(
            &format!("{name}: gradient"),
            &gradient,
            &floats(&case["mean_gradient"]),
            1e-6,
        );
        // What is reported is the same in doubles.
        let Objective::Distances(distances) = &loss else {
            unreachable!("it was made so")
        };
        let rows = outputs.chunks(2).zip(values.chunks(2));
        let sum: f64 = rows.map(|(outputs, values)| distances.loss(outputs, values)).sum();
        assert!((sum / 7.0 - mean).abs() < 1e-6, "{name}");
    }
    let scale = scales[0];
    assert!((scale.in_units(scale.standardised(123_456.0)) - 123_456.0).abs() < 1e-9);
}

#[test]
fn losses_of_labels_equal_pytorchs_with_weights_of_positives() {
    let golden = golden("label_losses");
    let logits: Vec<f64> = uniform("logits", 28)
        .into_iter()
        .map(|u| f64::from(u as f32 * 3.0))
        .collect();
    let labels: Vec<Vec<u32>> = serde_json::from_value(golden["labels"].clone()).unwrap();
    for case in golden["cases"].as_array().unwrap() {
        let weights = case["weights"].as_array().map(|_| floats(&case["weights"]));
        let loss = Objective::binary_cross_entropy(weights.as_deref(), Device::Cpu).unwrap();
        let leaf = tensor(&logits, &[7, 4]).set_requires_grad(true);
        // In two parts, as two ranks would.
        let part = |begin: usize, length: usize| {
            let expected = Expected::Labels(&labels[begin..][..length]);
            loss.sums(&leaf.narrow(0, begin as i64, length as i64), expected)
                .unwrap()
        };
        let (first, second) = (part(0, 3), part(3, 4));
        let (sum, weight) = (&first.loss + &second.loss, first.weight + second.weight);
        let what = format!("weights {weights:?}");
        let mean = case["mean"].as_f64().unwrap();
        close(&format!("{what}: mean"), &(&sum / weight), &[mean], 1e-6);
        let gradient = Tensor::run_backward(&[&sum], &[&leaf], false, false).remove(0) / weight;
        close(
            &format!("{what}: gradient"),
            &gradient,
            &floats(&case["mean_gradient"]),
            1e-6,
        );
    }
}

#[test]
fn label_sets_that_do_not_fit_the_outputs_are_refused() {
    let loss = Objective::binary_cross_entropy(None, Device::Cpu).unwrap();
    let outputs = Tensor::zeros([2, 3], (Kind::Float, Device::Cpu));
    let message = |expected: Expected<'_>| loss.sums(&outputs, expected).unwrap_err().to_string();
    assert_eq!(
        message(Expected::Labels(&[vec![0], vec![3]])),
        "a label of sample 1 of the batch: expected 0 to 2, found 3"
    );
    assert_eq!(
        message(Expected::Labels(&[vec![0]])),
        "label sets of a batch: expected 2, found 1"
    );
    assert_eq!(
        message(Expected::Classes(&[0, 1])),
        "what is expected of a batch: expected labels, found classes"
    );
    let weighted = Objective::binary_cross_entropy(Some(&[1.0]), Device::Cpu).unwrap();
    let error = weighted
        .sums(&outputs, Expected::Labels(&[vec![], vec![]]))
        .unwrap_err();
    assert_eq!(error.to_string(), "weights of labels: expected 3, found [1]");
}

#[test]
fn numbers_are_no_classes_and_fill_the_batch() {
    let scale = Scale { mean: 0.0, std: 1.0 };
    let loss = Objective::distances(Distance::Squared, vec![scale]);
    let outputs = Tensor::zeros([2, 1], (Kind::Float, Device::Cpu));
    let message = |expected| loss.sums(&outputs, expected).unwrap_err().to_string();
    assert_eq!(
        message(Expected::Classes(&[0, 1])),
        "what is expected of a batch: expected numbers, found classes"
    );
    assert_eq!(
        message(Expected::Numbers(&[1.0])),
        "numbers of a batch: expected 2 × 1, found 1 of 1 targets"
    );
}

/// The first sample's first logit leaves no doubt.
fn logits_of_the_focal_losses() -> Vec<f64> {
    let mut logits: Vec<f64> = uniform("logits", 28)
        .into_iter()
        .map(|u| f64::from(u as f32 * 3.0))
        .collect();
    logits[0] = 60.0;
    logits
}

/// The mean loss of seven samples in two parts, as two ranks would, and its gradient.
fn mean_of_parts(loss: &Objective, expected: impl Fn(std::ops::Range<usize>) -> Expected<'static>) -> (Tensor, Tensor) {
    let leaf = tensor(&logits_of_the_focal_losses(), &[7, 4]).set_requires_grad(true);
    let part = |begin: usize, length: usize| {
        let logits = leaf.narrow(0, begin as i64, length as i64);
        loss.sums(&logits, expected(begin..begin + length)).unwrap()
    };
    let (first, second) = (part(0, 3), part(3, 4));
    let mean = (&first.loss + &second.loss) / (first.weight + second.weight);
    let gradient = Tensor::run_backward(&[&mean], &[&leaf], false, false).remove(0);
    (mean, gradient)
}

#[test]
fn focal_losses_equal_their_formula_in_pytorch_and_torchvisions() {
    const CLASSES: &[i64] = &[0, 1, 2, 3, 1, 1, 0];
    let golden = golden("focal_losses");
    let sets: Vec<Vec<u32>> = serde_json::from_value(golden["sets"].clone()).unwrap();
    let sets: &'static [Vec<u32>] = sets.leak();
    let check = |what: &str, case: &serde_json::Value, (mean, gradient): (Tensor, Tensor)| {
        close(&format!("{what}: mean"), &mean, &[case["mean"].as_f64().unwrap()], 1e-6);
        close(
            &format!("{what}: gradient"),
            &gradient,
            &floats(&case["mean_gradient"]),
            1e-6,
        );
    };
    for case in golden["classes"].as_array().unwrap() {
        let gamma = case["gamma"].as_f64().unwrap();
        let weights = case["weights"].as_array().map(|_| floats(&case["weights"]));
        let loss = Objective::focal(gamma, weights.as_deref(), Device::Cpu).unwrap();
        let found = mean_of_parts(&loss, |part| Expected::Classes(&CLASSES[part]));
        check(&format!("classes, gamma {gamma}, weights {weights:?}"), case, found);
    }
    for case in golden["labels"].as_array().unwrap() {
        let (gamma, alpha) = (case["gamma"].as_f64().unwrap(), case["alpha"].as_f64().unwrap());
        let loss = Objective::sigmoid_focal(gamma, alpha);
        let found = mean_of_parts(&loss, |part| Expected::Labels(&sets[part]));
        check(&format!("labels, gamma {gamma}, alpha {alpha}"), case, found);
    }
}

#[test]
fn a_focal_loss_of_which_all_is_sure_has_a_gradient_whatever_gamma_is() {
    // Where gamma is below 1, the derivative of (1 - p)^gamma is infinite at p = 1; the formula as it is written gives NaN there.
    let losses = [
        Objective::focal(0.5, None, Device::Cpu).unwrap(),
        Objective::sigmoid_focal(0.5, 0.25),
    ];
    let expected: [Expected<'_>; 2] = [Expected::Classes(&[0]), Expected::Labels(&[vec![0]])];
    for (loss, expected) in losses.iter().zip(expected) {
        let logits = tensor(&[200.0, -200.0], &[1, 2]).set_requires_grad(true);
        let sum = loss.sums(&logits, expected).unwrap().loss;
        let gradient = Tensor::run_backward(&[&sum], &[&logits], false, false).remove(0);
        close("the gradient", &gradient, &[0.0, 0.0], 0.0);
        assert_eq!(sum.double_value(&[]), 0.0);
    }
}

#[test]
fn focal_losses_refuse_what_does_not_fit_their_outputs() {
    let outputs = Tensor::zeros([2, 3], (Kind::Float, Device::Cpu));
    let message = |loss: &Objective, expected: Expected<'_>| loss.sums(&outputs, expected).unwrap_err().to_string();
    let classes = Objective::focal(2.0, Some(&[1.0]), Device::Cpu).unwrap();
    assert_eq!(
        message(&classes, Expected::Classes(&[0, 3])),
        "label 1 of the batch: expected 0 to 2, found 3"
    );
    assert_eq!(
        message(&classes, Expected::Classes(&[0, 1])),
        "class weights: expected 3, found 1"
    );
    let labels = Objective::sigmoid_focal(2.0, 0.25);
    assert_eq!(
        message(&labels, Expected::Labels(&[vec![0]])),
        "label sets of a batch: expected 2, found 1"
    );
    assert_eq!(
        message(&labels, Expected::Numbers(&[0.0])),
        "what is expected of a batch: expected labels, found numbers"
    );
}
