//! A release in which everybody shows a certificate.

use std::{fs, fs::File, process::Command};

use firn_kubernetes_tests::Answer;
use firn_tests::binaries::{Process, binary, firn};

use crate::{
    coordinator,
    release::{HOME, Story, job, step},
    rotation::{is_told, is_well},
    secrets::{Authority, Contents, all_processes, read, replace, restore, wait_until},
};

/// Who shows which Secret.
const CLIENTS: [&str; 3] = ["firn-admin-tls", "firn-operator-tls", "firn-worker-tls"];

fn certificates(story: &Story) -> [Contents; 3] {
    CLIENTS.map(|name| read(story, HOME, name))
}

/// An agent without a certificate, whatever its token: what it says of that.
fn refused(story: &Story) -> String {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut command = Command::new(binary("firn-worker"));
    command
        .args(["agent", "--cpu-slots", "1"])
        .env("FIRN_CONFIG", "/dev/null");
    command
        .env("FIRN_COORDINATOR", story.url())
        .env("FIRN_CA", story.file("ca.crt"))
        .env("FIRN_TOKEN_FILE", story.file("token"))
        .env("FIRN_STATE_DIR", folder.path())
        .stderr(File::create(&log).unwrap());
    let _agent = Process::spawn(&mut command).unwrap();
    let said = || fs::read_to_string(&log).unwrap();
    wait_until("the refusal", || said().contains("CertificateRequired"));
    said()
}

#[test]
#[ignore = "takes minutes: make kubernetes"]
fn with_certificates_on_both_sides_jobs_train_and_who_has_none_is_refused() {
    let Some(story) = Story::begin() else { return };
    story.upgrade(&["--set", "certificates.mutual=true"]);
    story.figure("the release asks for certificates");
    let first = certificates(&story);
    for key in ["tls.crt", "tls.key"] {
        fs::write(story.file(key), &first[0][key]).unwrap();
    }
    // They are kept by an upgrade.
    story.upgrade(&["--set", "certificates.mutual=true"]);
    assert_eq!(certificates(&story), first);

    let said = refused(&story);
    let line = said.lines().find(|line| line.contains("CertificateRequired")).unwrap();
    story.figure(&format!("an agent without a certificate: {line}"));
    assert!(said.contains("--cert"), "{said}");
    let mut without = firn();
    without
        .args(["list", "--coordinator", &story.url()])
        .arg("--ca")
        .arg(story.file("ca.crt"));
    let answer = Answer::of(without.arg("--token-file").arg(story.file("token")), "");
    // By its words, or by the connection that it closes before these are read.
    for words in ["a certificate of whoever calls", "give --cert and --key"] {
        assert!(answer.talk.contains(words), "{}", answer.talk);
    }

    story.apply(&job("mutual", 2, (1, 2)));
    story.succeeds("mutual");
    story.figure("a job has trained");
    story.delete("mutual");

    // A certificate of the operator that the coordinator does not take: pods train on.
    story.apply(&job("signed", 2000, (1, 2)));
    story.trains("signed", 2, 20);
    let (wrong, key) = Authority::new().sign(&["firn-operator"]);
    replace(&story, "firn-operator-tls", &[("tls.crt", &wrong), ("tls.key", &key)]);
    wait_until("the wrong certificate", || operators_hold(&story, &wrong));
    coordinator::restart(&story);
    let words = "the coordinator does not know the authority that has signed the certificate in --cert";
    is_told(&story, "signed", "CoordinatorRefusesCertificate", words);
    restore(&story, "firn-operator-tls", &first[1]);
    is_well(&story, "signed");
    let status = story.get("ftj", "signed")["status"].clone();
    story.trains("signed", 2, step(&status) + 20);
    assert_eq!(status["restarts"], 0, "{status}");
    story.figure("the right one is back; 0 restarts counted");
    story.delete("signed");

    for key in ["tls.crt", "tls.key"] {
        fs::remove_file(story.file(key)).unwrap();
    }
    story.upgrade(&[]);
    story.figure("the release asks for none again");
    story.apply(&job("plain", 1, (1, 1)));
    story.succeeds("plain");
    story.delete("plain");
}

/// Whether all operators find this certificate among their files.
fn operators_hold(story: &Story, certificate: &str) -> bool {
    let list = story.kubectl().must(
        &[
            "--namespace",
            HOME,
            "get",
            "pod",
            "-l",
            "app.kubernetes.io/name=firn-operator",
            "-o",
            "jsonpath={.items[*].metadata.name}",
        ],
        "",
    );
    let all_have = |pod: &str| {
        all_processes(("FIRN_OPERATOR_NAME", pod), |process| {
            fs::read_to_string(format!("/proc/{process}/root/etc/firn/certificate/tls.crt"))
                .is_ok_and(|found| found == certificate)
        })
    };
    !list.is_empty() && list.split_whitespace().all(all_have)
}
