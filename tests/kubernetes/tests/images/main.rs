//! The images, built without a container engine and started from their root file systems: a library that is missing is found here.
//!
//! Nothing is pulled. The quick test takes the programs and libtorch that are built already; the long one builds all from source, GPU image too,
//! in the stages of the Containerfile. What its two bases would be, a Debian and a Debian with Rust, is made of packages.

#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

mod bases;
mod contents;
mod store;

use firn_tests::skip::skipped;

use crate::{
    contents::{is_what_it_should_be, mebibytes, start, starts_the_worker},
    store::{Store, hindrance},
};

/// MiB that the image of coordinator and operator may take: two programs, and the C library.
const COORDINATOR: u64 = 64;
/// MiB that the image of a worker for CPUs may take: nine tenths are libtorch.
const WORKER: u64 = 600;
/// MiB that the image of a worker for GPUs may take: nearly all is libtorch with what it needs of CUDA.
const WORKER_CUDA: u64 = 4_200;

/// What the doctor of a worker for CPUs finds well.
const CPU: &[&str] = &["libtorch", "compute on the CPU"];

/// Looks at an image of coordinator and operator, and starts both.
fn coordinator_is_well(store: &Store, image: &str) {
    store.mounted(image, |root| {
        is_what_it_should_be(store, image, root, &["tonic", "libc6"]);
        let version = start(root, &["/usr/local/bin/firn", "--version"]);
        let expected = format!("firn {}", env!("CARGO_PKG_VERSION"));
        assert_eq!(version.output, expected, "{}", version.talk);
        let definition = start(root, &["/usr/local/bin/firn-operator", "crd"]);
        let expected = firn_operator::resource::crd_yaml().unwrap();
        assert_eq!(definition.output, expected.trim_end(), "{}", definition.talk);
        println!("coordinator and operator: {} MiB", mebibytes(root));
        assert!(mebibytes(root) <= COORDINATOR);
    });
}

/// Looks at an image of a worker with these packages, and starts it: its doctor finds these things well.
fn worker_is_well(store: &Store, image: &str, (parts, findings): (&[&str], &[&str]), most: u64) {
    store.mounted(image, |root| {
        is_what_it_should_be(store, image, root, &["tch", "libc6", "libstdc++6", "torch"]);
        is_what_it_should_be(store, image, root, parts);
        starts_the_worker(root, findings);
        println!("{image}: {} MiB", mebibytes(root));
        assert!(mebibytes(root) <= most);
    });
}

#[test]
#[ignore = "takes two minutes and 5 GB: make kubernetes builds images"]
fn images_are_built_start_and_are_small() {
    // The worker's libtorch stands in a stage, in an image and between them.
    if let Some(hindrance) = hindrance(5_000) {
        skipped(&hindrance);
        return;
    }
    let store = Store::new();
    store.gather_programs();
    store.make_base();
    let coordinator = store.build_of_programs("coordinator", &[]);
    coordinator_is_well(&store, &coordinator);
    // The same again, from nothing.
    let first = store.layers(&coordinator);
    let again = store.build_of_programs("coordinator", &["--no-cache"]);
    assert_eq!(store.layers(&again), first);

    for target in ["worker-cpu", "worker-cuda"] {
        let worker = store.build_of_programs(target, &[]);
        worker_is_well(&store, &worker, (&[], CPU), WORKER);
        store.remove(&worker);
    }
}

#[test]
#[ignore = "takes 20 minutes of processor time, downloads of 3.5 GB and 20 GB of space: make images"]
fn images_are_built_from_source() {
    if let Some(hindrance) = hindrance(20_000) {
        skipped(&hindrance);
        return;
    }
    let store = Store::new();
    store.make_base();
    store.make_compiler();
    coordinator_is_well(&store, &store.build_from_source("coordinator"));
    worker_is_well(&store, &store.build_from_source("worker-cpu"), (&[], CPU), WORKER);
    let worker = store.build_from_source("worker-cuda");
    let parts = ["nvidia-nccl-cu13", "nvidia-cudnn-cu13"];
    worker_is_well(
        &store,
        &worker,
        (&parts, &["libtorch", "compute on the CPU", "NCCL"]),
        WORKER_CUDA,
    );
}
