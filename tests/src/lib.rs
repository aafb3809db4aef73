//! What the black-box tests share: they start the real binaries, as a user would, on data that they make themselves.
//!
//! - [`binaries`]: where the binaries are, and processes that never outlive a test;
//! - [`cluster`]: a coordinator and its workers, to be killed and started again;
//! - [`jobs`]: small data sets and specs that train in seconds;
//! - [`outcome`]: what a finished job left;
//! - [`proxy`], [`network`], [`disk`]: what goes wrong between and below them.

pub mod binaries;
pub mod cluster;
pub mod disk;
pub mod jobs;
pub mod network;
pub mod outcome;
pub mod proxy;
pub mod skip;
