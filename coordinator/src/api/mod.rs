//! The gRPC services: thin translators between the wire and the engine.

mod access_service;
mod agent_inbox;
mod chunks;
mod context;
pub(crate) mod documents;
mod job_service;
mod listing;
mod log_lines;
mod past_jobs;
pub(crate) mod pictures;
mod pulses;
mod quotas;
mod rank_service;
mod refusal;
mod refused_agents;
mod requests;
mod submission;
pub(crate) mod task;
mod upload;
pub mod wire;
mod worker_service;

pub use access_service::Tokens;
pub use context::{Context, Ending};
pub use job_service::Jobs;
pub use rank_service::Ranks;
pub use refused_agents::RefusedAgents;
pub use worker_service::Workers;
