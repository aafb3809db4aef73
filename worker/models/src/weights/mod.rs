//! Weights on disk: reading, naming and writing safetensors. No other format is ever opened.

pub(crate) mod file;
pub(crate) mod fit;
pub(crate) mod index;
pub(crate) mod look;
pub(crate) mod naming;
pub(crate) mod notes;
pub(crate) mod recognise;
pub(crate) mod write;
