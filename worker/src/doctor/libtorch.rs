//! Is libtorch there, is it the right one, does it compute?

use std::{fs, path::Path};

use tch::{Kind, Tensor};

use super::Finding;
use crate::machine;

/// The version that this program is compiled for.
pub(super) const VERSION: &str = "2.11.0";

/// Looks at the libtorch that this process has loaded.
pub(super) fn examine() -> Vec<Finding> {
    vec![version(), computes(), threads()]
}

fn version() -> Finding {
    const SUBJECT: &str = "libtorch";
    let Some(library) = machine::loaded_library("libtorch_cpu.so") else {
        return Finding::broken(
            SUBJECT,
            "not loaded into this process",
            "run deploy/libtorch.sh and build again",
        );
    };
    let folder = library.parent().unwrap_or(Path::new("/")).display();
    match library.parent().and_then(Path::parent).and_then(version_in) {
        Some(found) if found.split('+').next() == Some(VERSION) => {
            Finding::ok(SUBJECT, format!("{found}, from {folder}"))
        }
        Some(found) => Finding::broken(
            SUBJECT,
            format!("{found}, from {folder}"),
            format!(
                "Firn needs libtorch {VERSION}: run deploy/libtorch.sh, or set LD_LIBRARY_PATH to the lib folder of one"
            ),
        ),
        None => Finding::missing(
            SUBJECT,
            format!("of unknown version, from {folder}"),
            format!("make sure that it is {VERSION}"),
        ),
    }
}

/// The version of the libtorch in a folder: from the file of its archives, from PyTorch's Python part, or from the headers.
fn version_in(folder: &Path) -> Option<String> {
    if let Ok(text) = fs::read_to_string(folder.join("build-version")) {
        return Some(text.trim().to_owned());
    }
    if let Ok(text) = fs::read_to_string(folder.join("version.py")) {
        return python_version(&text);
    }
    header_version(&fs::read_to_string(folder.join("include/torch/headeronly/version.h")).ok()?)
}

fn python_version(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("__version__"))?;
    line.split(['\'', '"']).nth(1).map(str::to_owned)
}

fn header_version(text: &str) -> Option<String> {
    let part = |name: &str| {
        let start = format!("#define TORCH_VERSION_{name} ");
        text.lines()
            .find_map(|line| line.strip_prefix(&start))
            .map(|value| value.trim().to_owned())
    };
    Some(format!("{}.{}.{}", part("MAJOR")?, part("MINOR")?, part("PATCH")?))
}

fn computes() -> Finding {
    const SUBJECT: &str = "tensors";
    let sum = Tensor::f_arange(1000, (Kind::Float, tch::Device::Cpu))
        .and_then(|tensor| tensor.f_sum(Kind::Double))
        .map(|sum| sum.double_value(&[]));
    match sum {
        Ok(value) if (value - 499_500.0).abs() < 1e-6 => Finding::ok(SUBJECT, "compute on the CPU"),
        Ok(value) => Finding::broken(
            SUBJECT,
            format!("0 + 1 + … + 999 gave {value}, not 499500"),
            "libtorch or this machine's memory is damaged",
        ),
        Err(error) => Finding::broken(
            SUBJECT,
            format!("cannot be computed: {error}"),
            "run deploy/libtorch.sh and build again",
        ),
    }
}

fn threads() -> Finding {
    let threads = tch::get_num_threads();
    let backends = [
        ("OpenMP", tch::utils::has_openmp()),
        ("MKL", tch::utils::has_mkl()),
        ("oneDNN", tch::utils::has_mkldnn()),
    ];
    let present: Vec<&str> = backends
        .iter()
        .filter(|(_, present)| *present)
        .map(|(name, _)| *name)
        .collect();
    Finding::ok(
        "threads",
        format!(
            "{threads} compute by default; libtorch was built with {}",
            present.join(", ")
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_where_each_kind_of_libtorch_keeps_them() {
        assert_eq!(
            python_version("from typing import Optional\n__version__ = '2.11.0+cu130'\n").unwrap(),
            "2.11.0+cu130"
        );
        let header = "#define TORCH_VERSION_MAJOR 2\n#define TORCH_VERSION_MINOR 11\n#define TORCH_VERSION_PATCH 0\n";
        assert_eq!(header_version(header).unwrap(), VERSION);
        assert_eq!(header_version("nothing"), None);
    }

    #[test]
    fn the_libtorch_of_this_test_is_the_right_one() {
        assert_eq!(version().status, super::super::Status::Ok, "{:?}", version());
        assert_eq!(computes().status, super::super::Status::Ok);
    }
}
