//! Who may do what in the cluster.

use firn_kubernetes_tests::{Helm, Kubectl, documents};
use serde_json::{Value, json};

use super::{HOME, all_values, cluster};

const OPERATOR: &str = "system:serviceaccount:firn-system:firn-operator";
const COORDINATOR: &str = "system:serviceaccount:firn-system:firn-coordinator";
/// That of the pods of jobs, whose token they do not even get.
const WORKER: &str = "system:serviceaccount:team-a:default";

/// Who, what, on what, where, and whether. `team-a` is looked after, `team-b` is not.
const TABLE: &[(&str, &str, &str, &str, bool)] = &[
    (OPERATOR, "watch", "finetunejobs.firn.dev", "team-a", true),
    (OPERATOR, "patch", "finetunejobs.firn.dev/status", "team-a", true),
    (OPERATOR, "patch", "finetunejobs.firn.dev", "team-a", true),
    (OPERATOR, "create", "finetunejobs.firn.dev", "team-a", false),
    (OPERATOR, "delete", "finetunejobs.firn.dev", "team-a", false),
    (OPERATOR, "create", "jobs.batch", "team-a", true),
    (OPERATOR, "watch", "jobs.batch", "team-a", true),
    (OPERATOR, "create", "events.events.k8s.io", "team-a", true),
    (OPERATOR, "create", "secrets", "team-a", true),
    (OPERATOR, "patch", "secrets", "team-a", true),
    (OPERATOR, "get", "secrets", "team-a", false),
    (OPERATOR, "list", "secrets", "team-a", false),
    (OPERATOR, "create", "networkpolicies.networking.k8s.io", "team-a", true),
    (OPERATOR, "watch", "events", "team-a", true),
    (OPERATOR, "watch", "workloads.kueue.x-k8s.io", "team-a", true),
    (OPERATOR, "patch", "workloads.kueue.x-k8s.io", "team-a", false),
    (OPERATOR, "watch", "workloads.kueue.x-k8s.io", "team-b", false),
    (OPERATOR, "delete", "jobs.batch", "team-a", true),
    (OPERATOR, "create", "pods", "team-a", false),
    (OPERATOR, "create", "pods/exec", "team-a", false),
    (OPERATOR, "watch", "finetunejobs.firn.dev", "team-b", false),
    (OPERATOR, "create", "jobs.batch", "team-b", false),
    (OPERATOR, "create", "secrets", "team-b", false),
    (OPERATOR, "get", "leases.coordination.k8s.io/firn-operator", HOME, true),
    (
        OPERATOR,
        "update",
        "leases.coordination.k8s.io/firn-operator",
        HOME,
        true,
    ),
    (OPERATOR, "update", "leases.coordination.k8s.io/another", HOME, false),
    (
        OPERATOR,
        "get",
        "leases.coordination.k8s.io/firn-operator",
        "team-a",
        false,
    ),
    (OPERATOR, "get", "secrets", HOME, false),
    (OPERATOR, "create", "jobs.batch", HOME, false),
    (OPERATOR, "list", "nodes", "", false),
    (COORDINATOR, "get", "secrets", HOME, false),
    (COORDINATOR, "list", "finetunejobs.firn.dev", "team-a", false),
    (WORKER, "list", "finetunejobs.firn.dev", "team-a", false),
    (WORKER, "get", "secrets", "team-a", false),
    (WORKER, "list", "pods", "team-a", false),
];

/// People, in a namespace where they are bound to the chart's roles.
const PEOPLE: &[(&str, &str, &str, &str, bool)] = &[
    ("editor", "create", "finetunejobs.firn.dev", "team-b", true),
    ("editor", "patch", "finetunejobs.firn.dev", "team-b", true),
    ("editor", "patch", "finetunejobs.firn.dev/status", "team-b", false),
    ("editor", "create", "finetunejobs.firn.dev", "team-a", false),
    ("viewer", "watch", "finetunejobs.firn.dev", "team-b", true),
    ("viewer", "get", "finetunejobs.firn.dev/status", "team-b", true),
    ("viewer", "delete", "finetunejobs.firn.dev", "team-b", false),
];

fn holds(kubectl: &Kubectl, rows: &[(&str, &str, &str, &str, bool)]) {
    for (who, verb, what, namespace, expected) in rows {
        // One object is RESOURCE/NAME, a part of it is asked for beside it.
        let (what, part) = match what.rsplit_once('/') {
            Some((resource, part @ ("status" | "exec"))) => (resource, vec!["--subresource", part]),
            _ => (*what, vec![]),
        };
        let place: &[&str] = if namespace.is_empty() {
            &[]
        } else {
            &["--namespace", namespace]
        };
        let answer = kubectl.run(
            &[&["auth", "can-i", verb, what, "--as", who], part.as_slice(), place].concat(),
            "",
        );
        let word = if *expected { "yes" } else { "no" };
        assert!(
            answer.output == word,
            "{who} {verb} {what} in {namespace}: {} {}",
            answer.output,
            answer.talk
        );
    }
}

/// Applies the rights that a file of values gives, and nothing else of it.
fn grant(kubectl: &Kubectl, helm: &Helm, name: &str, more: &[&str]) {
    let values = all_values().into_iter().find(|values| values.name == name).unwrap();
    let kinds = ["Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"];
    let made = documents(&helm.render(&values.file, more));
    let mut rights = made
        .into_iter()
        .filter(|document| kinds.contains(&document["kind"].as_str().unwrap()));
    let list = json!({"apiVersion": "v1", "kind": "List", "items": rights.by_ref().collect::<Vec<Value>>()});
    kubectl.must(&["apply", "--server-side", "-f", "-"], &list.to_string());
}

/// The name of what Kueue keeps of Jobs: without it nobody can be asked about.
fn workloads() -> Value {
    let schema = json!({"type": "object"});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "workloads.kueue.x-k8s.io"},
        "spec": {
            "group": "kueue.x-k8s.io",
            "scope": "Namespaced",
            "names": {"kind": "Workload", "plural": "workloads", "singular": "workload"},
            "versions": [{"name": "v1beta2", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    })
}

#[test]
fn everybody_may_do_what_the_table_says_and_nothing_else() {
    // A cluster of its own: what is granted is seen by everybody.
    let Some((programs, _)) = cluster() else { return };
    let plane = firn_kubernetes_tests::ControlPlane::start(programs).unwrap_or_else(|error| panic!("{error:#}"));
    let (kubectl, helm) = (plane.kubectl(), Helm::new(programs));
    for name in [HOME, "team-a", "team-b"] {
        kubectl.must(&["create", "namespace", name], "");
    }
    kubectl.define(&firn_operator::resource::crd());
    kubectl.define(&workloads());
    grant(kubectl, &helm, "older/0.1.0", &[]);
    holds(kubectl, TABLE);
    for (person, role) in [("editor", "firn-edit"), ("viewer", "firn-view")] {
        kubectl.must(
            &[
                "create",
                "rolebinding",
                person,
                "--clusterrole",
                role,
                "--user",
                person,
                "--namespace",
                "team-b",
            ],
            "",
        );
    }
    holds(kubectl, PEOPLE);
    grant(kubectl, &helm, "all-namespaces", &[]);
    holds(
        kubectl,
        &[
            (OPERATOR, "watch", "finetunejobs.firn.dev", "team-b", true),
            (OPERATOR, "create", "jobs.batch", "team-b", true),
            (OPERATOR, "get", "secrets", "team-b", false),
            (OPERATOR, "list", "nodes", "", false),
        ],
    );
}
