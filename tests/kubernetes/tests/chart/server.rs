//! What a real API server says of what the chart makes.

use firn_kubernetes_tests::{Helm, documents};
use firn_operator::{
    resource::FineTuneJob,
    workers::{WorkerSettings, network_policy},
};
use serde_json::{Value, json};

use super::{HOME, all_values, cluster, pod_template};

#[test]
fn the_api_server_takes_all_of_it_without_a_warning() {
    let Some((programs, kubectl)) = cluster() else { return };
    let helm = Helm::new(programs);
    for values in all_values() {
        let text = helm.render(&values.file, values.cluster());
        let taken = kubectl.must(
            &[
                "apply",
                "--server-side",
                "--force-conflicts",
                "--dry-run=server",
                "--validate=strict",
                "-f",
                "-",
            ],
            &text,
        );
        assert_eq!(
            taken.lines().count(),
            documents(&text).len(),
            "{}: {taken}",
            values.name
        );
    }
}

#[test]
fn every_pod_is_admitted_where_the_restricted_policy_is_enforced() {
    let Some((programs, kubectl)) = cluster() else { return };
    let helm = Helm::new(programs);
    kubectl.run(&["create", "serviceaccount", "default", "--namespace", HOME], "");
    for values in all_values() {
        let documents = documents(&helm.render(&values.file, values.cluster()));
        let workloads: Vec<&Value> = documents
            .iter()
            .filter(|document| pod_template(document).is_some())
            .collect();
        assert!(workloads.len() >= 2, "{}", values.name);
        for workload in workloads {
            let template = pod_template(workload).unwrap();
            let mut spec = template["spec"].clone();
            // It is not there yet.
            spec["serviceAccountName"] = json!("default");
            for claim in workload["spec"]["volumeClaimTemplates"]
                .as_array()
                .into_iter()
                .flatten()
            {
                let volume = json!({"name": claim["metadata"]["name"], "emptyDir": {}});
                spec["volumes"].as_array_mut().unwrap().push(volume);
            }
            let metadata = json!({"name": workload["metadata"]["name"], "namespace": HOME, "labels": template["metadata"]["labels"]});
            let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
            kubectl.must(&["create", "--dry-run=server", "-f", "-"], &pod.to_string());
        }
    }
}

/// The operator refuses settings that it does not know.
#[test]
fn the_operator_can_read_its_settings() {
    let Some((programs, kubectl)) = cluster() else {
        return;
    };
    let helm = Helm::new(programs);
    let job = json!({"apiVersion": "firn.dev/v1alpha1", "kind": "FineTuneJob", "metadata": {"name": "ants", "namespace": "team-a", "uid": "0f3c"}, "spec": {}});
    let job: FineTuneJob = serde_json::from_value(job).unwrap();
    for values in all_values() {
        let documents = documents(&helm.render(&values.file, values.cluster()));
        let text = documents
            .iter()
            .find_map(|document| document["data"]["workers.yaml"].as_str())
            .unwrap();
        let settings: WorkerSettings = serde_yaml_ng::from_str(text).unwrap();
        assert_eq!(settings.user.is_none(), values.name == "all-namespaces");
        let policy = network_policy(&job, &settings);
        assert_eq!(policy.is_none(), values.name == "given-secrets");
        if let Some(policy) = policy {
            kubectl.must(
                &["create", "--dry-run=server", "--validate=strict", "-f", "-"],
                &json!(policy).to_string(),
            );
        }
    }
}

/// What the policy does not ask for, and people who run clusters do.
#[test]
fn pods_have_as_few_rights_as_can_be() {
    let Some((programs, _)) = cluster() else { return };
    let helm = Helm::new(programs);
    for values in all_values() {
        for document in documents(&helm.render(&values.file, values.cluster())) {
            let Some(template) = pod_template(&document) else {
                continue;
            };
            let spec = &template["spec"];
            let name = document["metadata"]["name"].as_str().unwrap();
            let is_operator = name == "firn-operator";
            assert_eq!(spec["automountServiceAccountToken"], is_operator, "{name}");
            assert_eq!(spec["enableServiceLinks"], false, "{name}");
            let container = &spec["containers"][0];
            assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true, "{name}");
            if name.contains("-pool-") {
                worker_has_what_it_needs(&document, spec);
            }
        }
    }
}

fn worker_has_what_it_needs(document: &Value, spec: &Value) {
    let container = &spec["containers"][0];
    let variable = |name: &str| {
        let variables = container["env"].as_array().unwrap();
        variables
            .iter()
            .find(|variable| variable["name"] == name)
            .map(|variable| variable["value"].clone())
    };
    let grace: i64 = variable("FIRN_GRACE")
        .unwrap()
        .as_str()
        .unwrap()
        .trim_end_matches('s')
        .parse()
        .unwrap();
    assert!(spec["terminationGracePeriodSeconds"].as_i64().unwrap() > grace);
    let memory = spec["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|volume| volume["emptyDir"]["medium"] == "Memory");
    assert!(memory.is_some_and(|volume| volume["name"] == "shared-memory"));
    let is_gpu = document["metadata"]["name"] == "firn-pool-gpus";
    assert_eq!(
        container["resources"]["limits"]["nvidia.com/gpu"].as_str(),
        is_gpu.then_some("2")
    );
    assert_eq!(variable("FIRN_CPU_SLOTS").is_none(), is_gpu);
    let spread = &spec["topologySpreadConstraints"][0];
    assert_eq!(spread["whenUnsatisfiable"], "ScheduleAnyway");
}
