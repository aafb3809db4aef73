//! The Secrets that are made let the right ones in, and nobody else: shown by a coordinator that is started with them.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
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

use super::{HOME, all_values};

/// A coordinator whose files are those of the Secrets.
struct Served {
    address: String,
    folder: TempDir,
    is_mutual: bool,
    _coordinator: Process,
}

/// Writes each Secret of a text into a folder of its name.
fn write(text: &str, folder: &Path) {
    for document in documents(text)
        .into_iter()
        .filter(|document| document["kind"] == "Secret")
    {
        let secret: Secret = serde_json::from_value(document).unwrap();
        assert_eq!(secret.metadata.namespace.as_deref(), Some(HOME));
        let place = folder.join(secret.metadata.name.unwrap());
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
        let file = |place: &str| folder.path().join(place);
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

    /// A file of a Secret.
    fn file(&self, place: &str) -> PathBuf {
        self.folder.path().join(place)
    }

    /// `firn` with the Secret of somebody.
    fn firn(&self, who: &str, arguments: &[&str]) -> Answer {
        let mut command = Command::new(binary("firn"));
        command
            .args(arguments)
            .args(["--coordinator", &self.address])
            .env("FIRN_CONFIG", "/dev/null");
        command.arg("--ca").arg(self.file("firn-coordinator-tls/ca.crt"));
        command.arg("--token-file").arg(self.file(&format!("{who}/token")));
        if self.is_mutual {
            // Pools show the certificate of workers.
            let who = if who.contains("-pool-") { "firn-worker" } else { who };
            let file = |name: &str| self.file(&format!("{who}-tls/{name}"));
            command
                .arg("--cert")
                .arg(file("tls.crt"))
                .arg("--key")
                .arg(file("tls.key"));
        }
        Answer::of(&mut command, "")
    }

    /// Everybody is let in as what they are.
    fn lets_the_right_ones_in(&self, pools: &[(&str, &str)]) {
        for who in ["firn-admin", "firn-operator"] {
            let answer = self.firn(who, &["token", "list"]);
            assert!(answer.succeeded, "{who}: {}", answer.talk);
        }
        for (who, what) in pools {
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
    let pools = [
        ("firn-pool-gpus", "an agent of everything"),
        ("firn-pool-few", "an agent of namespace team-a"),
    ];
    for (name, is_mutual, pools) in [("least", false, [].as_slice()), ("everything", true, &pools)] {
        let values = all_values().into_iter().find(|values| values.name == name).unwrap();
        Served::with(&helm.render(&values.file, &[]), is_mutual).lets_the_right_ones_in(pools);
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
