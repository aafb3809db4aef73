//! What pods mount.

use serde_json::json;

use crate::place::{Place, script, script_with};

fn read_only(name: &str, source: serde_json::Value) -> (serde_json::Value, serde_json::Value) {
    let mut volume = json!({"name": name});
    volume
        .as_object_mut()
        .unwrap()
        .extend(source.as_object().unwrap().clone());
    (volume, json!({"name": name, "mountPath": format!("/mnt/{name}")}))
}

#[test]
fn secrets_settings_fields_and_tokens_are_files_that_the_pods_group_reads() {
    let Some(place) = Place::new("files") else { return };
    place.kubectl(
        &[
            "create",
            "secret",
            "generic",
            "keys",
            "--from-literal=a=1",
            "--from-literal=b=2",
        ],
        "",
    );
    place.kubectl(&["create", "configmap", "settings", "--from-literal=colour=red"], "");
    let volumes = [
        read_only(
            "secret",
            json!({"secret": {"secretName": "keys", "defaultMode": 0o400, "items": [{"key": "b", "path": "deep/b"}]}}),
        ),
        read_only("settings", json!({"configMap": {"name": "settings"}})),
        read_only(
            "fields",
            json!({"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}}),
        ),
    ];
    let container = json!({"volumeMounts": volumes.iter().map(|(_, mount)| mount).collect::<Vec<_>>()});
    let spec = json!({
        "volumes": volumes.iter().map(|(volume, _)| volume).collect::<Vec<_>>(),
        "securityContext": {"runAsUser": 65_532, "fsGroup": 65_532},
    });
    let text = r#"
        cd /mnt; account=/var/run/secrets/kubernetes.io/serviceaccount
        { cat secret/deep/b; echo; ls secret; stat -Lc '%a %g' secret/deep/b; cat settings/colour; echo; cat fields/name; echo
          (echo x > settings/colour) 2>&1 || true
          cat $account/namespace; echo; cut -d. -f1 $account/token | base64 -d 2>/dev/null | grep -o RS256 || true
          grep -c 'BEGIN CERT' $account/ca.crt
        } > /dev/termination-log"#;
    let told = place.outcome(&script_with("reader", text, (container, spec)));
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[..5], ["2", "deep", "440 65532", "red", "reader"], "{told}");
    assert!(lines[5].contains("Read-only file system"), "{told}");
    assert_eq!(lines[6], "files", "{told}");
    assert_eq!(lines.last(), Some(&"1"), "{told}");
}

#[test]
fn a_secret_that_changes_changes_where_it_is_mounted() {
    let Some(place) = Place::new("rotated") else { return };
    place.kubectl(
        &["create", "secret", "generic", "token", "--from-literal=token=old"],
        "",
    );
    let (volume, mount) = read_only("token", json!({"secret": {"secretName": "token"}}));
    let text = "until [ \"$(cat /mnt/token/token)\" = new ]; do read -rt 0.1 <> <(:) || true; done; echo seen > /dev/termination-log";
    let pod = script_with(
        "reader",
        text,
        (json!({"volumeMounts": [mount]}), json!({"volumes": [volume]})),
    );
    place.create(&pod);
    place.wait_for("pod/reader", "condition=Ready");
    let patch = json!({"stringData": {"token": "new"}}).to_string();
    place.kubectl(&["patch", "secret", "token", "-p", &patch], "");
    place.wait("pod/reader", ".status.phase", "Succeeded");
}

#[test]
fn an_empty_folder_is_the_pods_and_a_claim_outlives_it() {
    let Some(place) = Place::new("folders") else { return };
    place.create(&json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "kept"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }));
    let volumes = [
        read_only("disk", json!({"emptyDir": {}})),
        read_only("memory", json!({"emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}})),
        read_only("kept", json!({"persistentVolumeClaim": {"claimName": "kept"}})),
    ];
    let container = json!({"volumeMounts": volumes.iter().map(|(_, mount)| mount).collect::<Vec<_>>()});
    let spec = json!({
        "volumes": volumes.iter().map(|(volume, _)| volume).collect::<Vec<_>>(),
        "securityContext": {"runAsUser": 65_532, "runAsGroup": 65_532, "fsGroup": 65_532},
    });
    let text = r#"
        cd /mnt; for folder in disk memory kept; do echo mine > $folder/file; done
        { stat -fc %T memory; df -m --output=size memory | tail -1 | tr -d ' '; stat -c %g kept disk; } > /dev/termination-log"#;
    let told = place.outcome(&script_with("writer", text, (container, spec)));
    assert_eq!(told.lines().collect::<Vec<_>>(), ["tmpfs", "8", "65532", "65532"]);
    let (volume, mount) = read_only("kept", json!({"persistentVolumeClaim": {"claimName": "kept"}}));
    let text = "cat /mnt/kept/file > /dev/termination-log";
    let second = script_with(
        "second",
        text,
        (json!({"volumeMounts": [mount]}), json!({"volumes": [volume]})),
    );
    assert_eq!(place.outcome(&second).trim(), "mine");
    // And it goes with its claim.
    place.kubectl(&["delete", "pod", "writer", "second"], "");
    let volume = place.get("pvc", "kept")["spec"]["volumeName"]
        .as_str()
        .unwrap()
        .to_owned();
    place.kubectl(&["delete", "pvc", "kept"], "");
    place.wait_for(&format!("pv/{volume}"), "delete");
}

#[test]
fn what_a_pod_reaches_the_api_server_with_is_its_own_account() {
    let Some(place) = Place::new("account") else { return };
    let text = r#"
        account=/var/run/secrets/kubernetes.io/serviceaccount
        curl -s --cacert $account/ca.crt -H "Authorization: Bearer $(cat $account/token)" -H 'Content-Type: application/json' \
          -d '{"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}' \
          https://kubernetes.default.svc:443/apis/authentication.k8s.io/v1/selfsubjectreviews |
          grep -o 'system:serviceaccount:[a-z:]*' | head -1 > /dev/termination-log"#;
    let told = place.outcome(&script("caller", text));
    assert_eq!(told.trim(), "system:serviceaccount:account:default");
}
