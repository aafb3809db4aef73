//! The Secrets of the release, and authorities that the chart knows nothing of.

use std::collections::BTreeMap;

use firn_tests::{
    binaries::processes_with,
    cluster::{BETWEEN_LOOKS, LIMIT},
};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};

use crate::release::{HOME, Story};

/// What a Secret holds, by its keys.
pub(crate) type Contents = BTreeMap<String, String>;

/// A Secret of a namespace.
pub(crate) fn read(story: &Story, namespace: &str, name: &str) -> Contents {
    let text = story
        .kubectl()
        .must(&["--namespace", namespace, "get", "secret", name, "-o", "json"], "");
    let secret: Secret = serde_json::from_str(&text).unwrap();
    let data = secret.data.unwrap_or_default().into_iter();
    data.map(|(key, value)| (key, String::from_utf8(value.0).unwrap()))
        .collect()
}

/// Changes a Secret of the release, in the name of helm: so that the next upgrade may, too.
fn edit(story: &Story, name: &str, change: impl FnOnce(&mut Value)) {
    let text = story
        .kubectl()
        .must(&["--namespace", HOME, "get", "secret", name, "-o", "json"], "");
    let mut secret: Value = serde_json::from_str(&text).unwrap();
    change(&mut secret);
    secret["metadata"]["managedFields"] = Value::Null;
    secret["metadata"]["resourceVersion"] = Value::Null;
    let apply = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--field-manager",
        "helm",
        "-f",
        "-",
    ];
    story.kubectl().must(&apply, &secret.to_string());
}

/// Puts other contents under some keys of a Secret of the release.
pub(crate) fn replace(story: &Story, name: &str, contents: &[(&str, &str)]) {
    edit(story, name, |secret| {
        for (key, text) in contents {
            secret["data"][*key] = json!(ByteString(text.as_bytes().to_vec()));
        }
    });
}

/// A certificate of the chart has had two thirds of its life.
pub(crate) fn grow_old(story: &Story, name: &str) {
    edit(story, name, |secret| {
        secret["metadata"]["annotations"]["firn.dev/renewed-after"] = json!("2020-01-01T00:00:00Z");
    });
}

/// All that a Secret held, put back.
pub(crate) fn restore(story: &Story, name: &str, contents: &Contents) {
    let all: Vec<(&str, &str)> = contents
        .iter()
        .map(|(key, text)| (key.as_str(), text.as_str()))
        .collect();
    replace(story, name, &all);
}

/// Waits for what nobody tells of.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LIMIT, "{what} never came");
        std::thread::park_timeout(BETWEEN_LOOKS);
    }
}

/// Whether this is so of each process that has a variable of its environment, of which there is one at least.
pub(crate) fn all_processes((variable, value): (&str, &str), is_so: impl Fn(i32) -> bool) -> bool {
    let processes = processes_with(variable, value);
    !processes.is_empty() && processes.iter().all(|(process, _)| is_so(*process))
}

/// An authority that signs for whoever asks.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn certificate(&self) -> String {
        self.0.pem()
    }

    /// A certificate for these names, and its key.
    pub(crate) fn sign(&self, names: &[&str]) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &self.0).unwrap();
        (leaf.pem(), key.serialize_pem())
    }
}
