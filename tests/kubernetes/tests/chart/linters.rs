//! What `helm lint`, kube-score and kubeconform say.

use std::{fs, process::Command};

use firn_kubernetes_tests::{Answer, Helm, Programs};
use serde_json::Value;

use super::{all_values, cluster, schemas};

/// Checks of kube-score that do not hold here, and why.
const EXCEPTIONS: [(&str, &str); 4] = [
    (
        "container-image-pull-policy",
        "images are named by version or digest, so one that is there is the right one",
    ),
    (
        "deployment-has-host-podantiaffinity",
        "replicas are spread softly: a cluster of one node is one, too",
    ),
    ("statefulset-has-host-podantiaffinity", "the same"),
    (
        "statefulset-has-poddisruptionbudget",
        "ranks train on without a coordinator, and workers hand over: a budget would only block drains",
    ),
];

#[test]
fn helm_has_nothing_to_say() {
    let Some(programs) = Programs::find(&["helm"]) else {
        return;
    };
    let helm = Helm::new(&programs);
    for values in all_values() {
        let chart = Helm::chart().display().to_string();
        let said = helm.must(&[
            "lint",
            "--strict",
            "--values",
            &values.file.display().to_string(),
            &chart,
        ]);
        let said: Vec<&str> = said.lines().filter(|line| line.starts_with('[')).collect();
        assert_eq!(said, ["[INFO] Chart.yaml: icon is recommended"], "{}", values.name);
    }
}

#[test]
fn values_that_nobody_reads_are_refused_by_their_names() {
    let Some(programs) = Programs::find(&["helm"]) else {
        return;
    };
    let helm = Helm::new(&programs);
    let chart = Helm::chart().display().to_string();
    for (setting, expected) in [
        (
            "coordinator.replicas=2",
            "at '/coordinator': additional properties 'replicas' not allowed",
        ),
        (
            "coordinators.log=debug",
            "additional properties 'coordinators' not allowed",
        ),
        (
            "certificates.certManager=perhaps",
            "at '/certificates/certManager': value must be one of 'auto', 'always', 'never'",
        ),
        (
            "namespaces={Team_A}",
            "at '/namespaces/0': 'Team_A' does not match pattern",
        ),
        (
            "operator.replicas=two",
            "at '/operator/replicas': got string, want integer",
        ),
        (
            "coordinator.storage.accessMode=ReadWriteMany",
            "at '/coordinator/storage/accessMode': value must be one of",
        ),
        (
            "pools[0].name=a",
            "at '/pools/0': missing properties 'replicas', 'device', 'slots'",
        ),
        ("certificates.issuer.kind=Issuer", "at '/certificates/issuer'"),
    ] {
        let refused = helm.run(&["template", "firn", &chart, "--set", setting]);
        assert!(
            !refused.succeeded && refused.talk.contains(expected),
            "{setting}: {}",
            refused.talk
        );
    }
}

#[test]
fn kube_score_finds_nothing_but_the_named_exceptions() {
    let Some(programs) = Programs::find(&["helm", "kube-score"]) else {
        return;
    };
    let helm = Helm::new(&programs);
    for values in all_values() {
        // Somebody else guards the network there.
        let network = ["pod-networkpolicy"]
            .into_iter()
            .filter(|_| values.name == "given-secrets");
        // The cluster gives users there.
        let user = ["container-security-context-user-group-id"]
            .into_iter()
            .filter(|_| values.name == "all-namespaces");
        let ignored = EXCEPTIONS.iter().map(|(check, _)| *check).chain(network).chain(user);
        let mut command = Command::new(programs.path("kube-score"));
        // A limit slows a pod down on a node that idles; the request says how much it is owed.
        command.args([
            "score",
            "--output-format",
            "ci",
            "--exit-one-on-warning",
            "--ignore-container-cpu-limit",
        ]);
        command
            .args(ignored.flat_map(|check| ["--ignore-test", check]))
            .arg("-");
        let said = Answer::of(&mut command, &helm.render(&values.file, values.cluster()));
        let bad: Vec<&str> = said
            .output
            .lines()
            .filter(|line| !line.starts_with("[OK]") && !line.starts_with("[SKIPPED]"))
            .collect();
        assert!(
            said.succeeded && bad.is_empty(),
            "{}: {} {}",
            values.name,
            bad.join("\n"),
            said.talk
        );
    }
}

#[test]
fn kubeconform_knows_every_field() {
    let Some((programs, kubectl)) = cluster() else { return };
    let helm = Helm::new(programs);
    let folder = tempfile::tempdir().unwrap();
    let place = folder
        .path()
        .join("{{.ResourceKind}}{{.KindSuffix}}.json")
        .display()
        .to_string();
    for values in all_values() {
        let text = helm.render(&values.file, values.cluster());
        for document in firn_kubernetes_tests::documents(&text) {
            let (name, schema) = schemas::of(kubectl, &document);
            fs::write(folder.path().join(name), schema.to_string()).unwrap();
        }
        let conform = |text: &str| {
            let mut command = Command::new(programs.path("kubeconform"));
            command.args(["-strict", "-summary", "-output", "json", "-schema-location", &place]);
            Answer::of(&mut command, text)
        };
        let said = conform(&text);
        let summary: Value = serde_json::from_str(&said.output).unwrap();
        assert!(said.succeeded, "{}: {}", values.name, said.output);
        assert_eq!(
            (&summary["summary"]["skipped"], &summary["summary"]["invalid"]),
            (&0.into(), &0.into())
        );
        // And it would find one.
        assert!(!conform(&text.replacen("automountServiceAccountToken", "automountToken", 1)).succeeded);
    }
}
