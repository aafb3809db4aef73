//! firn-models against PyTorch, torchvision and transformers, and against everything that a weights file can have wrong.
//!
//! Reference values come from `tests/reference/models.py`.

mod artifacts;
mod parity;
mod speed_path;
mod support;
mod training;
mod weights;
