//! What is served, and with which limits.

use std::sync::Arc;

use firn_proto::{
    FILE_DESCRIPTOR_SET,
    v1alpha1::{
        access_service_server::AccessServiceServer, job_service_server::JobServiceServer,
        rank_service_server::RankServiceServer, worker_service_server::WorkerServiceServer,
    },
};
use tonic::transport::{Server, server::Router};
use tonic_health::{pb::health_server::HealthServer, server::HealthService};
use tower::layer::util::{Identity, Stack};

use super::{
    ServeError, chain,
    deadlines::Deadlines,
    limits::{LARGEST_HEADERS, LARGEST_MESSAGE, LARGEST_RANK_MESSAGE},
    settings::ServeSettings,
};
use crate::{
    access::Gate,
    api::{Context, Jobs, Ranks, Tokens, Workers},
    metrics::{Measured, Metrics},
};

/// What is around every service, outermost last.
type Layers = Stack<Measured, Stack<Deadlines, Identity>>;

pub(super) fn router(
    settings: &ServeSettings,
    context: &Context,
    (health, metrics): (HealthServer<HealthService>, Arc<Metrics>),
    gate: &Gate,
) -> Result<Router<Layers>, ServeError> {
    let failed = |error: &dyn std::error::Error| ServeError::Server { reason: chain(error) };
    let limits = &settings.limits;
    let mut server = Server::builder()
        .http2_keepalive_interval(Some(limits.keepalive_interval))
        .http2_keepalive_timeout(Some(limits.keepalive_deadline))
        .http2_max_header_list_size(LARGEST_HEADERS)
        .max_concurrent_streams(Some(limits.streams))
        .layer(Deadlines {
            longest_handling: limits.longest_handling,
        })
        .layer(Measured { metrics });
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let reflection_v1 = reflection()
        .build_v1()
        .map_err(|error| failed(&error))?
        .max_decoding_message_size(LARGEST_MESSAGE);
    let reflection_v1alpha = reflection()
        .build_v1alpha()
        .map_err(|error| failed(&error))?
        .max_decoding_message_size(LARGEST_MESSAGE);
    let health = health.max_decoding_message_size(LARGEST_MESSAGE);

    let jobs = JobServiceServer::new(Jobs::new(context.clone())).max_decoding_message_size(LARGEST_MESSAGE);
    let workers = WorkerServiceServer::new(Workers::new(context.clone())).max_decoding_message_size(LARGEST_MESSAGE);
    let ranks = RankServiceServer::new(Ranks::new(context.clone())).max_decoding_message_size(LARGEST_RANK_MESSAGE);
    let access = AccessServiceServer::new(Tokens::new(context.clone())).max_decoding_message_size(LARGEST_MESSAGE);
    // Health alone is open to all: probes have no token, and it tells nothing else.
    Ok(server
        .add_service(health)
        .add_service(gate.before(jobs))
        .add_service(gate.before(workers))
        .add_service(gate.before(ranks))
        .add_service(gate.before(access))
        .add_service(gate.before(reflection_v1))
        .add_service(gate.before(reflection_v1alpha)))
}
