//! Who may connect, and what programs find without documentation.

use std::{fs, path::Path, sync::Arc};

use firn::serve::{
    security::{Security, SecurityPaths},
    settings::ServeSettings,
};
use firn_proto::v1alpha1::{ListWorkersRequest, job_service_client::JobServiceClient};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, pem::PemObject as _},
    },
};
use tonic::{
    Code, Request, Status,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::{
    v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    },
    v1alpha,
};

use crate::server::{Server, settings};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn with_security(folder: &Path, paths: &SecurityPaths) -> Server {
    let mut settings = settings(&folder.join("data"));
    settings.security = Security::load(paths, settings.listen).unwrap();
    Server::start_with(settings).unwrap()
}

async fn list(channel: Channel, token: Option<&str>) -> Result<(), Status> {
    let mut request = Request::new(ListWorkersRequest {});
    if let Some(token) = token {
        request
            .metadata_mut()
            .insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    JobServiceClient::new(channel).list_workers(request).await.map(drop)
}

#[tokio::test]
async fn without_the_token_everything_but_health_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let token_file = folder.path().join("token");
    fs::write(&token_file, format!("{TOKEN}\n")).unwrap();
    let server = with_security(
        folder.path(),
        &SecurityPaths {
            token_file: Some(token_file),
            ..SecurityPaths::default()
        },
    );

    let refused = list(server.channel(), None).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(refused.message().contains("FIRN_TOKEN"), "{}", refused.message());
    let wrong = list(server.channel(), Some("0123456789abcdef0123456789abcdee"))
        .await
        .unwrap_err();
    assert_eq!(wrong.code(), Code::Unauthenticated);
    assert!(
        wrong
            .message()
            .starts_with("the token is not known to this coordinator"),
        "{}",
        wrong.message()
    );
    list(server.channel(), Some(TOKEN)).await.unwrap();

    let message = firn_proto::v1alpha1::AgentMessage::default();
    let attach = server
        .workers()
        .attach(tokio_stream::iter([message]))
        .await
        .unwrap_err();
    assert_eq!(attach.code(), Code::Unauthenticated);
    let join = server
        .ranks()
        .join(firn_proto::v1alpha1::JoinRequest::default())
        .await
        .unwrap_err();
    assert_eq!(join.code(), Code::Unauthenticated);
    let reflection = services(server.channel()).await.unwrap_err();
    assert_eq!(reflection.code(), Code::Unauthenticated);
    assert_eq!(health(server.channel(), "").await, ServingStatus::Serving);
    server.stop().await.unwrap();
}

async fn health(channel: Channel, service: &str) -> ServingStatus {
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    HealthClient::new(channel)
        .check(request)
        .await
        .unwrap()
        .into_inner()
        .status()
}

async fn services(channel: Channel) -> Result<Vec<String>, Status> {
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(channel)
        .server_reflection_info(tokio_stream::iter([request]))
        .await?
        .into_inner();
    match answers.message().await?.unwrap().message_response {
        Some(MessageResponse::ListServicesResponse(list)) => {
            Ok(list.service.into_iter().map(|service| service.name).collect())
        }
        other => panic!("expected a list of services, found {other:?}"),
    }
}

#[tokio::test]
async fn health_and_both_versions_of_reflection_answer() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    for service in [
        "",
        "firn.v1alpha1.JobService",
        "firn.v1alpha1.WorkerService",
        "firn.v1alpha1.RankService",
        "firn.v1alpha1.AccessService",
    ] {
        assert_eq!(
            health(server.channel(), service).await,
            ServingStatus::Serving,
            "{service}"
        );
    }
    let found = services(server.channel()).await.unwrap();
    for service in [
        "firn.v1alpha1.JobService",
        "firn.v1alpha1.WorkerService",
        "firn.v1alpha1.RankService",
        "firn.v1alpha1.AccessService",
        "grpc.health.v1.Health",
    ] {
        assert!(found.iter().any(|name| name == service), "{service} in {found:?}");
    }
    let request = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(
            v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(
                "firn.v1alpha1.JobService".to_owned(),
            ),
        ),
    };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(server.channel());
    let mut answers = client
        .server_reflection_info(tokio_stream::iter([request]))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response;
    assert!(
        matches!(
            answer,
            Some(v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(_))
        ),
        "{answer:?}"
    );
    server.stop().await.unwrap();
}

/// An authority and what it signed, as PEM files.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self {
            issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap(),
        }
    }

    pub(crate) fn sign(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()])
            .unwrap()
            .signed_by(&key, &self.issuer)
            .unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }
}

#[tokio::test]
async fn over_tls_the_coordinator_proves_itself_and_can_ask_clients_to_do_so() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let (certificate, key) = authority.sign("localhost");
    let write = |name: &str, content: &str| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        Some(path)
    };
    let paths = SecurityPaths {
        tls_cert: write("cert.pem", &certificate),
        tls_key: write("key.pem", &key),
        client_ca: write("ca.pem", &authority.pem()),
        token_file: write("token", TOKEN),
    };
    let server = with_security(folder.path(), &paths);
    let endpoint = |tls: ClientTlsConfig| {
        let address = format!("https://localhost:{}", server.address.port());
        Endpoint::from_shared(address)
            .unwrap()
            .tls_config(tls)
            .unwrap()
            .connect_lazy()
    };
    let trusting =
        |authority: &Authority| ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority.pem()));
    let (client_certificate, client_key) = authority.sign("a-client");
    let identified = trusting(&authority).identity(Identity::from_pem(client_certificate, client_key));

    list(endpoint(identified.clone()), Some(TOKEN)).await.unwrap();
    assert_eq!(
        list(endpoint(identified), None).await.unwrap_err().code(),
        Code::Unauthenticated
    );
    assert!(
        list(endpoint(trusting(&authority)), Some(TOKEN)).await.is_err(),
        "a client without a certificate"
    );
    assert!(
        list(endpoint(trusting(&Authority::new())), Some(TOKEN)).await.is_err(),
        "a client that trusts another authority"
    );
    assert!(
        list(server.channel(), Some(TOKEN)).await.is_err(),
        "a client without TLS"
    );
    server.stop().await.unwrap();
}

#[tokio::test]
async fn the_command_line_shows_its_certificate_to_a_coordinator_that_asks_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let (certificate, key) = authority.sign("localhost");
    let (client_certificate, client_key) = authority.sign("a-client");
    let write = |name: &str, content: &str| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let (ca, token) = (write("ca.pem", &authority.pem()), write("token", TOKEN));
    let paths = SecurityPaths {
        tls_cert: Some(write("cert.pem", &certificate)),
        tls_key: Some(write("key.pem", &key)),
        client_ca: Some(ca.clone()),
        token_file: Some(token.clone()),
    };
    let server = with_security(folder.path(), &paths);
    let list = || {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_firn"));
        command.args([
            "list",
            "--coordinator",
            &format!("https://localhost:{}", server.address.port()),
        ]);
        command.arg("--ca").arg(&ca).arg("--token-file").arg(&token);
        command.env("FIRN_CONFIG", "/dev/null").kill_on_drop(true);
        command
    };
    let shown = list()
        .arg("--cert")
        .arg(write("client.pem", &client_certificate))
        .arg("--key")
        .arg(write("client-key.pem", &client_key))
        .output()
        .await
        .unwrap();
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    let hidden = list().output().await.unwrap();
    assert_eq!(
        hidden.status.code(),
        Some(4),
        "{}",
        String::from_utf8_lossy(&hidden.stderr)
    );
    server.stop().await.unwrap();
}

/// Settings of a coordinator with a certificate that the authority signed.
pub(crate) fn serve_over_tls(folder: &Path, authority: &Authority) -> ServeSettings {
    let (certificate, key) = authority.sign("localhost");
    let write = |name: &str, content: &str| {
        let path = folder.join(name);
        fs::write(&path, content).unwrap();
        Some(path)
    };
    let paths = SecurityPaths {
        tls_cert: write("cert.pem", &certificate),
        tls_key: write("key.pem", &key),
        ..SecurityPaths::default()
    };
    let mut settings = settings(folder);
    settings.security = Security::load(&paths, settings.listen).unwrap();
    settings
}

/// TLS without HTTP/2 on it, for peers that are no gRPC clients.
pub(crate) fn trusting(authority: &Authority) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap())
        .unwrap();
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols.push(b"h2".to_vec());
    TlsConnector::from(Arc::new(config))
}
