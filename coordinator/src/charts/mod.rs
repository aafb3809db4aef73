//! Pictures as SVG: curves over a common axis, and a matrix of counts. They are the same, byte for byte, for the same numbers.
//!
//! Axes, ticks and text are those of `plotters`, whose SVG backend needs no font and no other library; how wide a text is, it estimates.

mod lines;
mod matrix;

use std::fmt::Debug;

pub(crate) use self::{
    lines::{Line, LineChart},
    matrix::Matrix,
};

const FONT: &str = "sans-serif";

/// Drawing into a string fails only where a picture has no room for its parts.
fn drawn<T, E: Debug>(result: Result<T, E>) -> T {
    result.expect("a picture has room for its parts, and a string takes every byte")
}
