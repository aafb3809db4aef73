//! The `config.json` that Hugging Face keeps beside weights: the sizes of a network.

use std::path::{Path, PathBuf};

use firn_core::spec::{Misfit, ModelSpec, beside_weights};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::error::ModelError;

/// A configuration that was read.
pub(crate) struct Configuration {
    path: PathBuf,
    value: Value,
}

impl Configuration {
    /// The sizes of the spec's network: those that `read` finds in its configuration, or the usual ones where it has none.
    pub(crate) fn sizes<S: Default>(
        spec: &ModelSpec,
        read: impl FnOnce(&Self) -> Result<S, ModelError>,
    ) -> Result<S, ModelError> {
        match Self::of(spec)? {
            Some(configuration) => read(&configuration),
            None => Ok(S::default()),
        }
    }

    /// The same of a network that `firn-core` reads from a configuration of this type.
    pub(crate) fn described<S>(
        spec: &ModelSpec,
        model_type: &str,
        read: impl FnOnce(&Value) -> Result<S, Misfit>,
    ) -> Result<S, ModelError> {
        let Some(configuration) = Self::of(spec)? else {
            return Ok(read(&Value::Null).expect("what transformers builds from an empty configuration is built here"));
        };
        configuration.require("model_type", &model_type.into())?;
        read(&configuration.value).map_err(|misfit| configuration.refuse(&misfit.field, &misfit.expected, misfit.found))
    }

    /// The one beside the weights, which must be there; without weights the one beside the tokenizer, if there is one.
    pub(crate) fn of(spec: &ModelSpec) -> Result<Option<Self>, ModelError> {
        if let Some(weights) = &spec.weights {
            let beside = beside_weights(weights, "config.json").unwrap_or_default();
            return Self::read(beside.into()).map(Some);
        }
        let beside = |path: &String| Path::new(path).with_file_name("config.json");
        let path = spec.tokenizer.as_ref().map(beside).filter(|path| path.exists());
        path.map(Self::read).transpose()
    }

    fn read(path: PathBuf) -> Result<Self, ModelError> {
        let text = std::fs::read_to_string(&path).map_err(|source| ModelError::Read {
            path: path.clone(),
            source,
        })?;
        match serde_json::from_str(&text) {
            Ok(value) => Ok(Self { path, value }),
            Err(error) => Err(refused(path, "", "a JSON object", error.to_string())),
        }
    }

    /// Refuses a field that is there and says anything else.
    pub(crate) fn require(&self, field: &str, accepted: &Value) -> Result<(), ModelError> {
        match self.value.get(field).filter(|found| *found != accepted) {
            Some(found) => {
                let expected = match accepted {
                    Value::String(word) => format!("`{word}`"),
                    other => other.to_string(),
                };
                Err(self.refuse(field, &expected, found.to_string()))
            }
            None => Ok(()),
        }
    }

    /// With this value where the field is not there.
    pub(crate) fn otherwise(&self, field: &str, value: Value) -> Self {
        let mut all = self.value.clone();
        if let Value::Object(fields) = &mut all {
            fields.entry(field).or_insert(value);
        }
        Self {
            path: self.path.clone(),
            value: all,
        }
    }

    /// The fields as a type; `what` names them in the error.
    pub(crate) fn parse<T: DeserializeOwned>(&self, what: &str) -> Result<T, ModelError> {
        serde_json::from_value(self.value.clone()).map_err(|error| self.refuse("", what, error.to_string()))
    }

    /// Refuses sizes that no network has.
    pub(crate) fn check_sizes(&self, sizes: &[(&str, i64)]) -> Result<(), ModelError> {
        match sizes.iter().find(|(_, size)| !(1..1 << 24).contains(size)) {
            Some((field, size)) => Err(self.refuse(field, "a whole number from 1 to 16777215", size.to_string())),
            None => Ok(()),
        }
    }

    /// Refuses what is no probability of dropping a unit.
    pub(crate) fn check_probabilities(&self, probabilities: &[(&str, f64)]) -> Result<(), ModelError> {
        match probabilities.iter().find(|(_, found)| !(0.0..1.0).contains(found)) {
            Some((field, found)) => Err(self.refuse(field, "a number from 0 to below 1", found.to_string())),
            None => Ok(()),
        }
    }

    /// Refuses a width that cannot be divided among the heads.
    pub(crate) fn check_heads(&self, width: (&str, i64), heads: (&str, i64)) -> Result<(), ModelError> {
        if width.1 % heads.1 == 0 {
            return Ok(());
        }
        let found = format!("{} with {} heads", width.1, heads.1);
        Err(self.refuse(width.0, &format!("a multiple of {}", heads.0), found))
    }

    /// The error of a field that says something else than is expected.
    pub(crate) fn refuse(&self, field: &str, expected: &str, found: String) -> ModelError {
        refused(self.path.clone(), field, expected, found)
    }
}

/// What a configuration of the network says: these fields, and all sizes.
pub(crate) fn describe(fields: Value, sizes: &impl Serialize) -> Map<String, Value> {
    let sizes = serde_json::to_value(sizes).expect("sizes are plain numbers");
    match (fields, sizes) {
        (Value::Object(mut fields), Value::Object(sizes)) => {
            fields.extend(sizes);
            fields
        }
        _ => unreachable!("both are objects"),
    }
}

fn refused(path: PathBuf, field: &str, expected: &str, found: String) -> ModelError {
    ModelError::Config {
        path,
        field: field.to_owned(),
        expected: expected.to_owned(),
        found,
    }
}
