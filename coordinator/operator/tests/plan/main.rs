//! What is done about a resource, for everything that can be seen of it. No cluster is needed.

#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

mod pods;
mod scene;
mod steps;
mod vain;
