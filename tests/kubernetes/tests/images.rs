//! The images, built without a container engine and started from their root file systems: a library that is missing is found here.
//!
//! Nothing is pulled: the base is made by mmdebstrap, and the programs and libtorch are those that are built already.

#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use firn_kubernetes_tests::Answer;
use firn_tests::{
    binaries::{binary, repository},
    skip::skipped,
};
use nix::unistd::geteuid;
use serde_json::Value;
use tempfile::TempDir;

/// MiB that all of it takes at its largest: the worker's libtorch stands in a stage, in an image and between them.
const SPACE: u64 = 5_000;
/// MiB that the image of coordinator and operator may take: two programs, and the C library.
const COORDINATOR: u64 = 64;
/// MiB that the image of a worker may take: nine tenths are libtorch.
const WORKER: u64 = 600;

/// Where images are kept; `buildah` in its folder `bin` knows no other.
struct Store {
    folder: TempDir,
}

/// Why images cannot be built here.
fn hindrance() -> Option<String> {
    if !geteuid().is_root() {
        return Some("images are built as root".to_owned());
    }
    for program in ["buildah", "mmdebstrap", "unshare", "strip"] {
        if Command::new(program).arg("--version").output().is_err() {
            return Some(format!(
                "{program} is not installed (apt-get install --no-install-recommends buildah mmdebstrap)"
            ));
        }
    }
    let free = run(Command::new("df")
        .args(["--output=avail", "--block-size=M"])
        .arg(std::env::temp_dir()));
    let free: u64 = free.lines().nth(1)?.trim().trim_end_matches('M').parse().ok()?;
    (free < SPACE).then(|| {
        format!(
            "images need {SPACE} MiB in {}, found {free}",
            std::env::temp_dir().display()
        )
    })
}

/// What a command prints that must succeed.
fn run(command: &mut Command) -> String {
    let said = format!("{command:?}");
    let answer = Answer::of(command, "");
    assert!(answer.succeeded, "{said}: {}\n{}", answer.output, answer.talk);
    answer.output
}

impl Store {
    /// With a base, and with programs as images have them.
    fn new() -> Self {
        let store = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        for name in ["bin", "programs"] {
            fs::create_dir(store.path(name)).unwrap();
        }
        let (images, runs) = (store.path("images"), store.path("runs"));
        let wrapper = format!(
            "#!/bin/sh\nexec /usr/bin/buildah --root {} --runroot {} \"$@\"\n",
            images.display(),
            runs.display()
        );
        fs::write(store.path("bin/buildah"), wrapper).unwrap();
        run(Command::new("chmod").arg("755").arg(store.path("bin/buildah")));
        for name in ["firn", "firn-operator", "firn-worker"] {
            run(Command::new("strip")
                .arg("-o")
                .arg(store.path("programs").join(name))
                .arg(binary(name)));
        }
        let base = store.path("base");
        fs::create_dir(&base).unwrap();
        run(Command::new("mmdebstrap")
            .args(["--variant=essential", "--include=libgcc-s1,libstdc++6", "bookworm"])
            .arg(base.join("base.tar")));
        fs::write(base.join("Containerfile"), "FROM scratch\nADD base.tar /\n").unwrap();
        run(store.buildah().args(["build", "--tag", "localhost/base"]).arg(&base));
        fs::remove_dir_all(base).unwrap();
        store
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn buildah(&self) -> Command {
        self.with_environment(&self.path("bin/buildah"))
    }

    fn with_environment(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        let path = format!(
            "{}:{}",
            self.path("bin").display(),
            std::env::var("PATH").unwrap_or_default()
        );
        command
            .env("PATH", path)
            .env("STORAGE_DRIVER", "vfs")
            .env("BUILDAH_ISOLATION", "chroot");
        command
    }

    /// Builds a target with the script that people use, and returns what it is called.
    fn build(&self, target: &str, more: &[&str]) -> String {
        let script = repository().join("deploy/images/build.sh");
        let programs = self.path("programs");
        let libtorch =
            std::env::var_os("LIBTORCH").map_or_else(|| repository().join("deploy/.libtorch/current"), PathBuf::from);
        let libtorch = libtorch.canonicalize().unwrap();
        let mut command = self.with_environment(&script);
        command
            .args(["--tag", "test", target, "--", "--build-arg", "BASE=localhost/base"])
            .args(more);
        for kind in ["cpu", "cuda"] {
            command.args(["--build-context", &format!("programs-{kind}={}", programs.display())]);
            // That of CUDA is ten times as large: what is tried is its target, and not its GPUs.
            command.args(["--build-context", &format!("libtorch-{kind}={}", libtorch.display())]);
        }
        run(&mut command);
        let name = if target == "coordinator" { "firn" } else { "firn-worker" };
        let tag = if target == "worker-cuda" { "test-cuda" } else { "test" };
        format!("localhost/{name}:{tag}")
    }

    fn inspect(&self, image: &str) -> Value {
        serde_json::from_str(&run(self.buildah().args(["inspect", "--type", "image", image]))).unwrap()
    }

    /// Does something with the root file system of an image.
    fn mounted<T>(&self, image: &str, then: impl FnOnce(&Path) -> T) -> T {
        let container = run(self.buildah().args(["from", "--pull-never", image]));
        let root = PathBuf::from(run(self.buildah().args(["mount", &container])));
        let done = then(&root);
        run(self.buildah().args(["umount", &container]));
        run(self.buildah().args(["rm", &container]));
        done
    }
}

/// Starts a program of a root file system as a user that it does not know, as some clusters do; with /proc, as every container has it.
fn start(root: &Path, program: &[&str]) -> Answer {
    let mut command = Command::new("unshare");
    let script = r#"root=$1; shift; mkdir -p "$root/proc"; mount -t proc proc "$root/proc" && exec chroot --userspec=1000680000:0 "$root" "$@""#;
    command
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(root)
        .args(program);
    Answer::of(&mut command, "")
}

fn mebibytes(root: &Path) -> u64 {
    let size = run(Command::new("du").args(["--summarize", "--block-size=M"]).arg(root));
    size.split('M').next().unwrap().parse().unwrap()
}

/// Nobody's user, no shell, nothing that gives rights, and a list of what it is made of.
fn is_what_it_should_be(store: &Store, image: &str, root: &Path, expected: &[&str]) {
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

#[test]
#[ignore = "takes two minutes and 5 GB: make kubernetes builds images"]
fn images_are_built_start_and_are_small() {
    if let Some(hindrance) = hindrance() {
        skipped(&hindrance);
        return;
    }
    let store = Store::new();
    let coordinator = store.build("coordinator", &[]);
    store.mounted(&coordinator, |root| {
        is_what_it_should_be(&store, &coordinator, root, &["tonic", "libc6"]);
        let version = start(root, &["/usr/local/bin/firn", "--version"]);
        assert_eq!(
            version.output,
            format!("firn {}", env!("CARGO_PKG_VERSION")),
            "{}",
            version.talk
        );
        let definition = start(root, &["/usr/local/bin/firn-operator", "crd"]);
        assert_eq!(
            definition.output,
            firn_operator::resource::crd_yaml().unwrap().trim_end(),
            "{}",
            definition.talk
        );
        println!("coordinator and operator: {} MiB", mebibytes(root));
        assert!(mebibytes(root) <= COORDINATOR);
    });
    // The same again, from nothing.
    let layers = |image: &str| store.inspect(image)["OCIv1"]["rootfs"].clone();
    let first = layers(&coordinator);
    let again = store.build("coordinator", &["--no-cache"]);
    assert_eq!(layers(&again), first);

    for target in ["worker-cpu", "worker-cuda"] {
        let worker = store.build(target, &[]);
        store.mounted(&worker, |root| {
            is_what_it_should_be(&store, &worker, root, &["tch", "libc6", "libstdc++6", "torch"]);
            let doctor = start(root, &["/usr/local/bin/firn-worker", "doctor"]);
            let finds = |what: &str| {
                doctor
                    .output
                    .lines()
                    .any(|line| line.starts_with("ok") && line.contains(what))
            };
            assert!(
                finds("libtorch") && finds("compute on the CPU"),
                "{} {}",
                doctor.output,
                doctor.talk
            );
            println!("{target}, with libtorch for CPUs: {} MiB", mebibytes(root));
            assert!(mebibytes(root) <= WORKER);
        });
        run(store.buildah().args(["rmi", "--force", &worker]));
    }
}
