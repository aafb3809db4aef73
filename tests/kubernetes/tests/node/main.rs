//! The nodes of a test's cluster do with pods what the nodes of any cluster do: what the other tests show of Firn rests on that.
//!
//! One cluster of two nodes serves all tests, each in a namespace of its own.

#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

mod confinement;
mod ends;
mod nodes;
mod place;
mod services;
mod volumes;
mod waiting;
