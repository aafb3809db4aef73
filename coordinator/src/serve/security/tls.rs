//! How the coordinator proves itself, and which proof it asks of clients.

use std::{path::Path, sync::Arc};

use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, RootCertStore, ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
        server::WebPkiClientVerifier,
    },
};

use super::{SecurityError, read, reload::Watched};

/// The certificate with its key, and the authority of clients. A pair that does not belong together is no pair.
pub(super) fn watched(
    certificate: &Path,
    key: &Path,
    client_ca: Option<&Path>,
) -> Result<Watched<TlsAcceptor>, SecurityError> {
    let paths = [Some(certificate), Some(key), client_ca]
        .into_iter()
        .flatten()
        .map(Path::to_owned);
    let paths: Vec<_> = paths.collect();
    let named = paths.clone();
    Watched::new("the certificates", paths, move || {
        read_acceptor(&named[0], &named[1], named.get(2).map(AsRef::as_ref))
    })
}

fn read_acceptor(certificate: &Path, key: &Path, client_ca: Option<&Path>) -> Result<TlsAcceptor, SecurityError> {
    let chain = read_certificates("--tls-cert", certificate)?;
    let unfit_key = unfit("--tls-key", key);
    let private = PrivateKeyDer::from_pem_slice(&read("--tls-key", key)?).map_err(|error| unfit_key(&error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| unfit("--tls-cert", certificate)(&error))?;
    let config = match client_ca {
        None => config.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(read_certificates("--client-ca", authority)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build();
            config.with_client_cert_verifier(verifier.map_err(|error| unfit("--client-ca", authority)(&error))?)
        }
    };
    let mut config = config
        .with_single_cert(chain, private)
        .map_err(|error| unfit("--tls-cert", certificate)(&error))?;
    config.alpn_protocols.push(b"h2".to_vec());
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn read_certificates(flag: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, SecurityError> {
    let pem = read(flag, path)?;
    let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| unfit(flag, path)(&error))?;
    if certificates.is_empty() {
        return Err(unfit(flag, path)(&"expected a PEM certificate, found none"));
    }
    Ok(certificates)
}

fn unfit(flag: &'static str, path: &Path) -> impl Fn(&dyn std::fmt::Display) -> SecurityError {
    let path = path.to_owned();
    move |reason| SecurityError::Tls {
        flag,
        path: path.clone(),
        reason: reason.to_string(),
    }
}
