//! How long the intervals of metrics take: `cargo run --release -p firn --example intervals [SAMPLES]`.
//!
//! Draws made-up predictions again, of 2, 11 and 100 classes and of one number, and prints the elapsed time of each and the most memory so far beside the
//! processor. The predictions themselves, which a coordinator reads from a file, are part of it.

use std::{error::Error, fs, time::Instant};

use firn::artifacts::predictions::intervals;
use firn_core::task::{
    Schema, Task,
    regression::{Distance, Target},
};
use firn_proto::v1alpha1::Prediction;

fn main() -> Result<(), Box<dyn Error>> {
    let samples = std::env::args().nth(1).map_or(Ok(100_000), |samples| samples.parse())?;
    println!(
        "{samples} samples, {} resamples, {}",
        firn_core::metrics::bootstrap::RESAMPLES,
        processor()
    );
    for classes in [2, 11, 100] {
        let names: Vec<String> = (0..classes).map(|class| class.to_string()).collect();
        let rows: Vec<Prediction> = (0..samples).map(|sample| of_class(sample, classes)).collect();
        let schema = Schema::of_classes(&names);
        measure(
            &format!("{classes} classes"),
            (Task::Classification, None),
            schema,
            &rows,
        )?;
    }
    let target = Target {
        name: "price".to_owned(),
        mean: 0.0,
        std: 1.0,
    };
    let schema = Schema {
        classes: &[],
        targets: &[target],
        ..Schema::default()
    };
    let rows: Vec<Prediction> = (0..samples).map(of_number).collect();
    measure("1 number", (Task::Regression, Some(Distance::Squared)), schema, &rows)
}

fn measure(
    what: &str,
    learned: (Task, Option<Distance>),
    schema: Schema<'_>,
    rows: &[Prediction],
) -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    let found = intervals::of(learned, schema, 7, &|each| {
        rows.iter().for_each(each);
        Ok(())
    })?;
    let taken = begun.elapsed();
    let metrics = found.map_or(0, |found| found.by_name.len());
    println!(
        "{what}: {metrics} intervals in {:.2} s; {} so far",
        taken.as_secs_f64(),
        most_memory()
    );
    Ok(())
}

fn of_class(sample: u64, classes: u32) -> Prediction {
    let label = (part(sample, 0) * f64::from(classes)) as u32;
    let lead = |class: u32| if class == label { 1.0 } else { 0.0 };
    let logits = (0..classes).map(|class| 2.0 * part(sample, u64::from(class) + 1) + lead(class));
    let powers: Vec<f64> = logits.map(f64::exp).collect();
    let sum: f64 = powers.iter().sum();
    Prediction {
        label,
        scores: powers.into_iter().map(|power| power / sum).collect(),
        ..Prediction::default()
    }
}

fn of_number(sample: u64) -> Prediction {
    let value = part(sample, 0);
    Prediction {
        values: vec![value],
        scores: vec![value + 0.1 * part(sample, 1)],
        ..Prediction::default()
    }
}

/// A fixed number in [0, 1).
fn part(sample: u64, place: u64) -> f64 {
    let mut word = (sample * 1024 + place).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((word ^ (word >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

/// The largest resident size of this process.
fn most_memory() -> String {
    let known = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let size = known.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    size.map_or_else(|| "unknown".to_owned(), |size| size.trim().to_owned())
}

fn processor() -> String {
    let known = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = known
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let name = name.map_or("a processor", |(_, name)| name);
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{count} × {name}")
}
