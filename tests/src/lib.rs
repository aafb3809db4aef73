//! What the black-box tests share: they start the real binaries, as a user would, on data that they make themselves.
//!
//! - [`binaries`]: where the binaries are, and processes that never outlive a test;
//! - [`chance`]: random choices that can be made again;
//! - [`cluster`]: a coordinator and its workers, to be killed and started again;
//! - [`jobs`]: small data sets and specs that train in seconds;
//! - [`options`]: a job for each option of a training run;
//! - [`outcome`]: what a finished job left;
//! - [`submission`]: a job in which something breaks, and what it must come to;
//! - [`proxy`], [`network`], [`disk`], [`memory`], [`bits`]: what goes wrong between and below them.

pub mod binaries;
pub mod bits;
pub mod chance;
pub mod cluster;
pub mod disk;
pub mod jobs;
pub mod memory;
pub mod network;
pub mod options;
pub mod outcome;
pub mod proxy;
pub mod skip;
pub mod submission;
