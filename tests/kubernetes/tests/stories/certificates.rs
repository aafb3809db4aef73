//! Certificates that a real cert-manager issues and renews: of the authority that the chart made, and of an issuer of one's own.

use std::{fs, process::Command};

use firn_kubernetes_tests::{Answer, CertManager, Programs};
use serde_json::{Value, json};

use crate::{
    coordinator,
    release::{HOME, Story, job, step},
    rotation::{CERTIFICATE, holds, is_told, is_well, nothing_was_lost, operator_works},
    secrets::{Contents, read},
};

/// Whose certificates there are where everybody shows one.
const ALL: [&str; 4] = [CERTIFICATE, "firn-admin-tls", "firn-operator-tls", "firn-worker-tls"];

/// The release, and cert-manager's programs. `None`, said aloud, where they are not built.
fn begin() -> Option<(Story, Programs)> {
    let programs = Programs::find(&["cert-manager", "helm"])?;
    Some((Story::begin()?, programs))
}

fn install_cert_manager<'a>(story: &'a Story, programs: &Programs) -> CertManager<'a> {
    let installed = CertManager::install(&story.cluster, programs, ("role", "control"));
    story.figure("cert-manager runs");
    installed
}

/// A certificate as cert-manager has issued it.
struct Issued {
    /// How often it was; 0: it was there before.
    times: u64,
    secret: Contents,
}

/// Waits until a Certificate is ready, which has been issued so many times at least.
fn issued(story: &Story, name: &str, times: u64) -> Issued {
    let arguments = ["--namespace", HOME, "get", "certificate", name];
    let count = |certificate: &Value| certificate["status"]["revision"].as_u64().unwrap_or(0);
    let certificate = story.kubectl().until(&arguments, |certificate| {
        let conditions = certificate["status"]["conditions"].as_array();
        let is = |kind: &str, status: &str| {
            conditions.is_some_and(|all| all.iter().any(|one| one["type"] == kind && one["status"] == status))
        };
        count(certificate) >= times && is("Ready", "True") && !is("Issuing", "True")
    });
    Issued {
        times: count(&certificate),
        secret: read(story, HOME, name),
    }
}

/// A person wants it to be issued again: as `cmctl renew` says so.
fn renew(story: &Story, name: &str) {
    let condition = json!({"type": "Issuing", "status": "True", "reason": "ManuallyTriggered",
                           "message": "Certificate re-issuance manually triggered"});
    let certificate = json!({"apiVersion": "cert-manager.io/v1", "kind": "Certificate",
                             "metadata": {"name": name, "namespace": HOME}, "status": {"conditions": [condition]}});
    let apply = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--subresource=status",
        "-f",
        "-",
    ];
    story.kubectl().must(&apply, &certificate.to_string());
}

/// Waits until the coordinator shows the certificate of the Secret to whoever connects.
fn is_shown(story: &Story) {
    crate::secrets::wait_until("the new certificate", || {
        let address = story.url().replace("https://", "");
        let mut command = Command::new("openssl");
        let shown = Answer::of(command.args(["s_client", "-alpn", "h2", "-connect", &address]), "");
        let begin = shown.output.find("-----BEGIN CERTIFICATE-----").unwrap_or_default();
        let (_, shown) = shown.output.split_at(begin);
        let end = shown.find("-----END").unwrap_or_default();
        !shown.is_empty() && read(story, HOME, CERTIFICATE)["tls.crt"].starts_with(&shown[..end])
    });
}

#[test]
#[ignore = "takes minutes: make kubernetes"]
fn cert_manager_takes_the_certificates_over_and_renews_them_while_a_job_trains() {
    let Some((story, programs)) = begin() else { return };
    story.apply(&job("kept", 3000, (1, 2)));
    story.trains("kept", 2, 20);
    let first = read(&story, HOME, CERTIFICATE);
    let _cert_manager = install_cert_manager(&story, &programs);
    // The chart finds it by itself.
    story.upgrade(&[]);
    // It may issue it anew at once, or when that is due.
    let before = issued(&story, CERTIFICATE, 0);
    assert_eq!(before.secret["ca.crt"], first["ca.crt"]);
    story.figure(&format!(
        "cert-manager has taken the certificate over; issued {} times",
        before.times
    ));
    renew(&story, CERTIFICATE);
    let second = issued(&story, CERTIFICATE, before.times + 1);
    assert!(second.secret["tls.crt"] != before.secret["tls.crt"] && second.secret["ca.crt"] == first["ca.crt"]);
    is_shown(&story);
    story.figure("renewed, of the authority of the chart, and the new one is shown");
    let delete = ["--namespace", HOME, "delete", "secret", CERTIFICATE];
    story.kubectl().must(&delete, "");
    let third = issued(&story, CERTIFICATE, second.times + 1);
    assert!(third.secret["tls.crt"] != second.secret["tls.crt"] && third.secret["ca.crt"] == first["ca.crt"]);
    is_shown(&story);
    story.figure("its Secret was deleted, made again, and the new one is shown");
    // Whoever is connected has to come again.
    coordinator::restart(&story);
    is_well(&story, "kept");
    operator_works(&story, "after-renewal");
    nothing_was_lost(&story, "kept");
    back_to_the_chart(&story, &[CERTIFICATE]);
}

/// The release without cert-manager again.
fn back_to_the_chart(story: &Story, certificates: &[&str]) {
    story.uninstall();
    let delete = [&["--namespace", HOME, "delete", "secret"], certificates].concat();
    story.kubectl().must(&delete, "");
    story.install_again(&["--set", "certificates.certManager=never"]);
    operator_works(story, "as-before");
}

/// An authority of one's own, and the issuer that signs with it.
fn corporate_issuer() -> Value {
    let group = "cert-manager.io/v1";
    let root =
        json!({"apiVersion": group, "kind": "ClusterIssuer", "metadata": {"name": "root"}, "spec": {"selfSigned": {}}});
    let authority = json!({"apiVersion": group, "kind": "Certificate",
        "metadata": {"name": "corporate", "namespace": CertManager::HOME},
        "spec": {"isCA": true, "commonName": "corporate", "secretName": "corporate", "privateKey": {"algorithm": "ECDSA"},
                 "issuerRef": {"name": "root", "kind": "ClusterIssuer", "group": "cert-manager.io"}}});
    let issuer = json!({"apiVersion": group, "kind": "ClusterIssuer", "metadata": {"name": "corporate"},
                        "spec": {"ca": {"secretName": "corporate"}}});
    json!({"apiVersion": "v1", "kind": "List", "items": [root, authority, issuer]})
}

/// What the request of the coordinator's certificate waits for, in cert-manager's words.
fn waits_for(story: &Story) -> String {
    let arguments = ["--namespace", HOME, "get", "certificaterequest"];
    let told = |request: &Value| {
        let conditions = request["status"]["conditions"].as_array()?;
        let found = conditions
            .iter()
            .find(|one| one["type"] == "Ready" && one["status"] == "False")?;
        Some(found["message"].as_str()?.to_owned())
    };
    let found = story.kubectl().until(&arguments, |request| {
        request["metadata"]["annotations"]["cert-manager.io/certificate-name"] == CERTIFICATE && told(request).is_some()
    });
    told(&found).unwrap()
}

#[test]
#[ignore = "takes minutes: make kubernetes"]
fn with_an_issuer_of_ones_own_that_comes_late_everybody_gets_certificates_and_those_are_renewed() {
    let Some((story, programs)) = begin() else { return };
    let before = fs::read_to_string(story.file("ca.crt")).unwrap();
    let _cert_manager = install_cert_manager(&story, &programs);
    story.uninstall();
    let delete = ["--namespace", HOME, "delete", "secret", CERTIFICATE];
    story.kubectl().must(&delete, "");
    let issuer = "certificates.mutual=true,certificates.issuer.name=corporate,certificates.issuer.kind=ClusterIssuer,\
                  certificates.issuer.group=cert-manager.io";
    story.install_again(&["--wait=hookOnly", "--set", issuer]);
    story.figure("installed, with an issuer that is not there");
    let words = waits_for(&story);
    story.figure(&format!("cert-manager says: {words}"));
    assert!(words.contains("\"ClusterIssuer\" not found"), "{words}");
    story.apply(&job("early", 2, (1, 2)));
    is_told(&story, "early", "MissingFile", "cannot read /etc/firn/client/ca.crt");

    story
        .kubectl()
        .must(&["apply", "-f", "-"], &corporate_issuer().to_string());
    let first = ALL.map(|name| issued(&story, name, 1).secret);
    let authority = first[0]["ca.crt"].clone();
    assert!(authority != before && first.iter().all(|secret| secret["ca.crt"] == authority));
    story.figure("the issuer came, and all certificates are issued");
    story.upgrade(&["--set", issuer]);
    is_shown(&story);
    administrator_holds(&story, &first[1]);
    story.succeeds("early");
    story.figure("coordinator, operator and workers show them, and what was applied meanwhile has succeeded");
    story.delete("early");

    story.apply(&job("signed", 3000, (1, 2)));
    story.trains("signed", 2, 20);
    ALL.iter().for_each(|name| renew(&story, name));
    let second = ALL.map(|name| issued(&story, name, 2).secret);
    for (new, old) in second.iter().zip(&first) {
        assert!(new["tls.crt"] != old["tls.crt"] && new["ca.crt"] == authority);
    }
    is_shown(&story);
    administrator_holds(&story, &second[1]);
    holds(&story, "signed", "tls.crt", &second[3]["tls.crt"]);
    story.figure("all are renewed, and the workers have theirs");
    coordinator::restart(&story);
    is_well(&story, "signed");
    let status = story.get("ftj", "signed")["status"].clone();
    story.trains("signed", 2, step(&status) + 20);
    nothing_was_lost(&story, "signed");
    operator_works(&story, "after-all");

    for key in ["tls.crt", "tls.key"] {
        fs::remove_file(story.file(key)).unwrap();
    }
    fs::write(story.file("ca.crt"), before).unwrap();
    back_to_the_chart(&story, &ALL);
}

/// The administrator shows this, and trusts who has signed it.
fn administrator_holds(story: &Story, secret: &Contents) {
    for key in ["ca.crt", "tls.crt", "tls.key"] {
        fs::write(story.file(key), &secret[key]).unwrap();
    }
}
