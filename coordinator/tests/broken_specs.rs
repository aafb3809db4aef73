//! Broken spec files, each beside the exact message that its author reads.
//!
//! `broken_specs/NAME.yaml` is read as `NAME.yaml` in the folder `/jobs`, and `broken_specs/NAME.txt` is what is said. After a change that
//! is meant, `BLESS=1 cargo test --release -p firn --test broken_specs` writes the messages anew; read the difference before committing it.
//! The files in `valid_specs/` have nothing wrong with them.

#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use firn::{api::wire, spec_file};
use firn_core::spec::JobSpec;

fn files(folder: &str, extensions: &[&str]) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extensions.iter().any(|known| extension == *known))
        })
        .collect();
    files.sort();
    files
}

/// What happens to a file between the person and the queue.
fn submitted(path: &Path) -> Result<JobSpec, String> {
    let name = path.file_name().unwrap().to_str().unwrap();
    let text = fs::read_to_string(path).unwrap();
    let file = spec_file::parse(name, &text, Path::new("/jobs")).map_err(|error| error.to_string())?;
    wire::job_spec(&file.job).map_err(|refused| {
        // The violations travel in a status.
        file.explain(&wire::violations(&wire::invalid_job(&refused)))
            .to_string()
    })
}

#[test]
fn every_broken_spec_is_refused_with_the_message_beside_it() {
    let bless = std::env::var_os("BLESS").is_some();
    let (mut cases, mut wrong) = (0, Vec::new());
    for path in files("broken_specs", &["yaml", "json"]) {
        cases += 1;
        let message = match submitted(&path) {
            Err(message) => format!("{message}\n"),
            Ok(_) => {
                wrong.push(format!("{} is valid", path.display()));
                continue;
            }
        };
        let expected = path.with_extension("txt");
        if bless {
            fs::write(&expected, &message).unwrap();
        }
        let expected = fs::read_to_string(&expected).unwrap_or_default();
        if message != expected {
            wrong.push(format!("{}\nexpected: {expected}found:    {message}", path.display()));
        }
    }
    println!("{cases} broken specs");
    assert!(cases >= 25, "only {cases} broken specs");
    assert!(
        wrong.is_empty(),
        "{} of {cases} are told otherwise:\n\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn every_message_has_its_spec() {
    for path in files("broken_specs", &["txt"]) {
        let has_spec = ["yaml", "json"]
            .iter()
            .any(|extension| path.with_extension(extension).exists());
        assert!(has_spec, "{} stands alone", path.display());
    }
}

#[test]
fn every_valid_spec_is_taken_and_its_stored_form_is_the_same_job() {
    let valid = files("valid_specs", &["yaml", "json"]);
    // Seen from the folder of these tests.
    let recipes = files("../../deploy/recipes", &["yaml"]);
    assert!(valid.len() >= 4 && recipes.len() >= 6);
    for path in valid.into_iter().chain(recipes) {
        let spec = submitted(&path).unwrap_or_else(|message| panic!("{message}"));
        let stored = serde_yaml_ng::to_string(&wire::stored_job(&spec)).unwrap();
        let again = spec_file::parse("stored.yaml", &stored, Path::new("/elsewhere")).unwrap();
        assert_eq!(wire::job_spec(&again.job), Ok(spec), "{stored}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = spec_file::read(Path::new("/nowhere/job.yaml")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot read the spec file `/nowhere/job.yaml`: No such file or directory (os error 2)"
    );
}

#[test]
fn a_file_that_is_not_text_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("job.yaml");
    fs::write(&path, b"kind: \xff\xfe").unwrap();
    let error = spec_file::read(&path).unwrap_err().to_string();
    assert!(
        error.ends_with("job.yaml is not a valid job:\n  must be UTF-8 text"),
        "{error}"
    );
}

#[test]
fn the_paths_of_a_file_are_relative_to_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("job.yaml");
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/valid_specs/reviews.yaml")).unwrap();
    fs::write(&path, text).unwrap();
    let job = spec_file::read(&path).unwrap().job;
    assert_eq!(
        job.spec.unwrap().data.unwrap().train.unwrap().uri,
        folder.path().join("reviews/train.tsv").to_str().unwrap()
    );
}

mod any_text {
    use proptest::prelude::*;

    use super::*;

    fn valid_text() -> String {
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/valid_specs/reviews.yaml")).unwrap()
    }

    proptest! {
        #[test]
        fn is_read_or_refused_and_never_a_panic(text in "[a-z:{}\\[\\],&*!|>'\"%@`#~ \t\n\\-?.0-9é\u{feff}\0]{0,80}") {
            let _ = spec_file::parse("any.yaml", &text, Path::new("/jobs"));
        }

        #[test]
        fn a_spec_with_a_hole_is_read_or_refused_and_never_a_panic(begin in 0usize..1200, length in 0usize..60, filling in "[:{}&*!|>'\"\t\n \\-?\\[]{0,3}") {
            let text: Vec<char> = valid_text().chars().collect();
            let begin = begin.min(text.len());
            let end = (begin + length).min(text.len());
            let holed: String = text[..begin].iter().copied().chain(filling.chars()).chain(text[end..].iter().copied()).collect();
            if let Ok(file) = spec_file::parse("holed.yaml", &holed, Path::new("/jobs")) {
                let _ = wire::job_spec(&file.job);
            }
        }
    }
}
