//! The two bases, made of Debian's packages where no registry of images can be reached.

use std::{fs, process::Command};

use crate::store::{Store, run};

/// The release of both, as in the Containerfile.
const RELEASE: &str = "bookworm";
/// With which authorities whoever builds here reaches the registries of crates and wheels.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

impl Store {
    /// `localhost/base`: a Debian, as small as the slim one is.
    pub(crate) fn make_base(&self) {
        self.make(
            "base",
            &["--variant=essential", "--include=libgcc-s1,libstdc++6"],
            "",
            &[],
        );
    }

    /// `localhost/rust`: a Debian with a compiler of C++ and the Rust that this test was built with, where the official image has it.
    pub(crate) fn make_compiler(&self) {
        let toolchain = run(Command::new("rustc").args(["--print", "sysroot"]));
        let mut more = "COPY --from=toolchain bin /usr/local/cargo/bin\nCOPY --from=toolchain lib /usr/local/cargo/lib\n\
                        ENV PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin CARGO_HOME=/usr/local/cargo\n"
            .to_owned();
        // What whoever tests has told pip holds in the image as well.
        for (name, value) in std::env::vars().filter(|(name, _)| name.starts_with("PIP_")) {
            more.push_str(&format!("ENV {name}=\"{value}\"\n"));
        }
        fs::create_dir(self.path("authorities")).unwrap();
        fs::copy(AUTHORITIES, self.path("authorities/all.crt")).unwrap();
        more.push_str(&format!("COPY --from=authorities all.crt {AUTHORITIES}\n"));
        let authorities = self.path("authorities").display().to_string();
        self.make(
            "rust",
            &["--variant=apt", "--include=ca-certificates,g++"],
            &more,
            &[("toolchain", &toolchain), ("authorities", &authorities)],
        );
    }

    /// Makes an image of packages, and what a Containerfile says beside them.
    fn make(&self, name: &str, packages: &[&str], more: &str, contexts: &[(&str, &str)]) {
        let folder = self.path(name);
        fs::create_dir(&folder).unwrap();
        run(Command::new("mmdebstrap")
            .args(packages)
            .arg(RELEASE)
            .arg(folder.join("base.tar")));
        fs::write(
            folder.join("Containerfile"),
            format!("FROM scratch\nADD base.tar /\n{more}"),
        )
        .unwrap();
        let mut build = self.buildah();
        build.args(["build", "--tag", &format!("localhost/{name}")]);
        for (context, place) in contexts {
            build.args(["--build-context", &format!("{context}={place}")]);
        }
        run(build.arg(&folder));
        fs::remove_dir_all(folder).unwrap();
    }
}
