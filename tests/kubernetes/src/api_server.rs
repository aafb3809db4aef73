//! etcd and the API server: what a definition, a rule, a watch and a right need. Controllers, a scheduler and nodes are a [`Cluster`]'s.
//!
//! [`Cluster`]: crate::Cluster

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::bail;
use tempfile::TempDir;

use crate::{keys::Keys, kubectl::Kubectl, process::Process, programs::Programs};

/// Before a start counts as failed: a slow machine that does other work needs a minute.
const LONGEST_START: Duration = Duration::from_secs(300);
/// Where Services have their addresses, if nobody serves them.
const UNSERVED: Ipv4Addr = Ipv4Addr::new(127, 64, 0, 0);

/// A control plane that runs until it is dropped.
#[derive(Debug)]
pub struct ControlPlane {
    kubectl: Kubectl,
    keys: Keys,
    secure: u16,
    program: PathBuf,
    arguments: Vec<String>,
    // In this order: the server before its store.
    api_server: Mutex<Option<Process>>,
    etcd: Process,
    folder: TempDir,
}

impl ControlPlane {
    /// Starts one, and waits until it serves.
    ///
    /// # Errors
    /// If a program cannot be started, or ends, with what it said.
    pub fn start(programs: &Programs) -> anyhow::Result<Self> {
        Self::start_in(tempfile::tempdir()?, programs, UNSERVED, &[])
    }

    /// The same in a folder, with Services in the /21 that begins at `services`, and with more arguments for the API server.
    pub(crate) fn start_in(
        folder: TempDir,
        programs: &Programs,
        services: Ipv4Addr,
        more: &[&str],
    ) -> anyhow::Result<Self> {
        let keys = Keys::write(folder.path(), services)?;
        let [client, peer, secure] = free_ports()?;
        let mut arguments = server_arguments(&keys, client, secure);
        arguments.push(format!("--service-cluster-ip-range={services}/21"));
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        let etcd = Process::start(
            &programs.path("etcd"),
            &etcd_arguments(&folder.path().join("etcd"), client, peer),
            folder.path(),
        )?;
        let kubeconfig = write_kubeconfig(folder.path(), "kubeconfig", &keys, (secure, &keys.administrator))?;
        let plane = Self {
            kubectl: Kubectl::new(programs.path("kubectl"), kubeconfig),
            keys,
            secure,
            program: programs.path("kube-apiserver"),
            arguments,
            api_server: Mutex::new(None),
            etcd,
            folder,
        };
        plane.start_api_server()?;
        Ok(plane)
    }

    /// Starts the API server, again if it was stopped, and waits until it serves.
    ///
    /// # Errors
    /// If it cannot be started, or ends, with what it said.
    pub fn start_api_server(&self) -> anyhow::Result<()> {
        let mut api_server = Process::start(&self.program, &self.arguments, self.folder())?;
        let began = Instant::now();
        while !self.kubectl.run(&["get", "--raw", "/readyz"], "").succeeded {
            if api_server.has_ended() || began.elapsed() > LONGEST_START {
                bail!(
                    "the API server does not serve:\n{}\netcd:\n{}",
                    api_server.last_lines(),
                    self.etcd.last_lines()
                );
            }
            pause();
        }
        *self.api_server.lock().unwrap_or_else(PoisonError::into_inner) = Some(api_server);
        Ok(())
    }

    /// Kills the API server. What it has stored stays.
    pub fn stop_api_server(&self) {
        self.api_server.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// `kubectl` as an administrator.
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// Where it keeps its files; its programs' logs are there, too.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A kubeconfig of one of its own programs.
    pub(crate) fn kubeconfig_of(&self, program: &str) -> anyhow::Result<PathBuf> {
        let token = self.keys.token_of(program);
        write_kubeconfig(
            self.folder(),
            &format!("{program}.kubeconfig"),
            &self.keys,
            (self.secure, &token),
        )
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Where the API server listens on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.secure
    }
}

/// There is no event to wait for: the server says that it is ready only to those who ask.
#[allow(clippy::disallowed_methods, reason = "the time between two questions")]
fn pause() {
    thread::sleep(Duration::from_millis(100));
}

/// Ports that are free now, all different.
pub(crate) fn free_ports<const N: usize>() -> anyhow::Result<[u16; N]> {
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
        // As elsewhere: the policies of namespaces decide.
        "--allow-privileged=true".to_owned(),
        format!("--service-account-key-file={}", keys.accounts_public.display()),
        format!("--service-account-signing-key-file={}", keys.accounts.display()),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
    ]
}

fn write_kubeconfig(folder: &Path, name: &str, keys: &Keys, (port, token): (u16, &str)) -> anyhow::Result<PathBuf> {
    let path = folder.join(name);
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
         clusters: [{{name: test, cluster: {{server: 'https://127.0.0.1:{port}', certificate-authority: '{}'}}}}]\n\
         users: [{{name: test, user: {{token: {token}}}}}]\n\
         contexts: [{{name: test, context: {{cluster: test, user: test}}}}]\n",
        keys.authority.display()
    );
    fs::write(&path, text)?;
    Ok(path)
}
