//! Where images are built and kept.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use firn_kubernetes_tests::Answer;
use firn_tests::binaries::{binary, repository};
use nix::unistd::geteuid;
use serde_json::Value;
use tempfile::TempDir;

/// Where images are kept; `buildah` in its folder `bin` knows no other.
pub(crate) struct Store {
    folder: TempDir,
}

/// Why images cannot be built here, with this space in MiB.
pub(crate) fn hindrance(space: u64) -> Option<String> {
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
    (free < space).then(|| {
        format!(
            "images need {space} MiB in {}, found {free}",
            std::env::temp_dir().display()
        )
    })
}

/// What a command prints that must succeed.
pub(crate) fn run(command: &mut Command) -> String {
    let said = format!("{command:?}");
    let answer = Answer::of(command, "");
    assert!(answer.succeeded, "{said}: {}\n{}", answer.output, answer.talk);
    answer.output
}

impl Store {
    /// An empty one.
    pub(crate) fn new() -> Self {
        let store = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(store.path("bin")).unwrap();
        let (images, runs) = (store.path("images"), store.path("runs"));
        let wrapper = format!(
            "#!/bin/sh\nexec /usr/bin/buildah --root {} --runroot {} \"$@\"\n",
            images.display(),
            runs.display()
        );
        fs::write(store.path("bin/buildah"), wrapper).unwrap();
        run(Command::new("chmod").arg("755").arg(store.path("bin/buildah")));
        store
    }

    /// A place in its folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts the programs that are built already where images can take them from.
    pub(crate) fn gather_programs(&self) {
        fs::create_dir(self.path("programs")).unwrap();
        for name in ["firn", "firn-operator", "firn-worker"] {
            run(Command::new("strip")
                .arg("-o")
                .arg(self.path("programs").join(name))
                .arg(binary(name)));
        }
    }

    /// The builder.
    pub(crate) fn buildah(&self) -> Command {
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
            .env("TMPDIR", self.folder.path())
            .env("BUILDAH_ISOLATION", "chroot");
        command
    }

    /// Builds a target with the script that people use, and returns what the image is called.
    fn build(&self, target: &str, more: &[String]) -> String {
        let mut command = self.with_environment(&repository().join("deploy/images/build.sh"));
        run(command
            .args(["--tag", "test", target, "--", "--build-arg", "BASE=localhost/base"])
            .args(more));
        let name = if target == "coordinator" { "firn" } else { "firn-worker" };
        let tag = if target == "worker-cuda" { "test-cuda" } else { "test" };
        format!("localhost/{name}:{tag}")
    }

    /// Builds a target of the programs and the libtorch that are there.
    pub(crate) fn build_of_programs(&self, target: &str, more: &[&str]) -> String {
        let programs = self.path("programs");
        let libtorch =
            std::env::var_os("LIBTORCH").map_or_else(|| repository().join("deploy/.libtorch/current"), PathBuf::from);
        let libtorch = libtorch.canonicalize().unwrap();
        // In a folder of that name, as its stage has it.
        let stage = self.path("stage");
        if !stage.exists() {
            fs::create_dir(&stage).unwrap();
            run(Command::new("cp")
                .args(["--recursive", "--no-dereference"])
                .arg(&libtorch)
                .arg(stage.join("libtorch")));
        }
        let mut arguments: Vec<String> = more.iter().map(ToString::to_string).collect();
        for kind in ["cpu", "cuda"] {
            // The libtorch of CUDA is ten times as large: what is tried is its target, and not its GPUs.
            for (context, folder) in [("programs", &programs), ("libtorch", &stage)] {
                arguments.push("--build-context".to_owned());
                arguments.push(format!("{context}-{kind}={}", folder.display()));
            }
        }
        self.build(target, &arguments)
    }

    /// Builds a target as people do, with all stages.
    pub(crate) fn build_from_source(&self, target: &str) -> String {
        self.build(target, &["--build-arg".to_owned(), "RUST=localhost/rust".to_owned()])
    }

    /// What is known of an image.
    pub(crate) fn inspect(&self, image: &str) -> Value {
        serde_json::from_str(&run(self.buildah().args(["inspect", "--type", "image", image]))).unwrap()
    }

    /// The digests of its layers.
    pub(crate) fn layers(&self, image: &str) -> Value {
        self.inspect(image)["OCIv1"]["rootfs"].clone()
    }

    /// Removes an image.
    pub(crate) fn remove(&self, image: &str) {
        run(self.buildah().args(["rmi", "--force", image]));
    }

    /// Does something with the root file system of an image.
    pub(crate) fn mounted<T>(&self, image: &str, then: impl FnOnce(&Path) -> T) -> T {
        let container = run(self.buildah().args(["from", "--pull-never", image]));
        let root = PathBuf::from(run(self.buildah().args(["mount", &container])));
        let done = then(&root);
        run(self.buildah().args(["umount", &container]));
        run(self.buildah().args(["rm", &container]));
        done
    }
}
