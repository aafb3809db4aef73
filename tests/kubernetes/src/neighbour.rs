//! Controllers of others that live in the cluster beside Firn, as their own charts bring them.

use std::fs;

use serde_json::{Value, json};

use crate::{Cluster, Helm, Programs, documents, node::Image};

/// The user of an image that names none as a number.
const NOBODY: u32 = 65_532;
/// Tag of an image that is only known in the cluster.
pub(crate) const TAG: &str = "built";

/// What is installed: a program of `programs.sh`, in an image of its name, and the chart that is called `NAME-chart` there.
pub(crate) struct Neighbour {
    /// Its name.
    pub(crate) name: &'static str,
    /// The namespace in which it lives.
    pub(crate) namespace: &'static str,
    /// The Deployment of its program.
    pub(crate) deployment: &'static str,
    /// What pods that name no command run, which is where the program lies in the image.
    pub(crate) entrypoint: &'static str,
    /// Values of the chart.
    pub(crate) values: Value,
}

impl Neighbour {
    /// Installs what the chart makes, as far as it is `wanted`, and waits until it serves. Returns what was applied.
    ///
    /// # Panics
    /// If it does not serve.
    pub(crate) fn install(
        &self,
        cluster: &Cluster,
        programs: &Programs,
        wanted: impl FnMut(Value) -> Option<Value>,
    ) -> String {
        let image = self.image(cluster, programs);
        let image = image.and_then(|image| cluster.add_image(&format!("{}:{TAG}", self.name), image));
        image.expect("an image can be made");
        cluster.create_namespace(self.namespace, &[]);
        let values = cluster.folder().join(format!("{}.yaml", self.name));
        fs::write(&values, self.values.to_string()).expect("a file can be written");
        let chart = programs.path(&format!("{}-chart", self.name)).display().to_string();
        let values = values.display().to_string();
        let arguments = [
            "template",
            self.name,
            &chart,
            "--namespace",
            self.namespace,
            "--values",
            &values,
        ];
        let made = documents(&Helm::new(programs).must(&arguments)).into_iter();
        let items: Vec<Value> = made.filter_map(wanted).collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
        let kubectl = cluster.kubectl();
        kubectl.must(&["apply", "--server-side", "-f", "-"], &list);
        let deployment = format!("deployment/{}", self.deployment);
        let ready = [
            "--namespace",
            self.namespace,
            "wait",
            "--for=condition=Available",
            &deployment,
            "--timeout=300s",
        ];
        let ready = kubectl.run(&ready, "");
        assert!(ready.succeeded, "{}\n{}", ready.talk, cluster.logs(self.namespace, ""));
        list
    }

    /// An image of nothing but the program.
    fn image(&self, cluster: &Cluster, programs: &Programs) -> anyhow::Result<Image> {
        let root = cluster.folder().join(self.name);
        if !root.exists() {
            fs::create_dir(&root)?;
            fs::copy(
                programs.path(self.name),
                root.join(self.entrypoint.trim_start_matches('/')),
            )?;
        }
        Ok(Image {
            root,
            entrypoint: vec![self.entrypoint.to_owned()],
            user: NOBODY,
            ..Image::of_this_machine()
        })
    }
}
