//! The CustomResourceDefinition.

use firn_core::spec::{KIND, schema};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Value, json};

use super::structural::{self, Words};
use super::{ClusterFields, GROUP, PLURAL, ResourceStatus, VERSION, rules};

/// The definition, as a document.
pub fn crd() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{PLURAL}.{GROUP}")},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": format!("{KIND}List"),
                "plural": PLURAL,
                "singular": "finetunejob",
                "shortNames": ["ftj"],
                "categories": ["all", "firn"],
            },
            "versions": [{
                "name": VERSION,
                "served": true,
                "storage": true,
                "subresources": {"status": {}},
                "additionalPrinterColumns": columns(),
                "schema": {"openAPIV3Schema": resource()},
            }],
        },
    })
}

/// The definition as YAML.
///
/// # Errors
/// Never, as the definition is plain data.
pub fn crd_yaml() -> Result<String, serde_yaml_ng::Error> {
    let made = "# Made by `firn-operator crd` of the schema of the spec. Do not edit it: change the spec, and make it again.\n";
    Ok(format!("{made}{}", serde_yaml_ng::to_string(&crd())?))
}

fn columns() -> Value {
    let column = |name: &str, kind: &str, path: &str| json!({"name": name, "type": kind, "jsonPath": path});
    let mut columns = vec![
        column("State", "string", ".status.summary"),
        column("Epoch", "integer", ".status.progress.epoch"),
        column("Metric", "string", ".status.best.text"),
        column("Workers", "string", ".status.workers.text"),
        column("Restarts", "integer", ".status.restarts"),
        column("Suspended", "boolean", ".spec.suspend"),
        column("Age", "date", ".metadata.creationTimestamp"),
    ];
    let model = column("Model", "string", ".spec.model.architecture");
    let job = column("Job", "string", ".status.job");
    for mut wide in [model, job] {
        wide["priority"] = json!(1);
        columns.push(wide);
    }
    json!(columns)
}

fn resource() -> Value {
    let mut status = derived::<ResourceStatus>();
    structural::make(&mut status, Words::Kept);
    json!({
        "type": "object",
        "description": "One fine-tuning run: a frozen backbone, a head that is trained on any number of pods.",
        "required": ["spec"],
        "x-kubernetes-validations": rules::of_resource(),
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec(),
            "status": status,
        },
    })
}

/// The job's own fields and those of the cluster, beside each other.
fn spec() -> Value {
    let field = schema::find("spec").expect("a document has a spec");
    let mut spec = schema::json_schema_of(field);
    structural::make(&mut spec, Words::Kept);
    let mut cluster = derived::<ClusterFields>();
    if let Some(worker) = cluster["properties"].get_mut("worker") {
        shorten(worker);
    }
    structural::make(&mut cluster, Words::Kept);
    cluster["properties"]["suspend"]["default"] = json!(false);
    if let (Some(own), Value::Object(more)) = (spec["properties"].as_object_mut(), cluster["properties"].take()) {
        own.extend(more);
    }
    spec["x-kubernetes-validations"] = rules::of_spec();
    spec
}

/// Texts stay one level deep: of what Kubernetes defines, Kubernetes tells.
fn shorten(worker: &mut Value) {
    structural::without_null(worker);
    for (_, field) in worker["properties"].as_object_mut().into_iter().flatten() {
        let description = field["description"].take();
        structural::make(field, Words::LeftOut);
        field["description"] = description;
    }
}

fn derived<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<T>().to_value()
}
