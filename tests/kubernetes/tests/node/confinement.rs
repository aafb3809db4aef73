//! What a container's program is, sees and may do.

use serde_json::json;

use crate::place::{Place, script, script_with};

#[test]
fn a_program_has_the_identity_and_the_rights_that_its_pod_says_and_no_more() {
    let Some(place) = Place::new("rights") else { return };
    let text = r#"
        { id -u; id -g; id -G; hostname; echo $BASHPID
          grep -E '^(CapBnd|NoNewPrivs)' /proc/self/status
          touch /new 2>&1 || true
          ls /proc | grep -c '^[0-9]'
        } > /dev/termination-log"#;
    let container = json!({"securityContext": {
        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
    }});
    let spec = json!({"securityContext": {
        "runAsNonRoot": true, "runAsUser": 65_532, "runAsGroup": 65_531, "fsGroup": 65_530, "supplementalGroups": [7],
    }});
    let told = place.outcome(&script_with("restricted", text, (container, spec)));
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[..3], ["65532", "65531", "65531 7 65530"], "{told}");
    assert_eq!(
        lines[3..5],
        ["restricted", "1"],
        "its host's name, and that it is the first process"
    );
    assert!(
        lines[5].ends_with("\t0000000000000000") && lines[6].ends_with("\t1"),
        "{told}"
    );
    assert!(lines[7].contains("Read-only file system"), "{told}");
    assert!(
        lines[8].parse::<u32>().unwrap() < 6,
        "it sees its own processes only: {told}"
    );
}

#[test]
fn a_program_without_a_policy_is_root_of_its_own_file_system() {
    let Some(place) = Place::new("root") else { return };
    let text = r#"
        touch /new /etc/new
        { id -u; grep -E '^CapEff' /proc/self/status; } > /dev/termination-log"#;
    let told = place.outcome(&script("writer", text));
    // What a container runtime leaves to root.
    assert_eq!(told.lines().collect::<Vec<_>>(), ["0", "CapEff:\t00000000a80425fb"]);
    assert!(!std::path::Path::new("/etc/new").exists());
    let mut refused = script("refused", "true");
    refused["spec"]["securityContext"] = json!({"runAsNonRoot": true});
    place.create(&refused);
    place.wait(
        "pod/refused",
        ".status.containerStatuses[0].state.waiting.reason",
        "CreateContainerConfigError",
    );
    let message = place.state("refused")["waiting"]["message"].clone();
    assert!(message.as_str().unwrap().contains("runAsNonRoot"), "{message}");
}

#[test]
fn variables_come_from_where_the_pod_says_and_are_put_into_arguments() {
    let Some(place) = Place::new("variables") else { return };
    place.kubectl(
        &["create", "secret", "generic", "token", "--from-literal=key=secret"],
        "",
    );
    place.kubectl(&["create", "configmap", "settings", "--from-literal=colour=red"], "");
    let field = |path: &str| json!({"fieldRef": {"fieldPath": path}});
    let container = json!({
        "args": ["bash", "$(FIELD) $(SUM) $$(FIELD) $(NOBODY)"],
        "env": [
            {"name": "FIELD", "valueFrom": field("metadata.labels['colour']")},
            {"name": "ADDRESS", "valueFrom": field("status.podIP")},
            {"name": "NODE", "valueFrom": field("spec.nodeName")},
            {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "token", "key": "key"}}},
            {"name": "OPTIONAL", "valueFrom": {"secretKeyRef": {"name": "none", "key": "key", "optional": true}}},
            {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
            {"name": "SUM", "value": "$(SECRET)-$(FIELD)"},
        ],
        "envFrom": [{"configMapRef": {"name": "settings"}, "prefix": "MY_"}],
        "resources": {"limits": {"memory": "64Mi"}},
    });
    let text = "echo \"$1|$SECRET|$MY_colour|$MEMORY|${OPTIONAL-none}|$KUBERNETES_SERVICE_PORT|$ADDRESS\" > /dev/termination-log";
    let mut pod = script_with("reader", text, (container, json!({})));
    pod["metadata"]["labels"] = json!({"colour": "blue"});
    let told = place.outcome(&pod);
    let address = place.get("pod", "reader")["status"]["podIP"].clone();
    let expected = format!(
        "blue secret-blue $(FIELD) $(NOBODY)|secret|red|64|none|443|{}",
        address.as_str().unwrap()
    );
    assert_eq!(told.trim(), expected);
}

#[test]
fn who_takes_more_memory_than_its_limit_is_killed_and_the_cause_is_told() {
    let Some(place) = Place::new("memory") else { return };
    if firn_tests::memory::SmallMemory::create(1 << 26).is_none() {
        return;
    }
    let container = json!({"resources": {"limits": {"memory": "64Mi"}}});
    // A child takes it: the container goes as a whole.
    let text = "perl -e '$x = \"x\" x (256 << 20)' & wait; sleep 1000";
    place.create(&script_with("eater", text, (container, json!({}))));
    place.wait("pod/eater", ".status.phase", "Failed");
    let end = place.state("eater")["terminated"].clone();
    assert_eq!(
        (&end["reason"], &end["exitCode"]),
        (&json!("OOMKilled"), &json!(137)),
        "{end}"
    );
}
