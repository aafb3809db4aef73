//! A coordinator that asks for certificates.

use std::{
    fs,
    time::{Duration, Instant},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use super::{
    coordinator::{Coordinator, Manner, PATIENCE},
    process::Agent,
};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate and its key.
fn sign(authority: &Authority, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    (params.signed_by(&key, authority).unwrap().pem(), key.serialize_pem())
}

/// A coordinator that asks for certificates of an authority, and shows one of it.
fn coordinator_that_asks(authority: &Authority) -> Coordinator {
    let (certificate, key) = sign(authority, "localhost");
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(certificate, key))
        .client_ca_root(Certificate::from_pem(authority.pem()));
    Coordinator::start_with(Manner {
        tls: Some(tls),
        ..Manner::default()
    })
}

#[test]
fn an_agent_shows_its_certificate_and_hands_it_on_to_its_ranks() {
    let folder = tempfile::tempdir().unwrap();
    let authority = authority();
    let coordinator = coordinator_that_asks(&authority);

    let (certificate, key) = sign(&authority, "worker");
    let mut agent = Agent::prepare(folder.path(), r#"echo "$FIRN_CERT $FIRN_KEY""#);
    let url = format!("https://localhost:{}", coordinator.address.port());
    agent.connection = vec!["--coordinator".into(), url.into()];
    let mut paths = Vec::new();
    for (flag, content) in [("ca", authority.pem()), ("cert", certificate), ("key", key)] {
        let path = folder.path().join(format!("{flag}.pem"));
        fs::write(&path, content).unwrap();
        agent
            .connection
            .extend([format!("--{flag}").into(), path.clone().into()]);
        paths.push(path);
    }
    agent.start_again(coordinator.address);
    let session = coordinator.session();
    session.start_rank("p1");
    session.wait_for_line(&format!("{} {}", paths[1].display(), paths[2].display()));
}

#[test]
fn an_agent_without_a_certificate_says_what_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let authority = authority();
    let coordinator = coordinator_that_asks(&authority);
    let path = folder.path().join("ca.pem");
    fs::write(&path, authority.pem()).unwrap();
    let mut agent = Agent::prepare(folder.path(), "exit 0");
    let url = format!("https://localhost:{}", coordinator.address.port());
    agent.connection = vec!["--coordinator".into(), url.into(), "--ca".into(), path.into()];
    agent.start_again(coordinator.address);
    let words = "CertificateRequired: the coordinator asks for a certificate of whoever calls: give --cert and --key";
    let began = Instant::now();
    // A log tells nobody when it grows.
    while !agent.log().contains(words) {
        assert!(began.elapsed() < PATIENCE, "{}", agent.log());
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
