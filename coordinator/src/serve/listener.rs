//! The socket and what is served on it.
//!
//! tonic's defaults are open: no keepalive, unlimited streams, no handshake deadline, 4 MiB a message. Here a peer that is gone is
//! noticed within half a minute, and only the calls that carry predictions or files take large messages.

use std::{net::SocketAddr, time::Duration};

use firn_proto::{
    FILE_DESCRIPTOR_SET,
    v1alpha1::{
        job_service_server::JobServiceServer, rank_service_server::RankServiceServer,
        worker_service_server::WorkerServiceServer,
    },
};
use tonic::{
    service::interceptor::InterceptedService,
    transport::{
        Server,
        server::{Router, TcpIncoming},
    },
};
use tonic_health::{ServingStatus, server::HealthReporter};

use super::{ServeError, chain, security::Gate, settings::ServeSettings};
use crate::api::{Context, Jobs, Ranks, Workers};

const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Calls that one connection can have under way.
const STREAMS: u32 = 128;
const LARGEST_MESSAGE: usize = 1024 * 1024;
/// Predictions of one shard.
const LARGEST_RANK_MESSAGE: usize = 16 * 1024 * 1024;

/// Names under which health is reported: the whole server and its services.
const HEALTH_NAMES: [&str; 4] = [
    "",
    "firn.v1alpha1.JobService",
    "firn.v1alpha1.WorkerService",
    "firn.v1alpha1.RankService",
];

pub(super) fn bind(listen: SocketAddr) -> Result<(TcpIncoming, SocketAddr), ServeError> {
    let failed = |source| ServeError::Bind {
        address: listen,
        source,
    };
    let incoming = TcpIncoming::bind(listen).map_err(failed)?;
    let address = incoming.local_addr().map_err(failed)?;
    Ok((
        incoming
            .with_nodelay(Some(true))
            .with_keepalive(Some(KEEPALIVE_INTERVAL)),
        address,
    ))
}

pub(super) fn router(settings: &ServeSettings, context: &Context) -> Result<(HealthReporter, Router), ServeError> {
    let failed = |error: &dyn std::error::Error| ServeError::Server { reason: chain(error) };
    let mut server = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(Some(STREAMS));
    if let Some(tls) = settings.security.tls() {
        server = server.tls_config(tls.clone()).map_err(|error| failed(&error))?;
    }
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let reflection_v1 = reflection().build_v1().map_err(|error| failed(&error))?;
    let reflection_v1alpha = reflection().build_v1alpha().map_err(|error| failed(&error))?;
    let (reporter, health) = tonic_health::server::health_reporter();

    let gate: Gate = settings.security.gate();
    let jobs = JobServiceServer::new(Jobs::new(context.clone())).max_decoding_message_size(LARGEST_MESSAGE);
    let workers = WorkerServiceServer::new(Workers::new(context.clone())).max_decoding_message_size(LARGEST_MESSAGE);
    let ranks = RankServiceServer::new(Ranks::new(context.clone())).max_decoding_message_size(LARGEST_RANK_MESSAGE);
    // Health alone is open to all: probes have no token, and it tells nothing else.
    let router = server
        .add_service(health)
        .add_service(InterceptedService::new(jobs, gate.clone()))
        .add_service(InterceptedService::new(workers, gate.clone()))
        .add_service(InterceptedService::new(ranks, gate.clone()))
        .add_service(InterceptedService::new(reflection_v1, gate.clone()))
        .add_service(InterceptedService::new(reflection_v1alpha, gate));
    Ok((reporter, router))
}

pub(super) async fn report_serving(health: &HealthReporter) {
    report(health, ServingStatus::Serving).await;
}

pub(super) async fn report_stopping(health: &HealthReporter) {
    report(health, ServingStatus::NotServing).await;
}

async fn report(health: &HealthReporter, status: ServingStatus) {
    for name in HEALTH_NAMES {
        health.set_service_status(name, status).await;
    }
}
