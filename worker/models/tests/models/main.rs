//! firn-models against PyTorch, torchvision and transformers, and against everything that a weights file can have wrong.
//!
//! Reference values come from the scripts in `tests/reference`; `models.py` there names them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod adapters;
mod artifacts;
mod configurations;
mod dropped;
mod facts;
mod inputs;
mod inspecting;
mod losses;
mod optimizers;
mod parity;
mod phases;
mod precision;
mod reference;
mod seeded;
mod shards;
mod shared_batches;
mod slices;
mod speed_path;
mod stages;
mod support;
mod taken;
mod torchscript;
mod training;
mod weights;
