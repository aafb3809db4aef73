//! A release from its installation to its end: resources, the journal's claim and Secrets outlive all of it.

use std::{collections::BTreeMap, path::PathBuf};

use firn_kubernetes_tests::{ControlPlane, Helm, Kubectl, Programs};
use firn_tests::binaries::repository;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use super::{HOME, cluster};

struct Release<'a> {
    helm: Helm,
    kubectl: &'a Kubectl,
}

type Secrets = BTreeMap<String, BTreeMap<String, String>>;

fn values(name: &str) -> PathBuf {
    repository().join(format!("tests/kubernetes/values/{name}.yaml"))
}

impl Release<'_> {
    fn helm(&self, verb: &str, name: &str, more: &[&str]) -> String {
        let (chart, values) = (Helm::chart().display().to_string(), values(name).display().to_string());
        let fixed = [verb, "firn", &chart, "--namespace", HOME, "--values", &values];
        self.helm.must(&[&fixed, more].concat())
    }

    /// All Secrets that the chart keeps, by their names.
    fn secrets(&self) -> Secrets {
        let selector = ["--selector", "app.kubernetes.io/part-of=firn", "--namespace", HOME];
        let text = self
            .kubectl
            .must(&[&["get", "secrets", "-o", "json"], selector.as_slice()].concat(), "");
        let list: Value = serde_json::from_str(&text).unwrap();
        let read = |item: &Value| {
            let secret: Secret = serde_json::from_value(item.clone()).unwrap();
            let data = secret.data.unwrap_or_default().into_iter();
            let data = data.map(|(key, value)| (key, String::from_utf8(value.0).unwrap()));
            (secret.metadata.name.unwrap(), data.collect())
        };
        list["items"].as_array().unwrap().iter().map(read).collect()
    }

    fn get(&self, namespace: &str, kind: &str, name: &str) -> Value {
        let text = self
            .kubectl
            .must(&["get", kind, name, "--namespace", namespace, "-o", "json"], "");
        serde_json::from_str(&text).unwrap()
    }

    fn is_there(&self, namespace: &str, kind: &str, name: &str) -> bool {
        self.kubectl
            .run(&["get", kind, name, "--namespace", namespace], "")
            .succeeded
    }

    /// What outlives the release: the definition, the resource, the claim.
    fn lasting(&self) -> [Value; 3] {
        [
            self.get("", "crd", "finetunejobs.firn.dev")["metadata"]["uid"].clone(),
            self.get("team-a", "finetunejob", "ants-and-bees")["metadata"]["uid"].clone(),
            self.get(HOME, "pvc", "journal-firn-coordinator-0")["metadata"]["uid"].clone(),
        ]
    }

    /// More is asked for: what was there stays as it was, and the coordinator is told of both.
    fn grows(&self, first: &Secrets) -> Secrets {
        let storage =
            "coordinator.storage.size=20Gi,coordinator.storage.className=,coordinator.storage.annotations=null";
        let more = ["--set", "metrics.serviceMonitor.enabled=false", "--set", storage];
        self.helm("upgrade", "everything", &more);
        let second = self.secrets();
        for (place, secret) in first {
            // Another name under which the coordinator is reached is another certificate, of the same authority.
            let is_changed = ["firn-tokens", "firn-coordinator-tls"].contains(&place.as_str());
            assert_eq!(second[place] != *secret, is_changed, "{place}");
        }
        let tokens = &second["firn-tokens"]["tokens"];
        for (place, rights) in RIGHTS {
            let line = format!("{} {rights}\n", second[place]["token"]);
            assert!(tokens.contains(&line), "{place}: {tokens}");
        }
        let authority = &first["firn-authority"]["tls.crt"];
        let mut trusted = second.values().filter_map(|secret| secret.get("ca.crt"));
        assert!(trusted.all(|certificate| certificate == authority));
        second
    }

    fn is_rolled_back(&self) {
        let rolled = self.helm.run(&["rollback", "firn", "1", "--namespace", HOME]);
        // It says of the Secret of a pool that it is still there, as it should be.
        let is_expected = |line: &str| {
            line.contains("exists on cluster but not in original release") && line.contains("firn-pool-shared")
        };
        assert!(
            rolled.succeeded && rolled.talk.lines().all(is_expected),
            "{}",
            rolled.talk
        );
        assert!(!self.is_there(HOME, "statefulset", "firn-pool-gpus"));
        assert!(self.is_there(HOME, "statefulset", "firn-pool-shared"));
    }

    /// What a controller does elsewhere: the claim of the StatefulSet.
    fn make_claim(&self) {
        let mut claim = self.get(HOME, "statefulset", "firn-coordinator")["spec"]["volumeClaimTemplates"][0].clone();
        claim["apiVersion"] = json!("v1");
        claim["kind"] = json!("PersistentVolumeClaim");
        claim["metadata"]["name"] = json!("journal-firn-coordinator-0");
        claim["metadata"]["namespace"] = json!(HOME);
        assert_eq!(claim["spec"]["accessModes"], json!(["ReadWriteOncePod"]));
        self.kubectl.must(&["create", "-f", "-"], &claim.to_string());
    }
}

/// Secrets of the oldest chart's values.
const MADE_FIRST: [&str; 6] = [
    "firn-admin",
    "firn-authority",
    "firn-coordinator-tls",
    "firn-operator",
    "firn-pool-shared",
    "firn-tokens",
];

/// Tokens that the coordinator knows when everything is asked for, and their rights.
const RIGHTS: [(&str, &str); 4] = [
    ("firn-admin", "role=administrator"),
    ("firn-operator", "role=administrator"),
    ("firn-pool-gpus", "role=agent"),
    ("firn-pool-few", "role=agent namespace=team-a"),
];

/// A cluster with the namespaces, and the release in it as somebody made it with the oldest chart's values.
fn installed(programs: &Programs) -> (ControlPlane, Helm) {
    let plane = ControlPlane::start(programs).unwrap_or_else(|error| panic!("{error:#}"));
    let kubectl = plane.kubectl();
    for name in [HOME, "team-a", "team-b"] {
        kubectl.must(&["create", "namespace", name], "");
    }
    let helm = Helm::on(programs, kubectl);
    let release = Release { helm, kubectl };
    let notes = release.helm("install", "older/0.1.0", &[]);
    assert!(notes.contains("looks after the FineTuneJobs of team-a"), "{notes}");
    let helm = release.helm;
    (plane, helm)
}

#[test]
fn install_upgrade_rollback_and_uninstall_keep_resources_claim_and_secrets() {
    let Some((programs, _)) = cluster() else { return };
    let (plane, helm) = installed(programs);
    let kubectl = plane.kubectl();
    let release = Release { helm, kubectl };
    release.make_claim();
    kubectl.must(
        &[
            "wait",
            "--for=condition=Established",
            "crd/finetunejobs.firn.dev",
            "--timeout=60s",
        ],
        "",
    );
    let job = repository()
        .join("deploy/kubernetes/ants-and-bees.yaml")
        .display()
        .to_string();
    kubectl.must(
        &["create", "--validate=strict", "--namespace", "team-a", "-f", &job],
        "",
    );
    let (lasting, first) = (release.lasting(), release.secrets());
    let places: Vec<&str> = first.keys().map(String::as_str).collect();
    assert_eq!(places, MADE_FIRST);

    // The same again makes nothing anew.
    release.helm("upgrade", "older/0.1.0", &[]);
    assert_eq!(release.secrets(), first);

    let second = release.grows(&first);
    assert_eq!(release.lasting(), lasting);

    release.is_rolled_back();
    let back = release.secrets();
    for (place, secret) in &first {
        assert_eq!(back[place], *secret, "{place}");
    }
    // Nobody loses a token by it: the next upgrade finds it.
    assert_eq!(back["firn-pool-gpus"], second["firn-pool-gpus"]);
    assert_eq!(release.lasting(), lasting);

    release.helm.must(&["uninstall", "firn", "--namespace", HOME]);
    for (namespace, kind, name) in [
        (HOME, "statefulset", "firn-coordinator"),
        (HOME, "deployment", "firn-operator"),
        ("team-a", "role", "firn-operator-jobs"),
    ] {
        assert!(!release.is_there(namespace, kind, name), "{kind} {name}");
    }
    assert_eq!((release.secrets(), release.lasting()), (back, lasting.clone()));

    // Installed again, it finds them all.
    release.helm("install", "older/0.1.0", &[]);
    for (place, secret) in &first {
        assert_eq!(release.secrets()[place], *secret, "{place}");
    }
    assert_eq!(release.lasting(), lasting);
}

#[test]
fn a_certificate_is_renewed_by_an_upgrade_after_two_thirds_of_its_life_and_not_before() {
    let Some((programs, _)) = cluster() else { return };
    let (plane, helm) = installed(programs);
    let kubectl = plane.kubectl();
    let release = Release { helm, kubectl };
    let before = release.secrets();
    // As people do who have lost their file of values.
    let chart = Helm::chart().display().to_string();
    release.helm.must(&[
        "upgrade",
        "firn",
        &chart,
        "--namespace",
        HOME,
        "--reset-then-reuse-values",
    ]);
    assert_eq!(release.secrets(), before);
    assert!(release.is_there(HOME, "statefulset", "firn-pool-shared"));
    let notes = release.helm.must(&["get", "notes", "firn", "--namespace", HOME]);
    assert!(notes.contains("get secret firn-admin"), "{notes}");
    // As if time had passed since helm wrote it.
    let mut secret = release.get(HOME, "secret", "firn-coordinator-tls");
    secret["metadata"]["annotations"]["firn.dev/renewed-after"] = json!("2020-01-01T00:00:00Z");
    secret["metadata"]["managedFields"] = Value::Null;
    let apply = ["apply", "--server-side", "--field-manager", "helm", "-f", "-"];
    kubectl.must(&apply, &secret.to_string());
    release.helm("upgrade", "older/0.1.0", &[]);
    let after = release.secrets();
    let leaf = "firn-coordinator-tls";
    assert_ne!(after[leaf]["tls.crt"], before[leaf]["tls.crt"]);
    assert_eq!(after[leaf]["ca.crt"], before[leaf]["ca.crt"]);
    let others = |secrets: &Secrets| {
        secrets
            .iter()
            .filter(|(place, _)| *place != leaf)
            .map(|(_, secret)| secret.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(others(&after), others(&before));
}

#[test]
fn a_token_that_somebody_replaces_is_kept_and_told_to_the_coordinator_by_the_next_upgrade() {
    let Some((programs, _)) = cluster() else { return };
    let (plane, helm) = installed(programs);
    let kubectl = plane.kubectl();
    let release = Release { helm, kubectl };
    let before = release.secrets();
    let token = "replaced-by-an-administrator";
    let patch = json!({"stringData": {"token": token}}).to_string();
    kubectl.must(
        &["patch", "secret", "firn-operator", "--namespace", HOME, "-p", &patch],
        "",
    );
    release.helm("upgrade", "older/0.1.0", &[]);
    let after = release.secrets();
    assert_eq!(after["firn-operator"]["token"], token);
    let tokens = &after["firn-tokens"]["tokens"];
    assert!(tokens.contains(&format!("{token} role=administrator\n")), "{tokens}");
    assert!(!tokens.contains(&before["firn-operator"]["token"]), "{tokens}");
    assert_eq!(after["firn-admin"], before["firn-admin"]);
}
