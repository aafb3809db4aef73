//! What is kept in the repository beside the templates is what is made of them.

use std::{collections::BTreeSet, fs, path::Path};

use firn_kubernetes_tests::{Helm, Programs, documents, probes};
use firn_tests::{
    binaries::repository,
    cluster::{Cluster, Serving},
    jobs::image_job,
};
use serde_json::Value;

/// Holds a file to what it is made of, or writes it where that is asked for.
#[allow(clippy::disallowed_methods, reason = "the file is written when that is asked for")]
fn is_current(path: &str, made: &str) {
    let file = repository().join(path);
    if std::env::var_os("BLESS").is_some() {
        fs::write(file, made).unwrap();
        return;
    }
    let kept = fs::read_to_string(file).unwrap_or_default();
    assert!(
        kept == made,
        "{path} is stale; write it anew with: BLESS=1 cargo test --release --workspace --test chart manifests"
    );
}

#[test]
fn the_chart_has_the_definition_that_is_made_of_the_schema() {
    is_current(
        "deploy/helm/firn/files/crd.yaml",
        &firn_operator::resource::crd_yaml().unwrap(),
    );
}

/// It is put into the manifest as text, with two additions.
#[test]
fn the_definition_of_a_release_is_that_of_the_chart() {
    let Some(programs) = Programs::find(&["helm"]) else {
        return;
    };
    let text = Helm::new(&programs).render(
        &repository().join("tests/kubernetes/values/least.yaml"),
        &["--show-only", "templates/crd.yaml"],
    );
    let mut made = documents(&text).remove(0);
    let metadata = made["metadata"].as_object_mut().unwrap();
    let kept = metadata.remove("annotations").unwrap();
    assert_eq!(kept["helm.sh/resource-policy"], "keep");
    assert!(metadata.remove("labels").is_some());
    let definition: Value = serde_json::from_str(&firn_operator::resource::crd().to_string()).unwrap();
    assert_eq!(made, definition);
}

#[test]
fn the_plain_manifests_are_those_of_the_chart() {
    let Some(programs) = Programs::find(&["helm"]) else {
        return;
    };
    let rendered = Helm::new(&programs).render(&repository().join("deploy/kubernetes/values.yaml"), &[]);
    let of_helm = |line: &&str| {
        !line.contains("helm.sh/") && !line.contains("app.kubernetes.io/managed-by:") && !line.starts_with("# Source:")
    };
    let lines: Vec<&str> = rendered.lines().filter(of_helm).collect();
    let head =
        "# Made of the chart in deploy/helm/firn with values.yaml. Do not edit it: change those, and make it again.";
    is_current(
        "deploy/kubernetes/firn.yaml",
        &format!("{head}\n{}\n", lines.join("\n").trim()),
    );
}

/// Names of metrics in the queries of the dashboard.
fn asked_for() -> BTreeSet<String> {
    let text = fs::read_to_string(Helm::chart().join("files/dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let queries = panels.iter().map(|panel| panel["targets"][0]["expr"].as_str().unwrap());
    let words = queries.flat_map(|query| query.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_'));
    let names = words.filter(|word| word.starts_with("firn_") || word.starts_with("process_"));
    names.map(str::to_owned).collect()
}

#[test]
fn the_dashboard_asks_for_metrics_that_the_coordinator_has() {
    let folder = tempfile::tempdir().unwrap();
    let told = told_by_a_coordinator(folder.path());
    let has = |name: &str| {
        let base = ["_bucket", "_count", "_sum", "_total"]
            .iter()
            .find_map(|end| name.strip_suffix(end))
            .unwrap_or(name);
        told.lines()
            .any(|line| line.starts_with("# TYPE ") && line.split(' ').nth(2) == Some(base))
    };
    let asked = asked_for();
    assert!(asked.len() > 12, "{asked:?}");
    let unknown: Vec<&String> = asked.iter().filter(|name| !has(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?} are not in\n{told}");
}

/// With a worker, and a job that has not ended.
fn told_by_a_coordinator(folder: &Path) -> String {
    let serving = Serving::default().with("--health-listen", "127.0.0.1:0");
    let cluster = Cluster::start_with(folder, 1, serving).unwrap();
    cluster.all_attached().unwrap();
    let job = folder.join("job.json");
    fs::write(&job, image_job("ants", folder).to_string()).unwrap();
    let submitted = cluster
        .firn(&["submit", "--suspend", &job.display().to_string()])
        .output()
        .unwrap();
    assert!(
        submitted.status.success(),
        "{}",
        String::from_utf8_lossy(&submitted.stderr)
    );
    probes::ask(&cluster.coordinator_log().unwrap(), "/metrics").unwrap()
}
