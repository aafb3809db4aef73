//! The Secrets that are made let the right ones in, and nobody else: shown by a coordinator that is started with them.

use std::{
    fs::{self, File},
    path::Path,
    process::Command,
    time::Instant,
};

use firn_kubernetes_tests::{Answer, Helm, Programs, documents};
use firn_tests::{
    binaries::{Process, binary, repository},
    cluster::{BETWEEN_LOOKS, LIMIT},
    skip::skipped,
};
use k8s_openapi::api::core::v1::Secret;
use tempfile::TempDir;

use super::all_values;

/// A coordinator whose files are those of the Secrets.
struct Served {
    address: String,
    folder: TempDir,
    is_mutual: bool,
    _coordinator: Process,
}

/// Writes each Secret of a text into a folder of its name, below that of its namespace.
fn write(text: &str, folder: &Path) {
    for document in documents(text)
        .into_iter()
        .filter(|document| document["kind"] == "Secret")
    {
        let secret: Secret = serde_json::from_value(document).unwrap();
        let place = folder
            .join(secret.metadata.namespace.unwrap())
            .join(secret.metadata.name.unwrap());
        fs::create_dir_all(&place).unwrap();
        for (key, value) in secret.data.unwrap_or_default() {
            fs::write(place.join(key), value.0).unwrap();
        }
    }
}

impl Served {
    fn with(secrets: &str, is_mutual: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write(secrets, folder.path());
        let file = |place: &str| folder.path().join("firn-system").join(place);
        let ready = folder.path().join("ready");
        let mut command = Command::new(binary("firn"));
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        command
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .arg("--ready-file")
            .arg(&ready);
        command.arg("--tls-cert").arg(file("firn-coordinator-tls/tls.crt"));
        command.arg("--tls-key").arg(file("firn-coordinator-tls/tls.key"));
        command.arg("--token-file").arg(file("firn-tokens/tokens"));
        if is_mutual {
            command.arg("--client-ca").arg(file("firn-coordinator-tls/ca.crt"));
        }
        command.stderr(File::create(folder.path().join("serve.log")).unwrap());
        let coordinator = Process::spawn(&mut command).unwrap();
        let began = Instant::now();
        let port = loop {
            let address = fs::read_to_string(&ready).unwrap_or_default();
            if let Some((_, port)) = address.trim().rsplit_once(':') {
                break port.to_owned();
            }
            assert!(began.elapsed() < LIMIT, "the coordinator does not serve");
            // A file that appears tells nobody.
            std::thread::park_timeout(BETWEEN_LOOKS);
        };
        Self {
            address: format!("https://localhost:{port}"),
            folder,
            is_mutual,
            _coordinator: coordinator,
        }
    }

    /// `firn` with the Secret of somebody.
    fn firn(&self, who: &str, arguments: &[&str]) -> Answer {
        let file = |name: &str| self.folder.path().join(format!("{who}{name}"));
        let mut command = Command::new(binary("firn"));
        command
            .args(arguments)
            .args(["--coordinator", &self.address])
            .env("FIRN_CONFIG", "/dev/null");
        command
            .arg("--ca")
            .arg(file("/ca.crt"))
            .arg("--token-file")
            .arg(file("/token"));
        if self.is_mutual {
            command
                .arg("--cert")
                .arg(file("-tls/tls.crt"))
                .arg("--key")
                .arg(file("-tls/tls.key"));
        }
        Answer::of(&mut command, "")
    }

    /// Everybody is let in as what they are.
    fn lets_the_right_ones_in(&self, workers: &[(&str, &str)]) {
        let (admin, operator) = ("firn-system/firn-admin", "firn-system/firn-operator");
        for (who, arguments) in [
            (admin, ["token", "list"].as_slice()),
            (admin, &["list"]),
            (operator, &["list"]),
            (operator, &["token", "list"]),
        ] {
            let answer = self.firn(who, arguments);
            assert!(answer.succeeded, "{who} {arguments:?}: {}", answer.talk);
        }
        for (who, what) in workers {
            let answer = self.firn(who, &["list"]);
            assert!(
                !answer.succeeded && answer.talk.contains(what),
                "{who}: {} {}",
                answer.output,
                answer.talk
            );
        }
    }
}

#[test]
fn a_coordinator_takes_the_secrets_of_the_chart() {
    let Some(programs) = Programs::find(&["helm"]) else {
        return;
    };
    let helm = Helm::new(&programs);
    for (name, is_mutual, workers) in [
        ("least", false, [].as_slice()),
        (
            "everything",
            true,
            &[
                ("firn-system/firn-pool-gpus", "an agent of everything"),
                ("firn-system/firn-pool-few", "an agent of namespace team-a"),
            ],
        ),
    ] {
        let values = all_values().into_iter().find(|values| values.name == name).unwrap();
        Served::with(&helm.render(&values.file, &[]), is_mutual).lets_the_right_ones_in(workers);
    }
}

#[test]
fn a_coordinator_takes_the_secrets_of_the_script_for_plain_manifests() {
    if Command::new("openssl").arg("version").output().is_err() {
        skipped("openssl is not installed");
        return;
    }
    let mut command = Command::new("bash");
    command.arg(repository().join("deploy/kubernetes/secrets.sh"));
    let made = Answer::of(&mut command, "");
    assert!(made.succeeded, "{}", made.talk);
    Served::with(&made.output, false).lets_the_right_ones_in(&[]);
}
