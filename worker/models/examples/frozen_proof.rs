//! What the proof that the frozen part stayed frozen costs the thread that trains, after each epoch.
//!
//! `cargo run --release -p firn-models --example frozen_proof`. The whole proof, as the training thread computed it once, beside what it
//! still does: it hands the tensors over, and the digests are taken on another thread while the epoch is evaluated. Median of eleven rounds.

use std::time::Instant;

use firn_core::spec::{Architecture, Freeze, HeadSpec, ModelSpec, Pooling, StageDropout};
use firn_models::{Model, ModelOptions};
use tch::Device;

const ROUNDS: usize = 11;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!(
        "{:<14}{:>14}{:>16}{:>20}{:>16}{:>9}",
        "model", "frozen MB", "whole proof ms", "training thread ms", "other thread ms", "ratio"
    );
    for (name, architecture) in [
        ("resnet18", Architecture::Resnet18),
        ("resnet50", Architecture::Resnet50),
        ("vgg16", Architecture::Vgg16),
    ] {
        let model = model(architecture)?;
        let (mut whole, mut handing_over, mut beside) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let began = Instant::now();
            model.verify_frozen()?;
            whole.push(began.elapsed().as_secs_f64() * 1e3);
            let began = Instant::now();
            let tensors = model.frozen_tensors();
            handing_over.push(began.elapsed().as_secs_f64() * 1e3);
            let began = Instant::now();
            tensors.verify()?;
            beside.push(began.elapsed().as_secs_f64() * 1e3);
        }
        let [whole, handing_over, beside] = [whole, handing_over, beside].map(median);
        let megabytes = model.summary().frozen_parameters as f64 * 4e-6;
        println!(
            "{name:<14}{megabytes:>14.0}{whole:>16.1}{handing_over:>20.3}{beside:>16.1}{:>8.0}x",
            whole / handing_over
        );
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Random weights: what a digest costs does not depend on them.
fn model(architecture: Architecture) -> Result<Model, Box<dyn std::error::Error>> {
    let spec = ModelSpec {
        architecture,
        weights: None,
        tokenizer: None,
        freeze: Freeze::All.into(),
        lora: None,
        dropout: StageDropout::None,
        head: HeadSpec::Linear { dropout: 0.0 },
        pooling: Pooling::Mean,
    };
    Ok(Model::load(&ModelOptions {
        spec: &spec,
        classes: 2,
        seed: 0,
        device: Device::Cpu,
        train_batch_norm: false,
    })?)
}
