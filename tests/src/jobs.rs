//! Small data sets and specs that train in seconds.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use anyhow::Context as _;

use image::{Rgb, RgbImage};
use serde_json::{Value, json};

/// Images of 40 × 48 pixels, in one folder a class: noise with a tint that tells the class apart, not always.
pub fn write_images(folder: &Path, classes: &[(&str, u32)]) -> anyhow::Result<PathBuf> {
    for (class, (name, count)) in classes.iter().enumerate() {
        fs::create_dir_all(folder.join(name))?;
        for number in 0..*count {
            let mut state = (class as u64 + 1) << 32 | u64::from(number);
            let tint = (noise(&mut state) % 60) as i32 + 25 * class as i32;
            let image = RgbImage::from_fn(48, 40, |_, _| {
                Rgb([0, 1, 2].map(|channel| {
                    let value = (noise(&mut state) % 120) as i32 + if channel == class % 3 { tint } else { 20 };
                    value.clamp(0, 255) as u8
                }))
            });
            image.save(folder.join(name).join(format!("{number:03}.png")))?;
        }
    }
    Ok(folder.to_owned())
}

/// splitmix64 (Steele, Lea & Flood 2014).
fn noise(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut value = *state;
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// An image job on random ResNet-18 weights at 32 pixels: real work, without any file of weights.
pub fn image_job(name: &str, data: &Path) -> Value {
    let split = |split: &str| json!({"uri": data.join(split).to_string_lossy()});
    json!({
        "apiVersion": "firn.dev/v1alpha1",
        "kind": "FineTuneJob",
        "metadata": {"name": name},
        "spec": {
            "task": {"type": "classification"},
            "model": {"architecture": "resnet18"},
            "data": {
                "format": "imagefolder",
                "train": split("train"),
                "validation": split("validation"),
                "preprocessing": {"resize": 36, "crop": 32}
            },
            "training": {"epochs": 2, "batchSize": 16, "seed": 7},
        }
    })
}

/// Train and validation images of three uneven classes: 53 and 24 samples.
pub fn three_classes(folder: &Path) -> anyhow::Result<PathBuf> {
    write_images(&folder.join("train"), &[("ash", 25), ("beech", 18), ("elm", 10)])?;
    write_images(&folder.join("validation"), &[("ash", 10), ("beech", 8), ("elm", 6)])?;
    Ok(folder.to_owned())
}

/// Folder of what the tests of one binary share; emptied when the binary is started again.
///
/// # Errors
/// When it cannot be created.
pub fn shared_folder() -> anyhow::Result<PathBuf> {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let test = std::env::current_exe().map_err(|error| error.to_string())?;
        let name = test.file_name().unwrap_or_default();
        let target = test.ancestors().nth(3).expect("tests lie in target/PROFILE/deps");
        let folder = target.join("tmp").join(name);
        // It is not there the first time.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(folder)
    });
    folder.clone().map_err(anyhow::Error::msg)
}

/// The data of [`three_classes`], written once for all tests of a binary: what a job learns depends on it, and so on nothing else.
///
/// # Errors
/// When it cannot be written.
pub fn shared_three_classes() -> anyhow::Result<PathBuf> {
    static DATA: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let write = || three_classes(&shared_folder()?.join("three-classes"));
    let data = DATA.get_or_init(|| write().map_err(|error| format!("{error:#}")));
    data.clone().map_err(anyhow::Error::msg).context("the shared data")
}

/// The data of [`texts`], written once for all tests of a binary.
///
/// # Errors
/// When it cannot be written.
pub fn shared_texts() -> anyhow::Result<PathBuf> {
    static DATA: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let write = || texts(&shared_folder()?.join("texts"));
    let data = DATA.get_or_init(|| write().map_err(|error| format!("{error:#}")));
    data.clone().map_err(anyhow::Error::msg).context("the shared texts")
}

/// The job of the fault tests: 4 steps an epoch on as many workers as are asked for, with everything that could tell one order of samples
/// or one history of the optimizer from another.
///
/// # Errors
/// When the data cannot be written.
pub fn fault_job(name: &str, epochs: u32, (min, max): (u32, u32)) -> anyhow::Result<Value> {
    let mut spec = image_job(name, &shared_three_classes()?);
    spec["spec"]["model"]["head"] = json!({"type": "linear", "dropout": 0.2});
    spec["spec"]["training"] = json!({
        "epochs": epochs, "batchSize": 16, "seed": 11,
        "optimizer": {"type": "adamw", "learningRate": 0.001},
        "schedule": {"type": "cosine", "warmupRatio": 0.2},
        "loss": {"labelSmoothing": 0.1}
    });
    spec["spec"]["resources"] = json!({"workers": {"min": min, "max": max}});
    spec["spec"]["artifacts"] = json!({"mergedModel": false});
    Ok(spec)
}

/// The same in strict mode: the result has to be the same to the last bit.
///
/// # Errors
/// When the data cannot be written.
pub fn strict_fault_job(name: &str, epochs: u32, workers: (u32, u32)) -> anyhow::Result<Value> {
    let mut spec = fault_job(name, epochs, workers)?;
    spec["spec"]["training"]["determinism"] = json!("strict");
    Ok(spec)
}

/// The same, but the learning rate is halved after every epoch but the first, since none improves by as much as is asked for.
///
/// # Errors
/// When the data cannot be written.
pub fn plateau_fault_job(name: &str, epochs: u32, workers: (u32, u32)) -> anyhow::Result<Value> {
    let mut spec = strict_fault_job(name, epochs, workers)?;
    spec["spec"]["training"]["schedule"] = json!({
        "type": "plateau", "warmupSteps": 3, "factor": 0.5, "patience": 0, "threshold": 10.0, "thresholdMode": "abs"
    });
    Ok(spec)
}

/// A vocabulary of `w0` to `w199`, texts in `train.csv` (40) and `validation.csv` (20), and the `config.json` of a small BERT with dropout; gives the folder.
/// Their words stand with tags in `train.jsonl` and `validation.jsonl`.
/// A text is of one of two classes (`label`) and of three ranks (`level`), has up to two labels (`labels`), and stands beside a second one (`second`).
///
/// # Errors
/// When they cannot be written.
pub fn texts(folder: &Path) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let words = (0..200).map(|word| (format!("w{word}"), json!(word + 3)));
    let special = ["[PAD]", "[UNK]", "[CLS]"]
        .iter()
        .zip(0..)
        .map(|(word, id)| ((*word).to_owned(), json!(id)));
    let vocabulary: serde_json::Map<String, Value> = special.chain(words).collect();
    let tokenizer = json!({
        "version": "1.0", "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"}
    });
    fs::write(folder.join("tokenizer.json"), tokenizer.to_string())?;
    let configuration = json!({
        "model_type": "bert", "vocab_size": 203, "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 96,
        "max_position_embeddings": 32, "hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.3
    });
    fs::write(folder.join("config.json"), configuration.to_string())?;
    for (split, count) in [("train", 40_u64), ("validation", 20)] {
        let mut state = count;
        let mut rows = String::from("text,label,second,labels,level\n");
        let mut lines = String::new();
        let mut second = String::from("w0");
        for number in 0..count {
            let class = number % 2;
            // Texts of 3 to 12 words, of which one class has more from the upper half.
            let words = (0..3 + noise(&mut state) % 10).map(|_| {
                let word = noise(&mut state) % 100;
                let is_common = noise(&mut state).is_multiple_of(4);
                format!("w{}", if is_common { word } else { word + 100 * class })
            });
            let words: Vec<String> = words.collect();
            let has = [("long", words.len() > 7), ("wide", words[0].len() > 2)];
            let labels: Vec<&str> = has.iter().filter(|(_, has)| *has).map(|(label, _)| *label).collect();
            let level = ["short", "middle", "long"][(words.len() - 3) * 3 / 10];
            lines += &format!("{}\n", json!({"tokens": words, "tags": tags_of(&words)}));
            let (text, class) = (words.join(" "), ["low", "high"][class as usize]);
            rows += &format!("{text},{class},{second},{},{level}\n", labels.join("|"));
            second = text;
        }
        fs::write(folder.join(format!("{split}.csv")), rows)?;
        fs::write(folder.join(format!("{split}.jsonl")), lines)?;
    }
    Ok(folder.to_owned())
}

/// Words of the upper half are names, of as many words as follow each other.
fn tags_of(words: &[String]) -> Vec<&'static str> {
    let is_name = |word: &String| word.len() == 4;
    let before = std::iter::once(false).chain(words.iter().map(is_name));
    let tag = |(before, word): (bool, &String)| match (before, is_name(word)) {
        (_, false) => "O",
        (false, true) => "B-NAME",
        (true, true) => "I-NAME",
    };
    before.zip(words).map(tag).collect()
}

/// A job on [`texts`] in that folder whose two upper layers train, with dropout, from random weights.
pub fn text_job(name: &str, texts: &Path) -> Value {
    let split = |split: &str| json!({"uri": texts.join(format!("{split}.csv")).to_string_lossy()});
    json!({
        "apiVersion": "firn.dev/v1alpha1",
        "kind": "FineTuneJob",
        "metadata": {"name": name},
        "spec": {
            "task": {"type": "classification"},
            "model": {
                "architecture": "bert", "tokenizer": texts.join("tokenizer.json").to_string_lossy(), "freeze": {"through": "layer.0"}
            },
            "data": {"format": "csv", "train": split("train"), "validation": split("validation")},
            "training": {"epochs": 2, "batchSize": 16, "seed": 7, "optimizer": {"type": "adamw", "learningRate": 0.003}}
        }
    })
}

/// [`strict_fault_job`] with 14 steps an epoch and 168 in all: time for workers to come back while it trains.
///
/// # Errors
/// When the data cannot be written.
pub fn long_fault_job(name: &str, workers: (u32, u32)) -> anyhow::Result<Value> {
    let mut spec = strict_fault_job(name, 12, workers)?;
    spec["spec"]["training"]["batchSize"] = json!(4);
    Ok(spec)
}

/// Writes a spec where `firn` can read it; JSON is YAML.
pub fn write_spec(folder: &Path, spec: &Value) -> anyhow::Result<PathBuf> {
    let path = folder.join("job.yaml");
    fs::write(&path, serde_json::to_string_pretty(spec)?)?;
    Ok(path)
}
