//! The layers that architectures share. A layer that only one family has stands in that family's file.

pub(crate) mod activation;
pub(crate) mod adapter;
pub(crate) mod attention;
pub(crate) mod block;
pub(crate) mod convolution;
pub(crate) mod dropout;
pub(crate) mod excitation;
pub(crate) mod geometry;
pub(crate) mod inverted_residual;
pub(crate) mod linear;
pub(crate) mod norm;
pub(crate) mod pooling;
pub(crate) mod precision;
pub(crate) mod projections;
pub(crate) mod rms_norm;
pub(crate) mod rotary;
pub(crate) mod wide;
