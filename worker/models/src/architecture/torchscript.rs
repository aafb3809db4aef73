//! Any network of images that was saved by TorchScript: one frozen stage.
//!
//! Nothing is known of it but what it gives, so no cut stands inside it, and how long its vectors are only a trial tells. The bytes of the file are
//! what is proven: a copy made of them anew must hold the same parameters and buffers as the one that computes. A TorchScript file is a
//! program; libtorch runs it without Python, in the rank.

use std::path::{Path, PathBuf};

use firn_core::spec::ModelSpec;
use serde_json::{Map, Value, json};
use tch::{CModule, Device, Kind, Tensor};

use super::Family;
use crate::{
    error::ModelError,
    parameter_builder::ParameterBuilder,
    stage::{Features, Pass, Stage, Stages},
    weights::naming::{Dialect, Library},
};

/// Firn's name of the program.
const PROGRAM: &str = "script";

const DIALECTS: &[Dialect] = &[Dialect::torchvision(PROGRAM, "head")];

/// The file.
pub(super) struct TorchScript(PathBuf);

impl TorchScript {
    pub(super) fn of(spec: &ModelSpec) -> Self {
        // A spec without a file is refused before any rank sees it.
        Self(spec.weights.clone().unwrap_or_default().into())
    }
}

impl Family for TorchScript {
    fn build(&self, builder: &mut ParameterBuilder<'_>) -> Result<Stages, ModelError> {
        builder.enter(0);
        let bytes = builder.program(PROGRAM, || read(&self.0))?;
        let script = bytes.map(|bytes| Script::load(&self.0, &bytes, builder.device()));
        Ok(vec![Box::new(ScriptStage(script.transpose()?))])
    }

    fn feature_width(&self, _: Library) -> Option<i64> {
        None
    }

    fn dialects(&self) -> &'static [Dialect] {
        DIALECTS
    }

    fn configuration(&self, _: Library) -> Map<String, Value> {
        let fields = json!({"backbone": crate::export::PROGRAM_FILE, "head": "head.safetensors"});
        fields.as_object().cloned().unwrap_or_default()
    }
}

/// The bytes of a file that TorchScript has saved.
fn read(path: &Path) -> Result<Vec<u8>, ModelError> {
    let bytes = std::fs::read(path).map_err(|source| ModelError::Read {
        path: path.to_path_buf(),
        source,
    })?;
    // An archive names its entries at its end.
    let has = |name: &[u8]| bytes.windows(name.len()).any(|part| part == name);
    let reason = match () {
        () if !bytes.starts_with(b"PK\x03\x04") => "it is no archive as `torch.jit.save` writes it",
        () if !has(b"/constants.pkl") => {
            "it holds tensors and no program, as `torch.save` writes it: `torch.jit.script(model.eval()).save(path)` saves both"
        }
        () => return Ok(bytes),
    };
    Err(refused(path, reason.to_owned()))
}

fn refused(path: &Path, reason: String) -> ModelError {
    ModelError::TorchScript {
        path: path.to_path_buf(),
        reason,
    }
}

/// The program, loaded.
struct Script {
    path: PathBuf,
    module: CModule,
}

impl Script {
    /// Of uint8 `(bytes)`, in eval mode.
    fn load(path: &Path, bytes: &Tensor, device: Device) -> Result<Self, ModelError> {
        let mut content = vec![0; bytes.numel()];
        bytes.f_copy_data_u8(&mut content, bytes.numel())?;
        let failed = |error: tch::TchError| refused(path, first_lines(&error));
        let mut module = CModule::load_data_on_device(&mut content.as_slice(), device).map_err(failed)?;
        module.f_set_eval().map_err(failed)?;
        Ok(Self {
            path: path.to_path_buf(),
            module,
        })
    }

    /// Pixels `(n, 3, h, w)` to vectors `(n, width)`; what it gives of every pixel is averaged.
    fn vectors(&self, pixels: &Tensor) -> Result<Tensor, ModelError> {
        let output = self.module.forward_ts(&[pixels]);
        let output = output.map_err(|error| refused(&self.path, first_lines(&error)))?;
        let output = output.f_to_kind(Kind::Float)?;
        let samples = pixels.size()[0];
        match output.size().as_slice() {
            [n, _] if *n == samples => Ok(output),
            [n, _, _, _] if *n == samples => Ok(output.f_mean_dim([2_i64, 3].as_slice(), false, Kind::Float)?),
            shape => Err(refused(
                &self.path,
                format!("of {samples} images it gives {shape:?}; (n, width) or (n, channels, rows, columns) is needed"),
            )),
        }
    }
}

/// libtorch's message ends with a long account of where it comes from.
fn first_lines(error: &tch::TchError) -> String {
    let text = error.to_string();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.take(6).collect::<Vec<_>>().join(" ")
}

/// The one stage; without a program where only its place is asked for.
struct ScriptStage(Option<Script>);

impl ScriptStage {
    fn script(&self) -> &Script {
        self.0.as_ref().expect("who computes has loaded the program")
    }
}

impl Stage for ScriptStage {
    fn forward(&self, input: Features, _: &Pass<'_>) -> Result<Features, ModelError> {
        input.map(|pixels| self.script().vectors(&pixels))
    }

    /// Its parameters, and, since libtorch lists no buffers, all of it as it would be saved now.
    fn derived(&self, into: &mut Vec<(String, Tensor)>) {
        let parameters = self.script().module.named_parameters().unwrap_or_default();
        into.extend(parameters);
        // What cannot be saved differs from what could.
        let saved = saved(&self.script().module).unwrap_or_default();
        into.push((format!("{PROGRAM}.saved"), Tensor::from_slice(&saved)));
    }

    fn own_parameters(&self) -> u64 {
        let parameters = self
            .0
            .iter()
            .flat_map(|script| script.module.named_parameters().unwrap_or_default());
        parameters.map(|(_, tensor)| tensor.numel() as u64).sum()
    }
}

/// The bytes that libtorch would write, by way of a file, since it writes to no memory.
fn saved(module: &CModule) -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().ok()?;
    let path = folder.path().join(PROGRAM);
    module.save(&path).ok()?;
    std::fs::read(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script() -> ScriptStage {
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/script.pt"));
        let bytes = Tensor::from_slice(&read(path).unwrap());
        ScriptStage(Some(Script::load(path, &bytes, Device::Cpu).unwrap()))
    }

    fn digest(stage: &ScriptStage) -> String {
        let mut derived = Vec::new();
        stage.derived(&mut derived);
        crate::frozen::digest(derived).unwrap()
    }

    #[test]
    fn a_changed_parameter_is_found_and_a_second_copy_is_the_same() {
        let (one, other) = (script(), script());
        assert_eq!(digest(&one), digest(&other));
        let parameters = one.script().module.named_parameters().unwrap();
        let (_, bias) = parameters.iter().find(|(name, _)| name == "fc.bias").unwrap();
        let _ = tch::no_grad(|| bias.get(0).fill_(7.0));
        assert_ne!(digest(&one), digest(&other));
    }

    #[test]
    fn computing_changes_neither_parameters_nor_buffers() {
        let stage = script();
        let before = digest(&stage);
        let pixels = Tensor::ones([2, 3, 16, 16], (Kind::Float, Device::Cpu));
        let _ = tch::no_grad(|| stage.script().vectors(&pixels)).unwrap();
        assert_eq!(digest(&stage), before);
    }
}
