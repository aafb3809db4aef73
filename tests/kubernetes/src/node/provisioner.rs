//! Volumes for claims of the cluster's storage class: a folder of this machine each, which all nodes reach.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, PostParams},
};
use serde_json::json;

use super::Node;

/// Name of the storage class, and of who provisions for it.
pub(crate) const CLASS: &str = "folders";
/// As the storage class names it.
pub(crate) const PROVISIONER: &str = "firn.dev/test-node";

/// Gives each claim its volume, and takes volumes away whose claim is gone.
pub(super) async fn serve(node: Arc<Node>) {
    let mut changes = node.known.changes();
    loop {
        changes.borrow_and_update();
        for claim in node.known.claims.all() {
            if let Err(error) = provision(&node, &claim).await {
                eprintln!("claim {}: {error}", claim.name_any());
            }
        }
        for volume in node.known.volumes.all() {
            if let Err(error) = remove(&node, &volume).await {
                eprintln!("volume {}: {error}", volume.name_any());
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

async fn provision(node: &Node, claim: &PersistentVolumeClaim) -> anyhow::Result<()> {
    let spec = claim.spec.clone().unwrap_or_default();
    let uid = claim.uid().unwrap_or_default();
    let name = format!("pvc-{uid}");
    let is_known = node.known.volumes.get("", &name).is_some();
    if spec.storage_class_name.as_deref() != Some(CLASS) || spec.volume_name.is_some() || is_known {
        return Ok(());
    }
    let folder = node.settings.claims.join(&name);
    std::fs::create_dir_all(&folder)?;
    let volume = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER}},
        "spec": {
            "storageClassName": CLASS,
            "capacity": spec.resources.and_then(|resources| resources.requests),
            "accessModes": spec.access_modes,
            "persistentVolumeReclaimPolicy": "Delete",
            "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": claim.namespace(),
                         "name": claim.name_any(), "uid": uid},
            "hostPath": {"path": folder},
        },
    });
    let volumes: Api<PersistentVolume> = Api::all(node.client.clone());
    match volumes
        .create(&PostParams::default(), &serde_json::from_value(volume)?)
        .await
    {
        // It was made before this was told.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        other => Ok(other.map(drop)?),
    }
}

async fn remove(node: &Node, volume: &PersistentVolume) -> anyhow::Result<()> {
    let is_ours = volume
        .annotations()
        .get("pv.kubernetes.io/provisioned-by")
        .map(String::as_str)
        == Some(PROVISIONER);
    let spec = volume.spec.clone().unwrap_or_default();
    let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
    let goes = phase == Some("Released") && spec.persistent_volume_reclaim_policy.as_deref() == Some("Delete");
    if !is_ours || !goes || volume.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let volumes: Api<PersistentVolume> = Api::all(node.client.clone());
    volumes.delete(&volume.name_any(), &DeleteParams::default()).await?;
    if let Some(folder) = spec.host_path {
        std::fs::remove_dir_all(folder.path)?;
    }
    Ok(())
}
