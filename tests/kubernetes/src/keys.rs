//! The keys, certificates and tokens of a control plane.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

/// Of the administrator.
const ADMINISTRATOR: &str = "administrator-of-the-test";

/// Files with the keys of a control plane.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) authority: PathBuf,
    pub(crate) server: PathBuf,
    pub(crate) server_key: PathBuf,
    pub(crate) accounts: PathBuf,
    pub(crate) accounts_public: PathBuf,
    pub(crate) tokens: PathBuf,
    /// Shown by an administrator.
    pub(crate) administrator: String,
}

impl Keys {
    pub(crate) fn write(folder: &Path, services: Ipv4Addr) -> anyhow::Result<Self> {
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
        // Pods find it under the first address of the Services.
        let in_pods = Ipv4Addr::from(u32::from(services) + 1).to_string();
        let names = [
            "127.0.0.1",
            &in_pods,
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
        ];
        let mut server = CertificateParams::new(names.map(str::to_owned))?;
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
            tokens: file("tokens.csv", tokens())?,
            administrator: ADMINISTRATOR.to_owned(),
        })
    }

    /// What a program of the control plane shows.
    pub(crate) fn token_of(&self, program: &str) -> String {
        token(program)
    }
}

fn token(program: &str) -> String {
    format!("{program}-of-the-test")
}

fn tokens() -> String {
    let programs = ["kube-controller-manager", "kube-scheduler"];
    let mut lines = format!("{ADMINISTRATOR},administrator,1,system:masters\n");
    for (number, program) in programs.iter().enumerate() {
        lines.push_str(&format!("{},system:{program},{}\n", token(program), number + 2));
    }
    lines
}
