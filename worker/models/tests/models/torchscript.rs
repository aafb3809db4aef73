//! A TorchScript file is one frozen stage before a new head, and is left as it came.

use std::path::Path;

use firn_core::spec::{Architecture, Freeze};
use firn_models::{Model, ModelOptions, export};
use tch::{CModule, Device, Tensor};

use crate::support::*;

/// Of `reference/images.py`.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/script.pt");

fn load_script(path: &str) -> Model {
    load(&spec(Architecture::TorchScript, Some(path.to_owned()), Freeze::All)).unwrap()
}

fn refusal(path: &Path) -> String {
    let spec = spec(
        Architecture::TorchScript,
        Some(path.to_str().unwrap().to_owned()),
        Freeze::All,
    );
    load(&spec).err().expect("it is refused").to_string()
}

#[test]
fn its_vectors_are_pytorchs_and_a_trial_tells_how_long_they_are() {
    let reference = golden("script");
    let model = load_script(SCRIPT);
    let features = model.features(&images(32, 24)).unwrap();
    close(
        "script: features",
        &features.tensor,
        &floats(&reference["features"]),
        1e-5,
    );
    assert_eq!(model.logits(&features, None).unwrap().size(), [2, 5]);
    let summary = model.summary();
    assert_eq!(summary.cut, "script");
    assert_eq!(summary.frozen_parameters, reference["parameters"].as_u64().unwrap());
    assert_eq!(summary.trainable_parameters, 5 * 6 + 5);
    model.verify_frozen().unwrap();
}

/// A program of operations alone.
fn traced(folder: &Path, name: &str, compute: impl Fn(&Tensor) -> Tensor) -> String {
    let sample = Tensor::ones([2, 3, 48, 48], (tch::Kind::Float, Device::Cpu));
    let mut closure = |inputs: &[Tensor]| vec![compute(&inputs[0])];
    let module = CModule::create_by_tracing("Network", "forward", &[sample], &mut closure).unwrap();
    let path = folder.join(name);
    module.save(&path).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn what_it_gives_of_every_pixel_is_averaged() {
    let folder = tempfile::tempdir().unwrap();
    let model = load_script(&traced(folder.path(), "pixels.pt", |pixels| pixels * 2.0));
    let input = images(32, 24);
    let firn_models::Input::Images(pixels) = &input else {
        unreachable!("images make images")
    };
    let expected = (pixels * 2.0).mean_dim([2_i64, 3].as_slice(), false, tch::Kind::Float);
    let features = model.features(&input).unwrap().tensor;
    assert!((features - expected).abs().max().double_value(&[]) < 1e-6);
}

/// Of 48 pixels a side it gives 3 · 48 · 48 numbers.
#[test]
fn the_trial_is_made_with_images_of_the_jobs_size() {
    let folder = tempfile::tempdir().unwrap();
    let path = traced(folder.path(), "flat.pt", |pixels| pixels.flatten(1, -1));
    let spec = spec(Architecture::TorchScript, Some(path), Freeze::All);
    let options = ModelOptions {
        spec: &spec,
        classes: 2,
        seed: 0,
        device: Device::Cpu,
        train_batch_norm: false,
    };
    let model = Model::load_for(&options, Some(48)).unwrap();
    assert_eq!(model.summary().trainable_parameters, 2 * 3 * 48 * 48 + 2);
}

#[test]
fn it_is_exported_as_it_came_beside_its_head() {
    let folder = tempfile::tempdir().unwrap();
    let model = load_script(SCRIPT);
    assert_eq!(export::merged_name(Architecture::TorchScript), "backbone.pt");
    let copy = folder.path().join("backbone.pt");
    export::merged(&model, &copy).unwrap();
    assert_eq!(std::fs::read(&copy).unwrap(), std::fs::read(SCRIPT).unwrap());
    let head = export::head(&model).unwrap();
    let head = safetensors::SafeTensors::deserialize(&head).unwrap();
    let mut names = head.names();
    names.sort_unstable();
    assert_eq!(names, ["head.bias", "head.weight"]);
    let config = export::config(&model, &["a", "b", "c", "d", "e"].map(str::to_owned));
    assert_eq!(config["backbone"], "backbone.pt");
}

#[test]
fn what_is_no_program_of_images_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    for (name, bytes, expected) in [
        (
            "legacy.pt",
            b"\x80\x02\x8a".as_slice(),
            "legacy.pt cannot be used as TorchScript: it is no archive as `torch.jit.save` writes it",
        ),
        (
            "tensors.pt",
            b"PK\x03\x04 archive/data.pkl".as_slice(),
            "tensors.pt cannot be used as TorchScript: it holds tensors and no program, as `torch.save` writes it: \
             `torch.jit.script(model.eval()).save(path)` saves both",
        ),
    ] {
        let error = refusal(&write(name, bytes));
        assert!(error.ends_with(expected), "{error}");
    }
    let missing = refusal(&folder.path().join("missing.pt"));
    assert!(
        missing.starts_with("cannot read ") && missing.contains("missing.pt"),
        "{missing}"
    );
    let whole = traced(folder.path(), "sum.pt", |pixels| pixels.sum(tch::Kind::Float));
    let error = refusal(Path::new(&whole));
    assert!(
        error.ends_with("of 2 images it gives []; (n, width) or (n, channels, rows, columns) is needed"),
        "{error}"
    );
    let cut_short = write("short.pt", &std::fs::read(SCRIPT).unwrap()[..12_000]);
    let error = refusal(&cut_short);
    assert!(error.contains("short.pt cannot be used as TorchScript: "), "{error}");
}
