//! Putting an architecture together from its tensors.
//!
//! An architecture asks for each tensor by name, shape and role while its layers are made. So the list of tensors cannot differ
//! from the layers, and all that is wrong with a file is found in one pass.

use tch::{Device, Kind, Tensor};

use crate::{
    error::{ModelError, TensorProblem},
    layers::adapter::{Adapted, Adapter, AdapterPlan},
    random::Stream,
    weights::{
        file::WeightFile,
        naming::{Library, Naming},
    },
};

/// What a tensor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Learned by gradients.
    Parameter,
    /// A running statistic of BatchNorm.
    Statistic,
    /// The bytes of a program.
    Program,
}

/// How a tensor starts where there is no file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Initial {
    Zeros,
    Ones,
    /// This number.
    Value(f64),
    /// Normal with mean 0 and this standard deviation.
    Normal(f64),
    /// Uniform in ± this bound.
    Uniform(f64),
}

/// One tensor of the backbone.
pub(crate) struct NamedTensor {
    /// Firn's name.
    pub(crate) name: String,
    /// The name in the file; Firn's own where there is none.
    pub(crate) key: String,
    pub(crate) role: Role,
    pub(crate) tensor: Tensor,
    /// Index of the stage it belongs to.
    pub(crate) stage: usize,
    /// A parameter that never trains, wherever the cut stands.
    pub(crate) is_held: bool,
}

impl NamedTensor {
    /// Whether it trains where the cut stands so low.
    pub(crate) fn trains_above(&self, cut: usize) -> bool {
        self.role == Role::Parameter && self.stage >= cut && !self.is_held
    }

    /// Whether nothing may change it where the cut stands so low.
    pub(crate) fn is_frozen_below(&self, cut: usize) -> bool {
        self.stage < cut || self.is_held
    }
}

/// Where tensors come from.
pub(crate) enum Source<'a> {
    File(&'a WeightFile),
    Seed(u64),
    /// Tensors that a builder gave before.
    Tensors(&'a [NamedTensor]),
    /// Nowhere: stand-ins without memory, for those who ask what a network is made of.
    Shapes,
}

/// Collects the tensors of a model while its layers are made.
pub(crate) struct ParameterBuilder<'a> {
    source: Source<'a>,
    naming: &'a Naming,
    device: Device,
    stage: usize,
    entries: Vec<NamedTensor>,
    problems: Vec<TensorProblem>,
    adapters: Option<AdapterPlan>,
    adapted: Vec<Adapted>,
    /// The layers that might have an adapter, as their library names them.
    adaptable: Vec<String>,
}

/// What a network was made of.
pub(crate) struct Made {
    /// All tensors in the order they were asked for.
    pub(crate) entries: Vec<NamedTensor>,
    /// All that is wrong with those of the file.
    pub(crate) problems: Vec<TensorProblem>,
    /// Linear layers with adapters.
    pub(crate) adapted: Vec<Adapted>,
    /// Linear layers above the cut, with and without adapters, as their library names them; none where nobody asked for adapters.
    pub(crate) adaptable: Vec<String>,
}

impl<'a> ParameterBuilder<'a> {
    pub(crate) fn new(source: Source<'a>, naming: &'a Naming, device: Device) -> Self {
        Self {
            source,
            naming,
            device,
            stage: 0,
            entries: Vec::new(),
            problems: Vec::new(),
            adapters: None,
            adapted: Vec::new(),
            adaptable: Vec::new(),
        }
    }

    /// The same, for a network with adapters.
    pub(crate) fn with_adapters(self, adapters: Option<AdapterPlan>) -> Self {
        Self { adapters, ..self }
    }

    /// The tensors asked for from now on belong to this stage.
    pub(crate) fn enter(&mut self, stage: usize) {
        self.stage = stage;
    }

    /// The library whose names the tensors have.
    pub(crate) fn library(&self) -> Library {
        self.naming.dialect.library
    }

    /// Where the tensors are wanted.
    pub(crate) fn device(&self) -> Device {
        self.device
    }

    /// Whether there is a tensor of this name: for layers that some files leave out.
    pub(crate) fn has(&self, name: &str) -> bool {
        match self.source {
            Source::File(file) => self.naming.candidates(name).iter().any(|key| file.entry(key).is_some()),
            Source::Tensors(entries) => entries.iter().any(|entry| entry.name == name),
            Source::Seed(_) | Source::Shapes => true,
        }
    }

    /// The tensor of this name, on the device. A tensor that the file lacks becomes a
    /// problem that `finish` reports, and a stand-in of the right shape.
    pub(crate) fn tensor(
        &mut self,
        name: &str,
        shape: &[i64],
        role: Role,
        initial: Initial,
    ) -> Result<Tensor, ModelError> {
        let (key, tensor) = match self.source {
            Source::File(file) => self.find(file, name, shape)?,
            Source::Seed(seed) => (
                self.naming.candidates(name).remove(0),
                initialised(seed, name, shape, initial)?,
            ),
            Source::Tensors(entries) => {
                let entry = entries.iter().find(|entry| entry.name == name);
                let entry = entry.expect("an architecture asks for the same tensors every time");
                (entry.key.clone(), entry.tensor.shallow_clone())
            }
            Source::Shapes => (self.naming.candidates(name).remove(0), stand_in(shape)?),
        };
        let tensor = match self.source {
            Source::Shapes => tensor,
            _ => tensor.f_to_device(self.device)?.f_contiguous()?,
        };
        self.keep(name, key, role, &tensor);
        Ok(tensor)
    }

    fn keep(&mut self, name: &str, key: String, role: Role, tensor: &Tensor) {
        self.entries.push(NamedTensor {
            name: name.to_owned(),
            key,
            role,
            tensor: tensor.shallow_clone(),
            stage: self.stage,
            is_held: false,
        });
    }

    /// The adapter of a linear layer, if it is to have one; `weight`: Firn's name of its weight. Its own tensors come from no file.
    pub(crate) fn adapter(
        &mut self,
        weight: &str,
        [outputs, inputs]: [i64; 2],
        is_transposed: bool,
    ) -> Result<Option<Adapter>, ModelError> {
        let Some(plan) = self.adapters.clone().filter(|plan| self.stage >= plan.lowest_cut) else {
            return Ok(None);
        };
        let key = match self.entries.iter().rfind(|entry| entry.name == weight) {
            Some(entry) => self.naming.exported(&entry.key),
            None => return Ok(None),
        };
        // Matrices of several layers in one are no layer of their own.
        let (Some(layer), Some(name)) = (key.strip_suffix(".weight"), weight.strip_suffix(".weight")) else {
            return Ok(None);
        };
        self.adaptable.push(layer.to_owned());
        if !plan.targets(layer) {
            return Ok(None);
        }
        let rank = i64::from(plan.spec.rank);
        let factors = [format!("{name}.lora_A.weight"), format!("{name}.lora_B.weight")];
        let keys = [format!("{layer}.lora_A.weight"), format!("{layer}.lora_B.weight")];
        let uniform = Initial::Uniform(1.0 / (inputs as f64).sqrt());
        let shapes = [([rank, inputs], uniform), ([outputs, rank], Initial::Zeros)];
        let mut made = Vec::with_capacity(2);
        for ((name, key), (shape, initial)) in factors.iter().zip(keys).zip(shapes) {
            let tensor = self.new_tensor(plan.seed, name, &shape, initial)?;
            self.keep(name, key, Role::Parameter, &tensor);
            made.push(tensor);
        }
        let (b, a) = (made.pop().expect("two were made"), made.pop().expect("two were made"));
        self.adapted.push(Adapted {
            layer: layer.to_owned(),
            weight: weight.to_owned(),
            factors,
            is_transposed,
        });
        Ok(Some(Adapter {
            name: format!("{name}.lora"),
            a,
            b,
            scale: plan.spec.scale(),
            dropout: plan.spec.dropout,
        }))
    }

    /// One that no file holds.
    fn new_tensor(&self, seed: u64, name: &str, shape: &[i64], initial: Initial) -> Result<Tensor, ModelError> {
        match self.source {
            Source::Shapes => stand_in(shape),
            Source::Tensors(entries) => {
                let entry = entries.iter().find(|entry| entry.name == name);
                let entry = entry.expect("an architecture asks for the same tensors every time");
                Ok(entry.tensor.shallow_clone())
            }
            Source::File(_) | Source::Seed(_) => Ok(initialised(seed, name, shape, initial)?.f_to_device(self.device)?),
        }
    }

    /// The bytes of a program, uint8 `(bytes)`, in the memory of the processor: those that a builder gave before, or what `read` gives; `None`
    /// for those who ask what a network is made of.
    pub(crate) fn program(
        &mut self,
        name: &str,
        read: impl FnOnce() -> Result<Vec<u8>, ModelError>,
    ) -> Result<Option<Tensor>, ModelError> {
        let bytes = match self.source {
            Source::Shapes => None,
            Source::Tensors(entries) => {
                let entry = entries.iter().find(|entry| entry.name == name);
                Some(entry.expect("it was asked for before").tensor.shallow_clone())
            }
            Source::File(_) | Source::Seed(_) => Some(Tensor::f_from_slice(&read()?)?),
        };
        self.entries.push(NamedTensor {
            name: name.to_owned(),
            key: name.to_owned(),
            role: Role::Program,
            tensor: match &bytes {
                Some(bytes) => bytes.shallow_clone(),
                None => stand_in(&[1])?,
            },
            stage: self.stage,
            is_held: false,
        });
        Ok(bytes)
    }

    fn find(&mut self, file: &WeightFile, name: &str, shape: &[i64]) -> Result<(String, Tensor), ModelError> {
        let mut candidates = self.naming.candidates(name);
        let found = candidates
            .iter()
            .find_map(|key| file.entry(key).map(|entry| (key.clone(), entry)));
        let expected = shape.to_vec();
        let Some((key, entry)) = found else {
            let key = candidates.remove(0);
            self.problems.push(TensorProblem::Missing {
                key: key.clone(),
                expected,
                nearest: None,
            });
            return Ok((key, stand_in(shape)?));
        };
        if entry.shape != shape {
            self.problems.push(TensorProblem::Shape {
                key: key.clone(),
                expected,
                found: entry.shape.clone(),
            });
            return Ok((key, stand_in(shape)?));
        }
        if let Some(tensor) = file.tensor(entry)? {
            let broken = tensor.numel() as i64 - tensor.f_isfinite()?.f_sum(Kind::Int64)?.int64_value(&[]);
            if broken > 0 {
                self.problems.push(TensorProblem::NotFinite {
                    key: key.clone(),
                    broken,
                });
            }
            return Ok((key, tensor));
        }
        self.problems.push(TensorProblem::Kind {
            key: key.clone(),
            found: format!("{:?}", entry.dtype),
        });
        Ok((key, stand_in(shape)?))
    }

    /// What was asked for.
    pub(crate) fn finish(self) -> Made {
        Made {
            entries: self.entries,
            problems: self.problems,
            adapted: self.adapted,
            adaptable: self.adaptable,
        }
    }
}

/// Takes the place of a tensor that the file lacks, without its memory.
fn stand_in(shape: &[i64]) -> Result<Tensor, ModelError> {
    Ok(Tensor::f_zeros([1], (Kind::Float, Device::Cpu))?.f_expand(shape, false)?)
}

/// A tensor that depends on seed, name and shape only.
pub(crate) fn initialised(seed: u64, name: &str, shape: &[i64], initial: Initial) -> Result<Tensor, ModelError> {
    let count = shape.iter().product::<i64>() as usize;
    let mut stream = Stream::new("initialisation", &[seed], name);
    let values = match initial {
        Initial::Zeros => vec![0.0; count],
        Initial::Ones => vec![1.0; count],
        Initial::Value(value) => vec![value as f32; count],
        Initial::Normal(deviation) => stream.normal(count, deviation),
        Initial::Uniform(bound) => stream.uniform(count, bound),
    };
    Ok(Tensor::f_from_slice(&values)?.f_view(shape)?)
}
