//! Certificates that every side shows, and that are replaced while the coordinator serves.

use std::{fs, path::Path, time::Duration};

use firn::serve::security::{Security, SecurityPaths};
use firn_proto::v1alpha1::{
    self as proto, access_service_client::AccessServiceClient, job_service_client::JobServiceClient,
    rank_service_client::RankServiceClient, worker_service_client::WorkerServiceClient,
};
use tonic::{
    Code, Status,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    access::Authority,
    server::{Server, settings},
};

/// How long a change of a file may take to be noticed: far more than it does.
const LIMIT: Duration = Duration::from_secs(60);
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

fn write(folder: &Path, name: &str, content: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    fs::write(&path, content).unwrap();
    path
}

/// A coordinator whose certificate one authority has signed, and which asks clients for one of another, if one is given.
fn serving(folder: &Path, authority: &Authority, of_clients: Option<&Authority>) -> Server {
    let (certificate, key) = authority.sign("localhost");
    let paths = SecurityPaths {
        tls_cert: Some(write(folder, "cert.pem", &certificate)),
        tls_key: Some(write(folder, "key.pem", &key)),
        client_ca: of_clients.map(|authority| write(folder, "clients.pem", &authority.pem())),
        token_file: None,
    };
    let mut settings = settings(&folder.join("data"));
    settings.security = Security::load(&paths, settings.listen).unwrap();
    Server::start_with(settings).unwrap()
}

/// A new connection, at its first call.
fn channel(server: &Server, trusted: &Authority, own: Option<&Authority>) -> Channel {
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(trusted.pem()));
    if let Some(own) = own {
        let (certificate, key) = own.sign("a-client");
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    let address = format!("https://localhost:{}", server.address.port());
    let endpoint = Endpoint::from_shared(address).unwrap().tls_config(tls).unwrap();
    endpoint.connect_lazy()
}

/// What each service answers to a call with nothing in it.
async fn all_services(channel: Channel) -> Vec<(&'static str, Result<(), Status>)> {
    let mut jobs = JobServiceClient::new(channel.clone());
    let mut workers = WorkerServiceClient::new(channel.clone());
    let mut ranks = RankServiceClient::new(channel.clone());
    let mut access = AccessServiceClient::new(channel.clone());
    let mut health = HealthClient::new(channel);
    let attach = async {
        let messages = tokio_stream::iter([proto::AgentMessage::default()]);
        workers.attach(messages).await?.into_inner().message().await.map(drop)
    };
    vec![
        (
            "JobService",
            jobs.list_jobs(proto::ListJobsRequest::default()).await.map(drop),
        ),
        ("WorkerService", attach.await),
        (
            "RankService",
            ranks.enrol(proto::EnrolRequest::default()).await.map(drop),
        ),
        (
            "AccessService",
            access.list_tokens(proto::ListTokensRequest {}).await.map(drop),
        ),
        ("Health", health.check(HealthCheckRequest::default()).await.map(drop)),
    ]
}

/// Whether the coordinator has answered, and not the transport.
fn is_answered(result: &Result<(), Status>) -> bool {
    match result {
        Ok(()) => true,
        Err(status) => status.code() == Code::InvalidArgument,
    }
}

async fn lists(channel: &Channel) -> bool {
    let mut jobs = JobServiceClient::new(channel.clone());
    jobs.list_jobs(proto::ListJobsRequest::default()).await.is_ok()
}

#[tokio::test]
async fn every_service_asks_for_a_client_certificate_where_one_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, of_clients) = (Authority::new(), Authority::new());
    let server = serving(folder.path(), &authority, Some(&of_clients));
    for (service, result) in all_services(channel(&server, &authority, Some(&of_clients))).await {
        assert!(is_answered(&result), "{service}: {result:?}");
    }
    for own in [None, Some(&authority)] {
        for (service, result) in all_services(channel(&server, &authority, own)).await {
            assert!(!is_answered(&result), "{service} without a certificate of its clients");
        }
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn certificates_are_replaced_without_a_restart_and_open_connections_stay() {
    let folder = tempfile::tempdir().unwrap();
    let (before, after) = (Authority::new(), Authority::new());
    let server = serving(folder.path(), &before, None);
    let open = channel(&server, &before, None);
    assert!(lists(&open).await);
    assert!(!lists(&channel(&server, &after, None)).await);

    let (certificate, key) = after.sign("localhost");
    // For a moment the pair does not belong together.
    write(folder.path(), "cert.pem", &certificate);
    assert!(lists(&channel(&server, &before, None)).await);
    write(folder.path(), "key.pem", &key);
    let replaced = async {
        while !lists(&channel(&server, &after, None)).await {
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    };
    tokio::time::timeout(LIMIT, replaced).await.unwrap();
    assert!(!lists(&channel(&server, &before, None)).await);
    assert!(lists(&open).await, "an open connection stays");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn the_authority_of_clients_is_replaced_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, before, after) = (Authority::new(), Authority::new(), Authority::new());
    let server = serving(folder.path(), &authority, Some(&before));
    assert!(lists(&channel(&server, &authority, Some(&before))).await);
    assert!(!lists(&channel(&server, &authority, Some(&after))).await);
    write(folder.path(), "clients.pem", &after.pem());
    let replaced = async {
        while !lists(&channel(&server, &authority, Some(&after))).await {
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    };
    tokio::time::timeout(LIMIT, replaced).await.unwrap();
    assert!(!lists(&channel(&server, &authority, Some(&before))).await);
    server.stop().await.unwrap();
}
