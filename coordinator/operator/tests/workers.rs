//! The pods that a resource asks for.

#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use firn_operator::resource::FineTuneJob;
use firn_operator::workers::identity::{SharedFiles, secret, secret_name};
use firn_operator::workers::{IDENTITY_ANNOTATION, WorkerSettings, network_policy, workers_job};
use serde_json::{Value, json};

fn settings() -> WorkerSettings {
    serde_json::from_value(json!({
        "image": "firn-worker:0.1.0",
        "coordinator": "https://firn-coordinator.firn-system.svc:7070",
    }))
    .unwrap()
}

fn resource(change: impl FnOnce(&mut Value)) -> FineTuneJob {
    let mut document = json!({
        "metadata": {"name": "ants", "namespace": "team-a", "uid": "0f3c", "labels": {"team": "vision"}},
        "spec": {
            "task": {"type": "classification"},
            "model": {"architecture": "resnet18"},
            "data": {"format": "imagefolder", "train": {"uri": "/data/train"}},
            "resources": {"workers": {"min": 1, "max": 3}, "slotsPerWorker": 2},
        },
    });
    change(&mut document);
    serde_json::from_value(document).unwrap()
}

/// As JSON, which is what the API server gets.
fn made(resource: &FineTuneJob) -> Value {
    let (spec, settings) = (resource.job().unwrap(), settings());
    let files = SharedFiles::read(&settings).unwrap();
    serde_json::to_value(workers_job(resource, ("ants-2", &spec), &settings, &files).unwrap()).unwrap()
}

fn variable<'a>(job: &'a Value, name: &str) -> &'a Value {
    let env = job["spec"]["template"]["spec"]["containers"][0]["env"]
        .as_array()
        .unwrap();
    let found = env.iter().find(|variable| variable["name"] == name);
    &found.unwrap_or_else(|| panic!("no {name} in {env:?}"))["value"]
}

#[test]
fn one_pod_for_each_worker_that_the_job_takes_and_each_serves_that_job_alone() {
    let job = made(&resource(|_| {}));
    assert_eq!(job["metadata"]["name"], "ants-workers");
    assert_eq!(job["metadata"]["namespace"], "team-a");
    let owner = &job["metadata"]["ownerReferences"][0];
    assert_eq!(
        (&owner["kind"], &owner["uid"], &owner["controller"]),
        (&json!("FineTuneJob"), &json!("0f3c"), &json!(true))
    );
    let spec = &job["spec"];
    assert_eq!((&spec["parallelism"], &spec["completions"]), (&json!(3), &json!(3)));
    assert_eq!(
        (&spec["completionMode"], &spec["suspend"]),
        (&json!("Indexed"), &json!(false))
    );
    assert_eq!(variable(&job, "FIRN_FOR_JOB"), "ants-2");
    assert_eq!(variable(&job, "FIRN_WORKER_NAME"), "ants-2-$(FIRN_INDEX)");
}

#[test]
fn a_pod_that_is_told_to_go_is_replaced_and_counts_as_no_failure() {
    let job = made(&resource(|_| {}));
    assert_eq!(job["spec"]["podReplacementPolicy"], "Failed");
    let rules = job["spec"]["podFailurePolicy"]["rules"].as_array().unwrap();
    assert!(rules.iter().all(|rule| rule["action"] == "Ignore"));
    assert_eq!(rules[0]["onPodConditions"][0]["type"], "DisruptionTarget");
    assert_eq!(rules[1]["onExitCodes"]["values"], json!([75]));
    let pod = &job["spec"]["template"]["spec"];
    // The kubelet waits for longer than the agent does.
    let grace: u64 = variable(&job, "FIRN_GRACE")
        .as_str()
        .unwrap()
        .trim_end_matches('s')
        .parse()
        .unwrap();
    assert!(pod["terminationGracePeriodSeconds"].as_u64().unwrap() > grace);
}

#[test]
fn a_queue_is_named_on_the_job_and_other_labels_are_not() {
    let job = made(&resource(|document| {
        document["metadata"]["labels"] = json!({
            "kueue.x-k8s.io/queue-name": "night", "kueue.x-k8s.io/priority-class": "low", "team": "vision",
        });
        document["spec"]["suspend"] = json!(true);
    }));
    let labels = &job["metadata"]["labels"];
    assert_eq!(labels["kueue.x-k8s.io/queue-name"], "night");
    assert_eq!(labels["kueue.x-k8s.io/priority-class"], "low");
    assert_eq!(labels["team"], Value::Null);
    assert_eq!(job["spec"]["suspend"], true);
    // Where there is not room for all, fewer may be let in.
    let annotations = &job["metadata"]["annotations"];
    assert_eq!(annotations["kueue.x-k8s.io/job-min-parallelism"], "1");
    assert_eq!(annotations["kueue.x-k8s.io/job-completions-equal-parallelism"], "true");
    let free = made(&resource(|_| {}));
    assert_eq!(
        free["metadata"]["annotations"]["kueue.x-k8s.io/job-min-parallelism"],
        Value::Null
    );
}

#[test]
fn workers_show_a_token_of_their_own_and_the_files_of_the_operator() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    for name in ["authority.pem", "tls.crt", "tls.key"] {
        write(name, name);
    }
    let settings = WorkerSettings {
        authority: Some(folder.path().join("authority.pem")),
        certificate: Some(folder.path().to_owned()),
        ..settings()
    };
    let files = SharedFiles::read(&settings).unwrap();
    let resource = resource(|_| {});
    let spec = resource.job().unwrap();
    let job = serde_json::to_value(workers_job(&resource, ("ants", &spec), &settings, &files).unwrap()).unwrap();
    assert_eq!(job["metadata"]["annotations"][IDENTITY_ANNOTATION], files.digest());
    let secret = serde_json::to_value(secret(&resource, "secret", &files)).unwrap();
    assert_eq!(secret["metadata"]["ownerReferences"][0]["uid"], "0f3c");
    // Each variable names a key of the Secret.
    for (name, key, value) in [
        ("FIRN_TOKEN_FILE", "token", "c2VjcmV0"),
        ("FIRN_CA", "ca.crt", "YXV0aG9yaXR5LnBlbQ=="),
        ("FIRN_CERT", "tls.crt", "dGxzLmNydA=="),
        ("FIRN_KEY", "tls.key", "dGxzLmtleQ=="),
    ] {
        assert_eq!(variable(&job, name), &json!(format!("/etc/firn/identity/{key}")));
        assert_eq!(secret["data"][key], value);
    }
    let volumes = job["spec"]["template"]["spec"]["volumes"].as_array().unwrap().iter();
    let mounted: Vec<&Value> = volumes.filter_map(|volume| volume.get("secret")).collect();
    assert_eq!(mounted[0]["secretName"], secret["metadata"]["name"]);

    write("tls.crt", "renewed");
    assert_ne!(SharedFiles::read(&settings).unwrap().digest(), files.digest());
    write("authority.pem", "");
    std::fs::remove_file(folder.path().join("tls.key")).unwrap();
    let error = format!("{:#}", SharedFiles::read(&settings).unwrap_err());
    assert!(error.contains("tls.key"), "{error}");
}

#[test]
fn a_resource_that_is_made_again_has_another_secret() {
    let first = resource(|document| document["metadata"]["uid"] = json!("7f9c24e5-0000-4000-8000-000000000000"));
    let second = resource(|document| document["metadata"]["uid"] = json!("a1b2c3d4-0000-4000-8000-000000000000"));
    assert_eq!(secret_name(&first), "ants-workers-7f9c24e5");
    assert_eq!(secret_name(&second), "ants-workers-a1b2c3d4");
}

#[test]
fn gpus_are_as_many_as_ranks_where_gpus_are_asked_for() {
    let limits = |device: &str, written: Value| {
        let job = made(&resource(|document| {
            document["spec"]["resources"]["device"] = json!(device);
            document["spec"]["worker"] = json!({"resources": {"limits": written}});
        }));
        job["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"].clone()
    };
    assert_eq!(limits("gpu", json!({})), json!({"nvidia.com/gpu": "2"}));
    assert_eq!(
        limits("gpu", json!({"nvidia.com/gpu": "4"})),
        json!({"nvidia.com/gpu": "4"})
    );
    assert_eq!(limits("auto", json!({"cpu": "2"})), json!({"cpu": "2"}));
    let cpu = made(&resource(|document| {
        document["spec"]["resources"]["device"] = json!("cpu")
    }));
    assert_eq!(variable(&cpu, "FIRN_CPU_SLOTS"), "2");
}

#[test]
fn what_the_resource_says_of_its_pods_is_what_they_are() {
    let job = made(&resource(|document| {
        document["spec"]["worker"] = json!({
            "image": "mine:2", "imagePullPolicy": "Always", "nodeSelector": {"zone": "a"},
            "tolerations": [{"key": "gpu", "operator": "Exists"}],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "pictures"}}],
            "volumeMounts": [{"name": "data", "mountPath": "/data", "readOnly": true}],
            "env": [{"name": "OMP_NUM_THREADS", "value": "4"}],
            "priorityClassName": "night", "runtimeClassName": "nvidia",
            "labels": {"cost-centre": "7", "firn.dev/job": "another"},
            "template": {"spec": {
                "hostNetwork": true, "enableServiceLinks": null,
                "containers": [{"name": "worker", "securityContext": {"readOnlyRootFilesystem": false}}, {"name": "beside", "image": "x"}],
            }},
        });
    }));
    let template = &job["spec"]["template"];
    assert_eq!(template["metadata"]["labels"]["cost-centre"], "7");
    assert_eq!(
        template["metadata"]["labels"]["firn.dev/job"], "ants",
        "the operator's own labels stay"
    );
    let pod = &template["spec"];
    assert_eq!(pod["nodeSelector"], json!({"zone": "a"}));
    assert_eq!(pod["tolerations"][0]["key"], "gpu");
    assert_eq!(
        (&pod["priorityClassName"], &pod["runtimeClassName"]),
        (&json!("night"), &json!("nvidia"))
    );
    assert_eq!(
        (&pod["hostNetwork"], &pod["enableServiceLinks"]),
        (&json!(true), &Value::Null)
    );
    let containers = pod["containers"].as_array().unwrap();
    assert_eq!((containers.len(), &containers[1]["name"]), (2, &json!("beside")));
    let worker = &containers[0];
    assert_eq!(
        (&worker["image"], &worker["imagePullPolicy"]),
        (&json!("mine:2"), &json!("Always"))
    );
    assert_eq!(worker["securityContext"]["readOnlyRootFilesystem"], false);
    assert_eq!(
        worker["securityContext"]["allowPrivilegeEscalation"], false,
        "the rest stays"
    );
    assert_eq!(variable(&job, "OMP_NUM_THREADS"), "4");
    let mounted = |name: &str| {
        worker["volumeMounts"]
            .as_array()
            .unwrap()
            .iter()
            .any(|mount| mount["name"] == name)
    };
    assert!(mounted("data") && mounted("firn-state") && mounted("firn-shared-memory"));
}

#[test]
fn a_patch_that_gives_no_pod_is_refused_by_its_field() {
    let resource =
        resource(|document| document["spec"]["worker"] = json!({"template": {"spec": {"containers": "none"}}}));
    let spec = resource.job().unwrap();
    let files = SharedFiles::read(&settings()).unwrap();
    let error = workers_job(&resource, ("ants", &spec), &settings(), &files).unwrap_err();
    assert!(error.to_string().starts_with("spec.worker.template: "), "{error}");
}

#[test]
fn the_coordinator_is_given_the_job_and_nothing_of_the_cluster() {
    let resource = resource(|document| {
        document["spec"]["worker"] = json!({"image": "mine:2"});
        document["spec"]["suspend"] = json!(true);
        document["spec"]["managedBy"] = json!("firn.dev/operator");
    });
    let spec = resource.job().unwrap();
    assert_eq!(
        (spec.metadata.name.as_str(), spec.metadata.namespace.as_str()),
        ("ants", "team-a")
    );
    assert_eq!(spec.metadata.labels["team"], "vision");
    assert_eq!(spec.resources.workers.max, 3);
}

#[test]
fn pods_speak_with_those_of_their_job_and_with_whom_the_settings_name() {
    let resource = resource(|_| {});
    assert_eq!(network_policy(&resource, &settings()), None);
    let pools = json!({"podSelector": {"matchLabels": {"app.kubernetes.io/name": "firn-pool"}}});
    let mut settings = settings();
    settings.egress = serde_json::from_value(json!([{"to": [pools]}])).unwrap();
    settings.ingress = serde_json::from_value(json!([{"from": [pools]}])).unwrap();
    let policy = json!(network_policy(&resource, &settings).unwrap());
    let own = json!({"podSelector": {"matchLabels": {"firn.dev/job": "ants"}}});
    assert_eq!(policy["spec"]["podSelector"], own["podSelector"]);
    assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
    assert_eq!(policy["spec"]["ingress"], json!([{"from": [own]}, {"from": [pools]}]));
    assert_eq!(policy["spec"]["egress"], json!([{"to": [own]}, {"to": [pools]}]));
    // It goes with the resource.
    assert_eq!(policy["metadata"]["ownerReferences"][0]["uid"], "0f3c");
}

/// The same file runs on machines and on a cluster.
#[test]
fn a_spec_file_is_read_without_what_only_a_cluster_reads() {
    let definition = firn_operator::resource::crd();
    let spec = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
    let of_jobs = firn_core::spec::schema::document()
        .iter()
        .find(|field| field.name == "spec")
        .unwrap();
    let is_known = |name: &String| of_jobs.kind.fields().iter().any(|field| field.name == *name);
    let mut own: Vec<&String> = spec
        .as_object()
        .unwrap()
        .keys()
        .filter(|name| !is_known(name))
        .collect();
    own.sort();
    let mut left_out = firn::spec_file::OF_CLUSTERS;
    left_out.sort_unstable();
    assert_eq!(own, left_out);
    let text = include_str!("../../../deploy/kubernetes/ants-and-bees.yaml");
    let file = firn::spec_file::parse("ants-and-bees.yaml", text, std::path::Path::new("/")).unwrap();
    let stored: FineTuneJob = serde_yaml_ng::from_str(text).unwrap();
    let (job, read) = (stored.job().unwrap(), file.job.spec.unwrap());
    assert_eq!(read.data.unwrap().train.unwrap().uri, job.data.train);
    assert!(stored.spec.cluster.worker.is_some());
}

#[test]
fn pods_are_nobodys_or_the_users_that_the_cluster_gives() {
    let context = |settings: &WorkerSettings| {
        let (resource, files) = (resource(|_| {}), SharedFiles::read(settings).unwrap());
        let job = workers_job(&resource, ("ants-2", &resource.job().unwrap()), settings, &files).unwrap();
        json!(job)["spec"]["template"]["spec"]["securityContext"].clone()
    };
    let mut settings = settings();
    let own = context(&settings);
    for field in ["runAsUser", "runAsGroup", "fsGroup"] {
        assert_eq!(own[field], 65_532, "{own}");
    }
    settings.user = None;
    let given = context(&settings);
    assert_eq!(given["runAsNonRoot"], true);
    assert!(
        given.get("runAsUser").is_none() && given.get("fsGroup").is_none(),
        "{given}"
    );
}
