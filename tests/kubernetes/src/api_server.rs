//! etcd and the API server: what a definition, a rule, a watch and a right need. Controllers and a scheduler are not started here.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use tempfile::TempDir;

use crate::{kubectl::Kubectl, process::Process, programs::Programs};

/// Before a start counts as failed: a slow machine that does other work needs a minute.
const LONGEST_START: Duration = Duration::from_secs(300);
/// Of the administrator.
const TOKEN: &str = "administrator-of-the-test";

/// A control plane that runs until it is dropped.
#[derive(Debug)]
pub struct ControlPlane {
    kubectl: Kubectl,
    // In this order: the server before its store.
    _api_server: Process,
    _etcd: Process,
    _folder: TempDir,
}

impl ControlPlane {
    /// Starts one, and waits until it serves.
    ///
    /// # Errors
    /// If a program cannot be started, or ends, with what it said.
    pub fn start(programs: &Programs) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let keys = Keys::write(folder.path())?;
        let [client, peer, secure] = free_ports()?;
        let etcd = Process::start(
            &programs.path("etcd"),
            &etcd_arguments(&folder.path().join("etcd"), client, peer),
            folder.path(),
        )?;
        let mut api_server = Process::start(
            &programs.path("kube-apiserver"),
            &server_arguments(&keys, client, secure),
            folder.path(),
        )?;
        let kubeconfig = folder.path().join("kubeconfig");
        fs::write(&kubeconfig, self::kubeconfig(&keys.authority, secure))?;
        let kubectl = Kubectl::new(programs.path("kubectl"), kubeconfig);
        let began = Instant::now();
        while !kubectl.run(&["get", "--raw", "/readyz"], "").succeeded {
            if api_server.has_ended() || began.elapsed() > LONGEST_START {
                bail!(
                    "the API server does not serve:\n{}\netcd:\n{}",
                    api_server.last_lines(),
                    etcd.last_lines()
                );
            }
            pause();
        }
        Ok(Self {
            kubectl,
            _api_server: api_server,
            _etcd: etcd,
            _folder: folder,
        })
    }

    /// `kubectl` as an administrator.
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }
}

/// There is no event to wait for: the server says that it is ready only to those who ask.
#[allow(clippy::disallowed_methods, reason = "the time between two questions")]
fn pause() {
    thread::sleep(Duration::from_millis(100));
}

/// Ports that are free now, all different.
fn free_ports<const N: usize>() -> anyhow::Result<[u16; N]> {
    let listeners: Vec<TcpListener> = (0..N)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<Result<_, _>>()?;
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

fn etcd_arguments(data: &Path, client: u16, peer: u16) -> Vec<String> {
    let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
    vec![
        format!("--data-dir={}", data.display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        // A test that loses its machine loses its store, too.
        "--unsafe-no-fsync".to_owned(),
    ]
}

fn server_arguments(keys: &Keys, etcd: u16, secure: u16) -> Vec<String> {
    vec![
        format!("--etcd-servers=http://127.0.0.1:{etcd}"),
        "--bind-address=127.0.0.1".to_owned(),
        // Only told to others; a loopback address is refused.
        "--advertise-address=192.0.2.2".to_owned(),
        "--endpoint-reconciler-type=none".to_owned(),
        format!("--secure-port={secure}"),
        format!("--tls-cert-file={}", keys.server.display()),
        format!("--tls-private-key-file={}", keys.server_key.display()),
        format!("--token-auth-file={}", keys.tokens.display()),
        "--authorization-mode=RBAC".to_owned(),
        "--anonymous-auth=false".to_owned(),
        "--service-cluster-ip-range=127.64.0.0/16".to_owned(),
        format!("--service-account-key-file={}", keys.accounts_public.display()),
        format!("--service-account-signing-key-file={}", keys.accounts.display()),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
    ]
}

fn kubeconfig(authority: &Path, secure: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
         clusters: [{{name: test, cluster: {{server: 'https://127.0.0.1:{secure}', certificate-authority: '{}'}}}}]\n\
         users: [{{name: test, user: {{token: {TOKEN}}}}}]\n\
         contexts: [{{name: test, context: {{cluster: test, user: test}}}}]\n",
        authority.display()
    )
}

/// Files with the keys of a control plane.
struct Keys {
    authority: PathBuf,
    server: PathBuf,
    server_key: PathBuf,
    accounts: PathBuf,
    accounts_public: PathBuf,
    tokens: PathBuf,
}

impl Keys {
    fn write(folder: &Path) -> anyhow::Result<Self> {
        let file = |name: &str, content: String| -> anyhow::Result<PathBuf> {
            let path = folder.join(name);
            fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
            Ok(path)
        };
        let mut authority = CertificateParams::default();
        authority
            .distinguished_name
            .push(DnType::CommonName, "authority of the test");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
        let mut server = CertificateParams::new(vec!["127.0.0.1".to_owned(), "kubernetes.default.svc".to_owned()])?;
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let server_key = KeyPair::generate()?;
        let server = server.signed_by(&server_key, &authority)?;
        let accounts = KeyPair::generate()?;
        Ok(Self {
            authority: file("ca.crt", authority.pem())?,
            server: file("server.crt", server.pem())?,
            server_key: file("server.key", server_key.serialize_pem())?,
            accounts_public: file("accounts.pub", accounts.public_key_pem())?,
            accounts: file("accounts.key", accounts.serialize_pem())?,
            tokens: file("tokens.csv", format!("{TOKEN},administrator,1,system:masters\n"))?,
        })
    }
}
