//! With what the workers of a job show who they are: a Secret of their own, which goes with the resource.
//!
//! The token is one of an agent of this job alone, so whoever reads it reaches no other job. The files are copies of the operator's own, so a
//! namespace needs no Secret before jobs run in it. They are copied again when they have changed, and running workers read them again.

use std::{fs, path::Path};

use anyhow::Context as _;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::{JOB_LABEL, WorkerSettings, job::owner};
use crate::resource::FineTuneJob;

/// Key of the bearer token.
pub const TOKEN: &str = "token";
/// Key of the authorities that signed the coordinator's certificate.
pub const AUTHORITY: &str = "ca.crt";
/// Key of the certificate that workers show.
pub const CERTIFICATE: &str = "tls.crt";
/// Key of its private key.
pub const KEY: &str = "tls.key";

/// What all workers are given, whatever their job: file by file, under its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedFiles(Vec<(&'static str, Vec<u8>)>);

impl SharedFiles {
    /// Reads the files that the settings name.
    ///
    /// # Errors
    /// If one of them cannot be read.
    pub fn read(settings: &WorkerSettings) -> anyhow::Result<Self> {
        let mut files = Vec::new();
        let mut add = |key: &'static str, path: &Path| {
            let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            files.push((key, bytes));
            anyhow::Ok(())
        };
        if let Some(authority) = &settings.authority {
            add(AUTHORITY, authority)?;
        }
        if let Some(folder) = &settings.certificate {
            add(CERTIFICATE, &folder.join(CERTIFICATE))?;
            add(KEY, &folder.join(KEY))?;
        }
        Ok(Self(files))
    }

    /// Changes when one of them does.
    pub fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for (key, bytes) in &self.0 {
            for part in [key.as_bytes(), bytes.as_slice()] {
                hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
            }
        }
        hasher.finalize().to_hex()[..16].to_owned()
    }

    /// As data of a Secret.
    pub fn data(&self) -> Value {
        let files = self.0.iter();
        files
            .map(|(key, bytes)| ((*key).to_owned(), json!(ByteString(bytes.clone()))))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }
}

/// Name of the Secret. A resource that is made again under the same name has another one.
pub fn secret_name(resource: &FineTuneJob) -> String {
    let uid = resource.uid().unwrap_or_default();
    let start = uid.get(..8).unwrap_or(&uid);
    format!("{}-workers-{}", resource.name_any(), start.trim_end_matches('-'))
}

/// The Secret of a job's workers.
pub fn secret(resource: &FineTuneJob, token: &str, files: &SharedFiles) -> Secret {
    let mut data = files.data();
    data[TOKEN] = json!(ByteString(token.as_bytes().to_vec()));
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": secret_name(resource),
            "namespace": resource.namespace(),
            "labels": {JOB_LABEL: resource.name_any(), "app.kubernetes.io/managed-by": "firn-operator"},
            "ownerReferences": [owner(resource)],
        },
        "type": "Opaque",
        "data": data,
    });
    serde_json::from_value(secret).expect("this is a Secret")
}
