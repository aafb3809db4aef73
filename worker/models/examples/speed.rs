//! How fast the frozen part is on one CPU thread, beside PyTorch's own models in the same run.
//!
//! `FIRN_REFERENCE_PYTHON=python cargo run --release -p firn-models --example speed`; the Python needs torch, torchvision and
//! transformers. Both sides take turns, five rounds each after a warm-up; the best round counts, in processor time, so that a busy
//! machine disturbs little.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Instant,
};

use firn_core::spec::{Architecture, Freeze, HeadSpec, ModelSpec, Pooling, StageDropout};
use firn_models::{Input, Model, ModelOptions};
use tch::Device;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const ROUNDS: usize = 5;

fn main() -> Outcome<()> {
    tch::set_num_threads(1);
    let mut reference = Reference::start()?;
    println!(
        "{:<14}{:>6}{:>14}{:>14}{:>8}",
        "model", "batch", "Firn /s", "PyTorch /s", "ratio"
    );
    for (name, architecture) in [
        ("resnet18", Architecture::Resnet18),
        ("resnet50", Architecture::Resnet50),
        ("mobilenet_v2", Architecture::MobilenetV2),
        ("minilm", Architecture::Bert),
    ] {
        let model = model(architecture)?;
        for batch in [16, 32] {
            let input = input(architecture, batch)?;
            let (mut ours, mut theirs) = (f64::INFINITY, f64::INFINITY);
            for round in 0..=ROUNDS {
                let start = processor_seconds()?;
                model.features(&input)?;
                let ours_now = processor_seconds()? - start;
                let theirs_now = reference.seconds(name, batch)?;
                if round > 0 {
                    (ours, theirs) = (ours.min(ours_now), theirs.min(theirs_now));
                }
            }
            let (ours, theirs) = (batch as f64 / ours, batch as f64 / theirs);
            println!("{name:<14}{batch:>6}{ours:>14.1}{theirs:>14.1}{:>7.2}x", ours / theirs);
        }
    }
    Ok(())
}

/// Random weights: speed does not depend on them. The encoder has MiniLM's sizes.
fn model(architecture: Architecture) -> Outcome<Model> {
    let folder = tempfile::tempdir()?;
    let config = r#"{"hidden_size":384,"num_hidden_layers":6,"num_attention_heads":12,"intermediate_size":1536}"#;
    std::fs::write(folder.path().join("config.json"), config)?;
    let tokenizer = folder.path().join("tokenizer.json").to_string_lossy().into_owned();
    let spec = ModelSpec {
        architecture,
        weights: None,
        tokenizer: Some(tokenizer),
        freeze: Freeze::All.into(),
        lora: None,
        dropout: StageDropout::None,
        head: HeadSpec::Linear { dropout: 0.0 },
        pooling: Pooling::Mean,
    };
    let options = ModelOptions {
        spec: &spec,
        classes: 2,
        seed: 0,
        device: Device::Cpu,
        train_batch_norm: false,
    };
    Ok(Model::load(&options)?)
}

fn input(architecture: Architecture, batch: usize) -> Outcome<Input> {
    if architecture == Architecture::Bert {
        return Ok(Input::tokens(
            &vec![7; batch * 32],
            &vec![1; batch * 32],
            32,
            Device::Cpu,
        )?);
    }
    let pixels: Vec<f32> = (0..batch * 224 * 224 * 3)
        .map(|i| (i % 255) as f32 / 64.0 - 2.0)
        .collect();
    Ok(Input::images(&pixels, 224, 224, Device::Cpu)?)
}

/// Processor time of this thread, the only one that computes; wall time where the system does not tell.
fn processor_seconds() -> Outcome<f64> {
    thread_local!(static START: Instant = Instant::now());
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    match text.split_whitespace().next().map(str::parse::<u64>) {
        Some(nanoseconds) => Ok(nanoseconds? as f64 * 1e-9),
        None => Ok(START.with(Instant::elapsed).as_secs_f64()),
    }
}

/// The Python process that runs PyTorch's models.
struct Reference {
    process: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Reference {
    fn start() -> Outcome<Self> {
        let python = std::env::var("FIRN_REFERENCE_PYTHON")
            .map_err(|_| "set FIRN_REFERENCE_PYTHON to a Python with torch, torchvision and transformers")?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/speed.py");
        let mut process = Command::new(python)
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let questions = process.stdin.take().ok_or("the reference has no input")?;
        let answers = BufReader::new(process.stdout.take().ok_or("the reference has no output")?);
        Ok(Self {
            process,
            questions,
            answers,
        })
    }

    fn seconds(&mut self, model: &str, batch: usize) -> Outcome<f64> {
        writeln!(self.questions, "{model} {batch}")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        Ok(answer.trim().parse()?)
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
