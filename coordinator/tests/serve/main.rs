//! The real coordinator on a loopback port, with agents and ranks that the tests play themselves.

mod access;
mod agent;
mod jobs;
mod rank;
mod restart;
mod server;
mod whole_job;
mod workers;
