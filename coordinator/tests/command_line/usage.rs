//! What is wrong before a coordinator is asked, and when there is none.

use std::fs;

use tokio::net::TcpSocket;

use crate::{
    firn::{command, command_of, firn, run},
    jobs::SPEC,
};

#[test]
fn wrong_arguments_are_usage_errors() {
    let table: [&[&str]; 9] = [
        &[],
        &["fly"],
        &["get"],
        &["list", "--limit", "many"],
        &["wait", "job", "--timeout", "10"],
        &["list", "-o", "xml"],
        &["cancel"],
        &["run", "job.yaml", "--workers", "0"],
        &["list", "--coordinator", "ftp://h:1"],
    ];
    for arguments in table {
        let left = run(command(arguments));
        assert_eq!(left.code, 2, "{arguments:?}: {left:?}");
        assert!(!left.talk.is_empty() && left.data.is_empty(), "{arguments:?}: {left:?}");
    }
}

#[test]
fn help_tells_the_exit_codes() {
    let left = run(command(&["--help"]));
    assert_eq!(left.code, 0);
    assert!(left.data.contains("4  the coordinator cannot be reached"), "{left:?}");
    assert!(!left.data.contains("tether"), "{left:?}");
}

#[test]
fn every_verb_says_when_the_coordinator_cannot_be_reached() {
    // Held, so that nobody else serves there, and not served.
    let port = TcpSocket::new_v4().unwrap();
    port.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = port.local_addr().unwrap();
    let url = format!("http://{address}");
    let folder = tempfile::tempdir().unwrap();
    let spec = folder.path().join("job.yaml");
    fs::write(&spec, SPEC).unwrap();
    let table: [&[&str]; 9] = [
        &["submit", spec.to_str().unwrap()],
        &["list"],
        &["get", "reviews"],
        &["watch", "reviews"],
        &["logs", "reviews", "-f"],
        &["wait", "reviews", "--timeout", "10m"],
        &["cancel", "reviews"],
        &["workers"],
        &["download", "reviews"],
    ];
    for arguments in table {
        let left = firn(&url, arguments);
        assert_eq!(left.code, 4, "{arguments:?}: {left:?}");
        let expected = format!("firn: coordinator {url} cannot be reached: Connection refused (os error 111)\n");
        assert_eq!(left.talk, expected, "{arguments:?}");
        assert_eq!(left.data, "", "{arguments:?}");
    }
}

#[test]
fn a_spec_that_cannot_be_read_is_an_invalid_spec() {
    let left = firn("http://127.0.0.1:9", &["submit", "/nonexistent/job.yaml"]);
    assert_eq!(left.code, 2, "{left:?}");
    assert!(left.talk.contains("/nonexistent/job.yaml"), "{left:?}");
}

#[test]
fn a_spec_with_an_unknown_field_is_refused_before_anything_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let spec = folder.path().join("job.yaml");
    fs::write(&spec, SPEC.replace("epochs", "epoch")).unwrap();
    for verb in ["submit", "run"] {
        let left = run(command(&[verb, spec.to_str().unwrap()]));
        assert_eq!(left.code, 2, "{verb}: {left:?}");
        assert!(left.talk.contains("epoch"), "{verb}: {left:?}");
    }
}

#[test]
fn run_says_where_it_looked_for_the_worker_program() {
    let folder = tempfile::tempdir().unwrap();
    let alone = folder.path().join("firn");
    fs::copy(env!("CARGO_BIN_EXE_firn"), &alone).unwrap();
    let spec = folder.path().join("job.yaml");
    fs::write(&spec, SPEC).unwrap();

    let left = run(command_of(&alone, &["run", spec.to_str().unwrap()]));

    assert_eq!(left.code, 2, "{left:?}");
    let beside = folder.path().join("firn-worker");
    assert!(
        left.talk.contains(&format!("it is not {}", beside.display())),
        "{left:?}"
    );
}

#[test]
fn a_settings_file_names_the_coordinator_and_a_flag_wins() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    fs::write(&config, "coordinator = \"http://127.0.0.1:2\"\n").unwrap();
    let config = config.to_str().unwrap();

    let from_file = run(command(&["list", "--config", config]));
    assert!(
        from_file
            .talk
            .contains("coordinator http://127.0.0.1:2 cannot be reached"),
        "{from_file:?}"
    );

    let mut with_environment = command(&["list", "--config", config]);
    with_environment.env("FIRN_COORDINATOR", "http://127.0.0.1:3");
    let from_environment = run(with_environment);
    assert!(
        from_environment
            .talk
            .contains("coordinator http://127.0.0.1:3 cannot be reached"),
        "{from_environment:?}"
    );

    let mut with_both = command(&["list", "--config", config, "--coordinator", "127.0.0.1:4"]);
    with_both.env("FIRN_COORDINATOR", "http://127.0.0.1:3");
    let from_flag = run(with_both);
    assert!(
        from_flag
            .talk
            .contains("coordinator http://127.0.0.1:4 cannot be reached"),
        "{from_flag:?}"
    );
}

#[test]
fn completions_are_printed_for_a_shell() {
    let left = run(command(&["completions", "bash"]));
    assert_eq!(left.code, 0);
    assert!(left.data.contains("_firn()"), "{}", left.data);
    assert!(left.data.contains("firn,verify)"), "{}", left.data);
}

#[test]
fn validate_prints_every_default_or_all_that_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let spec = folder.path().join("job.yaml");
    let spec_text = spec.to_str().unwrap();
    fs::write(&spec, SPEC).unwrap();
    let left = run(command(&["validate", spec_text]));
    assert_eq!(left.code, 0, "{left:?}");
    assert!(left.data.contains("\n    optimizer:\n      type: adamw\n"), "{left:?}");
    assert!(!left.data.contains("resourceName"), "{left:?}");

    fs::write(
        &spec,
        SPEC.replace("epochs: 2", "epochs: 0").replace("resnet18", "resnet19"),
    )
    .unwrap();
    for verb in ["validate", "run"] {
        let left = run(command(&[verb, spec_text]));
        assert_eq!((left.code, left.data.as_str()), (2, ""), "{verb}: {left:?}");
        assert!(left.talk.contains("did you mean `resnet18`?"), "{verb}: {left:?}");
        assert!(
            left.talk.contains("line 11: spec.training.epochs: "),
            "{verb}: {left:?}"
        );
    }
}
