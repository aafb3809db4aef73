//! What a built image holds, and whether its programs start.

use std::{fs, path::Path, process::Command};

use firn_kubernetes_tests::Answer;
use serde_json::Value;

use crate::store::{Store, run};

/// Starts a program of a root file system as a user that it does not know, as some clusters do; with /proc, as every container has it.
pub(crate) fn start(root: &Path, program: &[&str]) -> Answer {
    let mut command = Command::new("unshare");
    let script = r#"root=$1; shift; mkdir -p "$root/proc"; mount -t proc proc "$root/proc" && exec chroot --userspec=1000680000:0 "$root" "$@""#;
    command
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(root)
        .args(program);
    Answer::of(&mut command, "")
}

/// How large it is.
pub(crate) fn mebibytes(root: &Path) -> u64 {
    let size = run(Command::new("du").args(["--summarize", "--block-size=M"]).arg(root));
    size.split('M').next().unwrap().parse().unwrap()
}

/// Nobody's user, no shell, nothing that gives rights, and a list of what it is made of.
pub(crate) fn is_what_it_should_be(store: &Store, image: &str, root: &Path, expected: &[&str]) {
    let inspected = store.inspect(image);
    assert_eq!(inspected["OCIv1"]["config"]["User"], "65532:65532", "{image}");
    for absent in ["bin/sh", "usr/bin/apt", "usr/bin/dpkg", "usr/bin/perl"] {
        assert!(!root.join(absent).exists(), "{image} has {absent}");
    }
    let strange = run(Command::new("find").arg(root).args(["-xdev", "-perm", "/6000"]));
    assert_eq!(strange, "", "{image}");
    let text = fs::read_to_string(root.join("usr/share/firn/sbom.json")).unwrap();
    let list: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(list["bomFormat"], "CycloneDX");
    for name in expected {
        assert!(
            list["components"]
                .as_array()
                .unwrap()
                .iter()
                .any(|component| component["name"] == *name),
            "{image}: {name}"
        );
    }
}

/// The worker starts, and its doctor finds these things well.
pub(crate) fn starts_the_worker(root: &Path, findings: &[&str]) {
    let doctor = start(root, &["/usr/local/bin/firn-worker", "doctor"]);
    for what in findings {
        let mut lines = doctor.output.lines();
        let is_well = lines.any(|line| line.starts_with("ok") && line.contains(what));
        assert!(is_well, "{what}: {} {}", doctor.output, doctor.talk);
    }
}
