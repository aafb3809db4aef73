//! firn-models against PyTorch, torchvision and transformers, and against everything that a weights file can have wrong.
//!
//! Reference values come from `tests/reference/models.py`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod artifacts;
mod configurations;
mod facts;
mod inputs;
mod inspecting;
mod losses;
mod optimizers;
mod parity;
mod seeded;
mod shards;
mod speed_path;
mod stages;
mod support;
mod taken;
mod training;
mod weights;
