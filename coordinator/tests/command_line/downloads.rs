//! `firn download`.

use std::fs;

use crate::{
    fake::FakeCoordinator,
    firn::{Left, firn},
    jobs::{artifact, job},
};

fn fake_with(name: &str, content: &[u8]) -> FakeCoordinator {
    let fake = FakeCoordinator::start();
    fake.put(job("Succeeded"));
    let mut books = fake.books();
    books.artifacts = vec![artifact(name, content, "coordinator")];
    books.contents.insert(name.to_owned(), content.to_vec());
    drop(books);
    fake
}

fn download(fake: &FakeCoordinator, folder: &std::path::Path) -> Left {
    firn(&fake.url(), &["download", "reviews", "-d", folder.to_str().unwrap()])
}

#[test]
fn a_file_arrives_whole_and_is_not_fetched_again() {
    let fake = fake_with("metrics.json", b"{\"accuracy\": 0.95}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.json");
    for _ in 0..2 {
        let left = download(&fake, folder.path());
        assert_eq!(left.code, 0, "{left:?}");
        assert!(left.data.contains(path.to_str().unwrap()), "{left:?}");
        assert_eq!(fs::read(&path).unwrap(), b"{\"accuracy\": 0.95}");
    }
    assert_eq!(fake.books().downloads, 1);
}

#[test]
fn a_damaged_file_gets_no_name() {
    let fake = fake_with("metrics.json", b"right");
    fake.books().contents.insert("metrics.json".into(), b"wrong".to_vec());
    let folder = tempfile::tempdir().unwrap();
    let left = download(&fake, folder.path());
    assert_eq!(left.code, 1, "{left:?}");
    assert!(
        left.talk
            .contains("artifact metrics.json is damaged: expected 5 bytes with SHA-256"),
        "{left:?}"
    );
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        0,
        "no name, and no temporary file either"
    );
}

#[test]
fn a_file_that_lies_on_this_machine_is_copied_and_one_elsewhere_is_told() {
    let fake = fake_with("metrics.json", b"{}");
    let shared = tempfile::tempdir().unwrap();
    let source = shared.path().join("model.safetensors");
    fs::write(&source, b"weights").unwrap();
    let near = artifact(
        "model.safetensors",
        b"weights",
        &format!("file://some-host{}", source.display()),
    );
    let far = artifact("far.bin", b"far", "file://host-b/nonexistent/far.bin");
    fake.books().artifacts.extend([near, far]);
    let folder = tempfile::tempdir().unwrap();

    let left = download(&fake, folder.path());

    assert_eq!(left.code, 0, "{left:?}");
    assert_eq!(fs::read(folder.path().join("model.safetensors")).unwrap(), b"weights");
    assert!(
        left.talk
            .contains("far.bin cannot be read from this machine; it lies at file://host-b/nonexistent/far.bin"),
        "{left:?}"
    );
    assert!(!folder.path().join("far.bin").exists());
}

#[test]
fn another_machines_file_under_the_same_path_is_not_taken_for_it() {
    let fake = fake_with("metrics.json", b"{}");
    let shared = tempfile::tempdir().unwrap();
    let source = shared.path().join("model.safetensors");
    fs::write(&source, b"something else").unwrap();
    fake.books().artifacts = vec![artifact(
        "model.safetensors",
        b"weights",
        &format!("file://host-b{}", source.display()),
    )];
    let folder = tempfile::tempdir().unwrap();
    let left = download(&fake, folder.path());
    assert_eq!(left.code, 0, "{left:?}");
    assert!(left.talk.contains("cannot be read from this machine"), "{left:?}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn one_artifact_can_be_chosen_and_a_wrong_name_is_answered_with_the_right_ones() {
    let fake = fake_with("metrics.json", b"{}");
    let folder = tempfile::tempdir().unwrap();
    let chosen = |name| {
        firn(
            &fake.url(),
            &[
                "download",
                "reviews",
                "--artifact",
                name,
                "-d",
                folder.path().to_str().unwrap(),
            ],
        )
    };
    let left = chosen("metric.json");
    assert_eq!(
        (left.code, left.talk.as_str()),
        (2, "firn: the job has no artifact `metric.json`; it has: metrics.json\n")
    );
    assert_eq!(chosen("metrics.json").code, 0);
}

#[test]
fn a_name_that_leads_out_of_the_folder_is_refused() {
    let fake = fake_with("../escaped", b"x");
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    let left = download(&fake, &inner);
    assert_eq!(left.code, 1, "{left:?}");
    assert!(!folder.path().join("escaped").exists());
}
